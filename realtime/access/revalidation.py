"""Revalidation: asks the web process again who a session's user is, and which rooms its sockets may be in.

A few tasks send the queries, so that a change for thousands of sockets leaves the web process free for connects; a
session or room that is scheduled several times is queried once. A socket whose session has ended is closed below
Socket.IO, so that its client reconnects by itself and is authenticated anew. While the web process is unavailable,
sockets and rooms stay as they are.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Coroutine, Iterable
from itertools import count
from typing import Any, NamedTuple

from frappe_realtime.contract.rooms import PERMISSION_ROOMS, room_permission, user_room
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..signals import Signal
from ..socketio.errors import ConnectPostponed, ConnectRefused
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from ..web.frappe_client import GUEST_CREDENTIAL, Credential, WebFailed
from .authentication import Authenticator, Session
from .check_queue import CheckQueue
from .permission_requests import SessionEnded
from .permissions import FAILURE_SECONDS, Permissions, answer_of

CONCURRENT_CHECKS = 6
"""Checks that run at a time, in all and of one site; fewer than `realtime_web_connections`, so that connects are not delayed."""

ROOMS_PER_CHECK = 200
"""Rooms that are queried together."""

APP_INTERVAL_FACTOR = 10
"""Factor of `realtime_recheck_seconds` where the app is installed: it reports all changes but those by plain SQL."""

RETRY_SECONDS = 1.0
"""Seconds until the next attempt if the web process gave no answer."""

END_REASON = "server namespace disconnect"
"""The reason of a disconnect (as in Socket.IO) after which the client cannot recover its session."""


Key = tuple[str, Credential]
"""A site and a credential."""


class SessionCheck(NamedTuple):
	"""A pending query of a credential.

	Args:
		user: The user to whom the credential belonged.
		rooms: True if the rooms of that user are checked too.
	"""

	user: str
	rooms: bool


class RoomCheck(NamedTuple):
	"""A pending query of the rooms of a user.

	Args:
		session: A session of the user, with whose credential the query is sent.
		rooms: The rooms; None for all of them.
	"""

	session: Session
	rooms: set[str] | None


class Revalidator:
	"""Withdraws sessions and rooms that the web process does not grant any more.

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
		self.sockets_ended = 0
		"""Sockets that were closed because their session ended or became another user's."""
		self.rooms_withdrawn = 0
		"""Memberships of sockets in rooms that were ended."""
		self.room_withdrawn: Signal[[ServerSocket, str]] = Signal()
		"""Sent with each socket and room that the socket had to leave."""
		self.session_renewed: Signal[[Session]] = Signal()
		"""Sent with the new session of sockets, whose user is the same."""
		self._namespaces = namespaces
		self._authenticator = authenticator
		self._permissions = permissions
		self._interval: float = config.realtime_recheck_seconds
		self._session_checks: dict[Key, SessionCheck] = {}
		self._room_checks: dict[tuple[str, str], RoomCheck] = {}
		self._under_way: Counter[tuple[str, str | Credential]] = Counter()
		"""How many checks of each session (site and credential), user or room (site and name) wait for the web process."""
		self._schedule: list[tuple[float, int, Key, str]] = []
		self._scheduled: dict[tuple[Key, str], float] = {}
		"""When each session is due, by its user too: the credential may become another user's. Its other entries do not count."""
		self._number = count()
		self._queue = CheckQueue(CONCURRENT_CHECKS)
		self._periodic: asyncio.Task[None] | None = None
		permissions.session_ended.connect(self.check_session)

	@property
	def pending(self) -> int:
		"""The number of sessions and users that are still to be queried."""
		return len(self._session_checks) + len(self._room_checks)

	def is_pending(self, session: Session, rooms: Iterable[str] = ()) -> bool:
		"""Return True if a check waits or is under way: of `session`, of the rooms of its user, or of the members of one of `rooms`."""
		site = session.site
		user, credential = (site, session.user), (site, session.credential)
		return (
			user in self._room_checks
			or credential in self._session_checks
			or any(key in self._under_way for key in (user, credential, *[(site, room) for room in rooms]))
		)

	def begin_checks(self, site: str, names: Iterable[str | Credential]) -> None:
		"""Note that checks of rooms, users or sessions are under way, until `end_checks` is called with the same arguments."""
		self._under_way.update((site, name) for name in names)

	def end_checks(self, site: str, names: Iterable[str | Credential]) -> None:
		"""Note that these checks are done."""
		for key in [(site, name) for name in names]:
			self._under_way[key] -= 1
			if not self._under_way[key]:
				del self._under_way[key]

	def start(self) -> None:
		"""Start the periodic checks, if they are configured."""
		if self._interval:
			self._periodic = asyncio.get_running_loop().create_task(self._run_schedule())

	async def stop(self) -> None:
		"""Stop all checks; those that wait are dropped."""
		if self._periodic is not None:
			self._periodic.cancel()
		await self._queue.stop()

	# -- without a query

	def end(self, socket: ServerSocket) -> None:
		"""Close the connection of a socket whose session has ended."""
		# No DISCONNECT packet: after one, socket.io-client does not reconnect by itself.
		self.sockets_ended += 1
		socket.connection.close(END_REASON)

	def empty_room(self, namespace: Namespace, room: str) -> None:
		"""Make all sockets leave `room`."""
		for socket in list(namespace.members(room)):
			self._leave(socket, room)

	# -- with a query

	def check_sessions(self, sessions: Iterable[Session]) -> None:
		"""Schedule queries of who the users of `sessions` are, and then of all their rooms."""
		for session in sessions:
			if session.user == GUEST:
				# A Guest cannot become another user, but Guests may lose permissions.
				self.check_rooms(session, None)
			else:
				self._put_session((session.site, session.credential), SessionCheck(session.user, rooms=True))

	def check_session(self, session: Session) -> None:
		"""Schedule a query of who the user of `session` is: an answer was given for another user."""
		key = (session.site, session.credential)
		self._authenticator.sessions.invalidate(lambda cached, session: cached == key)
		if key not in self._session_checks:
			self._put_session(key, SessionCheck(session.user, rooms=False))

	def check_rooms(self, session: Session, rooms: set[str] | None) -> None:
		"""Schedule a query of whether the user of `session` may be in `rooms`; None for all rooms."""
		key = (session.site, session.user)
		check = self._room_checks.get(key)
		if check is None:
			self._room_checks[key] = RoomCheck(session, None if rooms is None else set(rooms))
			self._queue.put(*key, lambda: self._run(*key, self._run_room_check(self._room_checks.pop(key))))
		elif check.rooms is not None:
			if rooms is None:
				self._room_checks[key] = RoomCheck(session, None)
			else:
				check.rooms.update(rooms)

	def _put_session(self, key: Key, check: SessionCheck) -> None:
		"""Schedule a query of a credential, or change the one that waits."""
		self._session_checks[key] = check
		# Before those of rooms, which are sent with the credentials.
		self._queue.put(
			*key,
			lambda: self._run(*key, self._run_session_check(key, self._session_checks.pop(key))),
			urgent=True,
		)

	async def _run(self, site: str, name: str | Credential, check: Coroutine[Any, Any, None]) -> None:
		"""Run a check, which is under way meanwhile."""
		self.begin_checks(site, [name])
		try:
			await check
		finally:
			self.end_checks(site, [name])

	async def _run_session_check(self, key: Key, check: SessionCheck) -> None:
		"""End the sockets of a credential that belongs to another user now, else check their rooms."""
		sockets = self._sockets_of(key, check.user)
		if not sockets:
			return
		before: Session = sockets[0].session
		session: Session | None = None
		try:
			session = await self._authenticator.authenticate(*key)
		except ConnectPostponed:
			# The web process is unavailable, so nothing has been withdrawn.
			self._session_checks.setdefault(key, check)
			await asyncio.sleep(RETRY_SECONDS)
			if key in self._session_checks:
				self._put_session(key, self._session_checks[key])
			return
		except ConnectRefused:
			pass
		ended = session is None or (session.user, session.user_type) != (before.user, before.user_type)
		for socket in self._sockets_of(key, check.user):
			if session is None or ended or not session.admits(socket.connection.request):
				self.end(socket)
			else:
				socket.session = session
		if session is not None and not ended:
			if self._interval and before.has_app and not session.has_app:
				# The app was uninstalled and reports nothing any more, and the next check may be ten intervals away.
				self._schedule_check(key, session, self._interval)
			self.session_renewed.send(session)
			if check.rooms:
				self.check_rooms(session, None)

	async def _run_room_check(self, check: RoomCheck) -> None:
		"""Make the sockets of a user leave the rooms that the user may not be in any more."""
		session = check.session
		namespace = self._namespaces.get("/" + session.site)
		if namespace is None:
			return
		rooms = list(
			{
				room
				for socket in _sockets_of_user(namespace, session.user)
				for room in socket.rooms
				if room.startswith(PERMISSION_ROOMS) and (check.rooms is None or room in check.rooms)
			}
		)
		unavailable = False
		failed: set[str] = set()
		for start in range(0, len(rooms), ROOMS_PER_CHECK):
			permissions = {
				room: permission
				for room in rooms[start : start + ROOMS_PER_CHECK]
				if (permission := room_permission(room)) is not None
			}
			answers = await asyncio.gather(
				*[
					answer_of(self._permissions.has_permission(session, *permission))
					for permission in permissions.values()
				],
				return_exceptions=True,
			)
			for room, answer in zip(permissions, answers, strict=True):
				if isinstance(answer, SessionEnded):
					self._check_with_other_sessions(namespace, session, room)
				elif isinstance(answer, WebFailed):
					failed.add(room)
				elif isinstance(answer, WebUnavailable):
					unavailable = True
					self.check_rooms(session, {room})
				elif isinstance(answer, BaseException):
					raise answer
				elif not answer:
					for socket in _sockets_of_user(namespace, session.user):
						self._leave(socket, room)
		if failed:
			# Later, and not by waiting here: questions that fail must not delay the checks of others.
			self.begin_checks(session.site, failed)
			asyncio.get_running_loop().call_later(FAILURE_SECONDS, self._check_failed, session, failed)
		if unavailable:
			await asyncio.sleep(RETRY_SECONDS)

	def _check_failed(self, session: Session, rooms: set[str]) -> None:
		self.end_checks(session.site, rooms)
		self.check_rooms(session, rooms)

	def _check_with_other_sessions(self, namespace: Namespace, session: Session, room: str) -> None:
		"""Make the sockets of an ended session leave `room`, and check the user's other sessions."""
		for socket in list(namespace.members(room)):
			if socket.session.user != session.user:
				continue
			if socket.session.credential == session.credential:
				self._leave(socket, room)
			else:
				self.check_rooms(socket.session, {room})

	def _leave(self, socket: ServerSocket, room: str) -> None:
		if room in socket.rooms:
			socket.leave(room)
			self.rooms_withdrawn += 1
			self.room_withdrawn.send(socket, room)

	# -- periodic checks, for changes that are not reported

	def on_connect(self, socket: ServerSocket) -> None:
		"""Schedule the periodic checks of the socket's session, if they are configured."""
		session: Session = socket.session
		key = (session.site, GUEST_CREDENTIAL if session.user == GUEST else session.credential)
		if self._interval and (key, session.user) not in self._scheduled:
			# Spread the sessions that connect together after a restart.
			self._schedule_check(key, session, self._interval * random.uniform(0.5, 1))

	async def _run_schedule(self) -> None:
		loop = asyncio.get_running_loop()
		while True:
			if not self._schedule or self._schedule[0][0] > loop.time():
				await asyncio.sleep(min(1.0, self._interval / 4))
				continue
			due, _, key, user = heapq.heappop(self._schedule)
			if self._scheduled.get((key, user)) != due:
				continue
			sockets = self._sockets_of(key, user)
			if not sockets:
				del self._scheduled[key, user]
				continue
			self.check_sessions([sockets[0].session])
			# After the checks of reported changes.
			await self._queue.idle.wait()
			self._schedule_check(key, sockets[0].session, self._interval)

	def _schedule_check(self, key: Key, session: Session, seconds: float) -> None:
		due = asyncio.get_running_loop().time() + seconds * (APP_INTERVAL_FACTOR if session.has_app else 1)
		self._scheduled[key, session.user] = due
		heapq.heappush(self._schedule, (due, next(self._number), key, session.user))

	def _sockets_of(self, key: Key, user: str) -> list[ServerSocket]:
		site, credential = key
		namespace = self._namespaces.get("/" + site)
		sockets = _sockets_of_user(namespace, user) if namespace is not None else []
		return [socket for socket in sockets if user == GUEST or socket.session.credential == credential]


def _sockets_of_user(namespace: Namespace, user: str) -> list[ServerSocket]:
	"""Return the sockets of a user; a handler may have let those of others into the room of the user."""
	return [socket for socket in namespace.members(user_room(user)) if socket.session.user == user]
