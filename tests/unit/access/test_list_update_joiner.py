"""Joined list updates: what is sent at once, what at the end of a window, and with which offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from realtime.access.joined_updates import JoinedUpdate
from realtime.access.list_update_filter import READERS_TIMEOUT, ListUpdateFilter
from realtime.access.list_update_joiner import MAX_LISTS, WINDOW_SECONDS, ListUpdateJoiner
from realtime.bus.events import PublishedEvent
from realtime.bus.kept_events import KeptEvent
from realtime.socketio.namespace import Namespaces
from tests.unit.access.fakes import SITE, config, connected, session
from tests.unit.access.test_list_update_filter import LIST, event, update
from tests.unit.access.test_list_update_filter import Setting as FilterSetting
from tests.unit.virtual_time import in_virtual_time

WEBSITE = "website"


class FakeFilter:
	"""Records what is delivered: name or message, and offset; of joined updates also what is held back then."""

	def __init__(self) -> None:
		self.delivered: list[Any] = []
		self.runs: list[int] = []
		self.updates: list[JoinedUpdate] = []
		self.sends = True
		"""Whether joined updates are sent at once; otherwise when the test says so."""

	def deliver(self, events: Sequence[PublishedEvent]) -> None:
		self.delivered += [_content(event) for event in events]

	def deliver_joined(self, updates: Sequence[JoinedUpdate]) -> None:
		self.runs.append(len(updates))
		self.updates += updates
		for one in updates if self.sends else ():
			self.send(one)

	def send(self, update: JoinedUpdate) -> None:
		assert update.unsent is not None
		update.unsent.sent(update)
		self.delivered.append(_content(update))


def _content(event: PublishedEvent) -> Any:
	return (
		event.message["name"]
		if isinstance(event.message, dict) and "name" in event.message
		else event.message
	)


class Setting:
	def __init__(self, most: int = 3, room: str = LIST) -> None:
		self.namespaces = Namespaces()
		self.sockets = [connected(self.namespaces, session("ann"), room)]
		self.filter = FakeFilter()
		fake: Any = self.filter
		self.joiner = ListUpdateJoiner(config(realtime_list_updates_per_second=most), self.namespaces, fake)

	@property
	def held(self) -> dict[str, str]:
		return self.namespaces[f"/{SITE}"].held

	def take(self) -> list[Any]:
		"""Return what was delivered since the last call."""
		taken, self.filter.delivered = self.filter.delivered, []
		return taken


@in_virtual_time
async def test_the_first_update_of_a_quiet_list_is_not_held_back() -> None:
	it = Setting()
	for name in ("a", "b"):
		it.joiner.deliver([update(name)])
		assert it.take() == [name]
		await asyncio.sleep(WINDOW_SECONDS * 1.5)
	assert it.filter.runs == []


@in_virtual_time
async def test_a_burst_is_joined_by_document() -> None:
	it = Setting()
	for name in ("a", "b", "c", "b", "a", "b"):
		it.joiner.deliver([update(name)])
	assert it.take() == ["a"]
	assert it.joiner.held == 3
	await asyncio.sleep(WINDOW_SECONDS)
	assert it.take() == ["c", "a", "b"]
	assert it.filter.runs == [3], "one run, for one write for each socket"
	assert (it.joiner.joined, it.joiner.left_out, it.joiner.held) == (2, 0, 0)
	it.joiner.deliver([update("d")])
	assert it.take() == [], "the next window has begun"
	await asyncio.sleep(WINDOW_SECONDS)
	assert it.take() == ["d"]


@in_virtual_time
async def test_of_many_documents_the_last_ones_are_named() -> None:
	it = Setting(most=3)
	updates = [update(str(number)) for number in range(10)]
	for one in updates:
		it.joiner.deliver([one])
	it.filter.sends = False
	await asyncio.sleep(WINDOW_SECONDS)
	messages = [one.message for one in it.filter.updates]
	assert [message["name"] for message in messages] == ["7", "8", "9"]
	assert [message.get("more") for message in messages] == [None, None, True]
	assert it.joiner.left_out == 6
	assert "more" not in updates[-1].message, "the event in the history stays as it was published"


@in_virtual_time
async def test_other_events_pass_except_in_the_room_of_the_list() -> None:
	it = Setting()
	it.joiner.deliver([update("a"), update("b"), event("news", 1, WEBSITE), update("c")])
	assert it.take() == ["a", 1]
	it.joiner.deliver([event("news", 2, LIST), update("d")])
	assert it.take() == ["b", "c", 2]
	await asyncio.sleep(WINDOW_SECONDS)
	assert it.take() == ["d"]


@in_virtual_time
async def test_offsets_name_the_list_while_its_updates_are_held_back() -> None:
	it = Setting()
	it.joiner.deliver([update("a", "1-0"), update("b", "2-0"), update("b", "3-0")])
	assert it.held == {LIST: "3-0"}
	it.joiner.deliver([event("news", 1, WEBSITE, "4-0")])
	it.filter.sends = False
	await asyncio.sleep(WINDOW_SECONDS)
	[one] = it.filter.updates
	assert (one.offset, one.position) == ("4-0", (3, 0)), "the newest offset of the site"
	assert one.published_at == 0, "the time in the window is no latency"
	assert LIST in it.held
	it.filter.send(one)
	assert it.held == {}


@in_virtual_time
async def test_offsets_do_not_name_the_list_when_all_that_waits_has_none() -> None:
	"""An update without an offset replaces one of the same document, or leaves out one of another document."""
	it = Setting(most=1)
	it.joiner.deliver([update("a", "1-0"), update("b", "2-0")])
	assert it.held == {LIST: "2-0"}
	it.joiner.deliver([update("b")])
	assert it.held == {}
	it.joiner.deliver([update("b", "3-0")])
	assert it.held == {LIST: "3-0"}
	it.joiner.deliver([update("c")])
	assert it.held == {}
	await asyncio.sleep(WINDOW_SECONDS)
	assert it.take() == ["a", "c"]
	assert it.held == {}


@in_virtual_time
async def test_a_window_lasts_until_its_updates_are_sent() -> None:
	it = Setting()
	it.filter.sends = False
	it.joiner.deliver([update("a", "1-0"), update("b", "2-0")])
	await asyncio.sleep(WINDOW_SECONDS * 2.5)
	it.joiner.deliver([update("c", "3-0")])
	assert it.take() == ["a"], "c is not sent before b"
	assert it.held == {LIST: "2-0"}
	it.filter.send(it.filter.updates[0])
	assert it.held == {LIST: "2-1"}


@in_virtual_time
async def test_lists_without_members_are_not_held_back() -> None:
	it = Setting(room="doctype:Note")
	it.joiner.deliver([update("a"), update("b"), update("c")])
	assert it.take() == ["a", "b", "c"]


@in_virtual_time
async def test_zero_turns_it_off() -> None:
	it = Setting(most=0)
	events = [update("a"), update("b"), update("b")]
	it.joiner.deliver(events)
	assert it.take() == ["a", "b", "b"]
	missed = [KeptEvent.of(one) for one in events]
	assert it.joiner.without_superseded(missed) == missed


@in_virtual_time
async def test_updates_for_a_site_that_all_sockets_have_left_are_dropped() -> None:
	it = Setting()
	it.joiner.deliver([update("a", "1-0"), update("b", "2-0")])
	del it.namespaces[f"/{SITE}"]
	connected(it.namespaces, session("bob"), LIST)
	it.joiner.deliver([update("c", "3-0")])
	assert it.take() == ["a", "c"], "a new window"
	assert it.held == {}
	await asyncio.sleep(WINDOW_SECONDS * 2)
	assert it.take() == []


@pytest.mark.parametrize("others_come", [False, True])
def test_a_window_ends_when_all_sockets_leave_while_its_updates_wait_for_their_readers(
	others_come: bool,
) -> None:
	@in_virtual_time
	async def test() -> None:
		it = FilterSetting(session("ann"))
		filter: ListUpdateFilter = it.filter
		joiner = ListUpdateJoiner(config(realtime_list_updates_per_second=3), it.namespaces, filter)
		joiner.deliver([update("a", "1-0"), update("b", "2-0"), update("c", "3-0")])
		await asyncio.sleep(WINDOW_SECONDS + READERS_TIMEOUT / 2)
		assert filter.pending == 2
		del it.namespaces[f"/{SITE}"]
		if others_come:
			connected(it.namespaces, session("bob"), LIST)
		it.fanout.received.clear()
		await asyncio.sleep(WINDOW_SECONDS + READERS_TIMEOUT)
		assert (filter.pending, joiner._windows) == (0, {})
		assert it.fanout.received == []

	test()


@in_virtual_time
async def test_the_number_of_lists_that_offsets_name_is_bounded() -> None:
	it = Setting()
	lists = [f"doctype:{number}" for number in range(MAX_LISTS + 1)]
	for room in lists:
		it.sockets[0].join(room)
		for number in (1, 2):
			message = {"doctype": room[8:], "name": f"{room} {number}"}
			it.joiner.deliver([event("list_update", message, room, f"{lists.index(room) + 1}-{number}")])
	assert list(it.held) == lists[:-1]
	assert it.take() == [f"{room} 1" for room in lists] + [f"{lists[-1]} 2"]


@in_virtual_time
async def test_flush() -> None:
	it = Setting()
	it.joiner.deliver([update("a"), update("b")])
	it.joiner.flush()
	assert it.take() == ["a", "b"]


@pytest.mark.parametrize("name", [None, 1, ["a"]])
def test_updates_without_a_name_are_not_joined(name: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.joiner.deliver([update("a"), update(name), update(name)])
		assert it.take() == ["a", name, name]

	test()


@in_virtual_time
async def test_missed_updates_are_joined() -> None:
	it = Setting(most=2)
	other = event("list_update", {"doctype": "Note", "name": "a"}, "doctype:Note", "9-0")
	missed = [update(name, f"{number}-0") for number, name in enumerate(("a", "b", "a", "c", "c"), 1)]
	news = event("news", 1, WEBSITE, "8-0")
	kept = it.joiner.without_superseded([KeptEvent.of(one) for one in (*missed, news, other)])
	assert [one.position[0] for one in kept] == [3, 5, 8, 9]
	assert [one.message for one in kept] == [
		missed[2].message,
		{**missed[4].message, "more": True},
		None,
		other.message,
	]
