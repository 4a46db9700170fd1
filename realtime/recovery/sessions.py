"""Recoverable sessions in Redis. They are written as their rooms change, so that they survive the process."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from frappe_realtime.contract.redis_keys import session_key

from ..bus.events import StreamPosition
from ..bus.store import RedisStore, SessionWrite, StoreDenied, StoreUnavailable
from ..json_codec import dumps, loads
from ..signals import Signal
from ..socketio.namespace import Namespaces, ServerSocket
from .positions import parse_offset

logger = logging.getLogger("realtime.sessions")

BATCH = 200
"""Sessions that are written in one round trip."""

DENIED_SECONDS = 60.0
"""Seconds for which new clients get no session after Redis has denied to keep one."""

MAX_WAITING = 50_000
"""Sessions of disconnected clients that wait while Redis is unavailable; beyond that, the oldest are dropped."""


class SavedSession(NamedTuple):
	"""A session that was read from Redis.

	Args:
		id: The id of the socket.
		user: The user of the socket.
		rooms: The rooms that it was in, each with the position at which it joined: earlier events are not replayed.
		sid_hash: The hash of its session id in Frappe; empty if it had none.
		recoveries: How often the client has recovered it so far.
	"""

	id: str
	user: str
	rooms: Mapping[str, StreamPosition]
	sid_hash: str = ""
	recoveries: int = 0


class SessionStore:
	"""Writes sessions in the order in which they change, many in one round trip, one round trip at a time.

	A session is kept for `seconds` after the disconnect. While the client is connected it is kept for half as long again,
	and extended in time, so that it outlives a process that is killed.

	A host that was separated from Redis may still have the socket of a client that has recovered at another one. Its writes are
	refused, because the session was recovered more often since, and it learns so that this socket is outdated.

	Args:
		store: redis_queue.
		namespaces: The sockets of this process, whose rooms are observed.
		seconds: `realtime_recovery_seconds`.
	"""

	def __init__(self, store: RedisStore, namespaces: Namespaces, seconds: float) -> None:
		self.denied = ""
		"""The answer of a Redis that has denied to keep sessions, until it keeps one; empty otherwise."""
		self._denied_until = 0.0
		"""When Redis is asked again, by the session of the next new client (time of the loop)."""
		self.recovered_elsewhere: Signal[[str, str]] = Signal()
		"""Sent with the namespace and the id of a socket whose client has recovered at another process."""
		self._store = store
		self._seconds = max(1, round(seconds))
		self._live_seconds = max(2, round(seconds * 1.5)) + 5
		self._namespaces = namespaces
		self._waiting: dict[str, ServerSocket | SessionWrite] = {}
		"""What is to be written, by pid: a live socket as it will be then, or a fixed write."""
		self._in_flight: dict[str, ServerSocket | SessionWrite] = {}
		self._writing: asyncio.Task[None] | None = None
		self._extending: asyncio.Task[None] | None = None
		self._unavailable = False
		namespaces.observe(self)

	def start(self) -> None:
		"""Start to extend the sessions of live sockets."""
		self._extending = asyncio.get_running_loop().create_task(self._extend_periodically())

	async def stop(self, timeout: float) -> None:
		"""Write what waits, within `timeout` seconds."""
		if self._extending is not None:
			self._extending.cancel()
		writing = self._writing
		if writing is not None:
			await asyncio.wait([writing], timeout=timeout)
			writing.cancel()

	@property
	def is_denied(self) -> bool:
		"""True for `DENIED_SECONDS` after Redis has denied to keep a session: new clients are not recoverable meanwhile."""
		return bool(self.denied) and asyncio.get_running_loop().time() < self._denied_until

	# -- writing

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Write the session of `socket`, which has joined `room`."""
		self.changed(socket)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Write the session of `socket`, which has left `room`, unless it leaves all rooms because it disconnects."""
		if socket.connected:
			self.changed(socket)

	def changed(self, socket: ServerSocket) -> None:
		"""Write the session of `socket`, as it is when its turn comes."""
		if socket.pid is not None:
			self._enqueue(socket.pid, socket)

	def detach(self, socket: ServerSocket, rooms: Mapping[str, str]) -> None:
		"""Write the session of a client that has disconnected and may recover `rooms`."""
		assert socket.pid is not None
		key = session_key(socket.session.site, socket.pid)
		write = SessionWrite(key, _record(socket, rooms), self._seconds, socket.recoveries)
		self._enqueue(socket.pid, write)

	def delete(self, socket: ServerSocket) -> None:
		"""Delete the session of `socket`: its client must not recover it."""
		if socket.pid is not None:
			key = session_key(socket.session.site, socket.pid)
			self._enqueue(socket.pid, SessionWrite(key, None, recoveries=socket.recoveries))

	def on_subscribed(self) -> None:
		"""Write the sessions of all live sockets: Redis may have lost some while it was unavailable."""
		for socket in self._namespaces.all_sockets():
			self.changed(socket)

	def _enqueue(self, pid: str, item: ServerSocket | SessionWrite) -> None:
		self._waiting.pop(pid, None)
		self._waiting[pid] = item
		if self._writing is None:
			self._writing = asyncio.get_running_loop().create_task(self._write())

	async def _write(self) -> None:
		delay = 0.1
		try:
			while self._waiting:
				# Removed before the round trip: what changes from here on is written again.
				self._in_flight = {pid: self._waiting[pid] for pid in islice(self._waiting, BATCH)}
				for pid in self._in_flight:
					del self._waiting[pid]
				try:
					items = list(self._in_flight.values())
					for position in await self._store.write_sessions(
						[self._as_write(*item) for item in self._in_flight.items()]
					):
						self._on_outdated(items[position])
					self.denied = ""
					self._unavailable = False
				except StoreUnavailable:
					self._unavailable = True
					for pid, item in self._in_flight.items():
						self._waiting.setdefault(pid, item)
					self._drop_excess()
					await asyncio.sleep(delay * random.uniform(0.7, 1.3))
					delay = min(delay * 1.6, 1)
				except StoreDenied as error:
					if not self.denied:
						logger.error(
							"%s denies to keep sessions: %s. Clients cannot recover. %s",
							self._store.endpoint,
							error,
							error.advice,
						)
					self.denied = str(error)
					self._denied_until = asyncio.get_running_loop().time() + DENIED_SECONDS
					await self._remove_outdated()
				self._in_flight = {}
		finally:
			self._writing = None

	async def _remove_outdated(self) -> None:
		"""Delete the sessions that Redis does not keep as they are now.

		Redis has them as they were before, perhaps without a room: their clients must not recover that. A Redis without memory still
		deletes.
		"""
		writes = [self._as_write(*item)._replace(value=None) for item in self._in_flight.items()]
		try:
			await self._store.write_sessions(writes)
		except StoreUnavailable:
			for pid, write in zip(self._in_flight, writes, strict=True):
				self._waiting.setdefault(pid, write)
		except StoreDenied:
			# As of a user without rights, whose sessions Redis has never kept.
			pass

	def _as_write(self, pid: str, item: ServerSocket | SessionWrite) -> SessionWrite:
		if isinstance(item, SessionWrite):
			return item
		key = session_key(item.session.site, pid)
		return SessionWrite(key, _record(item, item.joined_at), self._live_seconds, item.recoveries)

	def _on_outdated(self, item: ServerSocket | SessionWrite) -> None:
		"""Report a socket whose client has recovered elsewhere."""
		if isinstance(item, ServerSocket) and item.connected:
			self.recovered_elsewhere.send(item.namespace.name, item.id)

	def _drop_excess(self) -> None:
		detached = [pid for pid, item in self._waiting.items() if isinstance(item, SessionWrite)]
		for pid in detached[: max(0, len(detached) - MAX_WAITING)]:
			del self._waiting[pid]

	async def _extend_periodically(self) -> None:
		while True:
			await asyncio.sleep(self._seconds / 2)
			await self._extend()

	async def _extend(self) -> None:
		"""Extend the sessions of live sockets, and write those that Redis has lost."""
		sockets = [socket for socket in self._namespaces.all_sockets() if socket.pid is not None]
		for start in range(0, len(sockets), BATCH):
			part = [socket for socket in sockets[start : start + BATCH] if socket.pid and socket.connected]
			keys = [session_key(socket.session.site, str(socket.pid)) for socket in part]
			try:
				found = await self._store.prolong_sessions(keys, self._live_seconds) if keys else []
			except (StoreUnavailable, StoreDenied):
				return
			for socket, exists in zip(part, found, strict=True):
				if not exists and socket.connected:
					self.changed(socket)

	# -- reading

	async def load(self, site: str, pid: str) -> SavedSession | None:
		"""Return the session `pid` of `site`; None if there is none, or none that can be read.

		Raises:
			StoreUnavailable: Redis does not answer, or its copy of the session is outdated.
			StoreDenied: Redis denies the key.
		"""
		while pid in self._waiting or pid in self._in_flight:
			if self._unavailable or self._writing is None:
				raise StoreUnavailable("sessions wait to be written")
			await asyncio.wait([self._writing], timeout=0.02)
		text = await self._store.session(session_key(site, pid))
		if text is None:
			return None
		try:
			data = loads(text)
			rooms = {room: _position(offset) for room, offset in data["rooms"].items()}
			recoveries = int(data.get("recoveries", 0))
			return SavedSession(data["id"], data["user"], rooms, str(data.get("sid_hash", "")), recoveries)
		except (ValueError, KeyError, TypeError, AttributeError):
			# Also a session of a version that stored no positions.
			return None


def _position(offset: object) -> StreamPosition:
	position = parse_offset(offset)
	if position is None:
		raise ValueError("invalid offset")
	return position


def _record(socket: ServerSocket, rooms: Mapping[str, str]) -> str:
	return dumps(
		{
			# First: `WRITE_SESSIONS` looks there.
			"recoveries": socket.recoveries,
			"id": socket.id,
			"user": socket.session.user,
			"sid_hash": socket.session.credential.sid_hash,
			"rooms": rooms,
		}
	)
