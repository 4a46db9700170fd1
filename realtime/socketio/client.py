"""The Socket.IO state of a connection, and the limits of what its client may do."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from frappe_realtime.contract import TOO_MANY_NAMESPACES

from ..engine import Connection
from . import packets
from .errors import ConnectRefused
from .namespace import ServerSocket

if TYPE_CHECKING:
	from .server import SocketIOServer


class Client:
	"""The Socket.IO state of one connection: its sockets by namespace, and a binary packet that is not complete yet.

	Args:
		connection: The client's connection.
		server: The server that has accepted it.
	"""

	__slots__ = (
		"attachments",
		"connecting",
		"connection",
		"credit",
		"opened",
		"packet",
		"rate",
		"refused",
		"seen",
		"server",
		"sockets",
		"timer_slot",
	)

	def __init__(self, connection: Connection, server: SocketIOServer) -> None:
		self.connection = connection
		self.server = server
		self.timer_slot: int | None = None
		self.sockets: dict[str, ServerSocket] = {}
		self.connecting: dict[str, asyncio.Task[None]] | None = None
		self.packet: packets.Packet | None = None
		self.attachments: list[bytes] | None = None
		self.opened = perf_counter()
		"""When the connection was opened; 0 once its first CONNECT packet is answered."""
		self.refused = 0
		"""The number of CONNECT packets that were refused."""
		self.rate = self.credit = self.seen = 0.0
		"""The limiter's token bucket: events per second, tokens, and the time of the last update (monotonic)."""

	@property
	def is_known(self) -> bool:
		"""True if the client is in a namespace to which it was admitted with a session."""
		return any(socket.session is not None for socket in self.sockets.values())

	def on_timer(self) -> None:
		"""The connect timeout is over."""
		self.server.on_connect_timeout(self)


class Limiter:
	"""Limits what clients may do. This base class allows everything."""

	def on_open(self, client: Client) -> None:
		"""Count a new connection."""

	def on_close(self, client: Client) -> None:
		"""Count the end of a connection, which has left all its namespaces."""

	def allows(self, client: Client, packets: int = 1) -> bool:
		"""Return True if the client may send this number of packets now.

		Counted are events, CONNECT packets, unexpected acknowledgements, and attachments.
		"""
		return True

	def allows_attachments(self, client: Client, size: int) -> bool:
		"""Return True if the attachments of one packet of the client may have `size` bytes."""
		return True

	def on_refused(self, client: Client, namespace: str, refused: ConnectRefused) -> None:
		"""Report that a CONNECT packet was refused."""

	def too_long_without_namespace(self, client: Client) -> None:
		"""Count a connection that is closed because its client has no session in any namespace."""

	def too_many_namespaces(self, most: int) -> ConnectRefused:
		"""Return the refusal of a CONNECT packet beyond `most` namespaces."""
		return ConnectRefused(
			"Too many namespaces",
			TOO_MANY_NAMESPACES,
			f"a connection may join {most} namespaces",
			most=most,
		)
