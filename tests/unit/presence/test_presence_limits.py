"""Presence: the limits of places, states, changes and messages."""

from __future__ import annotations

import asyncio
from typing import Any

from frappe_realtime.contract.events import LIMIT_REACHED
from frappe_realtime.contract.presence import PRESENCE, PRESENCE_LEAVE, PRESENCE_SET
from frappe_realtime.contract.users import GUEST, WEBSITE_USER
from realtime.json_codec import SAFE_DEPTH, loads
from realtime.socketio import packets
from tests.unit.presence.joining import INTERVAL, TASK, code, interval, join, names
from tests.unit.presence.processes import Process, connect, received
from tests.unit.virtual_time import in_virtual_time


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


def nested(levels: int) -> Any:
	return loads("[" * levels + "]" * levels)


def from_a_deeper_stack(frames: int, value: Any) -> None:
	if frames:
		from_a_deeper_stack(frames - 1, value)
	else:
		packets.encode_event("/site", [value])


@in_virtual_time
async def test_a_state_can_be_sent_to_others_from_any_stack() -> None:
	"""The deepest one that is accepted: the answers to others, which could not be written, would end their connections."""
	it = Process()
	levels = 1000
	while "me" not in (answer := join(it, it.socket(), state={"a": nested(levels)})):
		assert code(answer) == "bad_request"
		levels -= 1
	answer = join(it, it.socket())
	from_a_deeper_stack(100, answer)
	assert levels == SAFE_DEPTH - 1, "the state itself is one level"


@in_virtual_time
async def test_a_place_that_no_text_can_be_made_of_is_refused() -> None:
	it = Process()
	answer = join(it, it.socket(), nested(1000))
	assert code(answer) == "bad_request"
	assert answer["error"]["message"].startswith("a value of the type list is not a place: ")


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
