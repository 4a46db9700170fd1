"""Revalidation of rooms: which are queried, with whose session, and what is withdrawn."""

from __future__ import annotations

import asyncio
from typing import Any

from frappe_realtime.contract.rooms import room_subject
from frappe_realtime.errors import WebUnavailable
from realtime.access import revalidation as module
from realtime.access.authentication import Session
from realtime.access.permission_requests import SessionEnded
from realtime.access.permissions import FAILURE_SECONDS
from realtime.access.revalidation import CONCURRENT_CHECKS, END_REASON, RETRY_SECONDS
from realtime.web.frappe_client import WebFailed
from tests.unit.access.fakes import SITE, session
from tests.unit.access.revalidations import ANN, Setting
from tests.unit.virtual_time import in_virtual_time, turns


@in_virtual_time
async def test_rooms_that_are_named_are_queried() -> None:
	it = Setting()
	it.permissions.at_once = False
	it.permissions.answers |= {("ToDo", ""): False, ("ToDo", "1"): False}
	sockets = [it.socket(ANN, "doctype:ToDo", "doc:ToDo/1", "doc:ToDo/2") for _ in range(2)]
	it.revalidator.check_rooms(ANN, {"doctype:ToDo"})
	it.revalidator.check_rooms(ANN, {"doc:ToDo/2"})
	await it.done()
	assert sorted(it.permissions.asked) == [("ann", "ToDo", ""), ("ann", "ToDo", "2")]
	for socket in sockets:
		assert socket.rooms == {"user:ann", "doc:ToDo/1", "doc:ToDo/2"}
	assert it.revalidator.rooms_withdrawn == 2


@in_virtual_time
async def test_all_rooms_include_named_ones() -> None:
	for first, second in (({"doc:ToDo/1"}, None), (None, {"doc:ToDo/1"})):
		it = Setting()
		it.socket(ANN, "doc:ToDo/1", "doc:ToDo/2", "some handler's room")
		it.revalidator.check_rooms(ANN, first)
		it.revalidator.check_rooms(ANN, second)
		assert it.revalidator.pending == 1
		await it.done()
		assert sorted(it.permissions.asked) == [("ann", "ToDo", "1"), ("ann", "ToDo", "2")]
		await it.revalidator.stop()


@in_virtual_time
async def test_the_caller_s_set_of_rooms_is_not_changed() -> None:
	it = Setting()
	rooms = {"doc:ToDo/1"}
	it.revalidator.check_rooms(ANN, rooms)
	it.revalidator.check_rooms(ANN, {"doc:ToDo/2"})
	assert rooms == {"doc:ToDo/1"}


@in_virtual_time
async def test_many_rooms_are_queried_in_parts() -> None:
	it = Setting()
	count = 2 * module.ROOMS_PER_CHECK + 1
	it.socket(ANN, *[f"doc:ToDo/{number}" for number in range(count)])
	it.revalidator.check_rooms(ANN, None)
	await it.done()
	assert len(it.permissions.asked) == count


@in_virtual_time
async def test_rooms_without_an_answer_are_queried_again() -> None:
	it = Setting()
	it.permissions.answers["ToDo", "1"] = WebUnavailable("no answer")
	socket = it.socket(ANN, "doc:ToDo/1", "doc:ToDo/2")
	it.revalidator.check_rooms(ANN, None)
	await turns(200)
	assert "doc:ToDo/1" in socket.rooms
	assert len(it.permissions.asked) <= 2 + CONCURRENT_CHECKS, "each task waits before it asks again"
	it.permissions.answers["ToDo", "1"] = False
	await asyncio.sleep(RETRY_SECONDS * 1.1)
	await it.done()
	assert socket.rooms == {"user:ann", "doc:ToDo/2"}


@in_virtual_time
async def test_a_question_that_fails_delays_no_other_check_and_is_repeated_later() -> None:
	it = Setting()
	it.permissions.answers["ToDo", "1"] = WebFailed("HTTP 500")
	sockets = [it.socket(session(f"u{number}"), "doc:ToDo/1") for number in range(2 * CONCURRENT_CHECKS)]
	for socket in sockets:
		it.revalidator.check_rooms(socket.session, None)
	disabled = it.socket(ANN)
	it.authenticator.answers["ann"] = session("Guest")
	it.revalidator.check_sessions([ANN])
	began = asyncio.get_running_loop().time()
	await it.done()
	assert disabled.connection.closed == END_REASON
	assert asyncio.get_running_loop().time() == began
	assert all("doc:ToDo/1" in socket.rooms for socket in sockets)
	it.permissions.answers["ToDo", "1"] = False
	await asyncio.sleep(FAILURE_SECONDS + 0.1)
	await it.done()
	assert all("doc:ToDo/1" not in socket.rooms for socket in sockets)


@in_virtual_time
async def test_rooms_are_queried_with_another_session_if_one_has_ended() -> None:
	it = Setting()
	phone = session("ann", sid="phone")

	def answer(user: Session) -> Any:
		return SessionEnded("ended", user) if user.credential.sid == "phone" else True

	it.permissions.answers["ToDo", "1"] = answer
	ended, other = it.socket(phone, "doc:ToDo/1"), it.socket(ANN, "doc:ToDo/1")
	stranger = it.socket(session("bob"), "doc:ToDo/1")
	it.revalidator.check_rooms(phone, None)
	await it.done()
	assert "doc:ToDo/1" not in ended.rooms
	assert "doc:ToDo/1" in other.rooms
	assert "doc:ToDo/1" in stranger.rooms
	assert [sid for sid, *_ in it.permissions.asked] == ["phone", "ann"]


@in_virtual_time
async def test_a_socket_of_another_user_in_the_room_of_the_user_is_not_meant() -> None:
	"""A handler may let it join the room."""
	it = Setting()
	it.permissions.answers |= {("ToDo", "1"): False, ("ToDo", "2"): False}
	ann = it.socket(ANN, "doc:ToDo/1")
	bob = it.socket(session("bob"), "doc:ToDo/1", "doc:ToDo/2", "user:ann")
	it.revalidator.check_rooms(ANN, None)
	await it.done()
	assert ann.rooms == {"user:ann"}
	assert bob.rooms == {"user:bob", "user:ann", "doc:ToDo/1", "doc:ToDo/2"}
	assert it.permissions.asked == [("ann", "ToDo", "1")]


@in_virtual_time
async def test_a_room_is_emptied_without_a_query() -> None:
	it = Setting()
	sockets = [it.socket(session(user), "doc:ToDo/1", "doc:ToDo/2") for user in ("ann", "bob")]
	it.revalidator.empty_room(it.namespaces[f"/{SITE}"], "doc:ToDo/1")
	assert [sorted(socket.rooms)[0] for socket in sockets] == ["doc:ToDo/2"] * 2
	assert it.withdrawn == [("ann", "doc:ToDo/1"), ("bob", "doc:ToDo/1")]
	assert it.permissions.asked == []


def test_the_subject_of_a_room() -> None:
	assert room_subject("doc:ToDo/a/b") == ("ToDo", "a/b")
	assert room_subject("open_doc:ToDo/1") == ("ToDo", "1")
	assert room_subject("doctype:ToDo") == ("ToDo", "")
	for room in ("all", "website", "user:a", "task_progress:1", "doc:", "doc:ToDo", "doc:/x", "doctype:"):
		assert room_subject(room) is None
