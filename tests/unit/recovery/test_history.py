"""The event history of a site: order, gaps and the history window, with a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.recovery import history
from realtime.recovery.history import History, HistoryGap
from realtime.recovery.positions import offset_after, offset_before, parse_offset
from realtime.socketio.namespace import Namespaces
from tests.unit.recovery.fakes import FakeStore, event
from tests.unit.socketio.fakes import SITE


class Setting:
	"""A history with a fake store; records the delivered messages and the sites that have lost events."""

	def __init__(self) -> None:
		self.store = FakeStore()
		self.delivered: list[Any] = []
		self.lost: list[str] = []
		namespaces = Namespaces()
		namespaces.open(f"/{SITE}")
		self.history = History(
			self.store,  # type: ignore[arg-type]
			lambda events: self.delivered.extend(event.message for event in events),
			namespaces,
			120,
		)
		self.history.lost.connect(self.lost.append)

	def live(self, number: int) -> None:
		"""Publish while the sidecar is subscribed."""
		self.history.take([self.store.append(number)])

	async def caught_up(self) -> None:
		"""Wait until the stream has been read."""
		for _ in range(1000):
			await asyncio.sleep(0)


def run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	asyncio.run(_run(test))


async def _run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	await test(Setting())


def test_an_event_is_delivered_once() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.history.take([event(1, "1-0")])
		assert it.delivered == [1]

	run(test)


def test_offsets_are_compared_as_numbers() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		for number in (9, 10, 99, 100):
			it.live(number)
		assert it.delivered == [9, 10, 99, 100]

	run(test)


def test_missed_events_are_delivered_before_live_events() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		for number in (2, 3):
			it.store.append(number)
		it.history.on_subscribed()
		it.live(4)
		it.store.after_reading = lambda: None
		await it.caught_up()
		it.live(5)
		assert it.delivered == [1, 2, 3, 4, 5]

	run(test)


def test_an_event_that_is_published_while_a_reply_is_in_flight() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.append(2)

		def published() -> None:
			it.store.after_reading = lambda: None
			it.live(3)

		it.store.after_reading = published
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2, 3]

	run(test)


def test_an_event_that_is_published_before_the_position_is_known() -> None:
	"""It is held back, and neither lost nor repeated."""

	async def test(it: Setting) -> None:
		it.store.append(1)

		def published() -> None:
			it.store.after_reading = lambda: None
			it.live(2)

		it.store.after_reading = published
		stream = await it.history.follow(SITE)
		assert it.delivered == [2]
		assert stream.offset == "2-0"

	run(test)


def test_reading_is_retried_while_redis_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(history.random, "uniform", lambda low, high: 0)

	async def test(it: Setting) -> None:
		it.store.failures = [StoreUnavailable("away")] * 3
		await it.history.follow(SITE)
		it.live(1)
		assert it.delivered == [1]

	run(test)


def test_a_redis_that_denies_the_history() -> None:
	async def test(it: Setting) -> None:
		it.store.failures = [StoreDenied("NOPERM")]
		for _ in range(2):
			with pytest.raises(StoreDenied):
				await it.history.follow(SITE)
		it.live(1)
		assert it.delivered == [1]
		assert it.history.unavailable == {SITE: "NOPERM"}

	run(test)


def test_a_gap_in_the_stream_is_signalled() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		for number in (2, 3, 4):
			it.store.append(number)
		del it.store.entries[:2]
		it.history.on_subscribed()
		await it.caught_up()
		assert it.lost == [SITE]

	run(test)


def test_a_stream_that_has_expired_with_missed_events() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.append(2)
		it.store.entries.clear()
		it.history.on_subscribed()
		await it.caught_up()
		assert it.lost == [SITE]

	run(test)


def test_a_stream_that_has_expired_without_missed_events() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.entries.clear()
		it.history.on_subscribed()
		await it.caught_up()
		assert it.lost == []
		it.live(2)
		assert it.delivered == [1, 2]

	run(test)


def test_a_redis_that_has_lost_its_data() -> None:
	"""Events that it publishes then are new, also if its clock is behind."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(10)
		it.store.entries.clear()
		it.store.last = None
		it.history.on_subscribed()
		await it.caught_up()
		it.live(5)
		assert it.delivered == [10, 5]

	run(test)


@pytest.mark.parametrize("window", [0, 3, 5000])
def test_missed_events_come_from_the_window_and_from_redis(
	monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
	"""From either or both; several clients at once, from different positions."""
	monkeypatch.setattr(history, "WINDOW_EVENTS", window)
	monkeypatch.setattr(history, "PAGE", 4)

	async def test(it: Setting) -> None:
		for number in range(1, 21):
			it.store.append(number, "a" if number % 2 else "b")
		stream = await it.history.follow(SITE)
		for number in range(21, 31):
			it.history.take([it.store.append(number, "a" if number % 2 else "b")])

		async def missed(since: int) -> list[Any]:
			older = await it.history.read_before_window(stream, (since, 0), {"a": (0, 0)})
			window = stream.missed(older.window_from, {"a": (0, 0)})
			return [event.message for event in [*older.events, *window]]

		positions = [7, 3, 12, 25, 3, 0, 29, 30]
		for since, found in zip(positions, await asyncio.gather(*map(missed, positions)), strict=True):
			assert found == [number for number in range(since + 1, 31) if number % 2], since

	run(test)


def test_an_offset_that_another_sidecar_has_sent() -> None:
	"""Redis has it already: this process is behind, and nothing is lost."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		event = it.store.append(2)
		with pytest.raises(StoreUnavailable):
			await it.history.read_before_window(stream, (2, 0), {"website": (0, 0)})
		it.history.take([event])
		assert await it.history.read_before_window(stream, (2, 0), {"website": (0, 0)}) == ((2, 0), (), 0)
		with pytest.raises(HistoryGap):
			await it.history.read_before_window(stream, (3, 0), {"website": (0, 0)})

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
		assert await it.history.read_before_window(stream, (5, 0), {})
		for position in ((4, 0), (0, 0), (11, 0)):
			with pytest.raises(HistoryGap):
				await it.history.read_before_window(stream, position, {})

	run(test)


def test_an_event_that_could_not_be_recorded_is_a_gap() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([event(1, None, unrecorded="NOPERM")])
		with pytest.raises(HistoryGap):
			await it.history.read_before_window(stream, (0, 0), {})
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
