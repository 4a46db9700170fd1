"""Sessions that clients can recover: kept in Redis as their rooms change, so that they outlive the process."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from frappe_realtime.contract import session_key

from ..bus.store import RedisStore, SessionWrite, StoreDenied, StoreUnavailable
from ..json_codec import dumps, loads
from ..socketio.namespace import Namespaces, ServerSocket

logger = logging.getLogger("realtime.sessions")

BATCH = 200
"""Sessions written in one step."""

WAITING = 50_000
"""Sessions of clients that have gone which may wait for Redis; past them the oldest cannot be recovered."""


@dataclass(frozen=True, slots=True)
class SavedSession:
	"""What a client comes back to: the id of its socket, whose it was, and the rooms."""

	id: str
	user: str
	rooms: frozenset[str]


class SessionStore:
	"""Writes sessions in the order in which they changed, many in one step, one step at a time.

	A live session is kept for half as long again as one whose client has gone (`seconds`), and prolonged in time.
	"""

	def __init__(self, store: RedisStore, namespaces: Namespaces, seconds: float) -> None:
		self._store = store
		self._seconds = max(1, round(seconds))
		self._live_seconds = max(2, round(seconds * 1.5)) + 5
		self._namespaces = namespaces
		self._waiting: dict[str, ServerSocket | SessionWrite] = {}
		self._on_the_way: dict[str, ServerSocket | SessionWrite] = {}
		self._writing: asyncio.Task[None] | None = None
		self._prolonging: asyncio.Task[None] | None = None
		self._away = False
		self.refused = ""
		"""What Redis has answered when it refused to keep sessions; empty while it does."""
		namespaces.observe(self)

	def start(self) -> None:
		"""Keep the sessions of live sockets alive."""
		self._prolonging = asyncio.get_running_loop().create_task(self._prolong())

	async def stop(self, timeout: float) -> None:
		"""Write what waits, for `timeout` seconds at most."""
		if self._prolonging is not None:
			self._prolonging.cancel()
		writing = self._writing
		if writing is not None:
			await asyncio.wait([writing], timeout=timeout)
			writing.cancel()

	# -- out

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Write the session of `socket`, which has joined `room`."""
		self.changed(socket)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Write the session of `socket`, which has left `room`, unless it leaves all rooms because it disconnects."""
		if socket.connected:
			self.changed(socket)

	def changed(self, socket: ServerSocket) -> None:
		"""Write the session of `socket`."""
		if socket.pid is not None:
			self._enqueue(socket.pid, socket)

	def detach(self, socket: ServerSocket, rooms: set[str]) -> None:
		"""Keep the session of a client that has disconnected and may come back to `rooms`."""
		assert socket.pid is not None
		key = session_key(socket.session.site, socket.pid)
		self._enqueue(socket.pid, SessionWrite(key, _record(socket, rooms), self._seconds))

	def forget(self, socket: ServerSocket) -> None:
		"""The client of `socket` must not come back to it."""
		if socket.pid is not None:
			self._enqueue(socket.pid, SessionWrite(session_key(socket.session.site, socket.pid), None))

	def rewrite(self) -> None:
		"""Write all live sessions: Redis may have forgotten some."""
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
				# Taken out first: what changes from here on is written again.
				self._on_the_way = {pid: self._waiting[pid] for pid in islice(self._waiting, BATCH)}
				for pid in self._on_the_way:
					del self._waiting[pid]
				try:
					await self._store.write_sessions(
						[self._as_write(*item) for item in self._on_the_way.items()]
					)
					self.refused = ""
					self._away = False
				except StoreUnavailable:
					self._away = True
					for pid, item in self._on_the_way.items():
						self._waiting.setdefault(pid, item)
					self._drop_excess()
					await asyncio.sleep(delay * random.uniform(0.7, 1.3))
					delay = min(delay * 1.6, 1)
				except StoreDenied as error:
					if not self.refused:
						logger.error(
							"%s keeps no sessions: %s. Clients cannot recover. %s",
							self._store.endpoint,
							error,
							error.advice,
						)
					self.refused = str(error)
				self._on_the_way = {}
		finally:
			self._writing = None

	def _as_write(self, pid: str, item: ServerSocket | SessionWrite) -> SessionWrite:
		if isinstance(item, SessionWrite):
			return item
		return SessionWrite(
			session_key(item.session.site, pid), _record(item, item.rooms), self._live_seconds
		)

	def _drop_excess(self) -> None:
		gone = [pid for pid, item in self._waiting.items() if isinstance(item, SessionWrite)]
		for pid in gone[: max(0, len(gone) - WAITING)]:
			del self._waiting[pid]

	async def _prolong(self) -> None:
		while True:
			await asyncio.sleep(self._seconds / 2)
			sockets = [socket for socket in self._namespaces.all_sockets() if socket.pid is not None]
			for start in range(0, len(sockets), BATCH):
				part = [
					socket for socket in sockets[start : start + BATCH] if socket.pid and socket.connected
				]
				keys = [session_key(socket.session.site, str(socket.pid)) for socket in part]
				try:
					there = await self._store.prolong_sessions(keys, self._live_seconds) if keys else []
				except (StoreUnavailable, StoreDenied):
					break
				for socket, kept in zip(part, there, strict=True):
					if not kept and socket.connected:
						self.changed(socket)

	# -- in

	async def load(self, site: str, pid: str) -> SavedSession | None:
		"""The session of `pid`. Raises `StoreUnavailable` and `StoreDenied`."""
		while pid in self._waiting or pid in self._on_the_way:
			if self._away or self._writing is None:
				raise StoreUnavailable("sessions wait to be written")
			await asyncio.wait([self._writing], timeout=0.02)
		text = await self._store.session(session_key(site, pid))
		if text is None:
			return None
		try:
			data = loads(text)
			return SavedSession(data["id"], data["user"], frozenset(data["rooms"]))
		except (ValueError, KeyError, TypeError):
			return None


def _record(socket: ServerSocket, rooms: Iterable[str]) -> str:
	return dumps({"id": socket.id, "user": socket.session.user, "rooms": list(rooms)})
