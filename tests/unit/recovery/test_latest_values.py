"""Events of which only the newest one is kept: in memory, after an interruption of the subscription, and for recovery."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from realtime.bus.events import PublishedEvent, StreamPosition, read_event
from realtime.bus.kept_events import KeptEvent
from realtime.recovery import latest_values, windows
from realtime.recovery.entries import HistoryGap
from realtime.recovery.latest_values import LatestValues
from tests.unit.recovery.histories import ONE, Setting, run
from tests.unit.socketio.fakes import SITE

ROOMS: Mapping[str | None, StreamPosition] = {"website": (0, 0)}


def value(
	number: int, key: str, text: str = "", seconds: float = 3600, room: str = "website"
) -> PublishedEvent:
	fields = {"event": "step", "message": text, "room": room, "namespace": SITE, "offset": f"{number}-0"}
	event = read_event(json.dumps({**fields, "latest": {"key": key, "seconds": seconds}}).encode())
	event.position = (number, 0)
	return event


def numbers(events: list[KeptEvent]) -> list[int]:
	return [event.position[0] for event in events]


def test_a_value_replaces_the_one_with_its_key() -> None:
	values = LatestValues()
	grown = [values.put(value(number, key)) for number, key in ((1, "a"), (2, "b"), (3, "a"))]
	assert grown[2] == 0
	assert values.bytes == sum(grown)
	assert numbers(values.after((0, 0))) == [2, 3]
	assert numbers(values.after((2, 0))) == [3]
	values.clear((9, 0))
	assert (values.bytes, values.start, values.after((0, 0))) == (0, (9, 0), [])


def test_the_oldest_values_are_dropped_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
	values = LatestValues()
	one = values.put(value(1, "a"))
	monkeypatch.setattr(latest_values, "MAX_BYTES", 2 * one)
	values.put(value(2, "b"))
	assert values.start == (0, 0)
	assert values.put(value(3, "c")) == 0
	assert (numbers(values.after((0, 0))), values.start) == ([2, 3], (1, 0))


def test_the_memory_of_all_sites_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
	"""A client from before a value that was dropped gets a new session."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([it.store.append_value(1, "a")])
		monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", it.history.window_bytes)
		it.history.take([it.store.append_value(2, "b")])
		assert numbers(stream.latest.after((0, 0))) == [2]
		assert it.history.window_bytes == stream.latest.bytes
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (0, 5), ROOMS)
		monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", 0)
		it.history.take([it.store.append_value(3, "b")])
		assert it.history.window_bytes == 0
		it.history.on_subscribed()
		await it.caught_up()
		assert it.history.window_bytes == 0

	run(test)


def test_values_stay_in_memory_while_a_window_of_another_site_can_give_way(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""Redis still has the events of the window."""
	monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", 20 * ONE)

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		other = await it.history.follow("two.test")
		for number in range(1, 21):
			event = it.store.append(number)
			event.site = "two.test"
			it.history.take([event])
		assert it.history.window_bytes == 20 * ONE
		it.history.take([it.store.append_value(number, f"key {number}") for number in range(21, 26)])
		assert numbers(stream.latest.after((0, 0))) == [21, 22, 23, 24, 25]
		older = await it.history.reader.read_before_window(stream, (20, 0), ROOMS)
		assert numbers(stream.missed(older, ROOMS)) == [21, 22, 23, 24, 25]
		assert it.history.window_bytes <= 20 * ONE
		assert 0 < len(other.window) < 20

	run(test)


def test_the_site_with_most_values_gives_way_if_there_is_nothing_else(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		other = await it.history.follow("two.test")
		for number in (1, 2, 3):
			event = it.store.append_value(number, f"key {number}")
			event.site = "two.test"
			it.history.take([event])
		monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", it.history.window_bytes)
		it.history.take([it.store.append_value(4, "key 4")])
		assert numbers(stream.latest.after((0, 0))) == [4]
		assert numbers(other.latest.after((0, 0))) == [2, 3]

	run(test)


def test_expired_values_are_not_shown() -> None:
	values = LatestValues()
	values.put(value(1, "a", seconds=1))
	values.put(value(2, "b", seconds=1e10))
	values.put(value(3, "c", seconds=1e10, room="other"))
	assert numbers(values.in_rooms(["website"])) == [2]


def test_a_client_gets_the_newest_of_each_key_and_all_other_events_in_order() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		for number, key in ((1, ""), (2, "a"), (3, "b"), (4, ""), (5, "a"), (6, "")):
			it.history.take([it.store.append_value(number, key) if key else it.store.append(number)])
		assert it.delivered == [1, 2, 3, 4, 5, 6]
		for since, missed in ((0, [1, 3, 4, 5, 6]), (2, [3, 4, 5, 6]), (5, [6])):
			older = await it.history.reader.read_before_window(stream, (since, 0), ROOMS)
			assert numbers(stream.missed(older, ROOMS)) == missed
		assert it.history.window_bytes == stream.window_bytes + stream.latest.bytes

	run(test)


def test_values_are_read_when_a_site_is_followed() -> None:
	"""Also in several pages; a client that was connected to another sidecar recovers here."""

	async def test(it: Setting) -> None:
		for number in range(1, 8):
			if number % 3:
				it.store.append_value(number, f"key {number}")
			else:
				it.store.append(number)
		stream = await it.history.follow(SITE)
		assert it.delivered == []
		older = await it.history.reader.read_before_window(stream, (1, 0), ROOMS)
		assert numbers(stream.missed(older, ROOMS)) == [2, 3, 4, 5, 6, 7]

	for page in (2, 4, 500):
		with pytest.MonkeyPatch.context() as patch:
			patch.setattr(latest_values, "PAGE", page)
			run(test)


def test_only_values_were_missed() -> None:
	"""The window begins at a value: there is no entry of the history after the position of the client."""

	async def test(it: Setting) -> None:
		it.store.append(1)
		for number in (2, 3):
			it.store.append_value(number, "a")
		stream = await it.history.follow(SITE)
		older = await it.history.reader.read_before_window(stream, (1, 0), ROOMS)
		assert numbers(stream.missed(older, ROOMS)) == [3]

	run(test)


@pytest.mark.parametrize("last", ["2-0", "1-0"])
def test_redis_has_lost_the_values_that_a_client_has_missed(last: str) -> None:
	async def test(it: Setting) -> None:
		it.store.append(1)
		for number in (2, 3):
			it.store.append_value(number, "a")
		stream = await it.history.follow(SITE)
		it.store.last = last
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (1, 5), ROOMS)

	run(test)


def test_values_that_were_missed_during_an_interruption_are_delivered_in_order() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		for number, key in ((2, "a"), (3, ""), (4, "b"), (5, "a"), (6, ""), (7, "b")):
			if key:
				it.store.append_value(number, key)
			else:
				it.store.append(number)
		it.history.on_subscribed()
		it.history.take([it.store.append_value(8, "a")])
		await it.caught_up()
		assert it.delivered == [1, 3, 6, 7, 8]
		assert it.lost == []

	run(test)


def test_events_that_are_published_while_the_streams_are_read_stay_in_order() -> None:
	"""A value is published after the values were read, and another event before the history is read."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.append_value(2, "a")

		def publish() -> None:
			it.store.after_reading = lambda: None
			it.history.take([it.store.append_value(3, "b")])
			it.history.take([it.store.append(4)])

		it.store.after_reading = publish
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2, 3, 4]

	run(test)


def test_values_that_redis_has_removed_are_a_gap() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.store.append_value(2, "a")
		it.store.append_value(3, "b")
		it.store.values.pop(0)
		it.store.removed = "2-0"
		it.history.on_subscribed()
		await it.caught_up()
		assert it.lost == [SITE]
		assert numbers(stream.latest.after((0, 0))) == [3]
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (1, 0), ROOMS)

	run(test)


def test_values_that_have_expired_are_a_gap() -> None:
	async def test(it: Setting) -> None:
		it.store.append(1)
		it.store.append_value(2, "a")
		it.store.values.clear()
		stream = await it.history.follow(SITE)
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (1, 0), ROOMS)
		older = await it.history.reader.read_before_window(stream, (2, 0), ROOMS)
		assert stream.missed(older, ROOMS) == []

	run(test)


def test_a_redis_that_has_lost_the_last_values() -> None:
	"""Those that it still has are not delivered again."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		for number in (2, 3):
			it.history.take([it.store.append_value(number, f"key {number}")])
		it.store.values.pop()
		it.store.last = it.store.newest_value = "2-0"
		it.history.on_subscribed()
		await it.caught_up()
		assert stream.offset == "2-0"
		it.history.take([it.store.append_value(4, "a")])
		assert it.delivered == [1, 2, 3, 4]
		assert stream.has_delivered((3, 0))
		assert it.history.window_bytes == stream.window_bytes + stream.latest.bytes

	run(test)


def test_the_entry_of_an_older_publisher_proves_the_order_as_before() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.history.take([it.store.append_value(2, "a")])
		it.store.newest_entry = None
		it.store.append(3)
		it.store.append(4)
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2, 3, 4]
		assert it.lost == []
		del it.store.entries[-1]
		it.store.append(6)
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2, 3, 4, 6]
		assert stream.offset == "6-0"

	run(test)
