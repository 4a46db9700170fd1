"""The order of each site's events: what is new, what is known already, and what somebody has missed.

With our app installed, a site's events have an id from the stream that Redis keeps (`frappe_realtime:{site}:events`),
and each of its entries names the one before it, so that a gap cannot hide. A `SiteStream` follows one site: live events that
it has seen are dropped, and after the subscription was interrupted the stream is read from where it stopped while
live ones are held back. What went by lately stays in memory, so that clients that come back seldom need Redis.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from ..bus.events import PublishedEvent, StreamPosition, read_event
from ..bus.store import Entry, RedisStore, StoreDenied, StoreUnavailable
from ..signals import Signal
from ..socketio.namespace import Namespaces
from .positions import START, offset_after, offset_of, parse_offset

logger = logging.getLogger("realtime.history")

PAGE = 500
"""Events read from Redis at a time."""

KEPT_EVENTS = 5000
KEPT_BYTES = 2 * 1024 * 1024
KEPT_BYTES_IN_ALL = 32 * 1024 * 1024
"""What stays in memory: events and bytes of one site, bytes of all."""

HELD = 20_000
"""Live events of a site held back while its stream is read; past them it is read once more."""

REFUSED_AGAIN = 60.0
"""Seconds after which a Redis that has refused to show a history is asked again."""


class HistoryGap(Exception):
	"""The history does not reach back that far."""


@dataclass(slots=True)
class HistoryCounters:
	"""What the histories have seen since the start."""

	repeated: int = 0
	caught_up: int = 0
	read: int = 0
	gaps: int = 0


class SiteStream:
	"""The events of one site, in their order."""

	__slots__ = (
		"held",
		"lock",
		"overrun",
		"place",
		"ready",
		"recent",
		"site",
		"size",
		"start",
		"task",
		"unrecorded",
	)

	def __init__(self, site: str) -> None:
		self.site = site
		self.place: StreamPosition = START
		"""The last event that has been passed on."""
		self.start: StreamPosition = START
		"""`recent` has every event after this one."""
		self.recent: deque[PublishedEvent] = deque()
		self.size = 0
		self.held: list[PublishedEvent] | None = []
		"""Live events that wait until the stream has been read; None when there is nothing to wait for."""
		self.overrun = False
		self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
		"""Done once `place` is known; fails with `StoreDenied`."""
		self.lock = asyncio.Lock()
		self.task: asyncio.Task[None] | None = None
		self.unrecorded: tuple[float, str] | None = None
		"""When the last event came that a publisher could not record, and why."""

	@property
	def offset(self) -> str:
		"""What a client is told that has everything."""
		return offset_of(self.place)

	def missed(self, place: StreamPosition, rooms: Collection[str]) -> list[PublishedEvent]:
		"""The events of `rooms` after `place`, which must not lie before `start`."""
		found = []
		for event in reversed(self.recent):
			if event.position <= place:
				break
			if event.room is None or event.room in rooms:
				found.append(event)
		found.reverse()
		return found


class History:
	"""Follows the sites that have clients.

	Args:
		store: redis_queue.
		deliver: Takes new events, in order.
		namespaces: Sites without a socket are not followed any more when the subscription begins again.
		seconds: Seconds for which an event that could not be recorded counts as a gap.
	"""

	def __init__(
		self,
		store: RedisStore,
		deliver: Callable[[Sequence[PublishedEvent]], None],
		namespaces: Namespaces,
		seconds: float,
	) -> None:
		self.lost: Signal[[str]] = Signal()
		"""Sent with a site some of whose events cannot be delivered any more: its clients have to start anew."""
		self._store = store
		self._seconds = seconds
		self._deliver = deliver
		self._namespaces = namespaces
		self._feeds: dict[str, SiteStream] = {}
		self._size = 0
		self._refused: dict[str, tuple[float, str]] = {}
		self.counters = HistoryCounters()

	# -- live

	def take(self, events: Sequence[PublishedEvent]) -> None:
		"""Live events, from the bus: passes on what is new and not to wait."""
		if not self._feeds:
			self._deliver(events)
			return
		fresh = []
		for event in events:
			feed = self._feeds.get(event.site) if event.site else None
			if feed is None:
				fresh.append(event)
			elif feed.held is not None:
				if len(feed.held) < HELD:
					feed.held.append(event)
				else:
					feed.overrun = True
			elif self._accept(feed, event):
				fresh.append(event)
		if fresh:
			self._deliver(fresh)

	def _accept(self, feed: SiteStream, event: PublishedEvent) -> bool:
		"""Give `event` its place; False when it has been passed on before."""
		if event.unrecorded:
			feed.unrecorded = (asyncio.get_running_loop().time(), event.unrecorded)
		place = parse_offset(event.offset)
		if place is None:
			event.offset = None
			return True
		if place <= feed.place:
			self.counters.repeated += 1
			return False
		event.position = feed.place = place
		feed.recent.append(event)
		feed.size += event.size
		self._size += event.size
		while feed.recent and (
			len(feed.recent) > KEPT_EVENTS or feed.size > KEPT_BYTES or self._size > KEPT_BYTES_IN_ALL
		):
			oldest = feed.recent.popleft()
			feed.start = oldest.position
			feed.size -= oldest.size
			self._size -= oldest.size
		return True

	# -- following a site

	def feed(self, site: str) -> SiteStream | None:
		"""The feed of `site`, once its place is known."""
		feed = self._feeds.get(site)
		return feed if feed is not None and feed.ready.done() else None

	async def follow(self, site: str) -> SiteStream:
		"""The feed of `site`, made when there is none; waits until its place is known. Raises `StoreDenied`."""
		refused = self._refused.get(site)
		if refused is not None:
			if asyncio.get_running_loop().time() < refused[0]:
				raise StoreDenied(refused[1])
			del self._refused[site]
		feed = self._feeds.get(site)
		if feed is None:
			feed = self._feeds[site] = SiteStream(site)
			self._synchronise(feed)
		await asyncio.shield(feed.ready)
		return feed

	def subscribed(self) -> None:
		"""The subscription stands (again): read what was published while it did not."""
		for feed in list(self._feeds.values()):
			if f"/{feed.site}" not in self._namespaces and feed.ready.done():
				self._forget(feed)
			else:
				if feed.held is None:
					feed.held = []
				self._synchronise(feed)

	def stop(self) -> None:
		"""Read no more."""
		for feed in self._feeds.values():
			if feed.task is not None:
				feed.task.cancel()
			if not feed.ready.done():
				feed.ready.cancel()

	def _forget(self, feed: SiteStream) -> None:
		del self._feeds[feed.site]
		self._size -= feed.size
		if feed.task is not None:
			feed.task.cancel()

	def _synchronise(self, feed: SiteStream) -> None:
		if feed.task is not None:
			feed.task.cancel()
		feed.task = asyncio.get_running_loop().create_task(self._catch_up(feed))

	async def _catch_up(self, feed: SiteStream) -> None:
		"""Bring `feed` to the end of its stream, then pass on what was held back meanwhile."""
		delay = 0.1
		while True:
			try:
				if feed.ready.done():
					await self._read_on(feed)
				else:
					_, last = await self._store.history(feed.site, "-", 0)
					self._restart(feed, last)
			except StoreUnavailable as error:
				logger.debug("the history of %s waits for Redis: %s", feed.site, error)
				await asyncio.sleep(delay * random.uniform(0.7, 1.3))
				delay = min(delay * 1.6, 2)
				continue
			except StoreDenied as error:
				self._refuse(feed, error)
				return
			if not feed.overrun:
				break
			feed.overrun, feed.held = False, []
		held, feed.held = feed.held or [], None
		feed.task = None
		if not feed.ready.done():
			feed.ready.set_result(None)
		fresh = [event for event in held if self._accept(feed, event)]
		if fresh:
			self._deliver(fresh)

	def _restart(self, feed: SiteStream, last: str | None) -> None:
		feed.place = feed.start = parse_offset(last) or START
		self._size -= feed.size
		feed.recent.clear()
		feed.size = 0

	def _refuse(self, feed: SiteStream, error: StoreDenied) -> None:
		logger.error(
			"%s keeps no history of %s: %s. What a browser misses while it is away is lost. %s",
			self._store.endpoint,
			feed.site,
			error,
			error.advice,
		)
		self._refused[feed.site] = (asyncio.get_running_loop().time() + REFUSED_AGAIN, str(error))
		held, feed.held, feed.task = feed.held or [], None, None
		was_ready = feed.ready.done()
		if not was_ready:
			feed.ready.set_exception(error)
			feed.ready.exception()
		self._forget(feed)
		if held:
			self._deliver(held)
		if was_ready:
			self.lost.send(feed.site)

	async def _read_on(self, feed: SiteStream) -> None:
		"""Pass on what the stream of `feed` has after its place."""
		while True:
			entries, last = await self._store.history(feed.site, offset_after(feed.place), PAGE)
			if not entries and (parse_offset(last) or START) < feed.place:
				logger.warning(
					"%s has forgotten the last events of %s (%s after %s): is it without persistence?",
					self._store.endpoint,
					feed.site,
					last or "nothing",
					feed.offset,
				)
				self._restart(feed, last)
				return
			try:
				_check(feed.place, entries, last)
			except HistoryGap as gap:
				self.counters.gaps += 1
				logger.warning("events of %s are lost: %s; its clients start anew", feed.site, gap)
				self._restart(feed, last)
				self.lost.send(feed.site)
				return
			events = [event for event in _events(feed.site, entries) if self._accept(feed, event)]
			self.counters.caught_up += len(events)
			if events:
				self._deliver(events)
			if len(entries) < PAGE:
				return
			# Beyond the last entry even when it was no event that could be read.
			feed.place = max(feed.place, parse_offset(entries[-1].id) or START)

	# -- what somebody has missed

	async def reach(
		self, feed: SiteStream, place: StreamPosition, rooms: Collection[str]
	) -> tuple[StreamPosition, list[PublishedEvent]]:
		"""The events of `rooms` after `place` that `feed` does not have in memory, and the place from where it has them.

		Valid in the same turn of the loop, together with `feed.missed`. Raises `HistoryGap` when the history does not reach
		back to `place`, `StoreUnavailable` and `StoreDenied`.
		"""
		if reason := self._unrecorded(feed):
			raise HistoryGap(f"an event was published without a place: {reason}")
		if place > feed.place:
			_, last = await self._store.history(feed.site, "-", 0)
			if place <= (parse_offset(last) or START):
				# Another sidecar has given it out.
				raise StoreUnavailable("what this client has had already has not been read yet")
			raise HistoryGap("Redis has forgotten this offset, or never given it out")
		if place >= feed.start:
			return place, []
		async with feed.lock:
			events: list[PublishedEvent] = []
			reached = place
			while reached < feed.start:
				entries, last = await self._store.history(feed.site, offset_after(reached), PAGE)
				_check(reached, entries, last)
				self.counters.read += len(entries)
				if not entries:
					raise HistoryGap("Redis has forgotten what it had")
				for event in _events(feed.site, entries):
					reached = event.position
					if reached > feed.start:
						reached = feed.start
						break
					events.append(event)
				else:
					reached = parse_offset(entries[-1].id) or reached
			if place < feed.start:
				self._prepend(feed, place, events)
			# Another may have read it while this one waited.
			if place >= feed.start:
				return place, []
			return reached, [event for event in events if event.room is None or event.room in rooms]

	def _prepend(self, feed: SiteStream, place: StreamPosition, events: list[PublishedEvent]) -> None:
		"""Keep what was read, for the next who comes back, when there is room for it."""
		size = sum(event.size for event in events)
		if (
			len(events) + len(feed.recent) <= KEPT_EVENTS
			and feed.size + size <= KEPT_BYTES
			and self._size + size <= KEPT_BYTES_IN_ALL
		):
			kept = [event for event in events if event.position <= feed.start]
			feed.recent.extendleft(reversed(kept))
			feed.size += size
			self._size += size
			feed.start = place

	@property
	def trouble(self) -> dict[str, str]:
		"""Sites whose events have no history, each with what Redis has said."""
		found = {site: reason for site, (_, reason) in self._refused.items()}
		for feed in self._feeds.values():
			if reason := self._unrecorded(feed):
				found[feed.site] = reason
		return found

	def _unrecorded(self, feed: SiteStream) -> str:
		if feed.unrecorded is None:
			return ""
		if asyncio.get_running_loop().time() - feed.unrecorded[0] > self._seconds:
			feed.unrecorded = None
			return ""
		return feed.unrecorded[1]


def _check(place: StreamPosition, entries: Sequence[Entry], last: str | None) -> None:
	"""Raise `HistoryGap` unless `entries` and `last` show all that there was after `place`."""
	if entries:
		before = parse_offset(entries[0].before)
		if before is None or before > place:
			raise HistoryGap(
				f"the history begins after {entries[0].before or entries[0].id}, asked for {offset_of(place)}"
			)
	else:
		end = parse_offset(last) or START
		if end != place:
			raise HistoryGap(f"the last event was {offset_of(end)}, asked for {offset_of(place)}")


def _events(site: str, entries: Iterable[Entry]) -> Iterable[PublishedEvent]:
	for entry in entries:
		try:
			event = read_event(entry.payload)
		except (ValueError, KeyError, AttributeError):
			continue
		event.site, event.namespace = site, f"/{site}"
		event.offset = entry.id
		place = parse_offset(entry.id)
		if place is not None:
			event.position = place
			yield event
