"""The event history of a site: what Redis has lost, denies, or does not answer."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from realtime.bus.store import Entry, StoreDenied, StoreUnavailable
from realtime.recovery import history, site_stream
from realtime.recovery.entries import HistoryGap
from realtime.recovery.history import DENIED_SECONDS
from tests.unit.recovery.fakes import event
from tests.unit.recovery.histories import Setting, run
from tests.unit.socketio.fakes import SITE
from tests.unit.virtual_time import in_virtual_time


def take_after_loss(it: Setting, number: int, lost: str) -> None:
	"""Take an event whose publisher has noticed that Redis has lost the one at `lost`; it has no offset."""
	without = event(number, None, unrecorded="lost")
	without.lost = lost
	it.history.take([without])


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


@in_virtual_time
async def test_a_history_that_is_no_longer_denied_is_followed_again() -> None:
	"""Without a client that connects."""
	it = Setting()
	it.store.failures = [StoreDenied("NOPERM")] * 2
	with pytest.raises(StoreDenied):
		await it.history.follow(SITE)
	await asyncio.sleep(DENIED_SECONDS + 1)
	assert it.history.unavailable == {SITE: "NOPERM"}, "it is denied again"
	await asyncio.sleep(DENIED_SECONDS)
	assert it.history.unavailable == {}
	assert it.history.stream(SITE) is not None


@in_virtual_time
async def test_a_denied_history_of_a_site_without_clients_is_forgotten() -> None:
	it = Setting()
	it.store.failures = [StoreDenied("NOPERM")]
	with pytest.raises(StoreDenied):
		await it.history.follow(SITE)
	it.namespaces.clear()
	await asyncio.sleep(DENIED_SECONDS + 1)
	assert it.history.unavailable == {}
	assert it.history.stream(SITE) is None


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


@pytest.mark.parametrize(("lost", "told"), [("1-0", False), ("2-0", True), ("", False), ("invalid", True)])
def test_an_event_that_redis_has_lost(lost: str, told: bool) -> None:
	"""It was accepted by the old master of a failover. Clients that have received it need not be notified."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.live(1)
		take_after_loss(it, 3, lost)
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
		take_after_loss(it, 2, "1-0")
		assert it.delivered == [1, 2]
		assert it.lost == []

	run(test)


def test_recorded_events_do_not_end_the_gap_of_an_unrecorded_one() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.history.take([event(1, None, unrecorded="NOPERM")])
		it.live(2)
		with pytest.raises(HistoryGap, match="NOPERM"):
			await it.history.reader.read_before_window(stream, (0, 0), {})

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
		take_after_loss(it, 3, "2-0")
		assert it.lost == []

	run(test)


def test_clients_that_have_received_a_value_that_redis_has_lost_stay() -> None:
	async def test(it: Setting) -> None:
		it.store.append(1)
		await it.history.follow(SITE)
		it.history.take([it.store.append_value(2, "a")])
		it.store.entries.clear()
		it.store.values.clear()
		it.store.last, it.store.newest_value = None, ""
		it.history.on_subscribed()
		await it.caught_up()
		take_after_loss(it, 3, "2-0")
		assert it.lost == []

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


@pytest.mark.parametrize(("followed_from", "last"), [(1, None), (1, "1-0"), (2, None)])
def test_a_client_that_was_away_is_not_sent_a_part_of_what_it_has_missed(
	followed_from: int, last: str | None
) -> None:
	"""Redis was restarted without persistence, or a replica that was behind has become the master."""

	async def test(it: Setting) -> None:
		for number in range(1, followed_from):
			it.store.append(number)
		stream = await it.history.follow(SITE)
		for number in range(followed_from, 4):
			it.live(number)
		it.store.entries = it.store.entries[: 1 if last else 0]
		it.store.last = last
		it.history.on_subscribed()
		await it.caught_up()
		it.live(4)
		for number in (1, 2):
			with pytest.raises(HistoryGap):
				await it.history.reader.read_before_window(stream, (number, 0), {})
		assert (await it.history.reader.read_before_window(stream, (3, 0), {})).window_from == (3, 0)
		assert it.lost == [], "the clients that are connected have received all"

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
