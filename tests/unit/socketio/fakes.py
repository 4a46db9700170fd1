"""Sockets without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from realtime.engine import Encoded
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.web.frappe_client import Credential

SITE = "one.test"


class FakeConnection:
	"""A connection that records what is sent, and whether it was closed.

	Args:
		fast: Whether the client is on WebSocket and reads fast enough, so that the fan-out writes frames to it.
	"""

	def __init__(self, fast: bool = False) -> None:
		self.sent: list[str | bytes] = []
		self.frames: list[bytes] = []
		self.closed: list[str] = []
		self.data: Any = None
		self.writable_transport = SimpleNamespace(write=self.frames.append) if fast else None

	def send(self, encoded: Encoded) -> None:
		self.sent += encoded.messages

	def close(self, reason: str, abort: bool = False) -> None:
		self.closed.append(reason)


def add_socket(
	namespaces: Namespaces,
	user: str = "ann@example.com",
	pid: str | None = None,
	*,
	site: str = SITE,
	id: str = "",
	fast: bool = False,
) -> ServerSocket:
	"""Add a connected socket to the namespace of a site."""
	namespace = namespaces.open(f"/{site}")
	namespace.offset = namespace.offset or "0-0"
	session = SimpleNamespace(
		site=site, user=user, user_type="System User", has_app=True, credential=Credential()
	)
	connection: Any = FakeConnection(fast)
	socket = ServerSocket(namespace, connection, Admission(session, pid, id or None))
	namespace.sockets[socket.id] = socket
	namespace.recoverable += socket.offsets
	return socket


def remove_socket(socket: ServerSocket) -> dict[str, str]:
	"""Remove a socket as the server does when its connection ends; return its rooms (`ServerSocket.joined_at`)."""
	socket.namespace.sockets.pop(socket.id)
	socket.namespace.recoverable -= socket.offsets
	rooms = socket.joined_at.copy()
	for room in rooms:
		socket.leave(room)
	return rooms
