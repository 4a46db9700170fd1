"""The rooms about a document, of which apps make some."""

from __future__ import annotations

from frappe_realtime.contract.rooms import TOPIC_ROOM, document_rooms, room_subject

from ..socketio.namespace import Namespace, Namespaces, ServerSocket


class DocumentRooms:
	"""Knows the rooms of topics in which this process has sockets; an observer of rooms (`RoomObserver`).

	Args:
		namespaces: The sockets.
	"""

	def __init__(self, namespaces: Namespaces) -> None:
		self._topics: dict[tuple[str, tuple[str, str]], set[str]] = {}
		"""The rooms of topics by namespace and subject (`room_subject`)."""
		namespaces.observe(self)

	def of(self, namespace: Namespace, doctype: str, name: str) -> set[str]:
		"""Return all rooms that are joined with a permission on one document."""
		topics = self._topics.get((namespace.name, (doctype, name)), ())
		return {*document_rooms(doctype, name), *topics}

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket has joined `room`."""
		if room.startswith(TOPIC_ROOM) and (subject := room_subject(room)) is not None:
			self._topics.setdefault((socket.namespace.name, subject), set()).add(room)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket has left `room`."""
		if not room.startswith(TOPIC_ROOM) or socket.namespace.members(room):
			return
		if (subject := room_subject(room)) is not None:
			key = (socket.namespace.name, subject)
			self._topics[key].discard(room)
			if not self._topics[key]:
				del self._topics[key]
