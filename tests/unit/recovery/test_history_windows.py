"""The history windows: their bounds, and what empties and extends them."""

from __future__ import annotations

import pytest

from realtime.bus.events import PublishedEvent
from realtime.recovery import windows
from realtime.recovery.entries import HistoryGap
from realtime.recovery.latest_values import LatestRead
from tests.unit.recovery.fakes import event
from tests.unit.recovery.histories import ONE, Setting, memory, read_pages_of, run
from tests.unit.socketio.fakes import SITE


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


def of(it: Setting, site: str, number: int) -> PublishedEvent:
	"""Return an event of a site that is published now."""
	event = it.store.append(number)
	event.site = site
	return event


def test_the_windows_of_all_sites_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
	"""The largest one gives way, also if its site is quiet; a site that is no longer followed leaves its room to others."""
	monkeypatch.setattr(windows, "TOTAL_WINDOW_BYTES", 8 * ONE)

	async def test(it: Setting) -> None:
		first = await it.history.follow(SITE)
		second = await it.history.follow("two.test")
		for number in range(1, 9):
			it.live(number)
		assert (len(first.window), first.window_start) == (8, (0, 0))
		it.history.take([of(it, "two.test", 9)])
		assert (len(first.window), first.window_start) == (6, (2, 0))
		assert (len(second.window), it.history.window_bytes) == (1, 7 * ONE)
		it.history.take([of(it, "two.test", number) for number in range(10, 14)])
		assert (len(first.window), len(second.window)) == (4, 3), "in the end it is the largest itself"
		it.namespaces.clear()
		it.namespaces.open("/two.test")
		it.history.on_subscribed()
		await it.caught_up()
		it.history.take([of(it, "two.test", number) for number in range(14, 19)])
		assert it.history.stream(SITE) is None
		assert len(second.window) == 8

	run(test)


def test_events_that_are_read_for_a_site_that_is_no_longer_followed_take_no_room() -> None:
	async def test(it: Setting) -> None:
		for number in (1, 2):
			it.store.append(number)
		stream = await it.history.follow(SITE)

		def forget() -> None:
			it.store.after_reading = lambda: None
			it.namespaces.clear()
			it.history.on_subscribed()

		it.store.after_reading = forget
		await it.history.reader.read_before_window(stream, (0, 0), {})
		assert it.history.stream(SITE) is None
		assert it.history.window_bytes == 0

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


def test_the_window_is_kept_if_nothing_was_missed() -> None:
	async def test(it: Setting) -> None:
		stream = await it.history.follow(SITE)
		it.live(1)
		it.history.on_subscribed()
		await it.caught_up()
		assert [event.position[0] for event in stream.window] == [1]

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
