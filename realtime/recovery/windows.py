"""The events that are kept in memory for clients that recover, of all sites together: their bounds."""

from __future__ import annotations

from collections.abc import Collection

from ..bus.events import PublishedEvent, StreamPosition
from ..bus.kept_events import KeptEvent
from .latest_values import LatestRead
from .positions import START, parse_offset
from .site_stream import SiteStream

WINDOW_EVENTS = 5000
WINDOW_BYTES = 2 * 1024 * 1024
"""Bounds of the history window of one site: events, and bytes of the memory that they take."""

TOTAL_WINDOW_BYTES = 32 * 1024 * 1024
"""Bound of the history windows of all sites together, with the events of which only the newest ones are kept."""


PART_KEPT = 3 / 4
"""Part of the largest window that remains when all together exceed the bound, so that the next events need no search for it."""


class HistoryWindows:
	"""Keeps the recent events of each site, and drops the oldest of those that exceed a bound."""

	def __init__(self) -> None:
		self.bytes = 0
		"""The memory that the events of all history windows take, and those of which only the newest ones are kept."""
		self._streams: dict[SiteStream, None] = {}
		"""The sites that are followed."""

	def keep(self, stream: SiteStream, event: PublishedEvent) -> None:
		"""Keep the newest event of a site, which has a position."""
		if event.latest:
			self._keep_latest(stream, event)
			return
		kept = KeptEvent.of(event)
		stream.window.append(kept)
		stream.window_bytes += kept.memory
		self.bytes += kept.memory
		while len(stream.window) > WINDOW_EVENTS or stream.window_bytes > WINDOW_BYTES:
			self._drop_oldest(stream)
		self._fit_together()

	def _keep_latest(self, stream: SiteStream, event: PublishedEvent) -> None:
		self.bytes += stream.latest.put(event)
		self._fit_together()

	def _fit_together(self) -> None:
		"""Drop the oldest events of the largest site until all sites together keep to the bound.

		Events of the windows are dropped first: Redis still has them, but not the newest values that have to be in memory.
		"""
		while self.bytes > TOTAL_WINDOW_BYTES and self._streams:
			largest = max(self._streams, key=_window_bytes)
			if largest.window:
				most = largest.window_bytes * PART_KEPT
				while largest.window_bytes > most:
					self._drop_oldest(largest)
			elif dropped := max(self._streams, key=_latest_bytes).latest.drop_oldest():
				self.bytes -= dropped
			else:
				break

	def _drop_oldest(self, stream: SiteStream) -> None:
		oldest = stream.window.popleft()
		stream.window_start = oldest.position
		stream.window_bytes -= oldest.memory
		self.bytes -= oldest.memory

	def extend(self, stream: SiteStream, position: StreamPosition, events: list[KeptEvent]) -> None:
		"""Keep events that were read for one client for the next ones, if the window has room and the site is followed still."""
		# The stream may have been reset to an earlier position while the events were read.
		before_window = [event for event in events if event.position <= stream.window_start]
		size = sum(event.memory for event in before_window)
		if (
			stream in self._streams
			and len(before_window) + len(stream.window) <= WINDOW_EVENTS
			and stream.window_bytes + size <= WINDOW_BYTES
			and self.bytes + size <= TOTAL_WINDOW_BYTES
		):
			stream.window.extendleft(reversed(before_window))
			stream.window_bytes += size
			self.bytes += size
			stream.window_start = position

	def reset(self, stream: SiteStream, read: LatestRead) -> None:
		"""Continue at the end of the stream in Redis, with an empty window.

		Args:
			stream: The stream.
			read: Its end, and all events of which only the newest ones are kept.
		"""
		self._streams[stream] = None
		stream.position = stream.window_start = parse_offset(read.last) or START
		self.bytes -= stream.window_bytes + stream.latest.bytes
		_remember(stream, {event.position for event in stream.window} | stream.latest.positions)
		stream.window.clear()
		stream.window_bytes = 0
		stream.latest.clear(read.start)
		for event in read.events:
			self._keep_latest(stream, event)

	def set_back(self, stream: SiteStream, end: StreamPosition) -> bool:
		"""Set `stream` back to the last event up to `end` that was delivered; return False if that event is not known."""
		if stream.window_start > end:
			return False
		removed: set[StreamPosition] = set()
		while stream.window and stream.window[-1].position > end:
			event = stream.window.pop()
			stream.window_bytes -= event.memory
			self.bytes -= event.memory
			removed.add(event.position)
		self.bytes -= stream.latest.bytes
		removed.update(stream.latest.remove_after(end))
		self.bytes += stream.latest.bytes
		_remember(stream, removed)
		newest = stream.window[-1].position if stream.window else stream.window_start
		stream.position = max(newest, stream.latest.last)
		return True

	def forget(self, stream: SiteStream) -> None:
		"""Stop counting the events of a site that is no longer followed."""
		self._streams.pop(stream, None)
		self.bytes -= stream.window_bytes + stream.latest.bytes


def _window_bytes(stream: SiteStream) -> int:
	return stream.window_bytes


def _latest_bytes(stream: SiteStream) -> int:
	return stream.latest.bytes


def _remember(stream: SiteStream, removed: Collection[StreamPosition]) -> None:
	"""Remember the positions of events that were delivered, and are not in memory any more."""
	known = sorted({*stream.delivered_before_reset, *removed})
	stream.delivered_before_reset = frozenset(known[-WINDOW_EVENTS:])
