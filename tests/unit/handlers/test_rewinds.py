"""Subscriptions that ask for earlier events of their rooms, with a source that has one event for each room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract.events import LIMIT_REACHED, REWIND_EVENT
from frappe_realtime.errors import RewindRefused, WebUnavailable
from realtime.access.authentication import Session
from realtime.handlers.app_rewinds import AppRewinds
from realtime.json_codec import loads
from tests.unit.handlers.fakes import Core
from tests.unit.virtual_time import in_virtual_time

LATEST = {"rewind": "latest"}
ROOM = "doc:ToDo/1"


class Acks:
	def __init__(self) -> None:
		self.answers: list[Any] = []

	def __call__(self, answer: Any) -> None:
		self.answers.append(answer)

	@property
	def code(self) -> str:
		return str(self.answers[-1]["error"]["code"])


async def settle() -> None:
	for _ in range(20):
		await asyncio.sleep(0)


@in_virtual_time
async def test_the_events_come_when_the_permission_is_confirmed() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	await settle()
	assert (set(socket.rooms), ack.answers) == (set(), [])
	core.permissions.questions[0][2].set_result(True)
	await settle()
	assert socket.rooms == {ROOM}
	assert socket.connection.events == [["had", [ROOM, 0, ""]]]  # type: ignore[attr-defined]
	assert ack.answers == [{"rewound": 1}]


@in_virtual_time
async def test_a_refusal_and_a_web_process_that_does_not_answer() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.permissions.known["ToDo", "1"] = False
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	await settle()
	assert ack.code == "not_permitted"
	core.handlers.on_event(socket, "doctype_subscribe", ["ToDo", {"rewind": 3}], ack)
	await settle()
	core.permissions.questions[0][2].set_exception(WebUnavailable("away"))
	await settle()
	assert ack.code == "unavailable"
	assert not socket.rooms
	assert socket.connection.events == []  # type: ignore[attr-defined]


@in_virtual_time
async def test_leaving_the_room_ends_the_request() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	await settle()
	core.handlers.on_event(socket, "doc_unsubscribe", ["ToDo", "1"], None)
	await settle()
	assert ack.code == "unsubscribed"
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	await settle()
	core.disconnect(socket)
	await settle()
	assert len(ack.answers) == 1


@in_virtual_time
async def test_leaving_the_room_in_the_same_turn_is_an_answer_too() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	core.handlers.on_event(socket, "doc_unsubscribe", ["ToDo", "1"], None)
	await settle()
	assert ack.code == "unsubscribed"


@in_virtual_time
async def test_requests_for_one_room_are_answered_one_after_the_other() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", {"rewind": 2}], ack)
	await settle()
	(first,) = core.permissions.questions
	core.permissions.known["ToDo", "1"] = True
	first[2].set_result(True)
	await settle()
	assert [event[1][1] for event in socket.connection.events] == [0, 2]  # type: ignore[attr-defined]
	assert ack.answers == [{"rewound": 1}] * 2


@pytest.mark.parametrize("plain_first", [True, False])
@in_virtual_time
async def test_a_refusal_leaves_a_subscription_without_rewind_alone(plain_first: bool) -> None:
	"""Also if neither is answered when the other one is made."""
	core, ack = Core(), Acks()
	socket = core.connect()
	core.source.error = RewindRefused(LIMIT_REACHED, "too many bytes")
	for options in ([], [LATEST]) if plain_first else ([LATEST], []):
		core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", *options], ack if options else None)
	await settle()
	assert ack.code == LIMIT_REACHED
	((_, _, question),) = core.permissions.questions
	question.set_result(True)
	await settle()
	assert socket.rooms == {ROOM}


@in_virtual_time
async def test_a_room_that_is_joined_with_rewind_first_counts_once() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.limits.most = 1
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	await settle()
	core.emit(socket, "doc_subscribe", "ToDo", "1")
	for _, _, question in core.permissions.questions:
		question.set_result(True)
		await settle()
	assert ack.answers == [{"rewound": 1}]
	assert (set(socket.rooms), core.limits.refused) == ({ROOM}, [])


@in_virtual_time
async def test_a_refusal_leaves_the_subscription_to_a_task_alone() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.emit(socket, "task_subscribe", "import")
	core.handlers.on_event(socket, "task_subscribe", ["import", LATEST], ack)
	await settle()
	assert ack.code == "not_permitted"
	assert core.tasks.calls == [("subscribe", "import")]


@in_virtual_time
async def test_a_subscription_directly_after_leaving_the_room_is_not_lost() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.permissions.known["ToDo", "1"] = True
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	core.emit(socket, "doc_unsubscribe", "ToDo", "1")
	core.emit(socket, "doc_subscribe", "ToDo", "1")
	await settle()
	assert ack.code == "unsubscribed"
	assert socket.rooms == {ROOM}


@in_virtual_time
async def test_the_requests_of_a_socket_are_bounded() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	for number in range(25):
		core.handlers.on_event(socket, "doc_subscribe", ["ToDo", str(number), LATEST], ack)
	assert [answer["error"]["code"] for answer in ack.answers] == ["limit_reached"] * 5
	core.limits.most = 0
	for _, _, question in core.permissions.questions:
		question.set_result(True)
	await settle()
	for _, _, question in core.permissions.questions:
		if not question.done():
			question.set_result(True)
	await settle()
	assert not socket.rooms
	core.handlers.on_disconnect(socket, "transport close", set())
	await settle()


@in_virtual_time
async def test_a_limit_is_an_answer() -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	core.limits.most = 0
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", LATEST], ack)
	core.limits.most, core.limits.questions = 1, False
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "2", LATEST], ack)
	assert [answer["error"]["code"] for answer in ack.answers] == ["limit_reached"] * 2


@in_virtual_time
async def test_the_rooms_that_every_socket_is_in() -> None:
	core, ack = Core(), Acks()
	for user, rooms in (
		("ann@example.com", ["user:ann@example.com", "website", "all"]),
		("Guest", ["website"]),
	):
		socket = core.connect(user)
		for room in (f"user:{user}", "website", *(["all"] if user != "Guest" else [])):
			socket.join(room)
		core.handlers.on_event(socket, REWIND_EVENT, [{"event": "unread", "rewind": "latest"}], ack)
		await settle()
		assert socket.connection.events == [["had", [*rooms, 0, "unread"]]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
	("rewind", "shown"),
	[(0, "0"), ("all", "'all'"), (loads("[" * 1000 + "]" * 1000), "a value of the type list")],
)
@in_virtual_time
async def test_what_cannot_be_asked_for_is_an_answer(rewind: Any, shown: str) -> None:
	"""Also if it is nested so deeply that no text can be made of it."""
	core, ack = Core(), Acks()
	socket = core.connect()
	core.handlers.on_event(socket, "doc_subscribe", ["ToDo", "1", {"rewind": rewind}], ack)
	assert ack.code == "bad_request"
	assert ack.answers[0]["error"]["message"].startswith(f"rewind is {shown}; it can be ")


def app_rewinds(core: Core) -> AppRewinds:
	"""Return what handlers have; the permission is the one that `core` asks for."""

	async def may_follow(session: Session, task_id: str) -> bool:
		return task_id == "own"

	return AppRewinds(
		core.rewinds,
		lambda socket, doctype, name: core.permissions.has_permission(socket.session, doctype, name),
		may_follow,
	)


@in_virtual_time
async def test_a_handler_leaves_the_room_that_it_is_about_to_join() -> None:
	"""At once, and while the permission is awaited."""
	core = Core()
	apps = app_rewinds(core)
	socket = core.connect()
	for turns in (0, 20):
		answer = apps.rewind(socket, ROOM, "latest")
		for _ in range(turns):
			await asyncio.sleep(0)
		apps.cancel(socket, ROOM)
		with pytest.raises(RewindRefused) as refused:
			await answer
		assert refused.value.code == "unsubscribed"
	assert not socket.rooms


@in_virtual_time
async def test_a_client_goes_while_a_handler_lets_it_join() -> None:
	core = Core()
	apps = app_rewinds(core)
	socket = core.connect()
	answer = asyncio.ensure_future(apps.rewind(socket, ROOM, "latest"))
	await settle()
	core.disconnect(socket)
	assert await answer == 0
	assert await apps.rewind(socket, "chat:1", "latest") == 0
	assert socket.connection.events == []  # type: ignore[attr-defined]


@in_virtual_time
async def test_the_requests_of_handlers_and_of_their_client_are_bounded_together() -> None:
	core, ack = Core(), Acks()
	apps = app_rewinds(core)
	socket = core.connect()
	for number in range(20):
		core.handlers.on_event(socket, "doc_subscribe", ["ToDo", str(number), LATEST], ack)
	with pytest.raises(RewindRefused) as refused:
		await apps.rewind(socket, "chat:1", 3)
	assert refused.value.code == LIMIT_REACHED


@in_virtual_time
async def test_a_source_that_fails_is_an_error_of_the_handler() -> None:
	core = Core()
	core.source.error = ZeroDivisionError("on purpose")
	with pytest.raises(ZeroDivisionError):
		await app_rewinds(core).rewind(core.connect(), "chat:1", 3)


@pytest.mark.parametrize(
	("event", "arguments"),
	[
		("doc_subscribe", [LATEST]),
		("doc_subscribe", ["ToDo", LATEST]),
		("doc_subscribe", ["ToDo", None, LATEST]),
		("doctype_subscribe", [5, LATEST]),
		("task_subscribe", [LATEST]),
		("doc_open", ["ToDo", "1", LATEST]),
		(REWIND_EVENT, [LATEST]),
	],
)
@in_virtual_time
async def test_a_subscription_without_a_name_is_refused(event: str, arguments: list[Any]) -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	socket.join("website")
	core.handlers.on_event(socket, event, arguments, ack)
	await settle()
	assert [answer["error"]["code"] for answer in ack.answers] == ["bad_request"]
	assert core.permissions.questions == []
	assert socket.rooms == {"website"}


@pytest.mark.parametrize("arguments", [["text"], []])
@in_virtual_time
async def test_a_request_without_options_is_ignored(arguments: list[Any]) -> None:
	core, ack = Core(), Acks()
	socket = core.connect()
	socket.join("website")
	core.handlers.on_event(socket, REWIND_EVENT, arguments, ack)
	await settle()
	assert ack.answers == []
	assert socket.rooms == {"website"}


@in_virtual_time
async def test_a_user_without_own_events_is_refused() -> None:
	core, ack = Core(), Acks()
	core.handlers.on_event(core.connect(), REWIND_EVENT, [{"event": "e", **LATEST}], ack)
	await settle()
	assert [answer["error"]["code"] for answer in ack.answers] == ["not_permitted"]
