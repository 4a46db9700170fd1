"""The event history of a site: order, gaps and the history window, with a store in memory."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from realtime.bus.events import PublishedEvent
from realtime.bus.kept_events import KeptEvent
from realtime.bus.store import Entry, StoreDenied, StoreUnavailable
from realtime.recovery import history, history_reader, site_stream, windows
from realtime.recovery.entries import HistoryGap
from realtime.recovery.history import History
from realtime.recovery.latest_values import LatestRead
from realtime.recovery.positions import offset_after, offset_before, parse_offset
from realtime.socketio.namespace import Namespaces
from tests.unit.recovery.fakes import FakeStore, event
from tests.unit.socketio.fakes import SITE


class Setting:
	"""A history with a fake store; records the delivered messages and the sites that have lost events."""

	def __init__(self) -> None:
		self.store = FakeStore()
		self.delivered: list[Any] = []
		self.empty_batches = 0
		self.lost: list[str] = []
		self.namespaces = namespaces = Namespaces()
		namespaces.open(f"/{SITE}")
		self.history = History(
			self.store,  # type: ignore[arg-type]
			self._deliver,
			namespaces,
			120,
		)
		self.history.lost.connect(self.lost.append)

	def _deliver(self, events: Sequence[PublishedEvent]) -> None:
		self.empty_batches += not events
		self.delivered += [event.message for event in events]

	def live(self, number: int) -> None:
		"""Publish while the sidecar is subscribed."""
		self.history.take([self.store.append(number)])

	async def caught_up(self) -> None:
		"""Wait until the stream has been read."""
		for _ in range(1000):
			await asyncio.sleep(0)


def memory(size: int, room: str = "website") -> int:
	"""Return the bytes that an event of `size` bytes takes in the window."""
	return KeptEvent("step", room, (1, 0), size).memory


ONE = memory(50)
"""Bytes that a live event of these tests takes."""


def run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	asyncio.run(_run(test))


async def _run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	setting = Setting()
	await test(setting)
	assert setting.empty_batches == 0


def read_pages_of(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
	"""Let so many events be read from Redis in one command."""
	for module in (history, history_reader):
		monkeypatch.setattr(module, "PAGE", count)


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
	monkeypatch.setattr(random, "uniform", lambda low, high: 0)

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
		assert it.lost == []

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
		assert it.history.counters.gaps == 1
		assert it.history.counters.repeated == 0

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


def test_the_events_of_a_site_are_needed_while_it_has_sockets_or_is_followed() -> None:
	async def test(it: Setting) -> None:
		assert it.history.needs(SITE)
		it.namespaces.discard_empty(it.namespaces[f"/{SITE}"])
		assert not it.history.needs(SITE)
		await it.history.follow(SITE)
		assert it.history.needs(SITE)

	run(test)


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


def test_an_offset_that_another_sidecar_has_sent() -> None:
	"""Redis has it already: this process is behind, and nothing is lost."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		event = it.store.append(2)
		with pytest.raises(StoreUnavailable):
			await it.history.reader.read_before_window(stream, (2, 0), {"website": (0, 0)})
		it.history.take([event])
		assert await it.history.reader.read_before_window(stream, (2, 0), {"website": (0, 0)}) == (
			(2, 0),
			(2, 0),
			(),
			0,
		)
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (3, 0), {"website": (0, 0)})

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


def test_an_offset_far_in_the_future_is_verified() -> None:
	"""One that Redis has not assigned does not advance the stream: the events after it would be repetitions."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		forged = event(99, f"{1 << 63}-0")
		it.history.take([forged, it.store.append(2)])
		it.live(3)
		await it.caught_up()
		assert sorted(it.delivered) == [1, 2, 3, 99]
		assert forged.offset is None
		assert stream.offset == "3-0"
		assert it.history.counters.forged == 1
		it.live(4)
		assert it.delivered[-1] == 4
		assert it.lost == []

	run(test)


def test_a_redis_whose_clock_is_ahead() -> None:
	"""Its first event is read from the stream; the next ones are near it."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		ahead = int((time.time() + 3600) * 1000)
		it.live(ahead)
		await it.caught_up()
		reads = it.store.reads
		it.live(ahead + 10_000)
		assert it.delivered == [ahead, ahead + 10_000]
		it.live(ahead + 20_001)
		await it.caught_up()
		assert it.delivered[2:] == [ahead + 20_001]
		assert it.store.reads == reads + 2
		assert it.history.counters.forged == 0

	run(test)


@pytest.mark.parametrize("offset", [None, "", "invalid"])
def test_an_event_without_offset_is_delivered_and_not_kept(offset: str | None) -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		without = event(2, offset)
		it.history.take([without, without])
		assert it.delivered == [1, 2, 2]
		assert without.offset is None
		assert stream.offset == "1-0"
		assert len(stream.window) == 1

	run(test)


def test_repeated_events_are_counted() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.history.take([event(1, "1-0"), event(0, "0-5")])
		await it.caught_up()
		assert it.history.counters.repeated == 2

	run(test)


@pytest.mark.parametrize(
	("bound", "value", "kept"),
	[("WINDOW_EVENTS", 3, 3), ("WINDOW_BYTES", 3 * ONE, 3), ("TOTAL_WINDOW_BYTES", 3 * ONE - 1, 2)],
)
def test_the_window_is_bounded(monkeypatch: pytest.MonkeyPatch, bound: str, value: int, kept: int) -> None:
	"""The oldest events leave it."""
	monkeypatch.setattr(windows, bound, value)

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		for number in range(1, 11):
			it.live(number)
		assert [event.position[0] for event in stream.window] == list(range(11 - kept, 11))
		assert stream.window_start == (10 - kept, 0)
		assert stream.window_bytes == kept * ONE

	run(test)


def test_the_windows_of_all_sites_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
	"""The site that gets an event gives way; a site that is no longer followed leaves its room to others."""
	monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", 3 * ONE)

	async def test(it: Setting) -> None:
		first = await it.history.follow(SITE)
		second = await it.history.follow("two.test")
		for number in (1, 2):
			it.live(number)
		for number in (3, 4):
			other = it.store.append(number)
			other.site = "two.test"
			it.history.take([other])
		assert (len(first.window), len(second.window)) == (2, 1)
		it.namespaces.clear()
		it.namespaces.open("/two.test")
		it.history.on_subscribed()
		await it.caught_up()
		for number in (5, 6, 7):
			other = it.store.append(number)
			other.site = "two.test"
			it.history.take([other])
		assert it.history.stream(SITE) is None
		assert len(second.window) == 3

	run(test)


def test_a_denied_history_is_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(history, "DENIED_SECONDS", 0.01)

	async def test(it: Setting) -> None:
		it.store.failures = [StoreDenied("NOPERM")]
		with pytest.raises(StoreDenied):
			await it.history.follow(SITE)
		await asyncio.sleep(0.02)
		assert (await it.history.follow(SITE)).offset == "0-0"
		assert it.history.unavailable == {}

	run(test)


def test_a_history_that_is_denied_later() -> None:
	"""Held events are delivered, and clients start with new sessions."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.failures = [StoreDenied("NOPERM")]
		it.history.on_subscribed()
		it.live(2)
		await it.caught_up()
		assert it.delivered == [1, 2]
		assert it.lost == [SITE]
		assert it.history.stream(SITE) is None

	run(test)


def test_an_unrecorded_event_is_a_gap_for_a_while() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([event(1, None, unrecorded="NOPERM")])
		assert stream.unrecorded is not None
		stream.unrecorded = (stream.unrecorded[0] - 121, "NOPERM")
		assert (await it.history.reader.read_before_window(stream, (0, 0), {})).events == ()
		assert it.history.unavailable == {}

	run(test)


def test_too_many_held_events_are_read_from_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(site_stream, "MAX_PENDING", 2)

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.history.on_subscribed()
		for number in range(1, 6):
			it.live(number)
		await it.caught_up()
		assert it.delivered == [1, 2, 3, 4, 5]
		it.live(6)
		assert it.delivered[-1] == 6

	run(test)


@pytest.mark.parametrize("page", [1, 2])
def test_an_entry_that_is_no_event_is_skipped(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
	"""Also the last of a page."""
	read_pages_of(monkeypatch, page)

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		for number in range(1, 6):
			it.store.append(number)
		for index in (0, 1, 3):
			entry = it.store.entries[index]
			it.store.entries[index] = Entry(entry.id, b"[]", entry.before)
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [3, 5]
		assert stream.offset == "5-0"
		assert it.history.counters.caught_up == 2
		assert it.lost == []

	run(test)


def test_stop_ends_reading() -> None:
	async def test(it: Setting) -> None:
		it.store.failures = [StoreUnavailable("away")]
		following = asyncio.ensure_future(it.history.follow(SITE))
		await asyncio.sleep(0)
		it.history.stop()
		with pytest.raises(asyncio.CancelledError):
			await following

	run(test)


def test_without_streams_every_event_is_delivered() -> None:
	async def test(it: Setting) -> None:
		it.history.take([event(1, "1-0"), event(1, "1-0"), event(2, None)])
		assert it.delivered == [1, 1, 2]
		await it.history.follow("two.test")
		it.history.take([event(3, "3-0"), event(3, "3-0")])
		everywhere = event(4, None)
		everywhere.site = None
		it.history.take([everywhere])
		assert it.delivered == [1, 1, 2, 3, 3, 4]

	run(test)


@pytest.mark.parametrize(("lost", "told"), [("1-0", False), ("2-0", True), ("", False), ("invalid", True)])
def test_an_event_that_redis_has_lost(lost: str, told: bool) -> None:
	"""It was accepted by the old master of a failover. Clients that have received it need not be notified."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		without = event(3, None, unrecorded="lost")
		without.lost = lost
		it.history.take([without])
		assert it.delivered == [1, 3]
		assert it.lost == [SITE] * told

	run(test)


def test_a_stream_that_has_continued_from_an_earlier_event() -> None:
	"""The old master had event 3. The new one does not, and has published event 2, which this process has not received."""

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.live(3)
		it.store.entries.pop()
		it.store.last = "1-0"
		it.store.append(2)
		it.store.append(4)
		it.store.entries[-1] = Entry("4-0", it.store.entries[-1].payload, "2-0")
		it.history.on_subscribed()
		await it.caught_up()
		assert it.lost == [SITE]
		assert stream.offset == "4-0"
		for position in ((1, 0), (3, 0)):
			with pytest.raises(HistoryGap):
				await it.history.reader.read_before_window(stream, position, {})
		assert (await it.history.reader.read_before_window(stream, (4, 0), {})).window_from == (4, 0)
		it.live(5)
		assert it.delivered == [1, 3, 5]

	run(test)


def test_a_stream_that_continues_after_a_long_pause() -> None:
	"""`last` has expired, so that the entry names none before it."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.entries.clear()
		it.store.last = None
		it.store.append(2)
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2]
		assert it.lost == []

	run(test)


def test_clients_that_have_received_what_redis_has_lost_stay() -> None:
	"""Redis was restarted without persistence: the writer reports its last event, which was delivered before."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		it.store.entries.clear()
		it.store.last = None
		for _ in range(2):
			it.history.on_subscribed()
			await it.caught_up()
		without = event(2, None, unrecorded="lost")
		without.lost = "1-0"
		it.history.take([without])
		assert it.delivered == [1, 2]
		assert it.lost == []

	run(test)


def test_events_that_are_held_back_delay_no_other_site() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.history.on_subscribed()
		other = event(2, "2-0")
		other.site = "two.test"
		it.history.take([it.store.append(1), other])
		assert it.delivered == [2]
		await it.caught_up()
		assert it.delivered == [2, 1]

	run(test)


def test_recorded_events_do_not_end_the_gap_of_an_unrecorded_one() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([event(1, None, unrecorded="NOPERM")])
		it.live(2)
		with pytest.raises(HistoryGap, match="NOPERM"):
			await it.history.reader.read_before_window(stream, (0, 0), {})

	run(test)


def test_a_stream_is_returned_once_its_position_is_known() -> None:
	async def test(it: Setting) -> None:
		following = asyncio.ensure_future(it.history.follow(SITE))
		await asyncio.sleep(0)
		assert it.history.stream(SITE) is None
		assert it.history.stream("two.test") is None
		stream = await following
		assert it.history.stream(SITE) is stream

	run(test)


def test_stop_cancels_what_reads() -> None:
	"""Also of a stream whose position is known; a stream that is not read at the time has nothing to cancel."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		await it.history.follow("two.test")
		it.namespaces.open("/two.test")
		it.history.on_subscribed()
		assert len(asyncio.all_tasks()) == 3
		await it.caught_up()
		it.store.failures = [StoreUnavailable("away")]
		it.live(int((time.time() + 3600) * 1000))
		await it.caught_up()
		assert len(asyncio.all_tasks()) == 2
		it.history.stop()
		await it.caught_up()
		assert asyncio.all_tasks() == {asyncio.current_task()}

	run(test)


def test_a_site_without_sockets_is_no_longer_read() -> None:
	"""Unless a client waits for the position of its stream, which its first socket needs."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.store.failures = [StoreUnavailable("away")] * 2
		it.history.on_subscribed()
		following = asyncio.ensure_future(it.history.follow("two.test"))
		await it.caught_up()
		assert it.store.failures == []
		it.namespaces.clear()
		it.history.on_subscribed()
		assert it.history.stream(SITE) is None
		stream = await following
		assert it.history.stream("two.test") is stream
		await it.caught_up()
		assert asyncio.all_tasks() == {asyncio.current_task()}

	run(test)


def test_a_subscription_that_begins_again_replaces_the_reading_and_keeps_held_events() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.store.failures = [StoreUnavailable("away")]
		it.history.on_subscribed()
		it.history.take([event(7, None)])
		await it.caught_up()
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [7]
		assert asyncio.all_tasks() == {asyncio.current_task()}

	run(test)


def test_reading_is_retried_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Each is up to 30 % shorter or longer, so that sidecars do not ask Redis at the same time."""
	monkeypatch.setattr(random, "uniform", lambda low, high: low * high)
	pauses: list[float] = []
	sleep = asyncio.sleep

	async def record(seconds: float) -> None:
		if seconds:
			pauses.append(seconds / 0.7 / 1.3)
		await sleep(0)

	monkeypatch.setattr(asyncio, "sleep", record)

	async def test(it: Setting) -> None:
		it.store.failures = [StoreUnavailable("away")] * 9
		await it.history.follow(SITE)
		assert pauses == pytest.approx([0.1, 0.16, 0.256, 0.4096, 0.65536, 1.048576, 1.6777216, 2, 2])

	run(test)


def test_a_window_that_is_extended_after_a_reset_counts_only_what_it_keeps(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""The stream continues at an earlier position while the second page is read for a client."""
	read_pages_of(monkeypatch, 4)

	async def test(it: Setting) -> None:
		for number in range(1, 6):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		reads = it.store.reads

		def reset() -> None:
			if it.store.reads == reads + 2:
				it.history._windows.reset(stream, LatestRead([], "2-0", (0, 0)))

		it.store.after_reading = reset
		await it.history.reader.read_before_window(stream, (0, 0), {})
		assert [event.position[0] for event in stream.window] == [1, 2]
		assert stream.window_bytes == sum(event.memory for event in stream.window)

	run(test)


def test_the_position_of_a_stream_is_read_without_its_entries() -> None:
	async def test(it: Setting) -> None:
		it.store.append(1)
		stream = await it.history.follow(SITE)
		with pytest.raises(HistoryGap):
			await it.history.reader.read_before_window(stream, (2, 0), {})
		assert (stream.offset, it.store.reads, it.store.entries_read) == ("1-0", 2, 0)

	run(test)


def test_too_many_events_while_a_reply_is_in_flight_are_read_from_the_stream(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	monkeypatch.setattr(site_stream, "MAX_PENDING", 2)

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)

		def published() -> None:
			it.store.after_reading = lambda: None
			for number in range(1, 6):
				it.live(number)

		it.store.after_reading = published
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [1, 2, 3, 4, 5]

	run(test)


def test_a_denied_history_is_not_read_again_for_held_events(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Too many events were held; those that were not kept are lost, and the clients of the site are notified."""
	monkeypatch.setattr(site_stream, "MAX_PENDING", 1)

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		reads = it.store.reads
		it.store.failures = [StoreDenied("NOPERM")]
		it.history.on_subscribed()
		for number in (1, 2):
			it.live(number)
		await it.caught_up()
		assert it.delivered == [1]
		assert it.lost == [SITE]
		assert it.store.reads == reads

	run(test)


def test_a_reset_empties_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Its bytes can be used by all sites."""
	monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", 3 * ONE)

	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		other_stream = await it.history.follow("two.test")
		it.namespaces.open("/two.test")
		for number in (1, 2):
			it.live(number)
		it.store.entries.clear()
		it.store.last = None
		it.history.on_subscribed()
		await it.caught_up()
		assert (len(stream.window), stream.window_bytes, stream.window_start) == (0, 0, (0, 0))
		for number in (3, 4, 5):
			other = it.store.append(number)
			other.site = "two.test"
			it.history.take([other])
		assert len(other_stream.window) == 3

	run(test)


def test_clients_that_have_received_what_redis_has_lost_in_two_steps_stay() -> None:
	"""Redis falls back twice: the second time, this process has nothing in its window."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		for number in (1, 2):
			it.live(number)
		for last in ("1-0", None):
			it.store.entries.clear()
			it.store.last = last
			it.history.on_subscribed()
			await it.caught_up()
		without = event(3, None, unrecorded="lost")
		without.lost = "2-0"
		it.history.take([without])
		assert it.lost == []

	run(test)


def test_only_the_first_event_with_an_offset_that_redis_has_not_assigned_is_logged(
	caplog: pytest.LogCaptureFixture,
) -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		for logged in (1, 1):
			it.history.take([event(99, f"{1 << 63}-0")])
			await it.caught_up()
			assert caplog.text.count("has not assigned") == logged
		assert it.history.counters.forged == 2

	run(test)


def test_a_denied_history_that_no_client_waits_for(caplog: pytest.LogCaptureFixture) -> None:
	"""The client has disconnected before Redis answers."""

	async def test(it: Setting) -> None:
		it.store.failures = [StoreDenied("NOPERM")]
		following = asyncio.ensure_future(it.history.follow(SITE))
		await asyncio.sleep(0)
		following.cancel()
		await it.caught_up()
		assert it.history.unavailable == {SITE: "NOPERM"}
		gc.collect()
		assert "never retrieved" not in caplog.text

	run(test)


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


def test_the_window_is_kept_if_nothing_was_missed() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.history.on_subscribed()
		await it.caught_up()
		assert [event.position[0] for event in stream.window] == [1]

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


def test_events_that_redis_loses_before_they_are_read_are_a_gap() -> None:
	"""The position of the client is the last one that is left."""

	async def test(it: Setting) -> None:
		for number in (1, 2, 3):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		it.store.entries = it.store.entries[:1]
		it.store.last = "1-0"
		with pytest.raises(HistoryGap, match="Redis has lost events"):
			await it.history.reader.read_before_window(stream, (1, 0), {})

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


@pytest.mark.parametrize("bound", ["WINDOW_EVENTS", "WINDOW_BYTES", "TOTAL_WINDOW_BYTES"])
@pytest.mark.parametrize("room", [True, False], ids=["just fits", "does not fit"])
def test_events_that_were_read_extend_the_window_if_it_has_room(
	monkeypatch: pytest.MonkeyPatch, bound: str, room: bool
) -> None:
	"""Two events are read, and the window has one; another site has one too."""

	async def test(it: Setting) -> None:
		for number in (1, 2):
			it.store.append(number, "a")
		sizes = [len(entry.payload) for entry in it.store.entries]
		read = sum(memory(size, "a") for size in sizes)
		stream = await it.history.follow(SITE)
		await it.history.follow("two.test")
		it.live(3)
		other = event(9, "9-0", size=50)
		other.site = "two.test"
		it.history.take([other])
		fits = {"WINDOW_EVENTS": 3, "WINDOW_BYTES": read + ONE, "TOTAL_WINDOW_BYTES": read + 2 * ONE}[bound]
		monkeypatch.setattr(windows, bound, fits if room else fits - 1)
		older = await it.history.reader.read_before_window(stream, (0, 0), {"a": (0, 0)})
		assert older.read_bytes == sum(sizes)
		assert [event.position[0] for event in older.events] == ([] if room else [1, 2])
		assert older.window_from == ((0, 0) if room else (2, 0))
		assert len(stream.window) == (3 if room else 1)
		assert stream.window_bytes == ONE + (read if room else 0)
		assert it.history.window_bytes == stream.window_bytes + ONE

	run(test)


def test_an_event_after_a_long_pause_is_delivered_at_once() -> None:
	"""Its offset is far ahead of the stream, but not of the clock."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		now = int(time.time() * 1000)
		for number in (now - 60_000, now):
			it.live(number)
		assert it.delivered == [now - 60_000, now]

	run(test)


def test_a_site_is_followed_once() -> None:
	async def test(it: Setting) -> None:
		streams = await asyncio.gather(*(it.history.follow(SITE) for _ in range(3)))
		it.live(1)
		assert await it.history.follow(SITE) is streams[0] is streams[1] is streams[2]
		assert it.store.reads == 1
		assert len(streams[0].window) == 1

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
