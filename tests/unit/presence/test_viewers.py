"""`doc_viewers`: who has a document open is sent once in an interval, to those who have it open."""

from __future__ import annotations

import asyncio
from typing import Any

from frappe_realtime.contract.events import DOC_VIEWERS
from frappe_realtime.contract.presence import PRESENCE
from tests.unit.presence.processes import SITE, Process, received
from tests.unit.virtual_time import in_virtual_time

INTERVAL = 0.1
"""`realtime_presence_interval`."""

ROOM = "open_doc:Note/a/1"
ANN, BOB, EVE = (f"{name}@example.com" for name in ("ann", "bob", "eve"))


async def opened(it: Process, *users: str) -> list[Any]:
	"""Return sockets of these users that have the document open, after the first message."""
	sockets = [it.socket(user) for user in users]
	for socket in sockets:
		socket.join(ROOM)
	await interval()
	return sockets


async def interval() -> None:
	await asyncio.sleep(INTERVAL * 1.01)


def seen(socket: Any) -> list[list[str]]:
	"""Return the viewers in each message to a socket."""
	messages = received(socket, DOC_VIEWERS)
	assert all((one["doctype"], one["docname"]) == ("Note", "a/1") for one in messages)
	return [one["users"] for one in messages]


@in_virtual_time
async def test_everybody_who_has_it_open_gets_who_has_it_open() -> None:
	it = Process()
	ann, bob = await opened(it, ANN, BOB)
	other = it.socket(EVE)
	assert seen(ann) == seen(bob) == [[ANN, BOB]]
	bob.leave(ROOM)
	await interval()
	assert seen(ann)[1:] == [[ANN]]
	assert len(seen(bob)) == 1
	assert seen(other) == received(ann, PRESENCE) == []


@in_virtual_time
async def test_the_first_change_after_a_pause_is_sent_at_once() -> None:
	it = Process()
	(ann,) = await opened(it, ANN)
	it.socket(BOB).join(ROOM)
	await asyncio.sleep(0)
	await asyncio.sleep(0)
	assert seen(ann) == [[ANN, BOB]]


@in_virtual_time
async def test_many_who_come_together_cost_one_message_each() -> None:
	it = Process()
	sockets = await opened(it, *[f"user-{number}" for number in range(200)])
	assert [len(seen(socket)) for socket in sockets] == [1] * 200
	assert it.sender.writes == 200


@in_virtual_time
async def test_one_who_opens_and_closes_again_and_again_costs_one_message_for_each_interval() -> None:
	it = Process()
	ann, bob = await opened(it, ANN, BOB)
	for _ in range(100):
		bob.leave(ROOM)
		bob.join(ROOM)
		await asyncio.sleep(INTERVAL / 10)
	assert 10 <= len(seen(ann)) - 1 <= 11
	assert seen(ann)[-1] == [ANN, BOB]


@in_virtual_time
async def test_nothing_is_sent_if_the_only_viewer_is_the_user_who_acted() -> None:
	it = Process()
	first, second = await opened(it, ANN, ANN)
	it.viewers.send_to(first, ROOM)
	it.disconnect(second)
	await interval()
	assert seen(first) == []


@in_virtual_time
async def test_the_only_viewer_is_told_when_another_user_leaves() -> None:
	it = Process()
	ann, bob = await opened(it, ANN, BOB)
	it.disconnect(bob)
	await interval()
	assert seen(ann) == [[ANN, BOB], [ANN]]


@in_virtual_time
async def test_one_who_opens_it_again_is_told_at_once_and_nobody_else() -> None:
	it = Process()
	ann, bob = await opened(it, ANN, BOB)
	it.viewers.send_to(bob, ROOM)
	assert (len(seen(ann)), len(seen(bob))) == (1, 2)


@in_virtual_time
async def test_viewers_on_other_sidecars_are_included() -> None:
	it = Process()
	(ann,) = await opened(it, ANN)

	async def report(changed: dict[tuple[str, str], set[str]]) -> None:
		for (name, room), users in changed.items():
			it.viewers.on_remote_change(it.namespaces[name], room, users)
		await interval()

	await report(it.remote.apply("other", [(SITE, ROOM, "id", EVE), (SITE, "lobby", "id", EVE)]))
	await report(it.remote.forget("other"))
	assert seen(ann) == [[ANN, EVE], [ANN]]


@in_virtual_time
async def test_a_site_whose_last_viewer_has_gone() -> None:
	it = Process()
	(ann,) = await opened(it, ANN)
	it.disconnect(ann)
	it.namespaces.discard_empty(ann.namespace)
	await interval()
	sender: Any = it.sender
	assert not sender._changed
