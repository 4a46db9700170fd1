"""The event history of each site: orders live events, detects gaps, and finds what a client has missed.

Where the app is installed, the events of a site have ids from a Redis stream (`frappe_realtime:{site}:events`), and each
entry names the entry before it, so that a gap is always detected. A `SiteStream` follows the stream of one site: events that
were delivered already are dropped, and after an interruption of the subscription the stream is read from the last known
position while live events are held back. Recent events stay in memory (the history window), so that most clients
recover without a query to Redis; older ones are read by `HistoryReader`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..bus.events import PublishedEvent, StreamPosition
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..log_format import log_fields
from ..signals import Signal
from ..socketio.namespace import Namespaces
from .access_log import NEVER, Subject
from .access_reader import read_changes, take_change
from .entries import HistoryGap, check_chain, check_continuity, read_events
from .history_reader import PAGE, HistoryCounters, HistoryReader
from .latest_values import read_latest
from .positions import START, offset_after, parse_offset
from .site_stream import SiteStream
from .windows import HistoryWindows

logger = logging.getLogger("realtime.history")

DENIED_SECONDS = 60.0
"""Seconds until Redis is asked again for a history that it has denied."""


class History:
	"""Follows the streams of the sites that have clients.

	Args:
		store: redis_queue.
		deliver: Delivers new events, in order.
		namespaces: When the subscription begins again, streams of sites without sockets are no longer followed.
		unrecorded_seconds: Seconds for which an event that its publisher could not record counts as a gap.
	"""

	def __init__(
		self,
		store: RedisStore,
		deliver: Callable[[Sequence[PublishedEvent]], None],
		namespaces: Namespaces,
		unrecorded_seconds: float,
	) -> None:
		self.lost: Signal[[str]] = Signal()
		"""Sent with a site that has lost events: its clients must start with new sessions."""
		self.access_missed: Signal[[str, frozenset[Subject]]] = Signal()
		"""Sent with a site and the changes of access during an interruption of the subscription, before its events."""
		self.counters = HistoryCounters()
		self._store = store
		self._deliver = deliver
		self._namespaces = namespaces
		self._unrecorded_seconds = unrecorded_seconds
		self._windows = HistoryWindows()
		self.reader = HistoryReader(store, self._windows, self.counters, unrecorded_seconds)
		"""Reads the events that are not in memory."""
		self._streams: dict[str, SiteStream] = {}
		self._denied: dict[str, tuple[asyncio.TimerHandle, str]] = {}
		"""Sites whose history Redis denies: the timer until it is asked again, and its answer."""

	@property
	def window_bytes(self) -> int:
		"""The memory that the events of all history windows take, and those of which only the newest ones are kept."""
		return self._windows.bytes

	# -- live events

	def take(self, events: Sequence[PublishedEvent]) -> None:
		"""Deliver the live events that are new, and hold back those that must wait for the stream."""
		fresh = []
		for event in events:
			stream = self._streams.get(event.site) if event.site else None
			if stream is None:
				fresh.append(event)
				continue
			if stream.hold(event):
				continue
			position = parse_offset(event.offset)
			if position is not None and (stream.is_far_ahead(position) or stream.has_passed_over(position)):
				# Redis decides whether it has assigned this offset, or the later one of an event before it.
				stream.pending = [event]
				self._start_catch_up(stream)
			elif self._accept(stream, event, position):
				fresh.append(event)
		if fresh:
			self._deliver(fresh)

	def _accept(self, stream: SiteStream, event: PublishedEvent, position: StreamPosition | None) -> bool:
		"""Advance `stream` to `event` at `position`; return False if the event was delivered before."""
		if event.lost and not stream.has_delivered(parse_offset(event.lost)):
			self._on_lost(stream, f"Redis has lost event {event.lost}")
		if event.unrecorded:
			stream.unrecorded = (asyncio.get_running_loop().time(), event.unrecorded)
		if position is None:
			event.offset = None
			return True
		if position <= stream.position:
			self.counters.repeated += 1
			return False
		event.position = stream.position = position
		self._windows.keep(stream, event)
		return True

	# -- changes of access

	def take_access(self, message: Mapping[str, Any]) -> None:
		"""Take a live message of the access channel."""
		stream = self._streams.get(message["site"])
		# Without a stream, the changes are read from Redis when the site is followed.
		if stream is not None:
			take_change(stream, message)

	# -- following the stream of a site

	def stream(self, site: str) -> SiteStream | None:
		"""Return the stream of `site`; None while its position is unknown."""
		stream = self._streams.get(site)
		return stream if stream is not None and stream.ready.done() else None

	async def follow(self, site: str) -> SiteStream:
		"""Return the stream of `site` once its position is known; start to follow it if necessary.

		Raises:
			StoreDenied: Redis denies the history.
		"""
		stream = self._streams.get(site)
		if stream is None:
			denied = self._denied.get(site)
			if denied is not None:
				raise StoreDenied(denied[1])
			stream = self._begin(site)
		await asyncio.shield(stream.ready)
		return stream

	def _begin(self, site: str) -> SiteStream:
		stream = self._streams[site] = SiteStream(site)
		self._start_catch_up(stream)
		return stream

	def _ask_again(self, site: str) -> None:
		"""Ask Redis for a history that it has denied, if the site still has clients."""
		if f"/{site}" in self._namespaces:
			self._begin(site)
		else:
			del self._denied[site]

	def needs(self, site: str) -> bool:
		"""Return True if the events of `site` are of use here: it has sockets, or its stream is followed."""
		return site in self._streams or f"/{site}" in self._namespaces

	def on_subscribed(self) -> None:
		"""Read what was published while the subscription was interrupted."""
		for stream in list(self._streams.values()):
			if f"/{stream.site}" not in self._namespaces and stream.ready.done():
				self._forget(stream)
			else:
				if stream.pending is None:
					stream.pending = []
				if stream.access.held is None:
					stream.access.held = []
				self._start_catch_up(stream, renewed=True)

	def stop(self) -> None:
		"""Stop reading."""
		for stream in self._streams.values():
			if stream.task is not None:
				stream.task.cancel()
			stream.ready.cancel()
		for timer, _ in self._denied.values():
			timer.cancel()

	def _forget(self, stream: SiteStream) -> None:
		del self._streams[stream.site]
		self._windows.forget(stream)
		if stream.task is not None:
			stream.task.cancel()

	def _start_catch_up(self, stream: SiteStream, renewed: bool = False) -> None:
		if stream.task is not None:
			stream.task.cancel()
		stream.task = asyncio.get_running_loop().create_task(self._catch_up(stream, renewed))

	async def _catch_up(self, stream: SiteStream, renewed: bool) -> None:
		"""Read `stream` up to its end, then deliver the live events that were held back.

		Args:
			stream: The stream.
			renewed: True if the subscription has begun again: Redis may have been restarted, or have failed over.
		"""
		delay = 0.1
		while True:
			try:
				if not stream.ready.done():
					self._windows.reset(stream, await read_latest(self._store, stream.site, START))
				if stream.access.held is not None:
					was_ready = stream.ready.done()
					missed = await read_changes(stream, self._store)
					if was_ready and missed:
						self.access_missed.send(stream.site, missed)
				while stream.ready.done() and not await self._read_to_end(stream, renewed):
					pass
			except StoreUnavailable as error:
				logger.debug("the history of %s waits for Redis: %s", stream.site, error)
				await asyncio.sleep(delay * random.uniform(0.7, 1.3))
				delay = min(delay * 1.6, 2)
				continue
			except StoreDenied as error:
				self._on_denied(stream, error)
				return
			if not stream.pending_overflowed:
				break
			stream.pending_overflowed, stream.pending = False, []
		pending, stream.pending = stream.pending or [], None
		stream.task = None
		if not stream.ready.done():
			stream.ready.set_result(None)
			self._denied.pop(stream.site, None)
		fresh = [event for event in pending if self._accept(stream, event, self._verified(stream, event))]
		if fresh:
			self._deliver(fresh)

	def _verified(self, stream: SiteStream, event: PublishedEvent) -> StreamPosition | None:
		"""Return the position of a live event after the stream was read; None if Redis cannot have assigned it."""
		position = parse_offset(event.offset)
		if position is None or not stream.is_far_ahead(position):
			return position
		self.counters.forged += 1
		if self.counters.forged == 1:
			logger.warning(
				"an event of %s has the offset %s, which %s has not assigned: it is delivered without an offset",
				stream.site,
				event.offset,
				self._store.endpoint,
				extra=log_fields(stream.site),
			)
		return None

	def _on_lost(self, stream: SiteStream, reason: str) -> None:
		self.counters.gaps += 1
		logger.warning(
			"events of %s are lost: %s; its clients start with new sessions",
			stream.site,
			reason,
			extra=log_fields(stream.site),
		)
		self.lost.send(stream.site)

	def _on_denied(self, stream: SiteStream, error: StoreDenied) -> None:
		logger.error(
			"%s denies the history of %s: %s. Clients lose the events that are published while they are disconnected. %s",
			self._store.endpoint,
			stream.site,
			error,
			error.advice,
			extra=log_fields(stream.site),
		)
		timer = asyncio.get_running_loop().call_later(DENIED_SECONDS, self._ask_again, stream.site)
		self._denied[stream.site] = (timer, str(error))
		pending, stream.pending, stream.task = stream.pending or [], None, None
		was_ready = stream.ready.done()
		if not was_ready:
			stream.ready.set_exception(error)
			# As retrieved: no client may wait for it.
			stream.ready.exception()
		self._forget(stream)
		if pending:
			self._deliver(pending)
		if was_ready:
			self.lost.send(stream.site)

	async def _read_to_end(self, stream: SiteStream, renewed: bool) -> bool:
		"""Deliver the events after the position of `stream`; return False if there are more since it was set back."""
		began = stream.position
		latest = await read_latest(self._store, stream.site, began)
		page = await self._store.history(stream.site, offset_after(began), PAGE)
		end = parse_offset(latest.last) or START
		if end < began and page.entries:
			# The key with the last id is lost.
			end = NEVER
		elif end < began:
			logger.warning(
				"%s has lost the last events of %s (its last id is %s, the known position %s): "
				"it runs without persistence, a replica that was behind has become the master, "
				"or another program has published events with offsets of its own",
				self._store.endpoint,
				stream.site,
				latest.last or "missing",
				stream.offset,
				extra=log_fields(stream.site),
			)
			if renewed:
				# Neither Redis nor this process has these events any more: a client that has missed one could not be sent it.
				stream.valid_from = max(stream.valid_from, began)
			if self._windows.set_back(stream, end):
				return False
			self._windows.reset(stream, await read_latest(self._store, stream.site, START))
			return True
		waiting = deque(latest.events)
		while True:
			try:
				check_chain(stream.position, page.entries)
				check_continuity(stream.position, page)
				if latest.start > began:
					raise HistoryGap("events of which the newest ones are kept are no longer kept")
			except HistoryGap as gap:
				self._windows.reset(stream, await read_latest(self._store, stream.site, START))
				stream.valid_from = max(stream.valid_from, stream.position)
				self._on_lost(stream, str(gap))
				return True
			events: list[PublishedEvent] = []
			for event in read_events(stream.site, page.entries):
				# What was published after `end` arrives as live events.
				if event.position <= end:
					while waiting and waiting[0].position < event.position:
						events.append(waiting.popleft())
					events.append(event)
			read_all = len(page.entries) < PAGE or (parse_offset(page.entries[-1].id) or START) >= end
			if read_all:
				events += waiting
			events = [event for event in events if self._accept(stream, event, event.position)]
			self.counters.caught_up += len(events)
			if events:
				self._deliver(events)
			if read_all:
				return True
			# The last entry may be no valid event, which does not advance the position.
			stream.position = max(stream.position, parse_offset(page.entries[-1].id) or START)
			page = await self._store.history(stream.site, offset_after(stream.position), PAGE)

	@property
	def unavailable(self) -> dict[str, str]:
		"""The sites without a complete history, each with the answer of Redis."""
		found = {site: reason for site, (_, reason) in self._denied.items()}
		for stream in self._streams.values():
			if reason := stream.unrecorded_reason(self._unrecorded_seconds):
				found[stream.site] = reason
		return found
