"""Clients that come back: Socket.IO's connection state recovery, with sessions and history in Redis.

A client that can recover is given a `pid` with its CONNECT, and an offset with each event. When it comes back with both,
its user is authenticated anew, its rooms are those that it had and may still have, and first of all it gets what it
has missed. When some of that is gone it gets a new session instead, which the client sees (`socket.recovered`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from frappe_realtime.contract import (
	SITE_ROOM,
	SYSTEM_USER,
	TASK_ROOM,
	USER_ROOM,
	WEBSITE_ROOM,
	room_subject,
	user_room,
)
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.list_update_filter import ListUpdateFilter
from ..access.permissions import Permissions
from ..access.tasks import TaskAccess
from ..bus.events import PublishedEvent, StreamPosition
from ..bus.store import StoreDenied, StoreUnavailable
from ..config import Config
from ..engine import Encoded, Request
from ..socketio.errors import ConnectPostponed
from ..socketio.fanout import encode_missed
from ..socketio.namespace import Admission, Namespaces, ServerSocket
from .capabilities import can_recover
from .history import History, HistoryGap, SiteStream
from .positions import offset_before, parse_offset
from .sessions import SessionStore

logger = logging.getLogger("realtime.recovery")

PATIENCE = 20.0
"""Seconds that a client waits for Redis; then it is sent away, to come back."""

RECOVERABLE = frozenset(
	{"transport error", "transport close", "forced close", "ping timeout", "server shutting down"}
)
"""Reasons of a disconnect after which a client may come back to its session, as in Node."""

_PID = re.compile(r"[A-Za-z0-9_-]{20,64}")


@dataclass(slots=True)
class Recovered(Admission):
	"""A client that has come back to its session."""

	rooms: frozenset[str] = frozenset()
	feed: SiteStream | None = None
	reached: StreamPosition = (0, 0)
	"""From where `feed` has in memory what was missed; what came before is in `older`."""
	older: Sequence[PublishedEvent] = field(default_factory=list)
	changes: int = 0
	"""How often answers of the web process had been taken back when it was asked about the rooms."""


@dataclass(slots=True)
class RecoveryCounters:
	"""Clients that came with a pid since the start."""

	recovered: int = 0
	refused: int = 0
	replayed: int = 0


class Recovery:
	"""Admits clients, new ones and those that come back, and keeps the sessions of both."""

	def __init__(
		self,
		config: Config,
		namespaces: Namespaces,
		history: History,
		sessions: SessionStore,
		permissions: Permissions,
		lists: ListUpdateFilter,
		tasks: TaskAccess,
	) -> None:
		self._agents: Sequence[str] = config.realtime_recovery_agents
		self._max_bytes: int = config.realtime_max_unsent
		self._namespaces = namespaces
		self._history = history
		self._sessions = sessions
		self._permissions = permissions
		self._lists = lists
		self._tasks = tasks
		self.counters = RecoveryCounters()
		history.lost.connect(self.start_anew)

	# -- coming

	def is_able(self, request: Request, auth: dict[str, Any]) -> bool:
		"""Whether the client behind `request` can recover."""
		return can_recover(request, auth, self._agents)

	def admit(self, session: Session, auth: dict[str, Any], able: bool) -> Admission | Awaitable[Admission]:
		"""Let a client of `session` in, at once when it is new and its site is followed already; `able` as above.

		Awaiting raises `ConnectPostponed` when Redis stays away. The answer holds for this turn of the loop.
		"""
		if not session.has_app:
			# Without our app on the site nothing has a place in an order.
			return Admission(session)
		if self._history.feed(session.site) is None or "pid" in auth:
			return self._admit_when_followed(session, auth, able)
		return self._new(session, able)

	def _new(self, session: Session, able: bool) -> Admission:
		if self._sessions.refused or not able:
			return Admission(session)
		return Admission(session, secrets.token_urlsafe(18))

	async def _admit_when_followed(self, session: Session, auth: dict[str, Any], able: bool) -> Admission:
		deadline = asyncio.get_running_loop().time() + PATIENCE
		while True:
			try:
				left = deadline - asyncio.get_running_loop().time()
				if left <= 0:
					raise asyncio.TimeoutError
				feed = await asyncio.wait_for(self._history.follow(session.site), left)
				recovered = await self._recover(session, auth, feed) if able else None
				if recovered is not None:
					return recovered
				if self._history.feed(session.site) is feed:
					return self._new(session, able)
				# Redis has come back meanwhile, and the site is followed anew.
			except StoreDenied:
				return Admission(session)
			except asyncio.TimeoutError:
				logger.warning(
					"a client of %s was sent away to come back: Redis does not answer", session.site
				)
				raise ConnectPostponed from None
			except StoreUnavailable:
				await asyncio.sleep(random.uniform(0.1, 0.3))

	async def _recover(self, session: Session, auth: dict[str, Any], feed: SiteStream) -> Recovered | None:
		pid, place = auth.get("pid"), parse_offset(auth.get("offset"))
		if not (isinstance(pid, str) and _PID.fullmatch(pid)) or place is None:
			return None
		saved = await self._sessions.load(session.site, pid)
		if saved is None or saved.user != session.user:
			self.counters.refused += 1
			return None
		changes = self._permissions.invalidations
		try:
			rooms = await self._still_allowed(session, saved.rooms)
		except WebUnavailable as error:
			logger.warning("a client of %s was sent away to come back: %s", session.site, error)
			raise ConnectPostponed from error
		try:
			reached, older = await self._history.reach(feed, place, rooms)
		except HistoryGap as gap:
			logger.info("a client of %s starts anew: %s", session.site, gap)
			self.counters.refused += 1
			return None
		await self._lists.query_permissions([*older, *feed.missed(reached, rooms)], session)
		if self._history.feed(session.site) is not feed or reached < feed.start:
			raise StoreUnavailable("the history was taken up anew, or has moved on")
		held = self._lists.first_pending(session.site)
		if held is not None and place >= held:
			# It has had from another sidecar what waits here for a list's readers, and would get it once more.
			raise StoreUnavailable("what this client has had already has not been sent yet")
		if (
			sum(event.size for event in older) + sum(e.size for e in feed.missed(reached, rooms))
			> self._max_bytes
		):
			logger.info("a client of %s starts anew: it has missed more than it may be sent", session.site)
			self.counters.refused += 1
			return None
		self.counters.recovered += 1
		return Recovered(session, pid, saved.id, rooms, feed, reached, older, changes)

	async def _still_allowed(self, session: Session, rooms: frozenset[str]) -> frozenset[str]:
		"""Those of `rooms` that the user may still be in, and those that are his from the start."""
		base = {user_room(session.user), WEBSITE_ROOM}
		if session.user_type == SYSTEM_USER:
			base.add(SITE_ROOM)
		allowed = set(base)
		asked: dict[str, Awaitable[bool]] = {}
		for room in rooms:
			question = room_subject(room)
			if question is None:
				# A handler has let this user in. The rooms from the start are decided anew.
				if room.startswith(TASK_ROOM):
					if self._tasks.is_allowed(session, room):
						allowed.add(room)
				elif room not in (SITE_ROOM, WEBSITE_ROOM) and not room.startswith(USER_ROOM):
					allowed.add(room)
				continue
			answer = self._permissions.has_permission(session, *question)
			if not isinstance(answer, bool):
				asked[room] = answer
			elif answer:
				allowed.add(room)
		for room, may in zip(asked, await asyncio.gather(*asked.values()), strict=True):
			if may:
				allowed.add(room)
		return frozenset(allowed)

	def welcome(self, socket: ServerSocket, admission: Admission) -> list[Encoded]:
		"""What `socket`, which has just been let in, has missed, for the order in which it is to be sent.

		Puts it into its rooms. To be called in the same turn of the loop as the admission was answered.
		"""
		feed = self._history.feed(socket.session.site)
		# What waits for a list's readers comes later, to this socket too.
		end = self._lists.first_pending(socket.session.site)
		if feed is not None:
			socket.namespace.offset = feed.offset if end is None else offset_before(end)
		if socket.offsets:
			self._sessions.changed(socket)
		if not isinstance(admission, Recovered) or admission.feed is None:
			return []
		for room in admission.rooms:
			socket.join(room)
		missed = [*admission.older, *admission.feed.missed(admission.reached, admission.rooms)]
		missed = [event for event in missed if end is None or event.position < end]
		self.counters.replayed += len(missed)
		return [
			encode_missed(socket.namespace.name, self._lists.filtered(event, socket.session))
			for event in missed
		]

	def is_doubtful(self, admission: Admission) -> bool:
		"""Whether a change of access has come after the web process was asked about the rooms of `admission`."""
		return isinstance(admission, Recovered) and admission.changes != self._permissions.invalidations

	# -- going

	def left(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		"""`socket` is gone, and has left `rooms`."""
		if socket.pid is None:
			return
		if reason in RECOVERABLE:
			self._sessions.detach(socket, rooms)
		else:
			self._sessions.forget(socket)

	def start_anew(self, site: str) -> None:
		"""Close the connections of a site's clients, which come back to new sessions: what they have missed is gone."""
		namespace = self._namespaces.get(f"/{site}")
		for socket in list(namespace.sockets.values()) if namespace is not None else ():
			self._sessions.forget(socket)
			socket.pid = None
			socket.connection.close("forced close")
