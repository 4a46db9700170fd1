"""Which users of a site have a socket, on all sidecars. Guests are left out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from time import time

from frappe_realtime.contract.presence import ONLINE_PLACE
from frappe_realtime.contract.rooms import USER_ROOM, user_room
from frappe_realtime.contract.users import GUEST

from ..access.authentication import Session
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
		"""By site that had a socket: whether an app has an online or offline hook, as in the newest session."""
		self._away: OrderedDict[tuple[Place, str], float] = OrderedDict()
		"""The users whose last connection was lost, and until when they stay online (loop time); the first is due next."""
		self._timer: asyncio.TimerHandle | None = None
		"""One timer for all of them: thousands of clients may lose their connections together, and come back in time."""

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
		session = socket.session
		if session is None or not room.startswith(USER_ROOM):
			return
		self.on_session(session)
		# A handler may let the sockets of other users into the room.
		if session.user == GUEST or room != user_room(session.user):
			return
		place = Place(socket.namespace.name, ONLINE_PLACE)
		known = self._table.of(LOCAL, place, session.user)
		if known is not None and not known.away:
			return
		self._away.pop((place, session.user), None)
		now = round(time() * 1000)
		self._table.put(place, Member(session.user, session.user, session.full_name, now, now))

	def on_session(self, session: Session) -> None:
		"""Note what a new session says about its site."""
		self.hooks[session.site] = session.online_hooks

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Do nothing: only the end of a socket counts, with its reason (`RoomObserver`)."""

	def on_disconnect(self, socket: ServerSocket, reason: str) -> None:
		"""Handle the end of a socket, which has left its rooms."""
		user = socket.session.user
		namespace = socket.namespace
		others = namespace.rooms.members(user_room(user))
		if user == GUEST or any(other.session.user == user for other in others):
			return
		place = Place(namespace.name, ONLINE_PLACE)
		member = self._table.of(LOCAL, place, user)
		if member is None or member.away:
			return
		if self._grace and reason in RECOVERABLE_REASONS:
			self._table.put(place, member._replace(away=True))
			until = asyncio.get_running_loop().time() + self._grace
			self._away[place, user] = until
			if self._timer is None:
				self._set_timer(until)
		else:
			self._table.remove(place, user)

	def stop(self) -> None:
		"""Cancel the timer."""
		if self._timer is not None:
			self._timer.cancel()

	def _set_timer(self, until: float) -> None:
		self._timer = asyncio.get_running_loop().call_at(until, self._end_overdue)

	def _end_overdue(self) -> None:
		"""Remove the users who have not come back in time, and continue when the next one is due."""
		self._timer = None
		now = asyncio.get_running_loop().time()
		while self._away:
			(place, user), until = next(iter(self._away.items()))
			if until > now:
				self._set_timer(until)
				return
			del self._away[place, user]
			self._table.remove(place, user)
