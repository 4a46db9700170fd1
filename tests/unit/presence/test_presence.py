"""Presence: who joins and leaves a place, and with what state."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract.presence import (
	PRESENCE,
	PRESENCE_END,
	PRESENCE_JOIN,
	PRESENCE_LEAVE,
	PRESENCE_SET,
)
from frappe_realtime.contract.users import WEBSITE_USER
from realtime.access.permission_requests import SessionEnded
from realtime.presence.members import Place
from tests.unit.presence.joining import INTERVAL, ROOM, TASK, code, interval, join, names
from tests.unit.presence.processes import SITE, Process, received
from tests.unit.virtual_time import in_virtual_time, turns


@in_virtual_time
async def test_who_joins_gets_the_members_and_the_others_hear_of_it() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	first = join(it, ann, state={"page": 1})
	assert first["me"] == first["members"][0]
	assert (first["me"]["user"], first["me"]["state"], first["count"]) == ("ann@example.com", {"page": 1}, 1)
	await interval()
	assert received(ann, PRESENCE) == [], "it knows itself from the answer"
	second = join(it, bob)
	assert names(second["members"]) == ["ann"], "of itself it hears with the next message"
	assert second["me"]["full_name"] == "bob"
	await interval()
	(message,) = received(ann, PRESENCE)
	assert names(message["joins"]) == ["bob"]
	assert (message["place"], message["count"], message.keys()) == (TASK, 2, {"place", "count", "joins"})
	assert it.send(bob, PRESENCE_LEAVE, TASK) == [{}]
	await interval()
	assert received(ann, PRESENCE)[1:] == [{"place": TASK, "count": 1, "leaves": [bob.id]}]
	assert len(received(bob, PRESENCE)) == 1


@in_virtual_time
async def test_two_tabs_of_a_user_are_two_members() -> None:
	it = Process()
	one, two = it.socket(), it.socket()
	join(it, one)
	assert join(it, two)["count"] == 2
	await interval()
	assert received(one, PRESENCE)[0]["count"] == 2


@in_virtual_time
async def test_a_place_needs_the_permission_to_read() -> None:
	it = Process()
	ann = it.socket()
	it.permissions.forbidden.add(("Task", "1"))
	assert code(join(it, ann)) == "not_permitted"
	assert ROOM not in ann.rooms
	assert code(join(it, it.socket("w@example.com", WEBSITE_USER), "site")) == "not_permitted"
	assert "me" in join(it, ann, "site")
	assert "me" in join(it, ann, "doctype:Task")


@in_virtual_time
async def test_the_permission_is_awaited_and_a_leave_cancels_the_join() -> None:
	it = Process()
	ann = it.socket()
	permitted = it.permissions.slow["Task", "1"] = asyncio.get_running_loop().create_future()
	answers = it.send(ann, PRESENCE_JOIN, TASK, {"a": 1})
	await turns()
	assert not answers
	permitted.set_result(True)
	await turns()
	assert answers[0]["me"]["state"] == {"a": 1}
	it.send(ann, PRESENCE_LEAVE, TASK)
	it.permissions.slow["Task", "1"] = asyncio.get_running_loop().create_future()
	it.send(ann, PRESENCE_JOIN, TASK)
	await turns()
	it.send(ann, PRESENCE_LEAVE, TASK)
	await turns()
	assert it.permissions.slow["Task", "1"].cancelled()
	assert ROOM not in ann.rooms


def test_an_expired_session_joins_no_place_and_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Process()
		ann = it.socket()
		permitted = it.permissions.slow["Task", "1"] = asyncio.get_running_loop().create_future()
		answers = it.send(ann, PRESENCE_JOIN, TASK)
		permitted.set_exception(SessionEnded("expired", ann.session, expired=True))
		await turns()
		assert code(answers[0]) == "unavailable"

	test()
	assert caplog.messages == []


@in_virtual_time
async def test_a_socket_that_has_gone_while_the_permission_was_awaited_is_no_member() -> None:
	it = Process()
	ann = it.socket()
	permitted = it.permissions.slow["Task", "1"] = asyncio.get_running_loop().create_future()
	it.send(ann, PRESENCE_JOIN, TASK)
	await turns()
	it.disconnect(ann)
	await turns()
	assert permitted.cancelled()
	assert it.table.count(Place(SITE, TASK)) == 0


@in_virtual_time
async def test_the_place_of_a_room_is_for_its_sockets_and_ends_with_it() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	assert code(join(it, ann, "room:chat")) == "not_permitted"
	for socket in (ann, bob):
		socket.join("chat")
		assert "me" in join(it, socket, "room:chat")
	await interval()
	bob.leave("chat")
	assert received(bob, PRESENCE_END) == [{"place": "room:chat", "code": "not_permitted"}]
	await interval()
	assert received(ann, PRESENCE)[-1] == {"place": "room:chat", "count": 1, "leaves": [bob.id]}


@pytest.mark.parametrize(
	"place",
	[None, "", 1, "doc:", "doc:Task", "doc:/1", "doctype:", "sites", "room:", "x", "room:all", "room:website"]
	+ [
		f"room:{room}"
		for room in ("user:bob", "doc:Task/1", "open_doc:Task/1", "doctype:Task", "presence:site")
	]
	+ ["doc:Task/" + "x" * 2000],
)
def test_what_is_no_place(place: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Process()
		ann = it.socket()
		ann.join("user:bob")
		assert code(join(it, ann, place)) == "bad_request"

	test()


@in_virtual_time
async def test_access_that_is_withdrawn_ends_the_membership_and_the_client_is_told() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann)
	join(it, bob)
	await interval()
	bob.leave(ROOM)  # what the revalidator does
	it.room_withdrawn.send(bob, ROOM)
	assert received(bob, PRESENCE_END) == [{"place": TASK, "code": "not_permitted"}]
	await interval()
	assert received(ann, PRESENCE)[-1] == {"place": TASK, "count": 1, "leaves": [bob.id]}
	assert code(it.send(bob, PRESENCE_SET, TASK, {"a": 1})[0]) == "not_member"


@in_virtual_time
async def test_a_change_sets_and_removes_keys_and_only_these_are_sent() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann, state={"a": 1, "b": 2, "c": 3})
	join(it, bob)
	await interval()
	(answer,) = it.send(ann, PRESENCE_SET, TASK, {"b": 5, "c": None})
	await interval()
	update = {"id": ann.id, "version": answer["version"], "state": {"b": 5, "c": None}}
	assert received(bob, PRESENCE)[-1] == {"place": TASK, "count": 2, "updates": [update]}
	assert names(join(it, bob)["members"]) == ["ann", "bob"], "to join again is to ask again"
	assert join(it, bob)["members"][0]["state"] == {"a": 1, "b": 5}


@in_virtual_time
async def test_changes_within_an_interval_are_one_message_and_no_change_is_none() -> None:
	it = Process(realtime_presence_changes_per_second=1000)
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann)
	join(it, bob)
	await interval()
	before = len(received(bob, PRESENCE))
	for x in range(100):
		it.send(ann, PRESENCE_SET, TASK, {"x": x})
		await asyncio.sleep(INTERVAL / 20)
	await interval()
	updates = received(bob, PRESENCE)[before:]
	assert 5 <= len(updates) <= 7
	assert updates[-1]["updates"][0]["state"] == {"x": 99}
	versions = [message["updates"][0]["version"] for message in updates]
	assert versions == sorted(set(versions))
	it.send(ann, PRESENCE_SET, TASK, {"x": 99})
	it.send(ann, PRESENCE_SET, TASK, {"x": 1})
	it.send(ann, PRESENCE_SET, TASK, {"x": 99})
	await interval()
	assert len(received(bob, PRESENCE)) == before + len(updates)


@in_virtual_time
async def test_keys_with_a_time_to_live_end_unless_they_are_set_again() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, bob)
	join(it, ann, state={"page": 1})
	await interval()
	it.send(ann, PRESENCE_SET, TASK, {"typing": True}, 2)
	await asyncio.sleep(1.5)
	it.send(ann, PRESENCE_SET, TASK, {"typing": True}, 2)
	await asyncio.sleep(1.5)
	assert it.table.get(Place(SITE, TASK), ann.id).state == {"page": 1, "typing": True}  # type: ignore[union-attr]
	await asyncio.sleep(1)
	assert received(bob, PRESENCE)[-1]["updates"][0]["state"] == {"typing": None}
	it.send(ann, PRESENCE_SET, TASK, {"typing": True}, 2)
	it.send(ann, PRESENCE_SET, TASK, {"typing": True})
	await asyncio.sleep(5)
	assert it.table.get(Place(SITE, TASK), ann.id).state == {"page": 1, "typing": True}  # type: ignore[union-attr]


@pytest.mark.parametrize(
	("state", "ttl"),
	[
		("text", None),
		([1], None),
		({"a": 1}, 0),
		({"a": 1}, -1),
		({"a": 1}, "2"),
		({"a": 1}, True),
		({"a": 1}, 1e9),
		({"a": b"bytes"}, None),
	],
)
def test_what_is_no_state(state: Any, ttl: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Process()
		ann = it.socket()
		assert code(join(it, ann, state=state, ttl=ttl)) == "bad_request"
		assert ROOM not in ann.rooms
		join(it, ann)
		assert code(it.send(ann, PRESENCE_SET, TASK, state, ttl)[0]) == "bad_request"

	test()


@in_virtual_time
async def test_a_member_that_joins_again_changes_its_state() -> None:
	it = Process()
	ann = it.socket()
	join(it, ann, state={"a": 1, "b": 2})
	assert join(it, ann, state={"a": None})["me"]["state"] == {"b": 2}
