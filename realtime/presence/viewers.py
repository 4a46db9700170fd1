"""The event `doc_viewers`: who has the form of a document open.

A client has it open while it is in the room of the document (`open_doc_room`), whether it has joined the room with `doc_open`, with a
session that it recovers, or through a handler, and however it leaves the room. The members of these rooms on other sidecars are
replicated, as those of rooms that handlers make (realtime/cluster/members.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from frappe_realtime.contract.events import DOC_VIEWERS
from frappe_realtime.contract.rooms import OPEN_DOC_ROOM

from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from .members import Place
from .sender import ChangeSender


class DocumentViewers:
	"""Makes `doc_viewers`; an observer of rooms (`RoomObserver`). For the sender, a place is the room of an open document.

	The payload is `{"doctype": str, "docname": str, "users": [str, …]}`: each user who has the document open on any sidecar, once.

	Args:
		namespaces: The sockets of this process.
		sender: Sends the messages.
		remote_users: Returns the users of the sockets of other sidecars in a room of a namespace.
	"""

	event = DOC_VIEWERS

	def __init__(
		self, namespaces: Namespaces, sender: ChangeSender, remote_users: Callable[[str, str], Iterable[str]]
	) -> None:
		self._namespaces = namespaces
		self._sender = sender
		self._remote_users = remote_users
		namespaces.observe(self)

	# -- who comes and goes

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket has joined `room`."""
		if room.startswith(OPEN_DOC_ROOM) and socket.session is not None:
			self._sender.add(self, Place(socket.namespace.name, room), socket.session.user)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket has left `room`."""
		self.joined(socket, room)

	def on_remote_change(self, namespace: Namespace, room: str, users: set[str]) -> None:
		"""Handle that sockets of these users have joined or left `room` on another sidecar."""
		if room.startswith(OPEN_DOC_ROOM):
			for user in users:
				self._sender.add(self, Place(namespace.name, room), user)

	def send_to(self, socket: ServerSocket, room: str) -> None:
		"""Send `doc_viewers` to a socket that opens the document of `room` again; for the others nothing has changed."""
		message = self.message(Place(socket.namespace.name, room), {socket.session.user})
		if message is not None:
			socket.emit(DOC_VIEWERS, message)

	# -- messages: see `PlaceMessages`

	def room(self, place: Place) -> str:
		"""Return the room of an open document."""
		return place.name

	def forget(self, place: Place) -> None:
		"""Do nothing: a message does not depend on earlier ones."""

	def message(self, place: Place, changed: set[str]) -> dict[str, Any] | None:
		"""Return the payload; None if it must not be sent.

		As in Frappe's Node server, nothing is sent if the only viewer is the user who has just acted.

		Args:
			place: The room of the document.
			changed: The users who have come or gone.
		"""
		namespace, room = place
		users = dict.fromkeys(member.session.user for member in self._namespaces[namespace].members(room))
		users.update(dict.fromkeys(self._remote_users(namespace, room)))
		if not users or (len(changed) == 1 and changed == users.keys()):
			return None
		doctype, _, name = room.removeprefix(OPEN_DOC_ROOM).partition("/")
		return {"doctype": doctype, "docname": name, "users": list(users)}
