"""Removes document names from `list_update` events for users who may not read the document.

Frappe sends `list_update` with the document's name to everyone in the DocType's room, including users from whom a User
Permission or a missing share hides that document. This filter runs between the bus and the fan-out. It asks the web
process which users in the room may read the document (one request if the app is installed on the site, one per user
otherwise), then sends the name to them and the event without the name to everyone else.

Later events of the same site are held until the filter has decided, so that no client receives an offset beyond an event
that it has not received yet. If the answer takes longer than `READERS_TIMEOUT`, the name is left out for users whose
permission is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from frappe_realtime.contract.events import LIST_UPDATE
from frappe_realtime.contract.rooms import room_subject
from frappe_realtime.errors import WebUnavailable

from ..bus.events import PublishedEvent, StreamPosition
from ..bus.kept_events import AnyEvent, KeptEvent
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from .authentication import Session
from .joined_updates import JoinedUpdate
from .permissions import Permissions, answer_of

logger = logging.getLogger("realtime.lists")

READERS_TIMEOUT = 1.0
"""Seconds that an event waits for the answer to its readers query."""

MAX_PENDING_QUERIES = 1000
"""Pending permission queries beyond which names are left out without a query."""

MAX_USER_QUERIES = 4
"""Concurrent queries about one user each, over all sites without the app: connects need the web process too."""


@dataclass(slots=True)
class PendingEvents:
	"""An event that is held back, or the joined updates of one list.

	Args:
		events: The events.
		readers_queries: The queries that they wait for; empty if they only wait for their turn.
		deadline: The time of the loop at which the queries are given up.
	"""

	events: Sequence[PublishedEvent]
	readers_queries: Sequence[asyncio.Task[None]]
	deadline: float


class ListUpdateFilter:
	"""Passes events to the fan-out, in the order of each site, and removes names on the way.

	Args:
		namespaces: The sockets, by which the users in a room are known.
		fanout: Takes the events.
		permissions: Answers which users may read a document.
	"""

	def __init__(self, namespaces: Namespaces, fanout: Fanout, permissions: Permissions) -> None:
		self.names_removed = 0
		"""Events written to a socket without the document's name."""
		self.queries_skipped = 0
		"""Events whose readers were not queried: too many queries are pending, or the web process is unavailable."""
		self._namespaces = namespaces
		self._fanout = fanout
		self._permissions = permissions
		self._pending: dict[str, deque[PendingEvents]] = {}
		self._slots = asyncio.Semaphore(MAX_USER_QUERIES)
		self._tasks: set[asyncio.Task[None]] = set()
		self._log_budget = LogBudget()

	@property
	def pending(self) -> int:
		"""The number of events that are held back."""
		return sum(len(one.events) for pending in self._pending.values() for one in pending)

	def deliver(self, events: Sequence[PublishedEvent]) -> None:
		"""Deliver `events` in order: at once, or after the readers query that they have to wait for."""
		if not self._pending:
			for event in events:
				if event.event == LIST_UPDATE:
					break
			else:
				self._fanout.deliver(events)
				return
		unaffected: list[PublishedEvent] = []
		for event in events:
			if event.event != LIST_UPDATE and not self._must_wait(event):
				unaffected.append(event)
				continue
			if unaffected:
				self._fanout.deliver(unaffected)
				unaffected = []
			self._deliver_or_hold([event])
		if unaffected:
			self._fanout.deliver(unaffected)

	def deliver_joined(self, updates: Sequence[JoinedUpdate]) -> None:
		"""Deliver the joined updates of one list as `deliver` does, with one write for each socket."""
		self._deliver_or_hold(updates)

	def _must_wait(self, event: PublishedEvent) -> bool:
		"""Return True if `event` must not be sent before the pending events of its site."""
		pending = self._pending.get(event.site or "")
		return pending is not None and (
			bool(event.offset) or any(earlier.events[0].room == event.room for earlier in pending)
		)

	def first_pending(self, site: str) -> StreamPosition | None:
		"""Return the stream position of the first pending event of `site`, or None if no event is pending.

		Joined updates are left out: clients know from their offset that they have not received these (`UnsentUpdates`).
		"""
		for pending in self._pending.get(site, ()):
			first = pending.events[0]
			if first.offset and not isinstance(first, JoinedUpdate):
				return first.position
		return None

	async def query_permissions(self, events: Iterable[KeptEvent], session: Session) -> None:
		"""Ask which of the documents that `events` name the user of `session` may read, for `filtered`.

		Returns after `READERS_TIMEOUT` at the latest.
		"""
		queries = []
		for document in {document for event in events if (document := _document(event)) is not None}:
			answer = self._permissions.has_permission(session, *document)
			if not isinstance(answer, bool):
				queries.append(asyncio.ensure_future(answer))
		if queries:
			try:
				await asyncio.wait(queries, timeout=READERS_TIMEOUT)
			finally:
				# Also if the client has gone meanwhile: nobody else waits for these answers.
				for query in queries:
					if not query.done():
						query.cancel()
					elif not query.cancelled() and (error := query.exception()) is not None:
						self._log_budget.write(
							logger.info, "list_update is sent without the document's name: %s", error
						)

	def filtered(self, event: KeptEvent, session: Session, may_name: Callable[[str, str], bool]) -> KeptEvent:
		"""Return `event` as the user of `session` may receive it, from cached permissions.

		Args:
			event: A missed event.
			session: The user.
			may_name: Returns False for DocType and name of a document that the user could not read all the time.
		"""
		document = _document(event)
		if document is None or (
			self._permissions.cached_read(session.site, session.user, *document) and may_name(*document)
		):
			return event
		self.names_removed += 1
		return _without_name(event)

	def _deliver_or_hold(self, events: Sequence[PublishedEvent]) -> None:
		first = events[0]
		if first.site is None:
			self._fanout.deliver(events)
			return
		namespace = self._namespaces.get(f"/{first.site}")
		queries: list[asyncio.Task[None]] = []
		if namespace is not None:
			queries = [
				query for event in events if (query := self._start_query(namespace, event)) is not None
			]
		if not queries and not self._must_wait(first):
			self._send(events)
			return
		pending = self._pending.get(first.site)
		if pending is None:
			pending = self._pending[first.site] = deque()
			self._start(self._send_pending(first.site, pending))
		pending.append(PendingEvents(events, queries, asyncio.get_running_loop().time() + READERS_TIMEOUT))

	def _start_query(self, namespace: Namespace, event: PublishedEvent) -> asyncio.Task[None] | None:
		"""Start a readers query; return None when none is needed, or none is possible now."""
		document = _document(event)
		if document is None:
			return None
		site = str(event.site)
		unknown: dict[str, ServerSocket] = {}
		for socket in namespace.members(str(event.room)):
			user = socket.session.user
			if user not in unknown and self._permissions.cached_read(site, user, *document) is None:
				unknown[user] = socket
		if not unknown:
			return None
		if self._permissions.is_unavailable(site) or self._permissions.pending >= MAX_PENDING_QUERIES:
			self.queries_skipped += 1
			return None
		return self._start(self._query_readers(site, document, unknown))

	async def _query_readers(
		self, site: str, document: tuple[str, str], unknown: dict[str, ServerSocket]
	) -> None:
		users = [user for user, socket in unknown.items() if socket.session.has_app]
		try:
			if users:
				await self._permissions.query_readers(site, *document, users)
			else:
				await asyncio.gather(*[self._query_user(socket, document) for socket in unknown.values()])
		except WebUnavailable as error:
			self._log_budget.write(
				logger.info,
				"list_update on %s is sent without the document's name: %s",
				site,
				error,
				extra=log_fields(site),
			)

	async def _query_user(self, socket: ServerSocket, document: tuple[str, str]) -> None:
		async with self._slots:
			await answer_of(self._permissions.has_permission(socket.session, *document))

	async def _send_pending(self, site: str, pending: deque[PendingEvents]) -> None:
		"""Send the pending events of a site in order, each after its query or its deadline."""
		while pending:
			first = pending[0]
			if first.readers_queries:
				seconds = first.deadline - asyncio.get_running_loop().time()
				await asyncio.wait(first.readers_queries, timeout=max(0, seconds))
				for query in first.readers_queries:
					query.cancel()
			pending.popleft()
			self._send(first.events)
		del self._pending[site]

	def _send(self, events: Sequence[PublishedEvent]) -> None:
		"""Send one event, or the joined updates of one list, to the sockets in its room."""
		first = events[0]
		namespace = self._namespaces.get(f"/{first.site}")
		if isinstance(first, JoinedUpdate) and first.unsent is not None:
			for event in events:
				# Also without recipients: the window of the list is open until all are sent.
				first.unsent.sent(event)
				event.held_text = first.unsent.namespace.held_text
			if first.unsent.namespace is not namespace:
				# All sockets of the site had left meanwhile; those that are here now have recovered these updates.
				return
		if namespace is None:
			self._fanout.deliver(events)
			return
		documents = [_document(event) for event in events]
		if documents == [None]:
			self._fanout.deliver(events)
			return
		may_read: dict[str, tuple[bool, ...]] = {}
		groups: dict[tuple[bool, ...], list[ServerSocket]] = {}
		for socket in namespace.members(str(first.room)):
			user = socket.session.user
			if user not in may_read:
				may_read[user] = tuple(
					self._may_read(str(first.site), user, document) for document in documents
				)
			groups.setdefault(may_read[user], []).append(socket)
		if not groups:
			self._fanout.send_events(namespace, (), events)
		repeated = False
		for readable, sockets in sorted(groups.items(), key=itemgetter(0), reverse=True):
			if not all(readable):
				self.names_removed += len(sockets)
			self._fanout.send_events(namespace, sockets, _readable(events, readable), repeated)
			repeated = True

	def _may_read(self, site: str, user: str, document: tuple[str, str] | None) -> bool:
		return document is None or self._permissions.cached_read(site, user, *document) is True

	def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
		task = asyncio.get_running_loop().create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)
		return task


def _document(event: PublishedEvent | KeptEvent) -> tuple[str, str] | None:
	"""Return DocType and name of the document that a `list_update` names; None for any other event."""
	if event.event != LIST_UPDATE or not isinstance(event.message, dict) or event.room is None:
		return None
	subject = room_subject(event.room)
	name = event.message.get("name")
	if subject is None or name is None:
		return None
	return str(event.message.get("doctype") or subject[0]), str(name)


def _readable(events: Sequence[PublishedEvent], readable: Sequence[bool]) -> Sequence[PublishedEvent]:
	"""Return the events for users who may read the documents for which `readable` is True, and no others.

	Events that lose their names are equal then: only the last one of them is kept.
	"""
	if all(readable):
		return events
	last = max(index for index, may_read in enumerate(readable) if not may_read)
	return [
		event if readable[index] else _without_name(event)
		for index, event in enumerate(events)
		if readable[index] or index == last
	]


def _without_name(event: AnyEvent) -> AnyEvent:
	"""Return the event with nothing but the DocType: a publisher may add further fields of the document."""
	return event.with_message({"doctype": event.message.get("doctype")})
