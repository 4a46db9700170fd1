"""While the web process is away, starts, hangs or talks nonsense: clients wait and get in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from realtime.demo.endpoints import FrappeError
from tests.wire.bench import SITES, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.conditions import until
from tests.wire.conftest import LONG, Connect, ConnectNode, MakeBench, StartConnecting
from tests.wire.nodejs import NEW
from tests.wire.test_access import tell

NO_ANSWER: dict[str, dict[str, Any]] = {
	"500": {"status": 500},
	"502": {"status": 502},
	"503": {"status": 503},
	"504": {"status": 504},
	"reset": {"reset": True},
	"hang": {"hang": True},
}
NONSENSE = {
	"page": b"<html>Starting\xff",
	"half": b'{"message": {"user": "Administrat',
	"list": b"[]",
	"null": b'{"message": null}',
	"text": b'{"message": "Administrator"}',
	"number": b'{"message": {"user": 1, "user_type": "System User"}}',
	"nobody": b'{"message": {"user": null, "user_type": "System User"}}',
}
NO_YES = (b"<html>", b"[]", b'{"message": "true"}', b'{"message": 1}', b'{"message": ["true"]}', b"{}")


def attempts(bench: Bench) -> int:
	"""Return how often the sidecar has tried to reach the web process."""
	return len(bench.web.requests)


def is_answered(bench: Bench, before: int) -> bool:
	"""Return whether the web process has answered one of the attempts after the first `before`."""
	return any(request.status for request in list(bench.web.requests)[before:])


def test_a_client_waits_for_a_web_process_that_is_not_up(
	make_bench: MakeBench, start_connecting: StartConnecting
) -> None:
	bench = make_bench()
	bench.stop_web()
	user = bench.user()
	started = [start_connecting(bench, user, transports=transports) for transports in (POLLING, WEBSOCKET)]
	for client, _ in started:
		until(lambda client=client: client.sio.eio.state == "connected", "the connection below Socket.IO")  # type: ignore[misc]
		assert not client.connected
	bench.start_web()
	for _, waiting in started:
		waiting.result(LONG)
	bench.publish("welcome", 1, f"user:{user.name}")
	for client, _ in started:
		assert client.next("welcome")[0] == 1


@pytest.fixture(scope="module")
def impatient(make_shared_bench: MakeBench) -> Bench:
	"""A bench whose sidecar waits a second for each answer. A test leaves its web process well."""
	return make_shared_bench(common={"realtime_web_timeout": 1})


@pytest.mark.parametrize("failure", NO_ANSWER)
def test_a_client_waits_while_the_web_process_fails(
	impatient: Bench, start_connecting: StartConnecting, failure: str
) -> None:
	"""As when gunicorn is stopped for 20 seconds: many attempts in vain, and then the client is in."""
	bench, before, site = impatient, attempts(impatient), f"{failure}.test"
	# A probe begins with the pause at the end of the last outage of its site.
	bench.add_site(site, ["frappe", "frappe_realtime"])
	bench.web.fail(**NO_ANSWER[failure])
	try:
		client, waiting = start_connecting(bench, bench.user(site), site)
		until(lambda: attempts(bench) - before >= 5, "5 attempts", LONG)
		assert not client.connected
		assert not waiting.done()
	finally:
		bench.web.heal()
	waiting.result(LONG)
	client.fence()


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests in which the web process talks nonsense."""
	return make_shared_bench()


@pytest.fixture
def nonsense_bench(shared: Bench) -> Iterator[Bench]:
	"""The shared bench; its web process is well again afterwards."""
	yield shared
	shared.web.heal()
	shared.sidecar.check_log()


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_lets_nobody_in(
	nonsense_bench: Bench, start_connecting: StartConnecting, connect: Connect, body: bytes
) -> None:
	bench = nonsense_bench
	bench.web.fail("get_user_info", body=body)
	before = attempts(bench)
	client, _waiting = start_connecting(bench, bench.user())
	until(lambda: is_answered(bench, before), "an answer")
	witness = connect(bench, namespace="/")
	assert not client.connected
	bench.web.heal()
	connect(bench, bench.user()).fence()
	assert witness.connected


@pytest.mark.parametrize("body", NO_YES, ids=repr)
@pytest.mark.parametrize("site", SITES)
def test_nonsense_is_no_permission(nonsense_bench: Bench, connect: Connect, site: str, body: bytes) -> None:
	bench, name = nonsense_bench, nonsense_bench.document()
	client = connect(bench, bench.user(site), site)
	bench.web.fail(body=body)
	before = attempts(bench)
	client.emit("doc_subscribe", "ToDo", name)
	until(lambda: is_answered(bench, before), "an answer")
	client.fence()
	bench.publish("doc_update", {}, f"doc:ToDo/{name}", site)
	bench.settle(client, site=site)
	assert client.all("doc_update") == []


def test_a_web_process_that_answers_slowly(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	bench.web.fail(delay=2, times=1)
	assert connect(bench, bench.user()).connected


def test_no_is_an_answer(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	with pytest.raises(Refused, match="Unauthorized"):
		connect(bench, authorization="token wrong:wrong")
	assert attempts(bench) == 1


def test_the_desk_gets_in_after_a_long_start(
	make_bench: MakeBench, connect_node: ConnectNode, node_version: str
) -> None:
	"""Three attempts are all that the Desk makes, and after a CONNECT_ERROR none."""
	bench = make_bench()
	bench.web.fail(status=502)
	client = connect_node(
		bench, node_version, bench.user(), transports=BOTH, options={"reconnectionAttempts": 3}, wait=False
	)
	until(lambda: attempts(bench) >= 8, "8 attempts", LONG)
	assert client.refusal == ""
	bench.web.heal()
	client.connect()


def test_clients_that_are_in_do_not_notice(
	impatient: Bench, connect: Connect, start_connecting: StartConnecting
) -> None:
	bench = impatient
	client = connect(bench, bench.user())
	before = attempts(bench)
	bench.web.fail(hang=True)
	try:
		waiting = [start_connecting(bench, bench.user())[1] for _ in range(20)]
		until(lambda: attempts(bench) > before, "an attempt")
		client.fence()
		bench.settle(client)
	finally:
		bench.web.heal()
	for one in waiting:
		one.result(LONG)


def test_a_question_waits_too(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	client = connect(bench, bench.user())
	bench.stop_web()
	client.emit("doc_subscribe", "ToDo", "1")
	client.emit("doctype_subscribe", "ToDo")
	bench.publish("doc_update", "too early", "doc:ToDo/1")
	bench.settle(client)
	bench.start_web()

	def joined() -> bool:
		bench.publish("probe", 1, "doc:ToDo/1")
		bench.publish("list probe", 1, "doctype:ToDo")
		return bool(client.all("probe") and client.all("list probe"))

	until(joined, "both rooms")
	assert client.all("doc_update") == []


def test_a_question_that_the_web_process_fails_at_holds_up_no_other(
	make_bench: MakeBench, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""A permission hook that fails at odd names; all Guests ask with one credential."""
	bench = make_bench()
	site = bench.site()
	site.allow("Guest", "ToDo")
	has_permission = site.has_permission

	def fails(user: str, doctype: str, name: str = "", ptype: str = "read") -> bool:
		if name == "odd":
			raise FrappeError(500, "AttributeError")
		return has_permission(user, doctype, name, ptype)

	monkeypatch.setattr(site, "has_permission", fails)
	hostile, other = connect(bench), connect(bench)
	hostile.emit("doc_subscribe", "ToDo", "odd")
	until(lambda: any(request.status == 500 for request in list(bench.web.requests)), "the failure")
	bench.join(other, "doc:ToDo/1", "doc_subscribe", "ToDo", "1")
	# And in one request with others.
	for name in ("2", "odd", "3"):
		other.emit("doc_subscribe", "ToDo", name)
	bench.join(other, "doc:ToDo/2", "doc_subscribe", "ToDo", "2")
	bench.join(other, "doc:ToDo/3", "doc_subscribe", "ToDo", "3")
	monkeypatch.setattr(site, "has_permission", has_permission)
	# The sidecar asks again after half a minute, or when access has changed.
	tell(bench, "doctype", doctype="ToDo")
	read = 'access_messages_total{kind="doctype"} 1'
	until(lambda: read in bench.sidecar.get("/metrics")[1], "the change of access is read")
	bench.join(hostile, "doc:ToDo/odd", "doc_subscribe", "ToDo", "odd")


def test_clients_that_give_up_leave_nothing(
	make_bench: MakeBench, connect: Connect, start_connecting: StartConnecting
) -> None:
	bench = make_bench()
	bench.web.fail(hang=True)
	for _ in range(30):
		client, _waiting = start_connecting(bench, bench.user())
		until(lambda client=client: client.sio.eio.state == "connected", "the connection below")  # type: ignore[misc]
		client.close()
	bench.web.heal()
	connect(bench, bench.user()).fence()


def test_a_web_process_that_restarts_between(make_bench: MakeBench, connect: Connect) -> None:
	"""Kept connections of the sidecar are dead afterwards; the next question must not suffer."""
	bench = make_bench()
	connect(bench, bench.user())
	for _ in range(3):
		bench.stop_web()
		bench.start_web()
		connect(bench, bench.user())


def test_health_follows_the_web_process(make_bench: MakeBench) -> None:
	bench = make_bench()
	until(lambda: bench.sidecar.health()[0] == 200, "a healthy sidecar")
	bench.stop_web()
	until(lambda: bench.sidecar.health()[0] == 503, "an unhealthy sidecar")
	bench.start_web()
	until(lambda: bench.sidecar.health()[0] == 200, "a healthy sidecar")


def test_node_reconnects_after_a_cut(bench: Bench, connect_node: ConnectNode) -> None:
	client = connect_node(bench, NEW, bench.user())
	client.cut()
	client.connect(2)
	client.fence()
