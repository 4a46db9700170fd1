"""Sockets asked about again: is this still that user's session, and may he still be in these rooms.

A few workers ask, so that a change for thousands leaves the web process free for those who connect; what is asked
twice before it is answered is asked once. A socket whose user has become another one is closed below Socket.IO: its
client comes back by itself, as what it is now. While the web process is away, everything stays as it is.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Coroutine, Iterable
from itertools import count
from typing import Any, NamedTuple

from frappe_realtime.contract import GUEST, PERMISSION_ROOMS, room_subject, user_room
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..signals import Signal
from ..socketio.errors import ConnectPostponed, ConnectRefused
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from ..web.frappe_client import Credential
from .authentication import Authenticator, Session
from .permissions import ANYBODY, Permissions, SessionEnded

logger = logging.getLogger("realtime.recheck")

WORKERS = 6
"""Sessions and users that are asked about at a time; fewer than `realtime_web_connections`, so that connects get through."""

TOLD = 10
"""How much more seldom a session has its turn where our app tells of changes: for those that pass it by."""

AWAY = 1.0
"""Seconds until the next attempt when the web process gave no answer."""

REASON = "server namespace disconnect"
"""Of the reasons in Socket.IO's words one after which no session is recovered."""


Key = tuple[str, Credential]
"""A site and a credential."""


class SessionCheck(NamedTuple):
	"""A credential that stood for `user` and is to be asked about; with `rooms` that user's rooms too."""

	user: str
	rooms: bool


class RoomCheck(NamedTuple):
	"""Rooms of a user's sockets that are to be asked about as `session`; `rooms` None: all of them."""

	session: Session
	rooms: set[str] | None


class Revalidator:
	"""Withdraws from sockets what the web process does not grant any more.

	Args:
		config: The configuration.
		namespaces: The sockets.
		authenticator: Answers whose session a credential is.
		permissions: Answers which rooms a user may be in.
	"""

	def __init__(
		self,
		config: Config,
		namespaces: Namespaces,
		authenticator: Authenticator,
		permissions: Permissions,
	) -> None:
		self.ended = 0
		"""Sockets closed because their session ended or became another user's."""
		self.withdrawn = 0
		"""Rooms that sockets had to leave."""
		self.room_withdrawn: Signal[[ServerSocket, str]] = Signal()
		"""Sent with each socket and room that the socket had to leave."""
		self._namespaces = namespaces
		self._authenticator = authenticator
		self._permissions = permissions
		self._interval: float = config.realtime_recheck_seconds
		self._sessions: dict[Key, SessionCheck] = {}
		self._rooms: dict[tuple[str, str], RoomCheck] = {}
		self._turns: list[tuple[float, int, Key, str]] = []
		self._has_turn: set[Key] = set()
		self._number = count()
		self._work = asyncio.Event()
		self._idle = asyncio.Event()
		self._tasks: list[asyncio.Task[None]] = []
		permissions.session_ended.connect(self.session)

	@property
	def waiting(self) -> int:
		"""Sessions and users that are still to be asked about."""
		return len(self._sessions) + len(self._rooms)

	def start(self) -> None:
		"""Begin to work off what comes, and give the sessions their turns."""
		loop = asyncio.get_running_loop()
		self._tasks = [loop.create_task(self._worker()) for _ in range(WORKERS)]
		if self._interval:
			self._tasks.append(loop.create_task(self._take_turns()))

	async def stop(self) -> None:
		"""Leave undone what is not done."""
		for task in self._tasks:
			task.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)

	# -- what is certain: no question is asked

	def end(self, socket: ServerSocket) -> None:
		"""Close the connection of a socket whose session is over."""
		# No DISCONNECT packet: after one, socket.io-client does not come back by itself.
		self.ended += 1
		socket.connection.close(REASON)

	def empty(self, namespace: Namespace, room: str) -> None:
		"""Let everybody leave `room`."""
		for socket in list(namespace.members(room)):
			self._leave(socket, room)

	# -- what is to be asked

	def sessions(self, sessions: Iterable[Session]) -> None:
		"""Ask who these are now, and then about all their rooms."""
		for session in sessions:
			if session.user == GUEST:
				# A Guest cannot become less than he is; what Guests may read can.
				self.rooms(session, None)
			else:
				self._sessions[session.site, session.credential] = SessionCheck(session.user, rooms=True)
		self._wake()

	def session(self, session: Session) -> None:
		"""Ask who this is now: an answer came that was not for its user."""
		key = (session.site, session.credential)
		self._authenticator.sessions.invalidate(lambda known, session: known == key)
		self._sessions.setdefault(key, SessionCheck(session.user, rooms=False))
		self._wake()

	def rooms(self, session: Session, rooms: set[str] | None) -> None:
		"""Ask whether the user of `session` may still be in `rooms`, None for all."""
		key = (session.site, session.user)
		due = self._rooms.get(key)
		if due is None:
			self._rooms[key] = RoomCheck(session, None if rooms is None else set(rooms))
		elif due.rooms is not None:
			if rooms is None:
				self._rooms[key] = RoomCheck(session, None)
			else:
				due.rooms.update(rooms)
		self._wake()

	def _wake(self) -> None:
		self._idle.clear()
		self._work.set()

	async def _worker(self) -> None:
		while True:
			while not (self._sessions or self._rooms):
				self._work.clear()
				self._idle.set()
				await self._work.wait()
			# Who somebody is comes first, as his rooms are asked about as him.
			if self._sessions:
				key = next(iter(self._sessions))
				await self._guarded(self._check_session(key, self._sessions.pop(key)))
			else:
				await self._guarded(self._check_rooms(self._rooms.pop(next(iter(self._rooms)))))

	@staticmethod
	async def _guarded(check: Coroutine[Any, Any, None]) -> None:
		try:
			await check
		except Exception:
			logger.exception("asking about access again failed")

	async def _check_session(self, key: Key, due: SessionCheck) -> None:
		"""End the sockets of a credential that is another user's now, else have their rooms asked about."""
		sockets = self._sockets_of(key, due.user)
		if not sockets:
			return
		before: Session = sockets[0].session
		session: Session | None = None
		try:
			session = await self._authenticator.session(*key)
		except ConnectPostponed:
			# The web process is away: nobody has said that they may not stay.
			self._sessions.setdefault(key, due)
			await asyncio.sleep(AWAY)
			return
		except ConnectRefused:
			pass
		ended = session is None or (session.user, session.user_type) != (before.user, before.user_type)
		for socket in self._sockets_of(key, due.user):
			if ended:
				self.end(socket)
			else:
				socket.session = session
		if session is not None and not ended and due.rooms:
			self.rooms(session, None)

	async def _check_rooms(self, due: RoomCheck) -> None:
		"""Let a user's sockets leave the rooms that he may not be in any more."""
		session = due.session
		namespace = self._namespaces.get("/" + session.site)
		if namespace is None:
			return
		rooms = deque(
			{
				room
				for socket in namespace.members(user_room(session.user))
				for room in socket.rooms
				if room.startswith(PERMISSION_ROOMS) and (due.rooms is None or room in due.rooms)
			}
		)
		away = False
		while rooms:
			part = {room: about for room in _some(rooms) if (about := room_subject(room)) is not None}
			answers = await asyncio.gather(
				*[_answered(self._permissions.may(session, *about)) for about in part.values()],
				return_exceptions=True,
			)
			for room, answer in zip(part, answers, strict=True):
				if isinstance(answer, SessionEnded):
					self._ask_as_another(namespace, session, room)
				elif isinstance(answer, WebUnavailable):
					away = True
					self.rooms(session, {room})
				elif isinstance(answer, BaseException):
					raise answer
				elif not answer:
					for socket in list(namespace.members(user_room(session.user))):
						self._leave(socket, room)
		if away:
			await asyncio.sleep(AWAY)

	def _ask_as_another(self, namespace: Namespace, session: Session, room: str) -> None:
		"""The sockets of a session that has ended leave; those that the user has by other sessions are asked about."""
		for socket in list(namespace.members(room)):
			if socket.session.user != session.user:
				continue
			if socket.session.credential == session.credential:
				self._leave(socket, room)
			else:
				self.rooms(socket.session, {room})

	def _leave(self, socket: ServerSocket, room: str) -> None:
		if room in socket.rooms:
			socket.leave(room)
			self.withdrawn += 1
			self.room_withdrawn.send(socket, room)

	# -- turns: for what nobody tells

	def on_connect(self, socket: ServerSocket) -> None:
		"""A socket has come: its session gets its turns."""
		session: Session = socket.session
		key = (session.site, ANYBODY if session.user == GUEST else session.credential)
		if self._interval and key not in self._has_turn:
			self._has_turn.add(key)
			# Those who have come together, after a restart, are spread out.
			self._next_turn(key, session, self._interval * random.uniform(0.5, 1))

	async def _take_turns(self) -> None:
		loop = asyncio.get_running_loop()
		while True:
			if not self._turns or self._turns[0][0] > loop.time():
				await asyncio.sleep(min(1.0, self._interval / 4))
				continue
			_, _, key, user = heapq.heappop(self._turns)
			sockets = self._sockets_of(key, user)
			if not sockets:
				self._has_turn.discard(key)
				continue
			self.sessions([sockets[0].session])
			# One at a time, and after all that was told.
			await self._idle.wait()
			self._next_turn(key, sockets[0].session, self._interval)

	def _next_turn(self, key: Key, session: Session, delay: float) -> None:
		due = asyncio.get_running_loop().time() + delay * (TOLD if session.asks_in_batches else 1)
		heapq.heappush(self._turns, (due, next(self._number), key, session.user))

	def _sockets_of(self, key: Key, user: str) -> list[ServerSocket]:
		site, credential = key
		namespace = self._namespaces.get("/" + site)
		members = namespace.members(user_room(user)) if namespace is not None else ()
		return [socket for socket in members if user == GUEST or socket.session.credential == credential]


def _some(rooms: deque[str], most: int = 200) -> list[str]:
	return [rooms.popleft() for _ in range(min(most, len(rooms)))]


async def _answered(answer: Any) -> bool:
	return bool(answer if isinstance(answer, bool) else await answer)
