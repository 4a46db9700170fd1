"""The core events: joining and leaving rooms, permissions that are awaited, and the viewers of a document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.access.client_questions import MAX_NAME
from realtime.access.permission_requests import SessionEnded
from tests.unit.handlers.fakes import Core, sent, settle

Scenario = Callable[[Core], Coroutine[Any, Any, None]]

ROOM = "doc:Note/1"
VIEWERS = "open_doc:Note/1"


def run(scenario: Scenario) -> None:
	async def main() -> None:
		await scenario(Core())

	asyncio.run(main())


def viewers(*users: str) -> list[Any]:
	return ["doc_viewers", {"doctype": "Note", "docname": "1", "users": list(users)}]


def test_ping_is_answered_by_pong() -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "ping")
		assert sent(socket) == [["pong"]]

	run(scenario)


@pytest.mark.parametrize(
	("event", "arguments", "room"),
	[
		("doctype_subscribe", ("Note",), "doctype:Note"),
		("doc_subscribe", ("Note", "1"), "doc:Note/1"),
		("doc_subscribe", ("Note", 1), "doc:Note/1"),
		("doc_open", ("Note", "1"), "open_doc:Note/1"),
	],
)
@pytest.mark.parametrize("permitted", [True, False])
def test_a_room_is_joined_only_with_permission(
	event: str, arguments: tuple[Any, ...], room: str, permitted: bool
) -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, event, *arguments)
		assert socket.rooms == set()
		[(doctype, name, answer)] = core.permissions.questions
		assert (doctype, name) == ("Note", "" if event == "doctype_subscribe" else "1")
		answer.set_result(permitted)
		await settle()
		assert socket.rooms == ({room} if permitted else set())

	run(scenario)


@pytest.mark.parametrize("permitted", [True, False])
def test_a_known_permission_is_used_at_once(permitted: bool) -> None:
	async def scenario(core: Core) -> None:
		core.permissions.known["Note", "1"] = permitted
		socket = core.connect()
		core.emit(socket, "doc_subscribe", "Note", "1")
		assert socket.rooms == ({ROOM} if permitted else set())

	run(scenario)


@pytest.mark.parametrize(
	("join", "leave", "room"),
	[
		("doc_subscribe", "doc_unsubscribe", ROOM),
		("doc_open", "doc_close", VIEWERS),
		("doctype_subscribe", "doctype_unsubscribe", "doctype:Note"),
	],
)
@pytest.mark.parametrize("iterations", range(4))
def test_a_room_that_was_left_before_the_answer_is_not_joined(
	join: str, leave: str, room: str, iterations: int
) -> None:
	"""In each iteration of the event loop between the answer and the callback that joins the room."""

	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, join, "Note", "1")
		[(_, _, answer)] = core.permissions.questions
		await asyncio.sleep(0)
		asyncio.get_running_loop().call_soon(answer.set_result, True)
		for _ in range(iterations):
			await asyncio.sleep(0)
		if room in socket.rooms:
			return
		core.emit(socket, leave, "Note", "1")
		await settle()
		assert socket.rooms == set()
		assert sent(socket) == []

	run(scenario)


def test_the_answer_to_an_earlier_join_does_not_count_for_a_later_one() -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "doc_subscribe", "Note", "1")
		await settle()
		core.emit(socket, "doc_unsubscribe", "Note", "1")
		core.emit(socket, "doc_subscribe", "Note", "1")
		await settle()
		(_, _, first), (_, _, second) = core.permissions.questions
		assert first.cancelled()
		assert socket.rooms == set()
		second.set_result(True)
		await settle()
		assert socket.rooms == {ROOM}

	run(scenario)


def test_a_pending_join_is_not_requested_again() -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		for _ in range(3):
			core.emit(socket, "doc_subscribe", "Note", "1")
		assert len(core.permissions.questions) == 1
		core.permissions.questions[0][2].set_result(True)
		await settle()
		core.emit(socket, "doc_subscribe", "Note", "1")
		assert len(core.permissions.questions) == 1

	run(scenario)


def test_a_disconnect_cancels_pending_joins() -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "doc_open", "Note", "1")
		core.emit(socket, "doc_subscribe", "Note", "1")
		await settle()
		core.permissions.questions[0][2].set_result(True)
		await asyncio.sleep(0)
		core.disconnect(socket)
		await settle()
		assert socket.rooms == set()
		assert VIEWERS not in socket.namespace.rooms
		assert core.permissions.questions[1][2].cancelled()
		assert core.tasks.calls == [("disconnect", "")]

	run(scenario)


def test_an_unavailable_web_process_refuses(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "doc_subscribe", "Note", "1")
		core.permissions.questions[0][2].set_exception(WebUnavailable("no answer in 10 s"))
		await settle()
		assert socket.rooms == set()
		# The client may ask again.
		core.emit(socket, "doc_subscribe", "Note", "1")
		assert len(core.permissions.questions) == 2

	run(scenario)
	assert "no answer in 10 s" in caplog.text


def test_a_subscription_of_an_expired_session_is_refused_without_a_warning(
	caplog: pytest.LogCaptureFixture,
) -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "doc_subscribe", "Note", "1")
		core.permissions.questions[0][2].set_exception(SessionEnded("expired", socket.session, expired=True))
		await settle()
		assert socket.rooms == set()

	run(scenario)
	assert caplog.messages == []


def test_limits_are_checked_before_the_request_and_after_the_answer() -> None:
	async def scenario(core: Core) -> None:
		core.limits.most = 2
		socket = core.connect()
		for name in ("1", "2", "3"):
			core.emit(socket, "doc_subscribe", "Note", name)
		assert len(core.permissions.questions) == 3, "no room has been joined yet"
		for _, _, answer in core.permissions.questions:
			answer.set_result(True)
		await settle()
		assert socket.rooms == {"doc:Note/1", "doc:Note/2"}
		core.emit(socket, "doc_subscribe", "Note", "4")
		assert len(core.permissions.questions) == 3

	run(scenario)


# -- viewers


def open_document(core: Core, user: str) -> Any:
	core.permissions.known["Note", "1"] = True
	socket = core.connect(user)
	core.emit(socket, "doc_open", "Note", "1")
	return socket


def test_a_document_is_opened_and_closed() -> None:
	async def scenario(core: Core) -> None:
		ann, bob = open_document(core, "ann"), open_document(core, "bob")
		await settle()
		assert sent(ann) == sent(bob) == [viewers("ann", "bob")]
		core.emit(bob, "doc_close", "Note", "1")
		assert list(ann.namespace.rooms[VIEWERS]) == [ann]
		core.disconnect(ann)
		assert VIEWERS not in ann.namespace.rooms

	run(scenario)


def test_a_document_that_is_opened_again_is_not_reported_to_the_other_viewers() -> None:
	async def scenario(core: Core) -> None:
		ann, bob = open_document(core, "ann"), open_document(core, "bob")
		await settle()
		for _ in range(20):
			core.emit(bob, "doc_open", "Note", "1")
		assert sent(ann) == [viewers("ann", "bob")]
		assert sent(bob) == [viewers("ann", "bob")] * 21

	run(scenario)


def test_a_document_is_open_after_an_awaited_permission() -> None:
	async def scenario(core: Core) -> None:
		ann, bob = core.connect("ann"), core.connect("bob")
		for socket in (ann, bob):
			core.emit(socket, "doc_open", "Note", "1")
		for _, _, answer in core.permissions.questions:
			answer.set_result(True)
		await settle()
		assert sent(ann) == sent(bob) == [viewers("ann", "bob")]

	run(scenario)


def test_closing_a_document_that_is_not_open_sends_nothing() -> None:
	async def scenario(core: Core) -> None:
		ann = open_document(core, "ann")
		bob = core.connect("bob")
		core.emit(bob, "doc_close", "Note", "1")
		await settle()
		assert sent(ann) == sent(bob) == []

	run(scenario)


# -- other events, and invalid arguments


def test_tasks() -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		core.emit(socket, "task_subscribe", "a")
		core.emit(socket, "progress_subscribe", "b")
		core.emit(socket, "task_unsubscribe", "a")
		core.limits.most = 0
		core.emit(socket, "task_subscribe", "c")
		assert core.tasks.calls == [("subscribe", "a"), ("subscribe", "b"), ("unsubscribe", "a")]

	run(scenario)


def test_open_in_editor_is_for_system_users() -> None:
	async def scenario(core: Core) -> None:
		place = {"file": "a.js", "line": 1, "column": 2}
		core.emit(core.connect(), "open_in_editor", {**place, "more": 3})
		core.emit(core.connect("eve", "Website User"), "open_in_editor", place)
		core.emit(core.connect(), "open_in_editor", "a.js")
		assert core.opened_in_editor == [place]

	run(scenario)


@pytest.mark.parametrize(
	"arguments",
	[
		(),
		(None, None),
		("", ""),
		("x" * (MAX_NAME + 1), "1"),
		("Note", "x" * (MAX_NAME + 1)),
		("Note", 10**MAX_NAME),
		({"a": 1}, ["b"]),
		(b"Note", b"1"),
		(True, True),
		(1.5, 1.5),
	],
)
def test_invalid_arguments_are_ignored(arguments: tuple[Any, ...]) -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		for event in ("doc_subscribe", "doc_unsubscribe", "doc_open", "doc_close"):
			core.emit(socket, event, *arguments)
		for event in ("doctype_subscribe", "task_subscribe", "task_unsubscribe", "doctype_unsubscribe"):
			core.emit(socket, event, *([] if arguments[:1] == ("Note",) else arguments[:1]))
		assert core.permissions.questions == []
		assert core.tasks.calls == []
		assert sent(socket) == []

	run(scenario)


def test_refused_subscriptions_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario(core: Core) -> None:
		socket = core.connect()
		for number in range(200):
			core.emit(socket, "doc_subscribe", "Note", str(number))
		for _, _, answer in core.permissions.questions:
			answer.set_exception(WebUnavailable("no answer in 10 s"))
		await settle()
		assert len(core.permissions.questions) == 200

	run(scenario)
	assert 1 <= len(caplog.messages) <= 11
