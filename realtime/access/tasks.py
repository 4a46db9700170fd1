"""Who may follow a background job: the user who started it, and System Users unless that is configured otherwise.

Where our app is on the site, it says who started a task (`frappe_realtime/publishing/tasks.py`): on the channel of access, and in a
stream of the site that is read when a sidecar begins. The Desk subscribes to a task before the task is known, since it
invents the id itself; such a socket waits, and is in the room before the first progress, which comes on the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any, TypeVar

from frappe_realtime.contract import SYSTEM_USER, TASK_ROOM, task_room, tasks_key

from ..bus.store import RedisStore
from ..config import Config
from ..json_codec import loads
from ..socketio.namespace import ServerSocket
from .authentication import Session

K = TypeVar("K")
V = TypeVar("V")

logger = logging.getLogger("realtime.tasks")

MOST_KNOWN = 20_000
"""Tasks whose starter is remembered; the oldest goes first."""

MOST_AWAITED = 10
"""Tasks that a socket may wait for at a time."""


class TaskAccess:
	"""Lets sockets into the rooms of tasks."""

	def __init__(self, config: Config, store: RedisStore) -> None:
		self.refused = 0
		self._system_users = config.realtime_task_subscribers == SYSTEM_USER
		self._store = store
		self._starters: OrderedDict[tuple[str, str], str] = OrderedDict()
		self._read: dict[str, asyncio.Task[None]] = {}
		self._awaiting: dict[tuple[str, str], set[ServerSocket]] = {}
		self._awaited: dict[ServerSocket, set[tuple[str, str]]] = {}

	def enter(self, socket: ServerSocket, task_id: str) -> None:
		"""Let `socket` follow the task, now or when its starter becomes known, or never."""
		session: Session = socket.session
		if session.user_type == SYSTEM_USER and (self._system_users or not session.asks_in_batches):
			socket.join(task_room(task_id))
			return
		key = (session.site, task_id)
		if key in self._starters:
			self._admit(socket, key)
		elif session.asks_in_batches and len(self._awaited.get(socket, ())) < MOST_AWAITED:
			self._awaiting.setdefault(key, set()).add(socket)
			self._awaited.setdefault(socket, set()).add(key)
			self._read_stream(session.site)
		else:
			self.refused += 1

	def leave(self, socket: ServerSocket, task_id: str) -> None:
		"""The client does not follow the task any more."""
		socket.leave(task_room(task_id))
		self._forget(socket, (socket.session.site, task_id))

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""The socket has gone, whatever it was waiting for."""
		for key in list(self._awaited.get(socket, ())):
			self._forget(socket, key)

	def may(self, session: Session, room: str) -> bool:
		"""Whether the user of `session` may be in the room of a task now; for rooms that are restored."""
		if session.user_type == SYSTEM_USER and (self._system_users or not session.asks_in_batches):
			return True
		task_id = room.removeprefix(TASK_ROOM)
		return self._starters.get((session.site, task_id)) == session.user

	def take(self, message: dict[str, Any]) -> None:
		"""A message of the channel: `user` has started `task_id`."""
		site, task_id, user = (message.get(key) for key in ("site", "task_id", "user"))
		if not (isinstance(site, str) and isinstance(task_id, str) and isinstance(user, str)):
			raise ValueError("site, task_id and user are names")
		self._learn(site, task_id, user)

	def on_subscribed(self) -> None:
		"""Messages may have been missed: the streams are read again for those who wait."""
		for task in self._read.values():
			task.cancel()
		self._read.clear()
		for site in {site for site, _ in self._awaiting}:
			self._read_stream(site)

	def _learn(self, site: str, task_id: str, user: str) -> None:
		key = (site, task_id)
		# The first word counts: whoever names a running task later has not started it.
		if key in self._starters:
			return
		self._starters[key] = user
		if len(self._starters) > MOST_KNOWN:
			self._starters.popitem(last=False)
		for socket in list(self._awaiting.get(key, ())):
			self._forget(socket, key)
			self._admit(socket, key)

	def _admit(self, socket: ServerSocket, key: tuple[str, str]) -> None:
		if self._starters[key] == socket.session.user:
			socket.join(task_room(key[1]))
		else:
			self.refused += 1

	def _forget(self, socket: ServerSocket, key: tuple[str, str]) -> None:
		_discard(self._awaiting, key, socket)
		_discard(self._awaited, socket, key)

	def _read_stream(self, site: str) -> None:
		if site not in self._read:
			self._read[site] = asyncio.get_running_loop().create_task(self._read_starters(site))

	async def _read_starters(self, site: str) -> None:
		from redis.exceptions import RedisError

		try:
			entries = await self._store.redis.xrange(tasks_key(site), count=MOST_KNOWN)
		except (RedisError, OSError) as error:
			# Those who wait are let in by the message on the channel.
			logger.warning("who started the tasks of %s cannot be read from Redis: %s", site, error)
			return
		for _, fields in entries or ():
			self.take(loads((fields or {}).get(b"e") or b"{}"))


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
	values = index.get(key)
	if values is not None:
		values.discard(value)
		if not values:
			del index[key]
