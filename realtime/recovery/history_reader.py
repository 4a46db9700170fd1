"""Reads from Redis what the history window of a site does not have: for clients that recover, and for rewinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..bus.events import StreamPosition
from ..bus.kept_events import KeptEvent
from ..bus.store import RedisStore, StoreUnavailable
from .entries import HistoryGap, check_continuity, read_events
from .positions import START, offset_after, offset_of, parse_offset, position_before
from .site_stream import OlderEvents, SiteStream, select
from .windows import HistoryWindows

PAGE = 500
"""Events that are read from Redis in one command."""


@dataclass(slots=True)
class HistoryCounters:
	"""Counters since the start.

	Args:
		repeated: Live events that were delivered already.
		caught_up: Events that were read from a stream after the subscription was interrupted.
		read: Events that were read from Redis for clients that recover.
		gaps: Sites whose clients had to start with new sessions.
		forged: Live events whose offset Redis has not assigned.
	"""

	repeated: int = 0
	caught_up: int = 0
	read: int = 0
	gaps: int = 0
	forged: int = 0


class HistoryReader:
	"""Reads older events of the sites.

	Args:
		store: redis_queue.
		windows: Events that were read are kept in them, so that the next client needs no query.
		counters: `read` counts the events.
		unrecorded_seconds: Seconds for which an event that its publisher could not record counts as a gap.
	"""

	def __init__(
		self,
		store: RedisStore,
		windows: HistoryWindows,
		counters: HistoryCounters,
		unrecorded_seconds: float,
	) -> None:
		self._store = store
		self._windows = windows
		self._counters = counters
		self._unrecorded_seconds = unrecorded_seconds

	async def read_before_window(
		self, stream: SiteStream, position: StreamPosition, rooms: Mapping[str | None, StreamPosition]
	) -> OlderEvents:
		"""Return the events after `position` that are not in memory.

		The result is valid in the same turn of the event loop, together with `stream.missed`.

		Args:
			stream: The stream of the site.
			position: The position of the client.
			rooms: The rooms of the client, as in `select`.

		Raises:
			HistoryGap: The history does not reach back to `position`.
			StoreUnavailable: Redis does not answer, or this process is behind another one.
			StoreDenied: Redis denies the history.
		"""
		if reason := stream.unrecorded_reason(self._unrecorded_seconds):
			raise HistoryGap(f"an event was published without an offset: {reason}")
		if position < stream.valid_from:
			raise HistoryGap("events after this offset are lost")
		if position < stream.latest.start:
			raise HistoryGap("events of which the newest ones are kept are no longer kept")
		await self.check_known(stream, position)
		if position >= stream.window_start:
			return OlderEvents(position, position)
		async with stream.lock:
			events: list[KeptEvent] = []
			reached = position
			while reached < stream.window_start:
				page = await self._store.history(stream.site, offset_after(reached), PAGE)
				check_continuity(reached, page)
				self._counters.read += len(page.entries)
				if not page.entries:
					if (parse_offset(page.last) or START) < stream.window_start:
						raise HistoryGap("Redis has lost events")
					reached = stream.window_start
				for event in read_events(stream.site, page.entries):
					reached = event.position
					if reached > stream.window_start:
						reached = stream.window_start
						break
					events.append(KeptEvent.of(event))
				else:
					if page.entries:
						reached = parse_offset(page.entries[-1].id) or reached
			if position < stream.window_start:
				self._windows.extend(stream, position, events)
			# Another client may have extended the window while this one waited.
			read_bytes = sum(event.size for event in events)
			if position >= stream.window_start:
				return OlderEvents(position, position, read_bytes=read_bytes)
			return OlderEvents(reached, position, select(events, rooms), read_bytes)

	async def read_back(
		self, site: str, position: StreamPosition
	) -> tuple[list[KeptEvent], StreamPosition | None]:
		"""Return a page of the last events of a site up to `position`, the newest first.

		Returns:
			The events, and the position for the next page; None if there is none.

		Raises:
			StoreUnavailable, StoreDenied: They cannot be read.
		"""
		entries = await self._store.history_backwards(site, offset_of(position), PAGE)
		self._counters.read += len(entries)
		events = [KeptEvent.of(event) for event in read_events(site, entries)]
		first = parse_offset(entries[-1].id) if len(entries) == PAGE else None
		return events, None if first is None else position_before(first)

	async def check_known(self, stream: SiteStream, position: StreamPosition) -> None:
		"""Raise unless `stream` has reached `position`.

		Raises:
			HistoryGap: Redis does not know the position.
			StoreUnavailable: Redis does not answer, or this process is behind another one.
		"""
		if position > stream.position:
			page = await self._store.history(stream.site, "-", 0)
			if position <= (parse_offset(page.last) or START):
				# Another sidecar has delivered this event already.
				raise StoreUnavailable("the client is ahead of this process")
			raise HistoryGap("Redis does not know this offset (any more)")
