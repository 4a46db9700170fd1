"""Socket.IO: who is admitted to a namespace, what its packets mean, and how a socket ends. Knows no Frappe.

A connection carries a `Socket` for each namespace it has joined. What a socket may do is decided by the `Application`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..engine import Connection, Encoded
from ..engine.packets import Message
from . import packets
from .namespace import Admission, Namespace, RoomObserver, Socket, joined

logger = logging.getLogger("realtime.sockets")

Ack = Callable[..., None]
"""Answers an event with the arguments it is called with; further calls do nothing."""


class ConnectRefused(Exception):
	"""Raised by `Application.authorize`: the client gets a CONNECT_ERROR with this message and never retries by itself."""

	def __init__(self, message: str, data: Any = None) -> None:
		super().__init__(message)
		self.message = message
		self.data = data


class ConnectPostponed(Exception):
	"""Raised by `Application.authorize` when nobody can decide now: the transport is closed, and the client comes back."""


class Application(Protocol):
	"""What decides over sockets and answers their events."""

	def authorize(
		self, connection: Connection, namespace: str, auth: dict[str, Any]
	) -> Admission | Awaitable[Admission]:
		"""Who this is, or an awaitable of it when somebody has to be asked.

		Raises `ConnectRefused` or `ConnectPostponed`, at once or when awaited.
		"""

	def on_connect(self, socket: Socket, auth: dict[str, Any], admission: Admission) -> None: ...

	def on_event(self, socket: Socket, event: str, arguments: list[Any], ack: Ack | None) -> None: ...

	def on_disconnect(self, socket: Socket, reason: str, rooms: set[str]) -> None: ...


class Client:
	"""What is kept of a connection: its sockets by namespace, and a binary packet that is not complete yet."""

	__slots__ = (
		"attachments",
		"connecting",
		"connection",
		"credit",
		"guard",
		"packet",
		"rate",
		"refused",
		"seen",
		"slot",
		"sockets",
	)

	def __init__(self, connection: Connection, guard: Limiter) -> None:
		self.connection = connection
		self.guard = guard
		self.slot: int | None = None
		self.sockets: dict[str, Socket] = {}
		self.connecting: dict[str, asyncio.Task[None]] | None = None
		self.packet: packets.Packet | None = None
		self.attachments: list[bytes] | None = None
		self.refused = 0
		"""CONNECTs that were refused."""
		self.rate = self.credit = self.seen = 0.0
		"""For the guard: events per second, events that it may send now, and when that was reckoned."""

	def on_timer(self) -> None:
		"""The connection has been open for long without a namespace; one that the application still decides on may stay."""
		if not self.sockets and not self.connecting:
			self.guard.too_long_without_namespace(self)
			self.connection.close("forced close")


class Limiter:
	"""Told of what clients do, and says when it is too much. This one lets everything pass."""

	def on_open(self, client: Client) -> None:
		"""A connection has come."""

	def on_close(self, client: Client) -> None:
		"""The connection is closed, after it has left all its namespaces."""

	def allows(self, client: Client) -> bool:
		"""Whether the client may send an event, or ask for a namespace, now."""
		return True

	def too_long_without_namespace(self, client: Client) -> None:
		"""The connection is about to be closed, since its client is in no namespace."""

	def too_many_namespaces(self, most: int) -> ConnectRefused:
		"""What a client is answered that is in too many namespaces."""
		return ConnectRefused("Too many namespaces", {"most": most})


@dataclass(slots=True)
class SocketIOCounters:
	"""What the layer has seen since it started."""

	events: int = 0
	connects: int = 0
	refused: int = 0
	invalid: int = 0


@dataclass(slots=True)
class SocketIOServer:
	"""Speaks Socket.IO over the engine, for one `application`."""

	application: Application
	connect_timeout: float = 45.0
	max_namespaces: int = 16
	guard: Limiter = field(default_factory=Limiter)
	changed: Callable[[Socket], None] = lambda socket: None
	"""Told of a recoverable socket whose rooms have changed."""
	returned: Callable[[Socket], None] = lambda socket: None
	"""Told of a socket that is let in with an id that it had before."""
	observers: tuple[RoomObserver, ...] = ()
	"""Hear of the moves in each namespace that is made from now on."""
	namespaces: dict[str, Namespace] = field(default_factory=dict)
	counters: SocketIOCounters = field(default_factory=SocketIOCounters)

	# -- the engine's listener

	def on_open(self, connection: Connection) -> None:
		connection.data = client = Client(connection, self.guard)
		self.guard.on_open(client)
		connection.engine.wheel.schedule(client, self.connect_timeout)

	def on_message(self, connection: Connection, message: Message) -> None:
		client: Client = connection.data
		try:
			if client.packet is None and isinstance(message, str):
				packet = packets.decode(message)
				if packet.missing:
					self._expect_attachments(client, packet)
					return
			else:
				complete = self._add_attachment(client, message)
				if complete is None:
					return
				packet = complete
		except packets.PacketError as error:
			self.counters.invalid += 1
			logger.debug("closed %s: %s", connection.id, error)
			connection.close("parse error")
			return
		kind = packet.type
		if kind == packets.CONNECT:
			if self.guard.allows(client):
				self._connect(connection, client, packet)
			return
		socket = client.sockets.get(packet.namespace)
		if socket is None:
			# As Node does: who speaks in a room he has not entered is not a Socket.IO client.
			self.counters.invalid += 1
			connection.close("parse error")
		elif kind == packets.EVENT or kind == packets.BINARY_EVENT:
			if self.guard.allows(client):
				self.counters.events += 1
				event, *arguments = packet.data
				ack = None if packet.id is None else _ack_of(socket, packet.id)
				self.application.on_event(socket, str(event), arguments, ack)
		elif kind == packets.ACK or kind == packets.BINARY_ACK:
			if packet.id is not None:
				socket.acknowledged(packet.id, packet.data)
		elif kind == packets.DISCONNECT:
			self._take_out(client, packet.namespace)
			self._gone(socket, "client namespace disconnect")

	def on_ping(self, connection: Connection) -> None:
		# A client that hears nothing for long would come back with an offset that the history has left behind.
		client: Client = connection.data
		for socket in client.sockets.values():
			if socket.offsets:
				connection.send(socket.namespace.offset_event)

	def on_close(self, connection: Connection, reason: str) -> None:
		client: Client = connection.data
		connection.data = None
		connection.engine.wheel.cancel(client)
		for task in (client.connecting or {}).values():
			# Not before its first step: what it is to wait for would never be awaited.
			asyncio.get_running_loop().call_soon(task.cancel)
		for socket in list(client.sockets.values()):
			self._gone(socket, reason)
		self.guard.on_close(client)

	# -- attachments

	@staticmethod
	def _expect_attachments(client: Client, packet: packets.Packet) -> None:
		if packet.namespace not in client.sockets:
			raise packets.PacketError("attachments for a namespace that is not connected")
		client.packet, client.attachments = packet, []

	@staticmethod
	def _add_attachment(client: Client, message: Message) -> packets.Packet | None:
		"""The packet that `message` completes, or None when more attachments are missing."""
		if isinstance(message, str):
			raise packets.PacketError("text while attachments are missing")
		if client.packet is None or client.attachments is None:
			raise packets.PacketError("an attachment that was not announced")
		client.attachments.append(message)
		if len(client.attachments) < client.packet.missing:
			return None
		packet, client.packet = client.packet, None
		attachments, client.attachments = client.attachments, None
		packet.data = packets.reconstruct(packet.data, attachments)
		return packet

	# -- connecting

	def _connect(self, connection: Connection, client: Client, packet: packets.Packet) -> None:
		name = packet.namespace
		socket = client.sockets.get(name)
		if socket is not None:
			socket.send(self._welcome(socket))
			return
		connecting = client.connecting or {}
		if name in connecting:
			return
		if len(connecting) + len(client.sockets) >= self.max_namespaces:
			self._refuse(connection, name, self.guard.too_many_namespaces(self.max_namespaces))
			return
		auth = packet.data or {}
		try:
			answer = self.application.authorize(connection, name, auth)
		except ConnectRefused as refused:
			self._refuse(connection, name, refused)
			return
		if isinstance(answer, Admission):
			self._admit(connection, client, name, auth, answer)
			return
		if client.connecting is None:
			client.connecting = {}
		# When all clients come back at once, all of them wait here.
		connection.request.release()
		client.connecting[name] = asyncio.get_running_loop().create_task(
			self._wait_and_admit(connection, client, name, auth, answer)
		)

	def _refuse(self, connection: Connection, name: str, refused: ConnectRefused) -> None:
		self.counters.refused += 1
		connection.send(packets.encode_connect_error(name, refused.message, refused.data))
		client: Client | None = connection.data
		if client is not None:
			client.refused += 1
			if client.refused > self.max_namespaces:
				# One that tries name after name; a client comes with the one of its site.
				connection.close("forced close")

	async def _wait_and_admit(
		self,
		connection: Connection,
		client: Client,
		name: str,
		auth: dict[str, Any],
		answer: Awaitable[Admission],
	) -> None:
		try:
			# What comes after it must follow in the same turn of the loop: the answer tells what the client has missed.
			admission = await answer
		except ConnectRefused as refused:
			self._refuse(connection, name, refused)
			return
		except ConnectPostponed:
			connection.close("forced close")
			return
		except Exception:
			logger.exception("connecting a client to %s failed", name)
			connection.close("forced close")
			return
		finally:
			if client.connecting is not None:
				client.connecting.pop(name, None)
				if not client.connecting:
					client.connecting = None
		if not connection.closed:
			self._admit(connection, client, name, auth, admission)

	def _admit(
		self, connection: Connection, client: Client, name: str, auth: dict[str, Any], admission: Admission
	) -> None:
		if connection.close_if_too_slow():
			return
		self.counters.connects += 1
		namespace = self.namespaces.get(name)
		if namespace is None:
			namespace = self.namespaces[name] = Namespace(name, self.changed)
			namespace.observers = self.observers
		previous = namespace.sockets.get(admission.id) if admission.id else None
		if previous is not None:
			self._supersede(previous)
		socket = Socket(namespace, connection, admission)
		namespace.sockets[socket.id] = socket
		if socket.offsets:
			namespace.recoverable += 1
		client.sockets[name] = socket
		connection.engine.wheel.cancel(client)
		connection.request.release()
		if admission.id:
			self.returned(socket)
		self.application.on_connect(socket, auth, admission)

	def _welcome(self, socket: Socket) -> Encoded:
		answer = {"sid": socket.id}
		if socket.pid is not None:
			answer["pid"] = socket.pid
		return packets.encode_connect(socket.namespace.name, answer)

	def welcome(self, socket: Socket, missed: Sequence[Encoded] = ()) -> None:
		"""Tell the client that it is in the namespace; from here on it takes events. First come those that it has missed."""
		first = [self._welcome(socket), *missed]
		if socket.offsets:
			first.append(socket.namespace.offset_event)
		socket.send(joined(first))

	# -- leaving

	def disconnect(self, socket: Socket, close: bool = False) -> None:
		"""End `socket` from the server's side; with `close` the connection and all its namespaces too."""
		if not socket.connected:
			return
		client: Client | None = socket.connection.data
		socket.send(packets.encode_disconnect(socket.namespace.name))
		if client is not None:
			self._take_out(client, socket.namespace.name)
		self._gone(socket, "server namespace disconnect")
		if close:
			socket.connection.close("forced close")

	def _take_out(self, client: Client, name: str) -> None:
		"""The connection stays without this namespace: for a while only, when it was its last."""
		if client.sockets.pop(name, None) is not None and not client.sockets:
			client.connection.engine.wheel.schedule(client, self.connect_timeout)

	def supersede(self, name: str, id: str) -> None:
		"""The client of the socket `id` of the namespace `name` has come back to another process; if it is here, it ends."""
		namespace = self.namespaces.get(name)
		socket = None if namespace is None else namespace.sockets.get(id)
		if namespace is None or socket is None:
			return
		self._supersede(socket)
		if not namespace.sockets:
			self.namespaces.pop(name, None)

	def _supersede(self, socket: Socket) -> None:
		"""End a socket whose client has come back before its old connection was known to be lost: nobody has left."""
		client: Client | None = socket.connection.data
		if client is not None:
			client.sockets.pop(socket.namespace.name, None)
		socket.pid = None
		self._leave(socket)
		self.application.on_disconnect(socket, "transport close", set())
		socket.connection.close("transport close", abort=True)

	def _gone(self, socket: Socket, reason: str) -> None:
		if not socket.connected:
			# The goodbye has closed the connection of a client that does not read, and ended the socket with it.
			return
		rooms = self._leave(socket)
		if not socket.namespace.sockets:
			self.namespaces.pop(socket.namespace.name, None)
		self.application.on_disconnect(socket, reason, rooms)

	@staticmethod
	def _leave(socket: Socket) -> set[str]:
		"""Take `socket` out of its namespace, and out of the rooms that are returned."""
		namespace = socket.namespace
		if namespace.sockets.pop(socket.id, None) is not None and socket.offsets:
			namespace.recoverable -= 1
		rooms = set(socket.rooms)
		for room in rooms:
			socket.leave(room)
		socket.cancel_acks()
		return rooms


def _ack_of(socket: Socket, id: int) -> Ack:
	answered = False

	def ack(*arguments: Any) -> None:
		nonlocal answered
		if not answered:
			answered = True
			socket.send(packets.encode_event(socket.namespace.name, arguments, id, packets.ACK))

	return ack
