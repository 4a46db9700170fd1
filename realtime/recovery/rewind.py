"""Rewind: the earlier events of a room, for a client that subscribes to it.

A client that asks for it gets the newest values of a room (`history="latest"`), or the last events, before the live ones. Unlike recovery
this includes events from before it joined the room. So the present permission decides alone: it is asked for anew when access
has changed since, and while the changes of access are unknown, nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from frappe_realtime.contract.events import LIMIT_REACHED
from frappe_realtime.errors import RewindRefused

from ..access.authentication import Session
from ..access.list_update_filter import ListUpdateFilter
from ..access.list_update_joiner import is_joinable
from ..access.proxies import network_of
from ..access.revalidation import Revalidator
from ..access.rewind_request import RewindRequest
from ..bus.events import StreamPosition
from ..bus.kept_events import KeptEvent
from ..bus.store import StoreDenied, StoreUnavailable
from ..config import Config
from ..engine import Encoded
from ..socketio.namespace import ServerSocket
from .access_log import room_subjects
from .history import History
from .positions import START, parse_offset
from .replay_limit import ReplayLimit
from .site_stream import SiteStream

REDIS_TIMEOUT = 20.0
"""Seconds that a request waits for the stream of its site."""

ATTEMPTS = 5
ATTEMPT_PAUSE = 0.05
"""How often the permission is asked for if access keeps changing, and the seconds by which each pause is longer."""


class Prepared(NamedTuple):
	"""What was read for a request. It is valid in the same turn of the event loop.

	Args:
		stream: The stream of the site.
		window_from: The position from which the history window has the rest.
		older: The events of the request before that, in order.
	"""

	stream: SiteStream
	window_from: StreamPosition
	older: Sequence[KeptEvent]


class RewindReader:
	"""Reads the earlier events of rooms.

	Args:
		config: `realtime_max_unsent`.
		history: The events of the sites.
		list_updates: Removes document names from list updates.
		revalidator: Knows which users wait for a check of their access.
		limit: The rates of replayed bytes.
	"""

	def __init__(
		self,
		config: Config,
		history: History,
		list_updates: ListUpdateFilter,
		revalidator: Revalidator,
		limit: ReplayLimit,
	) -> None:
		self.events = 0
		"""Events sent since the start."""
		self._max_bytes = config.realtime_max_unsent // 2
		self._history = history
		self._list_updates = list_updates
		self._revalidator = revalidator
		self._limit = limit

	async def read(
		self, socket: ServerSocket, request: RewindRequest, is_permitted: Callable[[], Awaitable[bool]]
	) -> Callable[[], list[Encoded]]:
		"""Read the earlier events of the rooms of `request`, once the permission is confirmed.

		Args:
			socket: The socket of the client.
			request: What the client asks for.
			is_permitted: Asks for the permission for the rooms; repeated if access has changed meanwhile.

		Returns:
			A function that returns the events as they are sent to the socket. It must be called in the same turn of the event
			loop, after the socket has joined the rooms.

		Raises:
			RewindRefused: The user is not permitted, a limit is reached, or the events cannot be read now.
			WebUnavailable: The web process does not answer.
		"""
		session: Session = socket.session
		address = network_of(socket.connection.request.remote)
		if not session.has_app:
			raise RewindRefused(
				"unavailable", f"frappe_realtime is not installed on {session.site}, so no events are kept"
			)
		self._check_limit(session, address)
		try:
			stream = await asyncio.wait_for(self._history.follow(session.site), REDIS_TIMEOUT)
			for attempt in range(ATTEMPTS):
				await asyncio.sleep(attempt * ATTEMPT_PAUSE)
				answered = stream.access.count
				if not await is_permitted():
					raise RewindRefused("not_permitted", "the user may not read what the room is about")
				prepared = await self._prepare(session, address, stream, request)
				await self._list_updates.query_permissions(self._selected(prepared, request), session)
				if self._is_valid(session, prepared, request, answered):
					return lambda: self._collect(socket, address, prepared, request)
		except (StoreDenied, StoreUnavailable, asyncio.TimeoutError) as error:
			raise RewindRefused(
				"unavailable", f"the history cannot be read: {str(error) or 'Redis does not answer'}"
			) from error
		raise RewindRefused("unavailable", "access to the room is changing; subscribe again later")

	def _check_limit(self, session: Session, address: str) -> None:
		if not self._limit.allows(session, address):
			raise RewindRefused(
				LIMIT_REACHED,
				"the client has been sent too many bytes of earlier events; subscribe again later",
			)

	async def _prepare(
		self, session: Session, address: str, stream: SiteStream, request: RewindRequest
	) -> Prepared:
		"""Read from Redis what is not in memory."""
		window_from = stream.window_start
		wanted = request.count - sum(_matches(event, request) for event in stream.window)
		if wanted <= 0:
			return Prepared(stream, window_from, ())
		older: list[KeptEvent] = []
		position: StreamPosition | None = window_from
		while position is not None and len(older) < wanted:
			self._check_limit(session, address)
			page, position = await self._history.reader.read_back(stream.site, position)
			self._limit.count(session, address, sum(event.size for event in page))
			older += [event for event in page if _matches(event, request)]
		older = older[:wanted]
		older.reverse()
		return Prepared(stream, window_from, older)

	def _is_valid(self, session: Session, prepared: Prepared, request: RewindRequest, answered: int) -> bool:
		stream = prepared.stream
		return (
			self._history.stream(session.site) is stream
			and prepared.window_from >= stream.window_start
			and stream.access.held is None
			and not self._revalidator.is_pending(session, request.rooms)
			and not any(
				stream.access.has_since(room_subjects(session.user, room), answered) for room in request.rooms
			)
		)

	def _selected(self, prepared: Prepared, request: RewindRequest) -> list[KeptEvent]:
		values = [
			event
			for event in prepared.stream.latest.in_rooms(request.rooms)
			if not request.event or event.event == request.event
		]
		if not request.count:
			return values
		recent = [
			event
			for event in prepared.stream.window
			if event.position > prepared.window_from and _matches(event, request)
		]
		events = sorted([*prepared.older, *recent, *values], key=lambda event: event.position)
		return events[-request.count :]

	def _collect(
		self, socket: ServerSocket, address: str, prepared: Prepared, request: RewindRequest
	) -> list[Encoded]:
		session: Session = socket.session
		namespace = socket.namespace
		# Events that are held back are sent later, to this socket too.
		end = self._list_updates.first_pending(session.site)
		held = {room: parse_offset(since) or START for room, since in namespace.held.items()}
		events = [
			event
			for event in self._selected(prepared, request)
			if (end is None or event.position < end)
			and (event.room not in held or not is_joinable(event) or event.position < held[str(event.room)])
		]
		size = 0
		for index in range(len(events), 0, -1):
			size += events[index - 1].size
			if size > self._max_bytes:
				events = events[index:]
				break
		self._limit.count(session, address, size)
		self.events += len(events)
		encoded = []
		for event in events:
			readable = self._list_updates.filtered(event, session, lambda *_: True)
			if socket.offsets:
				encoded.append(readable.encode(namespace.name, namespace.client_offset))
			else:
				encoded.append(readable.encode_plain(namespace.name))
		return encoded


def _matches(event: KeptEvent, request: RewindRequest) -> bool:
	return event.room in request.rooms and (not request.event or event.event == request.event)
