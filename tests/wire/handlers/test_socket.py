"""Handlers in Python over connections to one sidecar: answers, identity, calls and disconnects."""

from __future__ import annotations

import pytest

from tests.wire.apps import in_log, install, write_handlers
from tests.wire.bench import STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.handlers.alpha import ALPHA


@pytest.fixture(scope="module")
def alpha_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench with the app `alpha`."""
	bench = make_shared_bench(start=False)
	write_handlers(bench, "alpha", ALPHA)
	install(bench, "alpha")
	return bench.start()


def test_a_handler_answers_an_acknowledged_event(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("alpha", 5) == {
		"value": 5,
		"user": user.name,
		"site": "app.test",
		"type": "System User",
	}
	assert client.next("alpha_seen") == ({"value": 5, "other": None},)


def test_several_values_and_bytes_in_an_answer(alpha_bench: Bench, connect: Connect) -> None:
	# python-socketio's client hands several arguments of an acknowledgement on as a tuple.
	assert connect(alpha_bench, alpha_bench.user()).call("several") == (1, b"two")


def test_none_sends_no_acknowledgement(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	answers: list[object] = []
	alpha_bench.background.run(
		client.sio.emit("quiet", namespace=client.namespace, callback=lambda *args: answers.append(args))
	)
	# The handlers of an app get the events of a client one after the other.
	assert client.call("several") == (1, b"two")
	assert answers == []


def test_a_plain_handler_runs_in_a_thread(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("blocking", "own") == ["all", "own", f"user:{user.name}", "website"]
	assert client.next("in_room") == (False,)


def test_guests_reach_only_handlers_with_allow_guest(alpha_bench: Bench, connect: Connect) -> None:
	guest = connect(alpha_bench)
	guest.emit("alpha", 1)
	assert guest.call("for_guests") == "Guest"
	assert guest.all("alpha_seen") == []


def test_handlers_run_only_where_their_app_is_installed(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user(STOCK_SITE), STOCK_SITE)
	client.emit("alpha", 1)
	# A handler that was started for this client would have run before that of another.
	assert connect(alpha_bench, alpha_bench.user()).call("alpha", 1)["value"] == 1
	client.fence()
	assert client.all("alpha_seen") == []


def test_has_permission_asks_the_site(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	site = alpha_bench.site()
	site.forbid(user.name, "Note", "secret")
	site.forbid(user.name, "Note", "fixed", "write")
	client = connect(alpha_bench, user)
	assert client.call("may", "Note", "open") is True
	assert client.call("may", "Note", "secret") is False
	assert client.call("may", "Note", "fixed") is True
	assert client.call("may", "Note", "fixed", "write") is False


def test_frappe_request_calls_the_site_as_the_user(alpha_bench: Bench, connect: Connect) -> None:
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	assert client.call("ask", "frappe.auth.get_logged_user", {"x": 1}) == [200, True, user.name]
	assert client.call("ask", "no.such.method", {})[:2] == [417, False]


def test_a_handler_calls_the_client(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	answer = client.call("question", 7)
	assert answer == {"value": 7, "bytes": b"x"}


def test_handshake(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user(), auth={"device": "phone"})
	auth, version, host = client.call("hand")
	assert (auth, version, host) == ({"device": "phone"}, "4", f"app.test:{alpha_bench.sidecar.port}")


def test_connect_and_disconnect(alpha_bench: Bench, connect: Connect) -> None:
	watching = connect(alpha_bench, alpha_bench.user())
	user = alpha_bench.user()
	other = connect(alpha_bench, user)
	until(lambda: (user.name,) in watching.all("came"), "the connect handler")
	other.close()
	until(lambda: any(args[0] == user.name for args in watching.all("went")), "the disconnect handler")
	_, reason, rooms = watching.all("went")[-1]
	assert reason in ("client namespace disconnect", "transport close")
	assert rooms == []


def test_an_exception_is_logged_and_affects_no_other_handler(alpha_bench: Bench, connect: Connect) -> None:
	client = connect(alpha_bench, alpha_bench.user())
	assert client.call("fails") == "the next one runs"
	in_log(alpha_bench, "alpha: a handler of 'fails' failed")
	client.emit("exits")
	assert client.call("alpha", 1)["value"] == 1
	alpha_bench.sidecar.expects_traceback = True


def test_disconnect_from_the_server(alpha_bench: Bench, connect: Connect) -> None:
	watching = connect(alpha_bench, alpha_bench.user())
	user = alpha_bench.user()
	client = connect(alpha_bench, user)
	client.emit("kick")
	until(lambda: not client.connected, "the disconnect")
	until(
		lambda: (user.name, "server namespace disconnect", []) in watching.all("went"),
		"the disconnect handler",
	)


def test_the_stock_client_gets_acknowledgements(
	alpha_bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(alpha_bench, node_version, alpha_bench.user())
	[answer] = client.call("alpha", {"deep": [1, None]})
	assert answer["value"] == {"deep": [1, None]}
