"""What the handlers of apps do with presence, in Python and in JavaScript."""

from __future__ import annotations

from typing import Any

from frappe_realtime.contract.presence import PRESENCE_BAD_REQUEST, PRESENCE_SYNC
from frappe_realtime.contract.rooms import presence_room
from frappe_realtime.errors import PresenceRefused

from ..json_codec import dumps, loads
from ..socketio.namespace import ServerSocket
from .feed import PresenceFeed
from .members import Place
from .places import check_place
from .presence import Presence


class AppPresence:
	"""Lets handlers join places, change states and list members. A handler decides by itself who may be where.

	Args:
		presence: The members of this process.
		feed: Lists members.
	"""

	def __init__(self, presence: Presence, feed: PresenceFeed) -> None:
		self._presence = presence
		self._feed = feed

	def join(self, socket: ServerSocket, place: str, state: Any, seconds: Any) -> None:
		"""Let `socket` join a place, or change its state there. A new member is sent who is there (`PRESENCE_SYNC`).

		Raises:
			PresenceRefused: The place or the state is invalid, or a limit is reached.
		"""
		place = check_place(place)
		# After the disconnect there is nothing to join, as for rooms.
		if not socket.connected:
			return
		is_new = not self._presence.is_member(socket, place)
		member = self._presence.join(socket, place, _copied(state), seconds)
		if is_new:
			roster = self._feed.roster(Place(socket.namespace.name, place))
			socket.emit(PRESENCE_SYNC, {"place": place, "me": member.public(), **roster})

	def set(self, socket: ServerSocket, place: str, state: Any, seconds: Any) -> None:
		"""Change the state of `socket`; the exceptions are those of `join`, and one for a socket that is no member."""
		place = check_place(place)
		if socket.connected:
			self._presence.set(socket, place, _copied(state), seconds)

	def leave(self, socket: ServerSocket, place: str) -> None:
		"""Let `socket` leave a place."""
		socket.leave(presence_room(place))

	def members(self, namespace: str, place: str) -> tuple[list[dict[str, Any]], int]:
		"""Return the members of a place that are listed, and the number of all.

		Raises:
			PresenceRefused: There is no such kind of place.
		"""
		current = self._feed.current(Place(namespace, check_place(place)))
		return current["members"], current["count"]


def _copied(state: Any) -> Any:
	"""Return a state as clients would get it: what the handler does to its object later does not change it."""
	try:
		return loads(dumps(state))
	except (TypeError, ValueError) as error:
		raise PresenceRefused(PRESENCE_BAD_REQUEST, f"the state is not JSON: {error}") from error
