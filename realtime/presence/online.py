"""Which users of a site have a socket, on all sidecars. Guests are no users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from time import time

from frappe_realtime.contract import GUEST, ONLINE_PLACE, USER_ROOM

from ..config import Config
from ..socketio.namespace import RECOVERABLE_REASONS, ServerSocket
from .members import LOCAL, Member, Place, PresenceTable


class OnlineUsers:
	"""Keeps the users with a socket in this process as members of `ONLINE_PLACE`; an observer of rooms.

	A user whose last connection is lost stays online for `realtime_presence_grace_seconds`.

	Args:
		config: `realtime_presence_grace_seconds`.
		table: The members of all sidecars.
	"""

	def __init__(self, config: Config, table: PresenceTable) -> None:
		self._grace: float = config.realtime_presence_grace_seconds
		self._table = table
		self.hooks: dict[str, bool] = {}
		"""For each site that had a socket, whether its apps are told which users come and go."""
		self._away: dict[tuple[Place, str], asyncio.TimerHandle] = {}

	def is_online(self, namespace: str, user: str) -> bool:
		"""Return True if `user` has a socket on any sidecar."""
		return self._table.get(Place(namespace, ONLINE_PLACE), user) is not None

	def users(self, namespace: str) -> Iterator[str]:
		"""Return the users with a socket on any sidecar."""
		return (member.user for member in self._table.members(Place(namespace, ONLINE_PLACE)))

	def count(self, namespace: str) -> int:
		"""Return the number of these users."""
		return self._table.count(Place(namespace, ONLINE_PLACE))

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Handle the first socket of a user (`RoomObserver`)."""
		if not room.startswith(USER_ROOM):
			return
		session = socket.session
		if session is not None:
			self.hooks[session.site] = session.online_hooks
		if len(socket.namespace.rooms[room]) > 1:
			return
		if session is None or session.user == GUEST or room != USER_ROOM + session.user:
			return
		place = Place(socket.namespace.name, ONLINE_PLACE)
		timer = self._away.pop((place, session.user), None)
		if timer is not None:
			timer.cancel()
		now = round(time() * 1000)
		self._table.put(place, Member(session.user, session.user, session.full_name, now, now))

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Do nothing: only the end of a socket counts, with its reason (`RoomObserver`)."""

	def on_disconnect(self, socket: ServerSocket, reason: str) -> None:
		"""Handle the end of a socket, which has left its rooms."""
		user = socket.session.user
		namespace = socket.namespace
		if user == GUEST or namespace.rooms.get(USER_ROOM + user):
			return
		place = Place(namespace.name, ONLINE_PLACE)
		member = self._table.of(LOCAL, place, user)
		if member is None or member.away:
			return
		if self._grace and reason in RECOVERABLE_REASONS:
			self._table.put(place, replace(member, away=True))
			loop = asyncio.get_running_loop()
			self._away[place, user] = loop.call_later(self._grace, self._end, place, user)
		else:
			self._table.remove(place, user)

	def stop(self) -> None:
		"""Cancel all timers."""
		for timer in self._away.values():
			timer.cancel()

	def _end(self, place: Place, user: str) -> None:
		del self._away[place, user]
		self._table.remove(place, user)
