"""Presence: connections that are lost, and members of several processes."""

from __future__ import annotations

import asyncio

import pytest

from frappe_realtime.contract.presence import PRESENCE, PRESENCE_SET, PRESENCE_SYNC
from realtime.presence.members import Place
from tests.unit.presence.joining import ROOM, TASK, interval, join, names
from tests.unit.presence.processes import SITE, Process, connect, received
from tests.unit.virtual_time import in_virtual_time


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
async def test_a_client_that_recovers_in_another_process_and_leaves_at_once_is_gone_everywhere() -> None:
	one, two, three = Process(), Process(), Process()
	connect(one, two, three)
	ann, bob = one.socket(), three.socket("bob@example.com")
	join(one, ann)
	join(three, bob)
	await interval()
	one.disconnect(ann)
	await interval()
	again = two.recover(ann, ROOM)
	two.disconnect(again, "client namespace disconnect")
	await interval()
	assert received(bob, PRESENCE)[-1]["leaves"] == [ann.id]
	assert [process.table.get(Place(SITE, TASK), ann.id) for process in (one, two, three)] == [None] * 3


@in_virtual_time
async def test_a_member_of_a_killed_process_that_has_recovered_elsewhere_leaves_at_once() -> None:
	"""Also by way of a third process, and of one that has not known it."""
	killed, two, three = Process(), Process(), Process()
	connect(killed, two, three)
	ann, ben, bob = killed.socket(), killed.socket("ben@example.com"), three.socket("bob@example.com")
	for process, socket in ((killed, ann), (killed, ben), (three, bob)):
		join(process, socket, state={"page": 1})
	await interval()
	before = len(received(bob, PRESENCE))
	new = Process()
	connect(killed, two, three, new)
	killed.peers = []
	new.disconnect(new.recover(ann, ROOM), "client namespace disconnect")
	await interval()
	assert received(bob, PRESENCE)[before:] == [{"place": TASK, "count": 2, "leaves": [ann.id]}]
	there = two.recover(ben, ROOM)
	await interval()
	again = three.recover(there, ROOM)
	two.disconnect(there)
	await asyncio.sleep(10)
	assert received(bob, PRESENCE)[before + 1 :] == [], "nobody sees the client move on"
	three.disconnect(again, "client namespace disconnect")
	await interval()
	assert received(bob, PRESENCE)[-1] == {"place": TASK, "count": 1, "leaves": [ben.id]}
	assert [process.table.count(Place(SITE, TASK)) for process in (two, three)] == [1, 1]
