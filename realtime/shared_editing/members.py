"""Which sockets follow which documents, and which of them may change them.

Both are rooms: a socket follows a document while it is in `SharedDocument.read_room`, and may change it while it is in
`write_room`. So both end with the permission, as every room does. The members of a field's room and of the writers' room are
replicated to the other sidecars, so that each of them knows which sockets it can ask for the state of a document.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from frappe_realtime.contract.rooms import SHARED_FIELD_ROOM, SHARED_ROOM, SHARED_WRITE_ROOM
from frappe_realtime.contract.shared_editing import (
	SHARED_END,
	SHARED_LIMIT,
	SHARED_NOT_PERMITTED,
	SHARED_READ_ONLY,
)

from ..cluster.members import RemoteMembers
from ..config import Config
from ..signals import Signal
from ..socketio.namespace import Namespace, ServerSocket
from .documents import SharedDocument, SharedRefused


class SharedMembers:
	"""The documents of the sockets of this process; an observer of rooms (`RoomObserver`).

	Args:
		config: `realtime_shared_documents`.
		remote: The members of rooms on other sidecars.
	"""

	def __init__(self, config: Config, remote: RemoteMembers) -> None:
		self._max_documents: int = config.realtime_shared_documents
		self.abandoned: Signal[[str, SharedDocument]] = Signal()
		"""Sent with a site and a document that the last socket of this process has left."""
		self._remote = remote
		self._documents: dict[ServerSocket, set[SharedDocument]] = {}

	@property
	def count(self) -> int:
		"""How many documents the sockets of this process follow, all together."""
		return sum(map(len, self._documents.values()))

	@property
	def sockets(self) -> list[ServerSocket]:
		"""The sockets of this process that follow a document."""
		return list(self._documents)

	def documents(self, socket: ServerSocket) -> list[SharedDocument]:
		"""Return what `socket` follows."""
		return list(self._documents.get(socket, ()))

	def follows(self, socket: ServerSocket, document: SharedDocument) -> bool:
		"""Return True if `socket` follows `document`."""
		return document in self._documents.get(socket, ())

	def check_join(self, socket: ServerSocket, document: SharedDocument) -> None:
		"""Check the limit before `socket` follows `document`.

		Raises:
			SharedRefused: It follows too many documents.
		"""
		documents = self._documents.get(socket, ())
		if document not in documents and len(documents) >= self._max_documents:
			key = "realtime_shared_documents"
			raise SharedRefused(
				SHARED_LIMIT, f"{document.text} is not followed: {key} is {self._max_documents}", key
			)

	def join(self, socket: ServerSocket, document: SharedDocument, may_write: bool) -> None:
		"""Let `socket` follow `document`.

		Args:
			socket: A socket whose user may read it.
			document: The document.
			may_write: True if the user may write it too.

		Raises:
			SharedRefused: It follows too many documents.
		"""
		self.check_join(socket, document)
		self._documents.setdefault(socket, set()).add(document)
		socket.join(document.read_room)
		if may_write:
			socket.join(document.write_room)
		socket.join(document.room)

	def allow_write(self, socket: ServerSocket, document: SharedDocument) -> None:
		"""Let `socket`, which follows `document`, change it from now on; its user may write it."""
		socket.join(document.write_room)

	def leave(self, socket: ServerSocket, document: SharedDocument) -> None:
		"""Let `socket` follow `document` no longer."""
		documents = self._documents.get(socket, set())
		documents.discard(document)
		socket.leave(document.room)
		if not any(one[:2] == document[:2] for one in documents):
			socket.leave(document.write_room)
			socket.leave(document.read_room)
		if not documents:
			self._documents.pop(socket, None)
		self._on_left(socket, document)

	def _on_left(self, socket: ServerSocket, document: SharedDocument) -> None:
		if not socket.namespace.members(document.room):
			self.abandoned.send(socket.session.site, document)

	def leave_rooms(self, socket: ServerSocket) -> None:
		"""Leave the rooms of a session that was recovered: its client joins again, and says what it has."""
		for room in list(socket.rooms):
			if room.startswith((SHARED_ROOM, SHARED_WRITE_ROOM, SHARED_FIELD_ROOM)):
				socket.leave(room)

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""Forget a socket, which has left its rooms."""
		for document in self._documents.pop(socket, ()):
			self._on_left(socket, document)

	def others(self, socket: ServerSocket, document: SharedDocument) -> int:
		"""Return how many other sockets follow `document`, on all sidecars."""
		namespace = socket.namespace
		remote = sum(1 for _ in self._remote.ids(namespace.name, document.room))
		return len(namespace.members(document.room)) - (document.room in socket.rooms) + remote

	def is_member(self, namespace: Namespace, document: SharedDocument, id: str) -> bool:
		"""Return True if the socket `id` follows `document`, on any sidecar."""
		socket = namespace.sockets.get(id)
		if socket is not None:
			return document.room in socket.rooms
		return id in self._remote.ids(namespace.name, document.room)

	def writers(self, socket: ServerSocket, document: SharedDocument, most: int) -> list[str]:
		"""Return the ids of at most `most` other sockets that follow `document` and may change it, chosen by chance."""
		ids = list(self._writers(socket, document))
		return random.sample(ids, min(most, len(ids)))

	def _writers(self, socket: ServerSocket, document: SharedDocument) -> Iterator[str]:
		namespace = socket.namespace
		for member in namespace.members(document.room):
			if member is not socket and document.write_room in member.rooms:
				yield member.id
		writers = set(self._remote.ids(namespace.name, document.write_room))
		yield from writers.intersection(self._remote.ids(namespace.name, document.room))

	# -- rooms (RoomObserver)

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Do nothing: `join` decides."""

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Tell a client that it was made to leave a document, or that it may not change it any more."""
		if not room.startswith((SHARED_ROOM, SHARED_WRITE_ROOM)) or not socket.connected:
			return
		documents = self._documents.get(socket, ())
		for document in [one for one in documents if room in (one.read_room, one.write_room)]:
			if room == document.write_room:
				if document.read_room in socket.rooms:
					socket.emit(SHARED_READ_ONLY, document.message())
			else:
				self.leave(socket, document)
				socket.emit(SHARED_END, document.message(code=SHARED_NOT_PERMITTED))
