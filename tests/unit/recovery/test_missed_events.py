"""What a client has missed: from the history window, from Redis, or a gap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.bus.store import Entry
from realtime.recovery import windows
from realtime.recovery.entries import HistoryGap
from realtime.recovery.positions import offset_after, offset_before, parse_offset
from tests.unit.recovery.fakes import event
from tests.unit.recovery.histories import Setting, read_pages_of, run
from tests.unit.socketio.fakes import SITE


@pytest.mark.parametrize("window", [0, 3, 5000])
def test_missed_events_come_from_the_window_and_from_redis(
	monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
	"""From either or both; several clients at once, from different positions."""
	monkeypatch.setattr(windows, "WINDOW_EVENTS", window)
	read_pages_of(monkeypatch, 4)

	async def test(it: Setting) -> None:
		for number in range(1, 21):
			it.store.append(number, "a" if number % 2 else "b")
		stream = await it.history.follow(SITE)
		for number in range(21, 31):
			it.history.take([it.store.append(number, "a" if number % 2 else "b")])

		async def missed(since: int) -> list[Any]:
			older = await it.history.reader.read_before_window(stream, (since, 0), {"a": (0, 0)})
			return [event.position[0] for event in stream.missed(older, {"a": (0, 0)})]

		positions = [7, 3, 12, 25, 3, 0, 29, 30]
		for since, found in zip(positions, await asyncio.gather(*map(missed, positions)), strict=True):
			assert found == [number for number in range(since + 1, 31) if number % 2], since

	run(test)


@pytest.mark.parametrize("number", [0, 7])
def test_the_offset_before_an_event(number: int) -> None:
	"""The next offset after it is the event's own."""
	end = (5, number)
	before = parse_offset(offset_before(end))
	assert before is not None
	assert before < end
	assert parse_offset(offset_after(before)) == end


def test_a_position_before_the_history_is_a_gap() -> None:
	async def test(it: Setting) -> None:
		for number in range(1, 11):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		del it.store.entries[:5]
		assert await it.history.reader.read_before_window(stream, (5, 0), {})
		for position in ((4, 0), (0, 0), (11, 0)):
			with pytest.raises(HistoryGap):
				await it.history.reader.read_before_window(stream, position, {})

	run(test)


def test_an_event_that_could_not_be_recorded_is_a_gap() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([event(1, None, unrecorded="NOPERM")])
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (0, 0), {})
		assert it.history.unavailable == {SITE: "NOPERM"}

	run(test)


@pytest.mark.parametrize(
	"text",
	["", "-", "1", "1-", "-1", "1-2-3", "a-b", "1-\u0662", " 1-2", "+1-2", "1_0-2", None, 5, f"{1 << 64}-0"],
)
def test_invalid_offsets(text: object) -> None:
	assert parse_offset(text) is None


def test_a_valid_offset() -> None:
	assert parse_offset("1795481441863-7") == (1795481441863, 7)


def test_missed_events_are_delivered_though_the_last_id_is_missing() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.store.append(2)
		it.store.last = None
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2]
		assert stream.offset == "2-0"

	run(test)


@pytest.mark.parametrize("page", [2, 500])
def test_only_events_before_the_window_count_as_read(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
	"""The replay limit of a user counts these bytes. The last page also has entries of the window."""
	read_pages_of(monkeypatch, page)

	async def test(it: Setting) -> None:
		for number in range(1, 4):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		for number in range(4, 7):
			it.live(number)
		size = sum(len(entry.payload) for entry in it.store.entries[:3])
		assert await it.history.reader.read_before_window(stream, (0, 0), {}) == ((0, 0), (0, 0), (), size)
		assert [event.position[0] for event in stream.window] == [1, 2, 3, 4, 5, 6]
		assert stream.window_bytes == sum(event.memory for event in stream.window)
		assert it.history.counters.read == it.store.entries_read > 0

	run(test)


def test_clients_that_recover_at_once_share_one_reading() -> None:
	"""The window reaches back to the earliest position; the client that waited finds it there."""

	async def test(it: Setting) -> None:
		for number in (1, 2, 3):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		reads = it.store.reads
		first, second = await asyncio.gather(
			it.history.reader.read_before_window(stream, (0, 0), {}),
			it.history.reader.read_before_window(stream, (1, 0), {}),
		)
		assert first.read_bytes == sum(event.size for event in stream.window)
		assert second == ((1, 0), (1, 0), (), 0)
		assert stream.window_start == (0, 0)
		assert it.store.reads == reads + 1

	run(test)


def test_an_offset_of_a_redis_that_has_lost_everything_is_a_gap() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		with pytest.raises(HistoryGap, match="does not know"):
			await it.history.reader.read_before_window(stream, (1, 0), {})

	run(test)


def test_an_entry_that_is_no_event_is_skipped_for_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Also if a page has nothing else."""
	read_pages_of(monkeypatch, 2)

	async def test(it: Setting) -> None:
		for number in range(1, 7):
			it.store.append(number)
		for index in (1, 2, 3, 5):
			entry = it.store.entries[index]
			it.store.entries[index] = Entry(entry.id, b"[]", entry.before)
		stream = await it.history.follow(SITE)
		await it.history.reader.read_before_window(stream, (0, 0), {})
		assert [event.position[0] for event in stream.window] == [1, 5]
		assert it.store.entries_read == 6

	run(test)
