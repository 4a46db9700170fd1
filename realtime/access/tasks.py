"""Access to the rooms of background tasks: for the owner, and for System Users unless that is configured otherwise.

If the app is installed on the site, it announces the owner of a task on the access channel, and in a stream of the site
that is read when the sidecar starts (`frappe_realtime/publishing/tasks.py`). The Desk chooses a task's id itself and
subscribes before the task exists; such a subscription is pending until the owner is announced, which happens before the
first progress event, on the same connection to Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any, TypeVar

from frappe_realtime.contract.redis_keys import tasks_key
from frappe_realtime.contract.rooms import TASK_ROOM, task_room
from frappe_realtime.contract.users import SYSTEM_USER

from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..config import Config
from ..json_codec import loads
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..socketio.namespace import ServerSocket
from .authentication import Session

K = TypeVar("K")
V = TypeVar("V")

TaskKey = tuple[str, str]
"""A site and the id of a task."""

logger = logging.getLogger("realtime.tasks")

MAX_OWNERS = 20_000
"""Tasks whose owner is kept; the oldest is dropped first."""

MAX_PENDING_PER_SOCKET = 10
"""Pending subscriptions of one socket."""

READ_AGAIN_SECONDS = 1.0
"""Seconds after which the owners are read again for a session whose task is unknown."""


class TaskAccess:
	"""Admits sockets to the rooms of background tasks.

	Args:
		config: The configuration.
		store: Where the owners of earlier tasks are read.
	"""

	def __init__(self, config: Config, store: RedisStore) -> None:
		self.refused = 0
		"""Subscriptions that were refused."""
		self._system_users = config.realtime_task_subscribers == SYSTEM_USER
		self._store = store
		self._owners: OrderedDict[TaskKey, str] = OrderedDict()
		self._reads: dict[str, asyncio.Task[StoreUnavailable | None]] = {}
		self._read_at: dict[str, float] = {}
		"""When the owners of a site were read last (loop time)."""
		self._log_budget = LogBudget()
		self._pending: dict[TaskKey, set[ServerSocket]] = {}
		self._pending_of: dict[ServerSocket, set[TaskKey]] = {}
		self._waiting: dict[TaskKey, set[asyncio.Future[None]]] = {}
		"""Calls of `may_follow` that wait until the owner is announced."""

	def subscribe(self, socket: ServerSocket, task_id: str) -> None:
		"""Admit `socket` to the room of a task, now or when its owner is announced, or refuse it."""
		session: Session = socket.session
		if self._may_follow_all(session):
			socket.join(task_room(task_id))
			return
		key = (session.site, task_id)
		if key in self._owners:
			self._join_if_owner(socket, key)
		elif session.has_app and len(self._pending_of.get(socket, ())) < MAX_PENDING_PER_SOCKET:
			self._pending.setdefault(key, set()).add(socket)
			self._pending_of.setdefault(socket, set()).add(key)
			self._start_read(session.site)
		else:
			self.refused += 1

	def unsubscribe(self, socket: ServerSocket, task_id: str) -> None:
		"""Remove `socket` from the room of a task, or end its pending subscription."""
		socket.leave(task_room(task_id))
		self._remove_pending(socket, (socket.session.site, task_id))

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""End the pending subscriptions of `socket`."""
		for key in list(self._pending_of.get(socket, ())):
			self._remove_pending(socket, key)

	def is_allowed(self, session: Session, room: str) -> bool:
		"""Return whether the user of `session` may be in the room of a task, as far as its owner is known."""
		if self._may_follow_all(session):
			return True
		task_id = room.removeprefix(TASK_ROOM)
		return self._owners.get((session.site, task_id)) == session.user

	async def may_stay(self, session: Session, room: str) -> bool:
		"""Return whether the user of `session`, who was in the room of a task, may be in it; reads the owners if this one is unknown.

		A process that has just started knows no owner yet. One whose subscription is interrupted, which it does not notice at once, lacks
		those that were announced since; another sidecar may have admitted the client meanwhile.

		Raises:
			StoreUnavailable: The owners cannot be read.
		"""
		key = (session.site, room.removeprefix(TASK_ROOM))
		while not self._may_follow_all(session) and session.has_app and key not in self._owners:
			self._forget_earlier_read(session.site)
			read = self._start_read(session.site)
			await asyncio.wait([read])
			# One that a new subscription has cancelled is begun again.
			if not read.cancelled():
				if (error := read.result()) is not None:
					raise StoreUnavailable(f"the owners of tasks cannot be read: {error}") from error
				break
		return self.is_allowed(session, room)

	async def may_follow(self, session: Session, task_id: str) -> bool:
		"""Return whether the user of `session` may be in the room of a task, once its owner is announced."""
		key = (session.site, task_id)
		if not self._may_follow_all(session) and session.has_app and key not in self._owners:
			announced = asyncio.get_running_loop().create_future()
			self._waiting.setdefault(key, set()).add(announced)
			self._start_read(session.site)
			try:
				await announced
			finally:
				_discard(self._waiting, key, announced)
		allowed = self.is_allowed(session, task_room(task_id))
		self.refused += not allowed
		return allowed

	def on_message(self, message: dict[str, Any]) -> None:
		"""Take an announcement, from the channel or the stream.

		Args:
			message: `{"site", "task_id", "user"}`.

		Raises:
			ValueError: A field is missing or is not a string.
		"""
		site, task_id, user = (message.get(key) for key in ("site", "task_id", "user"))
		if not (isinstance(site, str) and isinstance(task_id, str) and isinstance(user, str)):
			raise ValueError("site, task_id and user must be strings")
		self._set_owner(site, task_id, user)

	def on_subscribed(self) -> None:
		"""Read the streams again for pending subscriptions: announcements may have been missed."""
		for task in self._reads.values():
			task.cancel()
		self._reads.clear()
		for site in {site for site, _ in [*self._pending, *self._waiting]}:
			self._start_read(site)

	def _may_follow_all(self, session: Session) -> bool:
		# Without the app no owner is ever announced, so System Users must be admitted.
		return session.user_type == SYSTEM_USER and (self._system_users or not session.has_app)

	def _set_owner(self, site: str, task_id: str, user: str) -> None:
		key = (site, task_id)
		# The first announcement is valid: a user who reuses the id of a running task does not own it.
		if key in self._owners:
			return
		self._owners[key] = user
		if len(self._owners) > MAX_OWNERS:
			self._owners.popitem(last=False)
		for socket in list(self._pending.get(key, ())):
			self._remove_pending(socket, key)
			self._join_if_owner(socket, key)
		for announced in self._waiting.get(key, ()):
			if not announced.done():
				announced.set_result(None)

	def _join_if_owner(self, socket: ServerSocket, key: TaskKey) -> None:
		if self._owners[key] == socket.session.user:
			socket.join(task_room(key[1]))
		else:
			self.refused += 1

	def _remove_pending(self, socket: ServerSocket, key: TaskKey) -> None:
		_discard(self._pending, key, socket)
		_discard(self._pending_of, socket, key)

	def _forget_earlier_read(self, site: str) -> None:
		read = self._reads.get(site)
		age = asyncio.get_running_loop().time() - self._read_at.get(site, 0.0)
		if read is not None and read.done() and age >= READ_AGAIN_SECONDS:
			del self._reads[site]

	def _start_read(self, site: str) -> asyncio.Task[StoreUnavailable | None]:
		"""Return the task that reads the owners of a site, or has read them."""
		if site not in self._reads:
			self._read_at[site] = asyncio.get_running_loop().time()
			self._reads[site] = asyncio.get_running_loop().create_task(self._read_owners(site))
		return self._reads[site]

	async def _read_owners(self, site: str) -> StoreUnavailable | None:
		"""Read the owners; return the error if a retry may succeed."""
		try:
			entries = await self._store.entries(tasks_key(site), MAX_OWNERS)
		except (StoreUnavailable, StoreDenied) as error:
			# Pending subscriptions are decided by the announcement on the channel; the next one reads again.
			self._reads.pop(site, None)
			self._log_budget.write(
				logger.warning,
				"the owners of the tasks of %s cannot be read from Redis: %s",
				site,
				error,
				extra=log_fields(site),
			)
			return error if isinstance(error, StoreUnavailable) else None
		invalid = 0
		for value in entries:
			try:
				self.on_message(loads(value or b"{}"))
			except (ValueError, AttributeError):
				invalid += 1
		if invalid:
			self._log_budget.write(
				logger.warning,
				"%d invalid entries in the stream of the tasks of %s are ignored",
				invalid,
				site,
				extra=log_fields(site),
			)
		return None


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
	values = index.get(key)
	if values is not None:
		values.discard(value)
		if not values:
			del index[key]
