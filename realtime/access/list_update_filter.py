"""`list_update` without names that are nobody's business: who may not read a document hears that its list changed.

Stands between the bus and the fan-out. Frappe tells everybody in a list's room which document has changed, also those
from whom a user permission or a missing share hides it. Here the name goes to those who may read the document. Who that
is, the web process says, in one request for all where our app is on the site, else user by user. What comes later for
the same room waits meanwhile, and what has a later place in the order of the site: a client that was told that place
could not ask for this event any more. Who is not known to be a reader in time gets no name.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frappe_realtime.contract import LIST_UPDATE, room_subject
from frappe_realtime.errors import WebUnavailable

from ..bus.events import PublishedEvent, StreamPosition
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from .authentication import Session
from .permissions import Permissions

logger = logging.getLogger("realtime.lists")

WAIT = 1.0
"""Seconds that an event waits for the web process to say who its readers are."""

MOST_ASKED = 1000
"""Questions to the web process that may be open; past them, and while it is away, the names are left out."""

ONE_BY_ONE = 4
"""Users asked about at a time, on all sites without the app together."""


@dataclass(slots=True)
class Held:
	"""An event that waits, for what and until when; one that only waits for its turn has None."""

	event: PublishedEvent
	asking: asyncio.Task[None] | None
	until: float


class ListUpdateFilter:
	"""Takes events, and gives them to `fanout` in the order of their sites."""

	def __init__(self, namespaces: Namespaces, fanout: Fanout, permissions: Permissions) -> None:
		self.nameless = 0
		"""Sockets that got an event without its name."""
		self.crowded = 0
		"""Events whose readers were not asked for: too many were, or the web process was away."""
		self._namespaces = namespaces
		self._fanout = fanout
		self._permissions = permissions
		self._held: dict[str, deque[Held]] = {}
		self._slots = asyncio.Semaphore(ONE_BY_ONE)
		self._tasks: set[asyncio.Task[None]] = set()

	@property
	def waiting(self) -> int:
		"""Events that wait for an answer."""
		return sum(map(len, self._held.values()))

	def deliver(self, events: Sequence[PublishedEvent]) -> None:
		"""Deliver `events`; those of a site with a list that has changed perhaps a moment later."""
		if not self._held:
			for event in events:
				if event.event == LIST_UPDATE:
					break
			else:
				self._fanout.deliver(events)
				return
		passing: list[PublishedEvent] = []
		for event in events:
			if event.event != LIST_UPDATE and not self._waits(event):
				passing.append(event)
				continue
			if passing:
				self._fanout.deliver(passing)
				passing = []
			self._take(event)
		if passing:
			self._fanout.deliver(passing)

	def _waits(self, event: PublishedEvent) -> bool:
		"""Whether `event` must not go before what is held already."""
		held = self._held.get(event.site or "")
		return held is not None and (bool(event.offset) or any(one.event.room == event.room for one in held))

	def held_from(self, site: str) -> StreamPosition | None:
		"""The place of the first event of `site` that waits here; None when none does."""
		return next((held.event.position for held in self._held.get(site, ()) if held.event.offset), None)

	async def learn(self, events: Iterable[PublishedEvent], session: Session) -> None:
		"""Find out which documents that `events` name the user of `session` may read, for `as_seen`."""
		asked = []
		for document in {document for event in events if (document := _document(event)) is not None}:
			answer = self._permissions.may(session, *document)
			if not isinstance(answer, bool):
				asked.append(asyncio.ensure_future(answer))
		if asked:
			done, late = await asyncio.wait(asked, timeout=WAIT)
			for task in late:
				task.cancel()
			for task in done:
				if not task.cancelled() and task.exception() is not None:
					logger.info("a list_update goes out without its name: %s", task.exception())

	def as_seen(self, event: PublishedEvent, session: Session) -> PublishedEvent:
		"""`event` as the user of `session` may see it, by what is known; for one that is delivered to him alone."""
		document = _document(event)
		if document is None or self._permissions.known_reader(session.site, session.user, *document):
			return event
		self.nameless += 1
		return _without_name(event)

	def _take(self, event: PublishedEvent) -> None:
		namespace = self._namespaces.get(f"/{event.site}")
		if event.site is None:
			self._fanout.deliver([event])
			return
		asking = None if namespace is None else self._ask(namespace, event)
		if asking is None and not self._waits(event):
			self._send(event)
			return
		held = self._held.get(event.site)
		if held is None:
			held = self._held[event.site] = deque()
			self._start(self._work_off(event.site, held))
		held.append(Held(event, asking, asyncio.get_running_loop().time() + WAIT))

	def _ask(self, namespace: Namespace, event: PublishedEvent) -> asyncio.Task[None] | None:
		"""Have it asked who may read the document that `event` names; None when that is known, or needs no asking."""
		document = _document(event)
		if document is None:
			return None
		site = str(event.site)
		unknown: dict[str, ServerSocket] = {}
		for socket in namespace.members(str(event.room)):
			user = socket.session.user
			if user not in unknown and self._permissions.known_reader(site, user, *document) is None:
				unknown[user] = socket
		if not unknown:
			return None
		if self._permissions.away or self._permissions.waiting >= MOST_ASKED:
			self.crowded += 1
			return None
		return self._start(self._find_readers(site, document, unknown))

	async def _find_readers(
		self, site: str, document: tuple[str, str], unknown: dict[str, ServerSocket]
	) -> None:
		together = [user for user, socket in unknown.items() if socket.session.asks_in_batches]
		try:
			if together:
				await self._permissions.readers(site, *document, together)
			else:
				await asyncio.gather(*[self._ask_one(socket, document) for socket in unknown.values()])
		except WebUnavailable as error:
			logger.info("a list_update of %s goes out without its name: %s", site, error)

	async def _ask_one(self, socket: ServerSocket, document: tuple[str, str]) -> None:
		async with self._slots:
			answer = self._permissions.may(socket.session, *document)
			if not isinstance(answer, bool):
				await answer

	async def _work_off(self, site: str, held: deque[Held]) -> None:
		while held:
			first = held[0]
			if first.asking is not None:
				left = first.until - asyncio.get_running_loop().time()
				await asyncio.wait([first.asking], timeout=max(0, left))
				first.asking.cancel()
			held.popleft()
			self._send(first.event)
		del self._held[site]

	def _send(self, event: PublishedEvent) -> None:
		namespace = self._namespaces.get(f"/{event.site}")
		document = _document(event)
		if document is None or namespace is None:
			self._fanout.deliver([event])
			return
		site = str(event.site)
		readers: dict[str, bool] = {}
		named: list[ServerSocket] = []
		others: list[ServerSocket] = []
		for socket in namespace.members(str(event.room)):
			user = socket.session.user
			if user not in readers:
				readers[user] = self._permissions.known_reader(site, user, *document) is True
			(named if readers[user] else others).append(socket)
		self._fanout.send_events(namespace, named, [event])
		if others:
			self.nameless += len(others)
			self._fanout.send_events(namespace, others, [_without_name(event)])

	def _start(self, work: Any) -> asyncio.Task[None]:
		task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)
		return task


def _document(event: PublishedEvent) -> tuple[str, str] | None:
	"""DocType and name that a `list_update` tells; None when it tells none."""
	if event.event != LIST_UPDATE or not isinstance(event.message, dict) or event.room is None:
		return None
	about = room_subject(event.room)
	name = event.message.get("name")
	if about is None or name is None:
		return None
	return str(event.message.get("doctype") or about[0]), str(name)


def _without_name(event: PublishedEvent) -> PublishedEvent:
	"""That the list has changed, and nothing of what else a publisher tells about the document."""
	return replace(event, message={"doctype": event.message.get("doctype")})
