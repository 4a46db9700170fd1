"""The Socket.IO state of a connection, and the limits of what its client may do."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from frappe_realtime.contract.refusals import TOO_MANY_NAMESPACES

from ..engine import Connection
from ..engine.packets import Message
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
		"""The packet whose attachments have not all come yet; its data is its text, or None if it is ignored."""
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

	def is_late(self, packet: packets.Packet) -> bool:
		"""Return True if a packet for a namespace that the client has not joined is to be ignored.

		The client has not read yet that its sockets have ended, or it acknowledges an event from before it has reconnected, while it
		waits for its admission.
		"""
		acknowledges = packet.type in (packets.ACK, packets.BINARY_ACK)
		return bool(self.connection.leaving) or (acknowledges and packet.namespace in (self.connecting or ()))

	def expect_attachments(self, packet: packets.Packet) -> None:
		"""Keep a packet until its attachments have come.

		Raises:
			PacketError: It is for a namespace that the client has not joined.
		"""
		if packet.namespace not in self.sockets:
			if not self.is_late(packet):
				raise packets.PacketError("attachments for a namespace that the client has not joined")
			# Nothing of it is kept, nor of its attachments: the client may not have logged in, and may name any namespace.
			packet = packets.Packet(packet.type, missing=packet.missing)
		self.packet, self.attachments = packet, []

	def add_attachment(self, message: Message) -> packets.Packet | None:
		"""Return the packet that `message` completes; None while attachments are missing, and for a packet that is ignored.

		Raises:
			PacketError: It is no attachment, belongs to no packet, or is too large; or the packet is not valid.
		"""
		if isinstance(message, str):
			raise packets.PacketError("text while attachments are missing")
		if self.packet is None or self.attachments is None:
			raise packets.PacketError("an attachment without a packet that announces it")
		ignored = self.packet.data is None
		self.attachments.append(b"" if ignored else message)
		if not self.server.limiter.allows_attachments(self, sum(map(len, self.attachments))):
			raise packets.PacketError("the attachments are too large")
		if len(self.attachments) < self.packet.missing:
			return None
		packet, self.packet = self.packet, None
		attachments, self.attachments = self.attachments, None
		if ignored:
			return None
		packet.data = packets.reconstruct(packets.decode(packet.data).data, attachments)
		return packet

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
