"""The event history of a site: the order of live events, and those that wait until the stream was read."""

from __future__ import annotations

import asyncio
import time

import pytest

from realtime.bus.store import Entry, StoreUnavailable
from realtime.recovery import site_stream
from realtime.recovery.entries import HistoryGap
from tests.unit.recovery.fakes import event
from tests.unit.recovery.histories import Setting, read_pages_of, run
from tests.unit.socketio.fakes import SITE


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


def test_the_events_of_a_site_are_needed_while_it_has_sockets_or_is_followed() -> None:
	async def test(it: Setting) -> None:
		assert it.history.needs(SITE)
		it.namespaces.discard_empty(it.namespaces[f"/{SITE}"])
		assert not it.history.needs(SITE)
		await it.history.follow(SITE)
		assert it.history.needs(SITE)

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
		# As many as the read can meet until it is stopped, however slow the machine is.
		it.store.failures = [StoreUnavailable("away")] * 1000
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
