"""Socket.IO's connection state recovery, with sessions and event history in Redis.

A client that can recover is sent a `pid` with the answer to its CONNECT packet, and an offset with each event. When it
reconnects with both, its user is authenticated again, it joins the rooms that it was in and may still read, and it is sent the
events that it has missed before all others. Events from before it joined a room are not replayed, whatever offset it
presents. If any of these events is no longer available, or was published while access may have been withdrawn
(access_log.py), the client gets a new session, which it can see (`socket.recovered` is false).
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.list_update_filter import ListUpdateFilter
from ..access.list_update_joiner import ListUpdateJoiner, is_joinable
from ..access.permissions import Permissions
from ..access.revalidation import Revalidator
from ..bus.events import StreamPosition
from ..bus.kept_events import KeptEvent
from ..bus.store import StoreDenied, StoreUnavailable
from ..config import Config
from ..engine import Encoded, Request
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..socketio.errors import ConnectPostponed
from ..socketio.namespace import RECOVERABLE_REASONS, Admission, Namespaces, ServerSocket
from ..web.cache import Unsettled
from ..web.frappe_client import WebFailed
from .access_log import CHECK_MILLISECONDS, ClientAccess, room_subjects, session_subject
from .capabilities import can_recover
from .entries import HistoryGap
from .history import History
from .patience import RedisPatience
from .positions import START, ClientPosition, offset_before, offset_of, parse_client_offset, parse_offset
from .recovered import Recovered, RecoveryCounters
from .replay_limit import ReplayLimit
from .room_access import RoomAccess
from .sessions import SessionStore
from .site_stream import OlderEvents, SiteStream

logger = logging.getLogger("realtime.recovery")

REDIS_TIMEOUT = 20.0
"""Seconds that a connecting client waits for Redis, see `RedisPatience`; then its connection is closed, and the client reconnects."""

REFUSAL_LOG_SECONDS = 10.0
"""Seconds between two log lines about clients that get new sessions."""

_PID = re.compile(r"[A-Za-z0-9_-]{20,64}")


class Recovery:
	"""Admits clients, new ones and those that recover, and keeps the sessions of both.

	Args:
		config: `realtime_recovery_agents` and `realtime_max_unsent`.
		namespaces: The sockets of this process.
		history: The events of the sites.
		sessions: The sessions of clients.
		permissions: Counts the changes of permissions.
		room_access: Decides which rooms a client may still be in.
		list_updates: Removes document names from events that are replayed.
		joiner: Joins list updates that are replayed.
		revalidator: Knows which sockets wait for a check of their access.
		limit: The rates of replayed bytes.
	"""

	def __init__(
		self,
		config: Config,
		namespaces: Namespaces,
		history: History,
		sessions: SessionStore,
		permissions: Permissions,
		room_access: RoomAccess,
		list_updates: ListUpdateFilter,
		joiner: ListUpdateJoiner,
		revalidator: Revalidator,
		limit: ReplayLimit,
	) -> None:
		self.counters = RecoveryCounters()
		self._agents: Sequence[str] = config.realtime_recovery_agents
		self._max_bytes: int = config.realtime_max_unsent
		self._namespaces = namespaces
		self._history = history
		self._sessions = sessions
		self._permissions = permissions
		self._room_access = room_access
		self._list_updates = list_updates
		self._joiner = joiner
		self._revalidator = revalidator
		self._away_milliseconds = round(1500 * config.realtime_recovery_seconds) + 5000 + CHECK_MILLISECONDS
		"""Milliseconds for which a session is kept at most (sessions.py), and the time of a check before."""
		self._limit = limit
		self._refusals_logged = -REFUSAL_LOG_SECONDS
		self._postponed_log = LogBudget()

	# -- admission

	def can_recover(self, request: Request, auth: dict[str, Any]) -> bool:
		"""Return True if the client behind the handshake `request` can recover."""
		return can_recover(request, auth, self._agents)

	def admit(
		self, session: Session, auth: dict[str, Any], recoverable: bool, address: str
	) -> Admission | Awaitable[Admission]:
		"""Admit a client; at once if it is new and the stream of its site is followed already.

		Args:
			session: The authenticated user.
			auth: The payload of CONNECT; `{pid, offset}` of a client that reconnects.
			recoverable: The result of `can_recover`.
			address: The address or network of the client; empty if it is unknown.

		Returns:
			The admission, or an awaitable of it; it is valid in the same turn of the event loop.

		Raises:
			ConnectPostponed: Redis or the web process does not answer; when awaited.
		"""
		if not session.has_app:
			# Without the app on the site, events have no offsets.
			return Admission(session)
		if self._history.stream(session.site) is None or "pid" in auth:
			return self._admit_with_history(session, auth, recoverable, address)
		return self._admit_new(session, recoverable)

	def _admit_new(self, session: Session, recoverable: bool) -> Admission:
		if not recoverable or self._sessions.is_denied:
			return Admission(session)
		return Admission(session, secrets.token_urlsafe(18))

	async def _admit_with_history(
		self, session: Session, auth: dict[str, Any], recoverable: bool, address: str
	) -> Admission:
		patience = RedisPatience(REDIS_TIMEOUT)
		while patience.left > 0:
			try:
				stream = self._history.stream(session.site)
				if stream is None:
					stream = await patience.for_redis(self._history.follow(session.site))
				recovered = (
					await self._recover(session, auth, stream, address, patience) if recoverable else None
				)
				if recovered is not None:
					return recovered
				if self._history.stream(session.site) is stream:
					return self._admit_new(session, recoverable)
				# The subscription was renewed meanwhile, and the site has another stream object.
			except StoreDenied:
				return Admission(session)
			except asyncio.TimeoutError:
				break
			except StoreUnavailable:
				await asyncio.sleep(random.uniform(0.1, 0.3))
		self._log_postponed(session, "Redis does not answer")
		raise ConnectPostponed

	async def _recover(
		self,
		session: Session,
		auth: dict[str, Any],
		stream: SiteStream,
		address: str,
		patience: RedisPatience,
	) -> Recovered | None:
		"""Return the admission of a client that recovers; None if it needs a new session."""
		pid, received = auth.get("pid"), parse_client_offset(auth.get("offset"))
		if not (isinstance(pid, str) and _PID.fullmatch(pid)) or received is None:
			return None
		if not self._limit.allows(session, address):
			self._on_refused(session, "it has recovered too many bytes")
			return None
		saved = await patience.for_redis(self._sessions.load(session.site, pid))
		if saved is None or saved.user != session.user or not saved.rooms:
			self._on_refused(session)
			return None
		invalidations = self._permissions.invalidations
		answered = stream.access.count
		try:
			permitted = await patience.for_web_process(self._room_access.permitted(session, saved.rooms))
		except (WebFailed, Unsettled) as error:
			# The other rooms are not to wait for this one, which the client asks for again with its new session.
			self._on_refused(session, f"the access to its rooms is not known: {error}")
			return None
		except WebUnavailable as error:
			self._log_postponed(session, error)
			raise ConnectPostponed from error
		began = min(saved.rooms.values())
		# A room that was not in the session is joined now.
		rooms: dict[str | None, StreamPosition] = {
			room: saved.rooms.get(room, stream.position) for room in permitted
		}
		rooms[None] = began
		position = max(received.position, began)
		first = max(min(received.of(room) for room in rooms), began)
		try:
			older = await patience.for_redis(self._read_older(stream, first, position, rooms))
		except HistoryGap as gap:
			self._on_refused(session, str(gap))
			return None
		self._limit.count(session, address, older.read_bytes)
		await self._list_updates.query_permissions(
			self._missed(received, stream.missed(older, rooms)), session
		)
		self._check_not_behind(session.site, stream, older, rooms, position, received)
		if session.user != GUEST and stream.access.has(session_subject(saved.sid_hash)):
			self._on_refused(session, "its login session has ended")
			return None
		connected_at = max(stream.position, stream.access.last_id)[0] - self._away_milliseconds
		access = ClientAccess(stream.access, session.user, rooms, first, connected_at, answered)
		missed = self._missed(received, stream.missed(older, rooms))
		if access.has_doubts(missed):
			self._on_refused(session, "access to a room has changed more than once while it was away")
			return None
		size = sum(event.size for event in missed)
		if size > self._max_bytes:
			self._on_refused(session, "it has missed too much")
			return None
		if not older.read_bytes and not self._limit.allows(session, address):
			# Other connections of the client have recovered meanwhile.
			self._on_refused(session, "it has recovered too many bytes")
			return None
		self._limit.count(session, address, max(0, size - older.read_bytes))
		self.counters.recovered += 1
		self.counters.replayed_bytes += size
		return Recovered(
			session,
			pid,
			saved.id,
			saved.recoveries + 1,
			rooms,
			stream,
			older,
			received,
			access,
			invalidations,
		)

	def _check_not_behind(
		self,
		site: str,
		stream: SiteStream,
		older: OlderEvents,
		rooms: Mapping[str | None, StreamPosition],
		position: StreamPosition,
		received: ClientPosition,
	) -> None:
		"""Check that what was read for a client is still valid, and that the client has nothing that this process holds back.

		Raises:
			StoreUnavailable: It is not valid, or another sidecar has sent more to the client; a retry may succeed.
		"""
		if self._history.stream(site) is not stream or not stream.has_rest_of(older):
			raise StoreUnavailable("the stream or its window has changed meanwhile")
		if stream.unrecorded is not None:
			# It was not sent to this client, and is not in the history.
			raise StoreUnavailable("an event was published without an offset meanwhile")
		pending_from = self._list_updates.first_pending(site)
		if pending_from is not None and position >= pending_from:
			# Another sidecar has sent it events that are still held back here: it would get them twice.
			raise StoreUnavailable("the client is ahead of the events that are held back in this process")
		if any(received.of(room) >= since for room, since in self._held(site, rooms).items()):
			raise StoreUnavailable(
				"the client is ahead of the list updates that are held back in this process"
			)
		if stream.access.held is not None:
			raise StoreUnavailable("the changes of access are being read")

	async def _read_older(
		self,
		stream: SiteStream,
		first: StreamPosition,
		position: StreamPosition,
		rooms: Mapping[str | None, StreamPosition],
	) -> OlderEvents:
		"""Return the events after `first` that are not in memory; raises as `HistoryReader.read_before_window`."""
		if first < position:
			await self._history.reader.check_known(stream, position)
		return await self._history.reader.read_before_window(stream, first, rooms)

	def _log_postponed(self, session: Session, reason: object) -> None:
		self._postponed_log.write(
			logger.warning,
			"closed the connection of a client of %s, which will reconnect: %s",
			session.site,
			reason,
			extra=log_fields(session.site, session.user),
		)

	def _on_refused(self, session: Session, reason: str = "") -> None:
		"""Count a client that gets a new session in place of its old one."""
		self.counters.refused += 1
		now = monotonic()
		if reason and now - self._refusals_logged >= REFUSAL_LOG_SECONDS:
			self._refusals_logged = now
			logger.info(
				"a client of %s gets a new session: %s (%d so far)",
				session.site,
				reason,
				self.counters.refused,
				extra=log_fields(session.site, session.user),
			)

	def restore(self, socket: ServerSocket, admission: Admission) -> list[Encoded]:
		"""Join the rooms of a client that recovers, and return the events that it has missed, in order.

		Must be called for every new socket of a site, in the same turn of the event loop in which it was admitted.
		"""
		site = socket.session.site
		stream = self._history.stream(site)
		# Events that the filter holds back are sent later, to this socket too.
		end = self._list_updates.first_pending(site)
		if stream is not None:
			socket.namespace.offset = stream.offset if end is None else offset_before(end)
		if socket.offsets:
			self._sessions.changed(socket)
		if not isinstance(admission, Recovered) or admission.stream is None or admission.access is None:
			return []
		for room, joined in admission.rooms.items():
			if room is not None:
				socket.join(room, offset_of(joined))
		received = admission.received
		held = self._held(site, admission.rooms)
		missed = self._missed(
			received,
			[
				event
				for event in admission.stream.missed(admission.older, admission.rooms)
				if (end is None or event.position < end)
				and (event.room not in held or not is_joinable(event) or event.position < held[event.room])
			],
		)
		self.counters.replayed += len(missed)
		session: Session = socket.session
		return [
			self._list_updates.filtered(event, session, partial(admission.access.may_name, event)).encode(
				socket.namespace.name,
				received.after(event.position, held) if held or received.held else "",
			)
			for event in missed
		]

	def _missed(self, received: ClientPosition, events: Iterable[KeptEvent]) -> list[KeptEvent]:
		"""Return those of `events` that a client has not received, list updates as it would have received them."""
		return self._joiner.without_superseded(
			event
			for event in events
			if event.position > (received.of(event.room) if is_joinable(event) else received.position)
		)

	def _held(self, site: str, rooms: Iterable[str | None]) -> dict[str | None, StreamPosition]:
		"""Return those of `rooms` of which this process holds list updates back, with the position of the first one."""
		namespace = self._namespaces.get(f"/{site}")
		if namespace is None or not namespace.held:
			return {}
		return {
			room: parse_offset(namespace.held[str(room)]) or START for room in rooms if room in namespace.held
		}

	def is_outdated(self, admission: Admission) -> bool:
		"""Return True if access has changed since the permissions for the rooms of `admission` were requested."""
		return isinstance(admission, Recovered) and admission.invalidations != self._permissions.invalidations

	# -- the end of sockets

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Mapping[str, str]) -> None:
		"""Keep or delete the session of a socket that was in `rooms`, depending on the `reason` of its end."""
		if socket.pid is None:
			return
		if reason in RECOVERABLE_REASONS and not self._is_unchecked(socket, rooms):
			self._sessions.detach(socket, rooms)
		else:
			self._sessions.delete(socket)

	def _is_unchecked(self, socket: ServerSocket, rooms: Collection[str]) -> bool:
		"""Return True if the access to one of `rooms` has changed and the check is not done."""
		session: Session = socket.session
		stream = self._history.stream(session.site)
		if stream is None or not self._revalidator.is_pending(session, rooms):
			return False
		return any(
			stream.access.doubt(room_subjects(session.user, room), START, 0, 0) is not None for room in rooms
		)
