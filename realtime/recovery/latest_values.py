"""Events of which only the newest one is kept: in the memory of this process, and how they are read from Redis.

They have offsets in the same order as all other events of the site. When one replaces another, the one before is gone: a client that
was away is sent the newest event of each key, in its place in the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from time import time
from typing import NamedTuple

from ..bus.events import PublishedEvent, StreamPosition
from ..bus.kept_events import KeptEvent
from ..bus.store import RedisStore
from .entries import read_events
from .positions import START, offset_after, parse_offset

PAGE = 500
"""Events that are read from Redis in one command."""

MAX_BYTES = 1024 * 1024
"""Bytes of memory that the newest events of one site take at most; beyond that the oldest are dropped."""


class LatestRead(NamedTuple):
	"""What was read from Redis.

	Args:
		events: The newest events of all keys that have changed after a position, in order, up to `last`.
		last: The id of the newest event of the site when the reading began; None if the site never had one.
		start: Events that were published after this position and not replaced are all in `events`.
	"""

	events: list[PublishedEvent]
	last: str | None
	start: StreamPosition


async def read_latest(store: RedisStore, site: str, position: StreamPosition) -> LatestRead:
	"""Return the newest events that were published after `position`.

	Raises:
		StoreUnavailable, StoreDenied: They cannot be read.
	"""
	page = await store.latest(site, offset_after(position), PAGE)
	last = page.last
	end = parse_offset(last) or START
	entries = list(page.entries)
	while len(page.entries) == PAGE:
		page = await store.latest(site, offset_after(parse_offset(page.entries[-1].id) or end), PAGE)
		entries += page.entries
	start = parse_offset(page.removed) or START
	newest = parse_offset(page.newest) or START
	if newest > position and not any(entry.id == page.newest for entry in entries):
		# All of them have expired.
		start = newest
	# Later ones arrive as live events, in order with those of the history.
	events = [event for event in read_events(site, entries) if event.position <= end]
	return LatestRead(events, last, start)


class LatestValues:
	"""The newest events of one site, the oldest first."""

	__slots__ = ("_events", "bytes", "start")

	def __init__(self) -> None:
		self.bytes = 0
		"""The memory that they take."""
		self.start: StreamPosition = START
		"""Events that were published after this position, and not replaced since, are all here."""
		self._events: dict[str, tuple[KeptEvent, int]] = {}
		"""By key: the event, and the milliseconds since 1970 at which it expires."""

	def put(self, event: PublishedEvent) -> int:
		"""Replace the event with the key of `event`, which is newer than all; return by how many bytes the memory grows."""
		before = self.bytes
		self._remove(event.latest)
		expires = round(event.position[0] + event.latest_seconds * 1000)
		self._events[event.latest] = (KeptEvent.of(event), expires)
		self.bytes += self._memory(event.latest)
		while self.bytes > MAX_BYTES:
			self.drop_oldest()
		return self.bytes - before

	def drop_oldest(self) -> int:
		"""Drop the oldest event; return the memory that it took, 0 if there is none."""
		before = self.bytes
		oldest = next(iter(self._events), None)
		if oldest is not None:
			self.start = self._events[oldest][0].position
			self._remove(oldest)
		return before - self.bytes

	def clear(self, start: StreamPosition) -> None:
		"""Drop all events; `start` is the new one."""
		self._events.clear()
		self.bytes = 0
		self.start = start

	def remove_after(self, end: StreamPosition) -> list[StreamPosition]:
		"""Drop the events after `end`, which Redis has lost; return their positions."""
		removed = [(key, event.position) for key, (event, _) in self._events.items() if event.position > end]
		for key, _ in removed:
			self._remove(key)
		return [position for _, position in removed]

	def after(self, position: StreamPosition) -> list[KeptEvent]:
		"""Return the events after `position`, in order."""
		found = []
		for event, _ in reversed(self._events.values()):
			if event.position <= position:
				break
			found.append(event)
		found.reverse()
		return found

	def in_rooms(self, rooms: Iterable[str]) -> list[KeptEvent]:
		"""Return the events of `rooms` that have not expired, in order."""
		rooms = set(rooms)
		now = time() * 1000
		return [event for event, expires in self._events.values() if event.room in rooms and expires > now]

	@property
	def last(self) -> StreamPosition:
		"""The position of the newest event; the start if there is none."""
		return next(reversed(self._events.values()))[0].position if self._events else START

	@property
	def positions(self) -> set[StreamPosition]:
		"""The positions of all events."""
		return {event.position for event, _ in self._events.values()}

	def has(self, position: StreamPosition) -> bool:
		"""Return True if the event at `position` is here."""
		return any(event.position == position for event, _ in self._events.values())

	def _remove(self, key: str) -> None:
		if key in self._events:
			self.bytes -= self._memory(key)
			del self._events[key]

	def _memory(self, key: str) -> int:
		entry = self._events[key]
		return entry[0].memory + getsizeof(key) + getsizeof(entry) + getsizeof(entry[1])
