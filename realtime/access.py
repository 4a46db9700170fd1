"""Access that ends when it ends: sockets and rooms follow what the web process would say now.

Where our app is installed on a site, it says on a Redis channel what has changed (the kinds of its messages stand in
`frappe_realtime/access.py`). Who and which rooms that concerns is asked again: many at once by a few workers, so that a
change for thousands leaves the web process free for those who connect. Where nobody tells us, each session has its
turn every `realtime_recheck_seconds`, one after the other.

A socket whose user has become another one is closed below Socket.IO: its client comes back by itself, as what it is
now. No question is asked for what is certain: a session that has ended, a document that is gone. While the web
process is away, everything else stays as it is and is asked when it is back.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

from frappe_realtime.rooms import doc_room, open_doc_room, user_room

from . import packets
from .auth import Authenticator, Session
from .config import Config
from .permissions import Permissions, SessionEnded
from .sockets import ConnectPostponed, ConnectRefused, Namespace, Socket, SocketServer
from .web import Credential, WebAway

logger = logging.getLogger("realtime.access")

CHANNEL = "frappe_realtime:access"

GATHER = 0.05
"""Seconds in which messages are gathered: a saved role says the same of many users, and often twice."""

WORKERS = 6
"""Sessions and users that are asked about at a time; fewer than `realtime_web_connections`, so that connects get through."""

TOLD = 10
"""How much more seldom a session has its turn where our app tells of changes: for those that pass it by."""

REASON = "server namespace disconnect"
"""Of the reasons in Socket.IO's words one after which no session is recovered."""

KINDS = ("doc:", "open_doc:", "doctype:")
"""Rooms that somebody must be allowed to be in."""


def subject(room: str) -> tuple[str, str] | None:
	"""DocType and name (empty for a list) that a room is about; None for rooms that ask for no permission."""
	kind, _, rest = room.partition(":")
	if kind in ("doc", "open_doc"):
		doctype, _, name = rest.partition("/")
		return (doctype, name) if doctype and name else None
	return (rest, "") if kind == "doctype" and rest else None


class Due(NamedTuple):
	"""A user of a site whose rooms are to be asked about again, as `session`; `rooms` None: all of them."""

	session: Session
	rooms: set[str] | None


class Access:
	"""Withdraws from sockets what they may not have any more.

	`left` is told of each socket that has lost a room.
	"""

	def __init__(
		self,
		config: Config,
		sockets: SocketServer,
		authenticator: Authenticator,
		permissions: Permissions,
		left: Callable[[Socket, str], None],
	) -> None:
		self._sockets = sockets
		self._authenticator = authenticator
		self._permissions = permissions
		self._left = left
		self._interval: float = config["realtime_recheck_seconds"]
		self.told: Counter[str] = Counter()
		"""Messages by kind, and `invalid` ones."""
		self.ended = 0
		"""Sockets closed because their session ended or became another user's."""
		self.rooms_left = 0
		self.others: dict[str, Callable[[dict[str, Any]], None]] = {}
		"""What else comes on the channel, by its kind."""
		self._messages: list[dict[str, Any]] = []
		self._sessions: dict[tuple[str, Credential], str] = {}
		self._rooms: dict[tuple[str, str], Due] = {}
		self._turns: list[tuple[float, int, str, Credential, str]] = []
		self._has_turn: set[tuple[str, Credential]] = set()
		self._number = count()
		self._work = asyncio.Event()
		self._tasks: list[asyncio.Task[None]] = []

	@property
	def waiting(self) -> int:
		"""Sessions and users that are still to be asked about."""
		return len(self._sessions) + len(self._rooms)

	def start(self) -> None:
		"""Begin to work off what comes."""
		loop = asyncio.get_running_loop()
		self._tasks = [loop.create_task(self._worker()) for _ in range(WORKERS)]
		if self._interval:
			self._tasks.append(loop.create_task(self._patrol()))

	async def stop(self) -> None:
		"""Leave undone what is not done."""
		for task in self._tasks:
			task.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)

	# -- what has changed

	def take(self, payload: bytes) -> None:
		"""One message of the channel."""
		try:
			message = packets.loads(payload)
			kind = message["kind"]
			if not all(isinstance(value, str) for value in (kind, message["site"])):
				raise ValueError("site and kind are names")
			if kind in self.others:
				self.others[kind](message)
			else:
				self._forget(message, kind)
				if not self._messages:
					asyncio.get_running_loop().call_later(GATHER, self._work_up)
				self._messages.append(message)
		except (ValueError, KeyError, TypeError, AttributeError):
			self.told["invalid"] += 1
			logger.warning("a message on the channel %r is not understood: %.200r", CHANNEL, payload)
			return
		self.told[kind] += 1

	def missed(self) -> None:
		"""Messages may have been lost: ask again about everybody whose site would have told."""
		self._authenticator.answers.forget(lambda key, answer: True)
		self._permissions.answers.forget(lambda question, answer: True)
		for namespace in list(self._sockets.namespaces.values()):
			self._doubt(
				socket.session
				for socket in namespace.sockets.values()
				if socket.session is not None and socket.session.asks_in_batches
			)

	def doubt(self, session: Session) -> None:
		"""Ask again who is behind the credential of `session`."""
		key = (session.site, session.credential)
		self._authenticator.answers.forget(lambda known, answer: known == key)
		self._doubt([session])

	def on_connect(self, socket: Socket) -> None:
		"""A socket has come: its session gets its turns."""
		session: Session = socket.session
		key = (session.site, session.credential)
		if self._interval and key not in self._has_turn:
			self._has_turn.add(key)
			# Those who have come together, after a restart, are spread out.
			self._next_turn(session, self._interval * random.uniform(0.5, 1))

	# -- answers: at once, so that nobody gets in on an old one

	def _forget(self, message: dict[str, Any], kind: str) -> None:
		site = message["site"]
		answers, sessions = self._permissions.answers, self._authenticator.answers
		if kind == "session":
			hash = message["sid_hash"]
			sessions.forget(lambda key, answer: key[0] == site and key[1].sid_hash == hash)
		elif kind == "user":
			user = message["user"]
			sessions.forget(lambda key, answer: key[0] == site and (answer is None or answer.user == user))
			answers.forget(lambda key, answer: key.site == site and key.user in (user, ""))
		elif kind == "doctype":
			doctype = message["doctype"]
			answers.forget(lambda key, answer: key.site == site and key.doctype == doctype)
		elif kind in ("doc", "renamed"):
			document = message["doctype"], message["name" if kind == "doc" else "old"]
			answers.forget(lambda key, answer: key.site == site and (key.doctype, key.name) == document)
		elif kind == "site":
			sessions.forget(lambda key, answer: key[0] == site)
			answers.forget(lambda key, answer: key.site == site)
		else:
			raise ValueError("a kind that is not known")

	# -- sockets: a moment later, when those let in on what was known before have arrived

	def _work_up(self) -> None:
		messages, self._messages = self._messages, []
		ended: dict[str, set[str]] = {}
		for message in messages:
			site, kind = message["site"], message["kind"]
			namespace = self._sockets.namespaces.get("/" + site)
			if namespace is None:
				continue
			if kind == "session":
				ended.setdefault(site, set()).add(message["sid_hash"])
			elif kind == "user":
				self._doubt(_sessions(namespace.members(user_room(message["user"]))))
			elif kind == "site":
				self._doubt(_sessions(namespace.sockets.values()))
			elif kind == "doctype":
				self._doubt_doctype(namespace, message["doctype"])
			else:
				name = message["name" if kind == "doc" else "old"]
				self._empty(namespace, doc_room(message["doctype"], name))
				self._empty(namespace, open_doc_room(message["doctype"], name))
		for site, hashes in ended.items():
			self._end_sessions(self._sockets.namespaces["/" + site], hashes)

	def _end_sessions(self, namespace: Namespace, hashes: set[str]) -> None:
		concerned: dict[Credential, bool] = {}
		for socket in list(namespace.sockets.values()):
			credential = socket.session.credential
			known = concerned.get(credential)
			if known is None:
				known = concerned[credential] = credential.sid_hash in hashes
			if known:
				self._end(socket)

	def _doubt(self, sessions: Iterable[Session]) -> None:
		for session in sessions:
			self._sessions[session.site, session.credential] = session.user
		self._work.set()

	def _doubt_doctype(self, namespace: Namespace, doctype: str) -> None:
		for room, members in namespace.rooms.items():
			if room.startswith(KINDS) and (about := subject(room)) is not None and about[0] == doctype:
				for socket in members:
					self._doubt_rooms(socket.session, {room})

	def _doubt_rooms(self, session: Session, rooms: set[str] | None) -> None:
		key = (session.site, session.user)
		due = self._rooms.get(key)
		if due is None or due.rooms is None or rooms is None:
			self._rooms[key] = Due(session, rooms and set(rooms) if due is None else None)
		else:
			due.rooms.update(rooms)
		self._work.set()

	def _empty(self, namespace: Namespace, room: str) -> None:
		for socket in list(namespace.members(room)):
			self._leave(socket, room)

	# -- work

	async def _worker(self) -> None:
		while True:
			while not (self._sessions or self._rooms):
				self._work.clear()
				await self._work.wait()
			# Who somebody is comes first, as his rooms are asked about as him.
			if self._sessions:
				(site, credential), user = self._sessions.popitem()
				await self._guarded(self._check_session(site, credential, user))
			else:
				_, due = self._rooms.popitem()
				await self._guarded(self._check_rooms(due))

	@staticmethod
	async def _guarded(check: Any) -> None:
		try:
			await check
		except Exception:
			logger.exception("checking access again failed")

	async def _check_session(self, site: str, credential: Credential, user: str) -> Session | None:
		"""Ask who `credential` is; end its sockets when that is not `user` any more, else have their rooms checked."""
		sockets = self._sockets_of(site, credential, user)
		if not sockets:
			return None
		before: Session = sockets[0].session
		try:
			session = await self._authenticator.session(site, credential)
		except ConnectPostponed:
			# The web process is away: nobody has said that they may not stay.
			self._sessions.setdefault((site, credential), user)
			return None
		except ConnectRefused:
			session = None
		sockets = self._sockets_of(site, credential, user)
		if session is None or (session.user, session.user_type) != (before.user, before.user_type):
			for socket in sockets:
				self._end(socket)
			return None
		for socket in sockets:
			socket.session = session
		self._doubt_rooms(session, None)
		return session

	async def _check_rooms(self, due: Due) -> None:
		"""Ask about the rooms of a user's sockets; they leave those that the user may not be in any more."""
		session = due.session
		namespace = self._sockets.namespaces.get("/" + session.site)
		if namespace is None:
			return
		rooms: deque[str] = deque(
			{
				room
				for socket in namespace.members(user_room(session.user))
				for room in socket.rooms
				if room.startswith(KINDS) and (due.rooms is None or room in due.rooms)
			}
		)
		while rooms:
			part = {room: about for room in _some(rooms) if (about := subject(room)) is not None}
			answers = await asyncio.gather(
				*[_now(self._permissions.may(session, *about)) for about in part.values()],
				return_exceptions=True,
			)
			for room, answer in zip(part, answers, strict=True):
				if isinstance(answer, SessionEnded):
					# Another session of this user asks, once this one is dealt with.
					self._try_another(due)
				elif isinstance(answer, WebAway):
					self._doubt_rooms(session, {room})
				elif isinstance(answer, BaseException):
					raise answer
				elif not answer:
					for socket in list(namespace.members(user_room(session.user))):
						self._leave(socket, room)

	def _try_another(self, due: Due) -> None:
		session = due.session
		namespace = self._sockets.namespaces.get("/" + session.site)
		others = [
			other
			for other in _sessions(namespace.members(user_room(session.user)) if namespace else ())
			if other.credential != session.credential
		]
		if others:
			self._doubt_rooms(others[0], due.rooms)

	# -- turns

	async def _patrol(self) -> None:
		loop = asyncio.get_running_loop()
		while True:
			if not self._turns or self._turns[0][0] > loop.time():
				await asyncio.sleep(min(1.0, self._interval / 4))
				continue
			_, _, site, credential, user = heapq.heappop(self._turns)
			sockets = self._sockets_of(site, credential, user)
			if not sockets:
				self._has_turn.discard((site, credential))
				continue
			session: Session = sockets[0].session
			if user != "Guest":
				await self._guarded(self._check_session(site, credential, user))
			else:
				self._doubt_rooms(session, None)
			while self._sessions or self._rooms:
				# What was told comes first, and so does what this turn has brought.
				await asyncio.sleep(GATHER)
			self._next_turn(session, self._interval)

	def _next_turn(self, session: Session, delay: float) -> None:
		due = asyncio.get_running_loop().time() + delay * (TOLD if session.asks_in_batches else 1)
		heapq.heappush(
			self._turns, (due, next(self._number), session.site, session.credential, session.user)
		)

	# -- sockets

	def _sockets_of(self, site: str, credential: Credential, user: str) -> list[Socket]:
		namespace = self._sockets.namespaces.get("/" + site)
		members = namespace.members(user_room(user)) if namespace is not None else ()
		return [socket for socket in members if socket.session.credential == credential]

	def _leave(self, socket: Socket, room: str) -> None:
		if room in socket.rooms:
			socket.leave(room)
			self.rooms_left += 1
			self._left(socket, room)

	def _end(self, socket: Socket) -> None:
		# No DISCONNECT packet: after one, socket.io-client does not come back by itself.
		self.ended += 1
		socket.connection.close(REASON)


def _sessions(sockets: Iterable[Socket]) -> list[Session]:
	return [socket.session for socket in sockets]


def _some(rooms: deque[str], most: int = 200) -> list[str]:
	return [rooms.popleft() for _ in range(min(most, len(rooms)))]


async def _now(answer: Any) -> bool:
	return bool(answer if isinstance(answer, bool) else await answer)
