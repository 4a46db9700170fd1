"""Presence in one process and between processes: who is seen where, with what state, and what is sent for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract import (
	GUEST,
	LIMIT_REACHED,
	PRESENCE,
	PRESENCE_END,
	PRESENCE_JOIN,
	PRESENCE_LEAVE,
	PRESENCE_SET,
	PRESENCE_SYNC,
	WEBSITE_USER,
)
from realtime.presence.members import Place
from realtime.socketio.namespace import ServerSocket
from tests.unit.presence.processes import SITE, Process, connect, received
from tests.unit.virtual_time import in_virtual_time, turns

TASK = "doc:Task/1"
ROOM = "presence:doc:Task/1"
INTERVAL = 0.1


async def interval() -> None:
	"""Wait until all changes so far are sent."""
	await asyncio.sleep(2 * INTERVAL)


def join(
	process: Process, socket: ServerSocket, place: str = TASK, state: Any = None, ttl: Any = None
) -> Any:
	"""Join a place; return the answer."""
	(answer,) = process.send(socket, PRESENCE_JOIN, place, state, ttl)
	return answer


def code(answer: dict[str, Any]) -> str:
	return str(answer["error"]["code"])


def names(members: list[dict[str, Any]]) -> list[str]:
	return [member["full_name"] for member in members]


# -- joining and leaving


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


# -- states


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


# -- limits


@in_virtual_time
async def test_a_state_has_a_largest_size_also_in_pieces() -> None:
	it = Process()
	ann = it.socket()
	assert code(join(it, ann, state={"a": "x" * 2048})) == "limit"
	join(it, ann, state={"a": "x" * 1500})
	answer = it.send(ann, PRESENCE_SET, TASK, {"b": "x" * 600})[0]
	assert "realtime_presence_state_bytes is 2048" in answer["error"]["message"]
	assert it.limits.reached["realtime_presence_state_bytes"] == 2
	assert received(ann, LIMIT_REACHED)[0]["limit"] == "realtime_presence_state_bytes"


@in_virtual_time
async def test_a_socket_is_in_so_many_places() -> None:
	it = Process()
	ann = it.socket()
	for number in range(8):
		assert "me" in join(it, ann, f"doc:Task/{number}")
	assert code(join(it, ann, "doc:Task/8")) == "limit"
	it.send(ann, PRESENCE_LEAVE, "doc:Task/0")
	assert "me" in join(it, ann, "doc:Task/8")
	assert it.limits.reached["realtime_presence_places"] == 1


@in_virtual_time
async def test_a_socket_changes_so_often_and_is_told_once() -> None:
	it = Process(realtime_presence_changes_per_second=1)
	ann = it.socket()
	join(it, ann)
	answers = [it.send(ann, PRESENCE_SET, TASK, {"x": x})[0] for x in range(20)]
	assert ["error" in answer for answer in answers] == [False] * 9 + [True] * 11
	assert code(answers[-1]) == "limit"
	assert [message["limit"] for message in received(ann, LIMIT_REACHED)] == [
		"realtime_presence_changes_per_second"
	]
	assert it.limits.reached["realtime_presence_changes_per_second"] == 11
	assert it.send(ann, PRESENCE_LEAVE, TASK) == [{}], "to leave is never refused"


@in_virtual_time
async def test_the_first_members_are_listed_and_all_are_counted() -> None:
	it = Process(realtime_presence_roster=3)
	sockets = []
	for number in range(6):
		sockets.append(it.socket(f"u{number}@example.com"))
		answer = join(it, sockets[-1])
		await interval()
	assert (names(answer["members"]), answer["count"]) == (["u0", "u1", "u2"], 6)
	assert received(sockets[0], PRESENCE)[-1] == {"place": TASK, "count": 6}
	it.send(sockets[5], PRESENCE_SET, TASK, {"a": 1})
	await interval()
	assert received(sockets[0], PRESENCE)[-1] == {"place": TASK, "count": 6}, "nobody sees the sixth"
	it.send(sockets[1], PRESENCE_LEAVE, TASK)
	await interval()
	message = received(sockets[0], PRESENCE)[-1]
	assert (names(message["joins"]), message["leaves"], message["count"]) == (["u3"], [sockets[1].id], 5)


@in_virtual_time
async def test_so_many_states_are_shown_and_a_share_of_guests() -> None:
	it = Process(
		realtime_presence_states=3, realtime_presence_guest_states=1, realtime_guest_rooms=("presence",)
	)
	sockets = []
	for number, user in enumerate([GUEST, GUEST, "a@x", "b@x", "c@x"]):
		sockets.append(it.socket(user, WEBSITE_USER if user == GUEST else "System User"))
		join(it, sockets[-1], state={"number": number})
		await interval()
	members = join(it, sockets[0])["members"]
	assert [member["state"].get("number") for member in members] == [0, None, 2, 3, None]
	it.send(sockets[0], PRESENCE_LEAVE, TASK)
	await interval()
	message = received(sockets[1], PRESENCE)[-1]
	assert [(update["id"], update["state"]) for update in message["updates"]] == [
		(sockets[1].id, {"number": 1})
	]


@in_virtual_time
async def test_guests_are_not_present_unless_the_site_allows_it() -> None:
	it = Process()
	guest = it.socket(GUEST, WEBSITE_USER)
	assert code(join(it, guest)) == "limit"
	guest.join("lobby")
	assert "me" in join(it, guest, "room:lobby"), "here a handler has decided"


@in_virtual_time
async def test_writes_have_a_rate_and_the_other_places_wait_for_their_turn() -> None:
	it = Process(realtime_presence_writes_per_second=50)  # five in an interval
	places = [f"doc:Task/{number}" for number in range(4)]
	sockets = {place: [it.socket() for _ in range(4)] for place in places}
	for place in places:
		for socket in sockets[place]:
			join(it, socket, place)
	await asyncio.sleep(2)
	before = it.sender.writes
	for place in places:
		it.send(sockets[place][0], PRESENCE_SET, place, {"x": 1})
	began = asyncio.get_running_loop().time()
	while it.sender.writes < before + 16:
		await asyncio.sleep(0.01)
	assert asyncio.get_running_loop().time() - began > INTERVAL
	assert it.sender.delayed
	for place in places:
		assert all(received(socket, PRESENCE)[-1]["updates"] for socket in sockets[place])


# -- a connection that is lost


@in_virtual_time
async def test_a_client_that_recovers_is_the_same_member_and_nobody_sees_it_leave() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann, state={"page": 1})
	join(it, bob)
	await interval()
	before = len(received(bob, PRESENCE))
	it.disconnect(ann)
	await asyncio.sleep(4)
	again = it.recover(ann, ROOM)
	(sync,) = received(again, PRESENCE_SYNC)
	assert (sync["place"], sync["me"]["id"], sync["me"]["state"]) == (TASK, ann.id, {"page": 1})
	assert names(sync["members"]) == ["ann", "bob"]
	await asyncio.sleep(10)
	assert received(bob, PRESENCE)[before:] == []
	it.send(again, PRESENCE_SET, TASK, {"page": 2})
	await interval()
	assert received(bob, PRESENCE)[-1]["updates"][0]["state"] == {"page": 2}


@in_virtual_time
async def test_a_client_that_does_not_come_back_leaves_after_the_grace() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann)
	join(it, bob)
	await interval()
	it.disconnect(ann)
	await asyncio.sleep(4.5)
	assert "leaves" not in received(bob, PRESENCE)[-1]
	await asyncio.sleep(1)
	assert received(bob, PRESENCE)[-1] == {"place": TASK, "count": 1, "leaves": [ann.id]}


@pytest.mark.parametrize(
	("reason", "pid"), [("client namespace disconnect", "pid"), ("transport close", None)]
)
def test_a_client_that_cannot_come_back_as_the_same_leaves_at_once(reason: str, pid: str | None) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Process()
		ann, bob = it.socket(pid=pid), it.socket("bob@example.com")
		join(it, ann)
		join(it, bob)
		await interval()
		it.disconnect(ann, reason)
		await interval()
		assert received(bob, PRESENCE)[-1] == {"place": TASK, "count": 1, "leaves": [ann.id]}

	test()


@in_virtual_time
async def test_a_client_that_recovers_before_its_old_socket_ends() -> None:
	it = Process()
	ann, bob = it.socket(), it.socket("bob@example.com")
	join(it, ann, state={"page": 1})
	join(it, bob)
	await interval()
	before = len(received(bob, PRESENCE))
	it.disconnect(ann)
	it.recover(ann, ROOM)
	await asyncio.sleep(10)
	assert received(bob, PRESENCE)[before:] == []
	assert it.table.get(Place(SITE, TASK), ann.id).state == {"page": 1}  # type: ignore[union-attr]


# -- several processes


@in_virtual_time
async def test_members_of_all_processes_see_each_other() -> None:
	one, two = Process(), Process()
	connect(one, two)
	ann, bob = one.socket(), two.socket("bob@example.com")
	join(one, ann, state={"page": 1})
	await interval()
	answer = join(two, bob)
	assert names(answer["members"]) == ["ann", "bob"]
	await interval()
	assert names(received(ann, PRESENCE)[-1]["joins"]) == ["bob"]
	one.send(ann, PRESENCE_SET, TASK, {"page": 2})
	await interval()
	assert received(bob, PRESENCE)[-1]["updates"][0]["state"] == {"page": 2}
	one.disconnect(ann, "client namespace disconnect")
	await interval()
	assert received(bob, PRESENCE)[-1]["leaves"] == [ann.id]


@in_virtual_time
async def test_a_client_that_recovers_in_another_process_keeps_state_and_time_to_live() -> None:
	one, two, three = Process(), Process(), Process()
	connect(one, two, three)
	ann, bob = one.socket(), three.socket("bob@example.com")
	join(one, ann, state={"page": 1})
	one.send(ann, PRESENCE_SET, TASK, {"typing": True}, 3)
	join(three, bob)
	await interval()
	before = len(received(bob, PRESENCE))
	one.disconnect(ann)
	await asyncio.sleep(1)
	again = two.recover(ann, ROOM)
	two.send(again, PRESENCE_SET, TASK, {"page": 2})
	await interval()
	assert one.presence.table.local_count == 0, (
		"the process that has lost the socket knows that it is elsewhere"
	)
	await asyncio.sleep(10)
	messages = received(bob, PRESENCE)[before:]
	assert [message["updates"][0]["state"] for message in messages] == [{"page": 2}, {"typing": None}]


@in_virtual_time
async def test_a_process_that_hears_late_of_the_move_does_not_bring_an_old_state_back() -> None:
	one, two = Process(), Process()
	connect(one, two)
	ann, bob = one.socket(), two.socket("bob@example.com")
	join(one, ann, state={"page": 1})
	join(two, bob)
	await interval()
	again = two.recover(ann, ROOM)
	two.send(again, PRESENCE_SET, TASK, {"page": 2})
	await interval()
	one.disconnect(ann)
	await asyncio.sleep(10)
	assert one.table.local_count == 0
	pages = [update["state"] for message in received(bob, PRESENCE) for update in message.get("updates", ())]
	assert pages == [{"page": 2}]


@in_virtual_time
async def test_the_members_of_a_process_that_is_gone_leave_and_come_back_with_it() -> None:
	one, two = Process(), Process()
	connect(one, two)
	ann, bob = one.socket(), two.socket("bob@example.com")
	join(one, ann)
	join(two, bob)
	await interval()
	two.table.forget("0")
	await interval()
	assert received(bob, PRESENCE)[-1]["leaves"] == [ann.id]
	two.table.replace("0", list(one.table.local_members()))
	await interval()
	assert names(received(bob, PRESENCE)[-1]["joins"]) == ["ann"]
	two.table.replace("0", list(one.table.local_members()))
	await interval()
	assert names(received(bob, PRESENCE)[-1]["joins"]) == ["ann"], "nothing has changed"


@in_virtual_time
async def test_members_of_other_processes_are_bounded() -> None:
	one, two = Process(), Process(realtime_sidecar_members=2)
	connect(one, two)
	for _ in range(4):
		join(one, one.socket())
	await interval()
	assert two.table.remote_count == 2
	assert two.full
	two.table.forget("0")
	assert (two.table.remote_count, two.table.places()) == (0, 0)


@in_virtual_time
async def test_nothing_is_left_of_those_who_have_gone() -> None:
	it = Process()
	sockets = [it.socket() for _ in range(5)]
	for socket in sockets:
		join(it, socket, state={"a": 1}, ttl=3600)
	await interval()
	for socket in sockets:
		it.disconnect(socket)
	await asyncio.sleep(10)
	presence: Any = it.presence
	events: Any = it.events
	feed: Any = it.feed
	sender: Any = it.sender
	kept = (
		presence._members,
		presence._of_socket,
		events._changes,
		events._changes._refused,
		feed._views,
		sender._changed,
	)
	assert [len(one) for one in kept] == [0] * 6
	assert it.table.places() == 0


# -- users who are online


def online(*processes: Process) -> list[list[str]]:
	return [sorted(one.online.users(SITE)) for one in processes]


@in_virtual_time
async def test_a_user_is_online_with_the_first_socket_and_until_the_last_one_is_gone() -> None:
	it = Process()
	one, two = it.socket(), it.socket()
	it.socket(GUEST, WEBSITE_USER)
	assert online(it) == [["ann@example.com"]]
	it.disconnect(one)
	it.disconnect(two, "client namespace disconnect")
	assert online(it) == [[]]


@in_virtual_time
async def test_a_user_whose_connection_is_lost_is_online_for_the_grace() -> None:
	it = Process()
	it.disconnect(it.socket())
	await asyncio.sleep(4)
	assert online(it) == [["ann@example.com"]]
	it.socket()
	await asyncio.sleep(4)
	assert online(it) == [["ann@example.com"]]
	it.disconnect(next(iter(it.namespaces[SITE].sockets.values())))
	await asyncio.sleep(6)
	assert online(it) == [[]]
	assert it.table.get(Place(SITE, "online"), "ann@example.com") is None


@in_virtual_time
async def test_each_user_has_a_grace_of_its_own() -> None:
	it = Process()
	ann, bob, eve = it.socket(), it.socket("bob@example.com"), it.socket("eve@example.com")
	it.disconnect(ann)
	await asyncio.sleep(2)
	it.disconnect(bob)
	await asyncio.sleep(1)
	it.disconnect(eve)
	it.socket()
	await asyncio.sleep(3)
	assert online(it) == [["ann@example.com", "bob@example.com", "eve@example.com"]]
	await asyncio.sleep(1.5)
	assert online(it) == [["ann@example.com", "eve@example.com"]]
	await asyncio.sleep(1)
	assert online(it) == [["ann@example.com"]]


@in_virtual_time
async def test_users_are_online_on_all_processes() -> None:
	one, two = Process(), Process()
	connect(one, two)
	here, there = one.socket(), two.socket()
	two.socket("bob@example.com")
	await interval()
	assert online(one, two) == [["ann@example.com", "bob@example.com"]] * 2
	one.disconnect(here, "client namespace disconnect")
	await interval()
	assert online(one, two) == [["ann@example.com", "bob@example.com"]] * 2, "ann has a socket there"
	two.disconnect(there, "client namespace disconnect")
	await interval()
	assert online(one, two) == [["bob@example.com"]] * 2
	assert (one.table.places(), one.table.local_count) == (0, 0), "it is not counted as a place"


@in_virtual_time
async def test_no_client_sees_who_is_online() -> None:
	it = Process()
	assert code(join(it, it.socket(), "online")) == "bad_request"
