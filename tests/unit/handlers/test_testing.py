"""The site and the clients in memory of `frappe_realtime.testing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.testing import Site
from tests.unit.handlers.conftest import MakeSite, write_app
from tests.unit.handlers.sockets import HEAD, both, pair


def test_a_site_whose_file_does_not_load_is_closed(tmp_path: Path) -> None:
	site = Site(("broken", write_app(tmp_path, "broken", "1 / 0")))
	with pytest.raises(ImportError, match="ZeroDivisionError"):
		site.open()
	# Otherwise, a `with` block would leave the event loop open, which warns when it is collected.
	assert site._loop.is_closed()
	site.close()


def test_no_watchdog_watches_the_event_loop_of_a_test(make_site: MakeSite) -> None:
	"""It would log that the loop is blocked when a test does something else for two seconds, and its thread would not end."""
	site = make_site(HEAD + "@realtime.on('go')\nasync def go(socket):\n\tpass\n")
	assert not site.handlers.executor.watchdog._thread.is_alive()


def test_a_client_of_a_test_that_has_disconnected_cannot_emit(make_site: MakeSite) -> None:
	client = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\treturn 1\n").connect(
		"ann@example.com"
	)
	for _ in range(2):
		client.disconnect()
	for send in (client.emit, client.call):
		with pytest.raises(
			ConnectionError, match=r"^ann@example\.com has disconnected, and cannot emit 'go'$"
		):
			send("go")


def test_a_client_of_a_test_cannot_emit_what_clients_refuse(make_site: MakeSite) -> None:
	client = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\treturn 1\n").connect(
		"ann@example.com"
	)
	with pytest.raises(ValueError, match="'disconnect' is an event of Socket"):
		client.emit("disconnect")
	assert client.call("go") == 1


@pytest.mark.parametrize(
	("options", "header"),
	[
		({"headers": {"Authorization": "token key:secret"}}, "token key:secret"),
		({"auth": {"token": "key:secret"}}, "token key:secret"),
		({"headers": {"Cookie": "sid=x"}}, None),
	],
)
@pytest.mark.parametrize("text", both("\treturn [socket.authorization_header]"))
def test_the_authorization_header(
	make_site: MakeSite, text: str, options: dict[str, Any], header: str | None
) -> None:
	assert make_site(text).connect("ann@example.com", **options).call("go") == [header]


TELL = f"{HEAD}@realtime.on('tell')\nasync def tell(socket, room):\n\tsocket.emit('told', room=room)\n"


def test_core_events_join_the_rooms_that_the_user_may_be_in(make_site: MakeSite) -> None:
	site = make_site(TELL)
	ann, bob = pair(site)
	guest = site.connect()
	site.forbid("bob@example.com", "Task", "1")
	for client in (ann, bob, guest):
		client.emit("doc_subscribe", "Task", "1")
		client.emit("doc_open", "Task", "1")
		client.emit("doctype_subscribe", "Task")
		client.emit("task_subscribe", "import")
	own = {f"user:{client.user}" for client in (ann, bob, guest)} | {"all", "website"}
	rooms = [set(client.rooms) - own - {client.socket.sid} for client in (ann, bob, guest)]
	assert rooms == [
		{"doc:Task/1", "open_doc:Task/1", "doctype:Task", "task_progress:import"},
		{"doctype:Task", "task_progress:import"},
		set(),
	]
	ann.emit("tell", "open_doc:Task/1")
	ann.emit("doc_close", "Task", "1")
	ann.emit("tell", "open_doc:Task/1")
	assert (ann.received("told"), bob.received("told")) == ([()], [])


def test_core_events_are_answered(make_site: MakeSite) -> None:
	site = make_site(TELL)
	ann, bob = pair(site)
	for client in (ann, bob):
		client.emit("doc_open", "Task", "1")
	[*_, (viewers,)] = ann.received("doc_viewers")
	assert viewers["users"] == ["ann@example.com", "bob@example.com"]
	ann.emit("ping")
	assert ann.received("pong") == [()]
	site.publish("step", 1, "doc:Task/1")
	assert ann.call("doc_subscribe", "Task", "1", {"rewind": 5}) == {"rewound": 1}
	assert ann.received("step") == [(1,)]


def test_a_client_without_an_answer_is_named_when_a_handler_waits_for_it(
	make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr("frappe_realtime.testing.site.HANDLER_TIMEOUT", 0.2)
	site = make_site(f"{HEAD}@realtime.on('go')\nasync def go(socket):\n\tawait socket.call('confirm')\n")
	with pytest.raises(
		TimeoutError, match=r"ann@example\.com was asked 'confirm', without an answer \(Client\.answer\)$"
	):
		site.connect("ann@example.com").emit("go")
