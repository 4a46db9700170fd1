"""The state of one site's event stream in this process: its position, and the window of recent events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from time import time
from typing import NamedTuple

from ..bus.events import PublishedEvent, StreamPosition
from ..bus.kept_events import KeptEvent
from .access_log import AccessLog
from .latest_values import LatestValues
from .positions import START, offset_of

MAX_PENDING = 20_000
"""Live events of a site that are held back while its stream is read; if there are more, the stream is read again."""

MAX_AHEAD = 10_000
"""Milliseconds by which the offset of a live event may be ahead of the stream and of the clock, without being verified."""


class OlderEvents(NamedTuple):
	"""What a client has missed before the history window.

	Args:
		window_from: The position from which the history window has the rest.
		latest_from: The position from which `SiteStream.latest` has the rest.
		events: The events of the client's rooms up to `window_from`, in order, that the history keeps.
		read_bytes: Bytes of all events that were read from Redis.
	"""

	window_from: StreamPosition
	latest_from: StreamPosition
	events: Sequence[KeptEvent] = ()
	read_bytes: int = 0


class SiteStream:
	"""The event stream of one site. Must be created in a running event loop."""

	__slots__ = (
		"access",
		"delivered_before_reset",
		"latest",
		"lock",
		"pending",
		"pending_overflowed",
		"position",
		"ready",
		"site",
		"task",
		"unrecorded",
		"valid_from",
		"window",
		"window_bytes",
		"window_start",
	)

	def __init__(self, site: str) -> None:
		self.site = site
		self.access = AccessLog()
		"""The recent changes of access."""
		self.position: StreamPosition = START
		"""The position of the last event that was delivered."""
		self.window: deque[KeptEvent] = deque()
		"""The history window: recent events in memory."""
		self.window_start: StreamPosition = START
		"""The window has every event after this position."""
		self.latest = LatestValues()
		"""The events of which only the newest one is kept."""
		self.window_bytes = 0
		"""The memory that the events of the window take."""
		self.delivered_before_reset: frozenset[StreamPosition] = frozenset()
		"""The positions of the window before Redis was found to have lost its last events."""
		self.pending: list[PublishedEvent] | None = []
		"""Live events that are held back while the stream is read; None when live events are delivered at once."""
		self.pending_overflowed = False
		self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
		"""Done once `position` is known; fails with `StoreDenied`."""
		self.valid_from: StreamPosition = START
		"""A client with an earlier position may have missed events that are lost."""
		self.lock = asyncio.Lock()
		"""Held while older events are read from Redis."""
		self.task: asyncio.Task[None] | None = None
		"""Reads the stream up to its end."""
		self.unrecorded: tuple[float, str] | None = None
		"""The time of the last event that its publisher could not record (loop time), and the reason."""

	@property
	def offset(self) -> str:
		"""The offset of a client that has every event that was delivered."""
		return offset_of(self.position)

	def unrecorded_reason(self, seconds: float) -> str:
		"""Return why an event of the last `seconds` could not be recorded by its publisher; empty if there is none."""
		if self.unrecorded is None:
			return ""
		if asyncio.get_running_loop().time() - self.unrecorded[0] > seconds:
			self.unrecorded = None
			return ""
		return self.unrecorded[1]

	def is_far_ahead(self, position: StreamPosition) -> bool:
		"""Return True if Redis must be asked whether it has assigned `position`."""
		milliseconds = position[0] - MAX_AHEAD
		return milliseconds > self.position[0] and milliseconds > time() * 1000

	def has_delivered(self, position: StreamPosition | None) -> bool:
		"""Return True if the event at `position` is known to have been delivered by this process."""
		if position is None:
			return False
		return (
			position in self.delivered_before_reset
			or any(event.position == position for event in self.window)
			or self.latest.has(position)
		)

	def has_passed_over(self, position: StreamPosition) -> bool:
		"""Return True if `position` lies in the window, but no event at it was delivered."""
		return self.window_start < position <= self.position and not self.has_delivered(position)

	def hold(self, event: PublishedEvent) -> bool:
		"""Hold back a live event while the stream is read; return False if it can be delivered now."""
		if self.pending is None:
			return False
		if len(self.pending) < MAX_PENDING:
			self.pending.append(event)
		else:
			self.pending_overflowed = True
		return True

	def has_rest_of(self, older: OlderEvents) -> bool:
		"""Return False if events after those of `older` are not in memory any more."""
		return older.window_from >= self.window_start and older.latest_from >= max(
			self.latest.start, self.valid_from
		)

	def missed(self, older: OlderEvents, rooms: Mapping[str | None, StreamPosition]) -> list[KeptEvent]:
		"""Return what a client has missed, in order, for `rooms` (see `select`)."""
		if not older.events and min(older.window_from, older.latest_from) >= self.position:
			# As for most clients that come back after a moment.
			return []
		recent = []
		for event in reversed(self.window):
			if event.position <= older.window_from:
				break
			recent.append(event)
		recent.reverse()
		kept = [*older.events, *select(recent, rooms)]
		latest = select(self.latest.after(older.latest_from), rooms)
		return sorted([*kept, *latest], key=attrgetter("position")) if latest else kept


def select(events: Iterable[KeptEvent], rooms: Mapping[str | None, StreamPosition]) -> list[KeptEvent]:
	"""Return those of `events` that a socket may have received.

	Args:
		events: Events of one site.
		rooms: The rooms of the socket, each with the position at which it has joined; None, the room of events for all
			sockets of the site, with the position at which the session began.
	"""
	return [
		event for event in events if (joined := rooms.get(event.room)) is not None and event.position > joined
	]
