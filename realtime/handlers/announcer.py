"""Announces the sockets of sites whose apps have handlers, so that handlers on other sidecars find them in `nsp.sockets`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..access.authentication import Session
from ..cluster.sockets import SocketTable
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack


class SocketAnnouncer:
	"""Announces all sockets of a namespace from the first one on whose apps have handlers; an `EventHandler`.

	Must come before the handlers of apps: what they do with a socket is then published after the socket itself.

	Args:
		sockets: The announced sockets.
		has_handlers: Returns True if an app on the site of a session has handlers.
	"""

	events = ()

	def __init__(self, sockets: SocketTable, has_handlers: Callable[[Session], bool]) -> None:
		self._sockets = sockets
		self._has_handlers = has_handlers

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Announce a new socket, or all of its namespace if it is the first one with handlers."""
		if self._sockets.is_announced(socket.namespace.name):
			self._sockets.put(socket)
		elif self._has_handlers(socket.session):
			self._sockets.announce(socket.namespace)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Do nothing: events do not change who is connected."""

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Announce that a socket has left its namespace."""
		self._sockets.remove(socket)
