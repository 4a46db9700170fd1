"""Socket.IO 5 over the engine: admission to namespaces, packets, and the end of sockets. Has no dependency on Frappe.

A connection has one `ServerSocket` for each namespace that its client has joined. The `Application` decides who is
admitted and answers events.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from ..engine import Connection
from ..engine.packets import Message
from ..histogram import Histogram
from ..json_codec import is_deeper
from ..log_budget import LogBudget
from ..memory import memory_of
from . import packets
from .client import Client, Limiter
from .errors import ConnectPostponed, ConnectRefused
from .namespace import Admission, Namespaces, ServerSocket

logger = logging.getLogger("realtime.socketio")

MAX_AUTH = 64 * 1024
"""Bytes of memory of the payload of a CONNECT packet, which is kept while the client waits for its admission, and for handlers."""

Ack = Callable[..., None]
"""Acknowledges an event with the arguments it is called with; further calls do nothing."""


def ignore_answer(*arguments: Any) -> None:
	"""Stand for the acknowledgement of an event whose client does not ask for one."""


class Application(Protocol):
	"""Decides on clients and answers the events of their sockets."""

	def authorize(
		self, connection: Connection, namespace: str, auth: dict[str, Any]
	) -> Admission | Awaitable[Admission]:
		"""Return the decision to admit a client to `namespace`, or an awaitable of it.

		Args:
			connection: The client's connection.
			namespace: With its slash.
			auth: The payload of the CONNECT packet.

		Raises:
			ConnectRefused: The client may not connect; raised at once or when awaited.
			ConnectPostponed: No decision can be made now; likewise.
		"""

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		"""Handle a new socket: it must be sent its CONNECT packet (`ServerSocket.send_connect`) before any event."""

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle an event of a client; `ack` is None if it does not ask for an acknowledgement."""

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Mapping[str, str]) -> None:
		"""Handle the end of a socket.

		Args:
			socket: The socket, which has left its rooms.
			reason: One of Socket.IO's.
			rooms: The rooms that it was in, as in `ServerSocket.joined_at`.
		"""


@dataclass(slots=True)
class SocketIOCounters:
	"""Counters since the start: client events, CONNECT packets accepted and refused, and invalid packets."""

	events: int = 0
	connects: int = 0
	refused: Counter[str] = field(default_factory=Counter)
	"""By `ConnectRefused.counted_as`."""
	invalid: int = 0
	accepted_latency: Histogram = field(default_factory=Histogram)
	refused_latency: Histogram = field(default_factory=Histogram)
	"""Seconds from the handshake to the answer to the first CONNECT packet of a connection, by the kind of the answer."""


class SocketIOServer:
	"""Speaks Socket.IO over the engine; it is the engine's listener.

	Args:
		application: Decides on clients and answers events.
		namespaces: The state that it keeps.
		limiter: Limits what clients may do.
		connect_timeout: Seconds that a connection may have no session in any namespace.
		max_namespaces: Namespaces of one connection.
	"""

	def __init__(
		self,
		application: Application,
		namespaces: Namespaces,
		limiter: Limiter | None = None,
		connect_timeout: float = 45.0,
		max_namespaces: int = 16,
	) -> None:
		self.application = application
		self.namespaces = namespaces
		self.limiter = limiter or Limiter()
		self.counters = SocketIOCounters()
		self._log_budget = LogBudget()
		self._event_log = LogBudget()
		self._connect_timeout = connect_timeout
		self._max_namespaces = max_namespaces

	# -- the engine's listener

	def on_open(self, connection: Connection) -> None:
		connection.data = client = Client(connection, self)
		self.limiter.on_open(client)
		connection.engine.timers.schedule(client, self._connect_timeout)

	def on_message(self, connection: Connection, message: Message) -> None:
		client: Client = connection.data
		attachments = 0
		try:
			if client.packet is None and isinstance(message, str):
				packet = packets.decode(message)
				if packet.missing:
					# As text: decoded, it may take twenty times the memory, and the attachments may never come.
					packet.data = message
					client.expect_attachments(packet)
					return
			else:
				complete = client.add_attachment(message)
				if complete is None:
					return
				packet = complete
				attachments = packet.missing
		except packets.PacketError as error:
			self.counters.invalid += 1
			logger.debug("closed %s: %s", connection.id, error)
			connection.close("parse error")
			return
		kind = packet.type
		if kind == packets.CONNECT:
			if self.limiter.allows(client):
				self._connect(connection, client, packet)
			return
		socket = client.sockets.get(packet.namespace)
		if socket is None:
			# As in Node: a client that sends to a namespace it has not joined does not speak Socket.IO.
			if not client.is_late(packet):
				self.counters.invalid += 1
				connection.close("parse error")
		elif kind == packets.EVENT or kind == packets.BINARY_EVENT:
			if self.limiter.allows(client, 1 + attachments):
				self.counters.events += 1
				socket.namespace.client_events += 1
				event, *arguments = packet.data
				ack = None if packet.id is None else _ack_of(socket, packet.id)
				try:
					self.application.on_event(socket, str(event), arguments, ack)
				except Exception:
					# The transport would close the connection, and with it the client's other sockets.
					self._event_log.write(
						logger.exception, "an event of a client in %.100r failed", socket.namespace.name
					)
		elif kind == packets.ACK or kind == packets.BINARY_ACK:
			expected = packet.id is not None and socket.acknowledged(packet.id, packet.data)
			if not expected or attachments:
				self.limiter.allows(client, attachments + (not expected))
		elif kind == packets.DISCONNECT:
			self._remove(client, packet.namespace)
			self._end(socket, "client namespace disconnect")

	def on_ping(self, connection: Connection) -> None:
		# Without events for long, a client would come back with an offset older than the history.
		client: Client = connection.data
		for socket in client.sockets.values():
			if socket.offsets:
				connection.send(socket.namespace.offset_event)

	def on_close(self, connection: Connection, reason: str) -> None:
		client: Client = connection.data
		connection.data = None
		connection.engine.timers.cancel(client)
		for task in (client.connecting or {}).values():
			# Not before its first step, or the awaitable in it would never be awaited.
			asyncio.get_running_loop().call_soon(task.cancel)
		for socket in list(client.sockets.values()):
			self._end(socket, reason)
		self.limiter.on_close(client)

	# -- connecting

	def _connect(self, connection: Connection, client: Client, packet: packets.Packet) -> None:
		name = packet.namespace
		socket = client.sockets.get(name)
		if socket is not None:
			socket.send_connect()
			return
		connecting = client.connecting or {}
		if name in connecting:
			return
		if len(connecting) + len(client.sockets) >= self._max_namespaces:
			self._refuse(connection, name, self.limiter.too_many_namespaces(self._max_namespaces))
			return
		auth = packet.data or {}
		if is_deeper(auth) or memory_of([auth], MAX_AUTH) > MAX_AUTH:
			# The application keeps it, and encodes it later for handlers in JavaScript.
			self.counters.invalid += 1
			connection.close("parse error")
			return
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
		# When all clients reconnect at once, all of them wait here: free the memory of their requests.
		connection.request.release()
		client.connecting[name] = asyncio.get_running_loop().create_task(
			self._wait_and_admit(connection, client, name, auth, answer)
		)

	def _refuse(self, connection: Connection, name: str, refused: ConnectRefused) -> None:
		self.counters.refused[refused.counted_as] += 1
		connection.send(packets.encode_connect_error(name, refused.message, refused.data))
		client: Client | None = connection.data
		if client is not None:
			_measure_connect(client, self.counters.refused_latency)
			self.limiter.on_refused(client, name, refused)
			client.refused += 1
			if client.refused > self._max_namespaces:
				# A client needs the namespace of its site only: this one is trying names.
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
			# The socket must be admitted in the same turn of the loop, because the admission holds what the client has missed.
			admission = await answer
		except ConnectRefused as refused:
			self._refuse(connection, name, refused)
			return
		except ConnectPostponed:
			connection.close("forced close")
			return
		except Exception:
			self._log_budget.write(logger.exception, "connecting a client to %.100r failed", name)
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
		namespace = self.namespaces.open(name)
		previous = namespace.sockets.get(admission.id) if admission.id else None
		if previous is not None:
			self._supersede(previous)
		socket = ServerSocket(namespace, connection, admission)
		namespace.sockets[socket.id] = socket
		if socket.offsets:
			namespace.recoverable += 1
		# Not the name in the packet, which would stay in memory for each client.
		client.sockets[namespace.name] = socket
		if admission.session is not None:
			connection.engine.timers.cancel(client)
		connection.request.release()
		_measure_connect(client, self.counters.accepted_latency)
		self.application.on_connect(socket, auth, admission)

	# -- leaving

	def disconnect(self, socket: ServerSocket, close: bool = False) -> None:
		"""Disconnect `socket` from the server's side (`ServerSocket.disconnect`)."""
		if not socket.connected:
			return
		socket.send(packets.encode_disconnect(socket.namespace.name))
		# None if that has closed the connection of a client that does not read.
		client: Client | None = socket.connection.data
		if client is not None:
			self._remove(client, socket.namespace.name)
		self._end(socket, "server namespace disconnect")
		if close:
			for other in [] if client is None else list(client.sockets.values()):
				self.disconnect(other)
			socket.connection.close_when_sent("forced close")

	def _remove(self, client: Client, name: str) -> None:
		"""Remove a namespace from a connection, which is closed after a timeout if it was the last one with a session."""
		socket = client.sockets.pop(name, None)
		if socket is not None and socket.session is not None and not client.is_known:
			client.connection.engine.timers.schedule(client, self._connect_timeout)

	def on_connect_timeout(self, client: Client) -> None:
		"""Close a connection that is still unknown, or wait for the decision that the application is making."""
		if client.is_known:
			return
		if client.connecting:
			client.connection.engine.timers.schedule(client, self._connect_timeout)
			return
		self.limiter.too_long_without_namespace(client)
		client.connection.close("forced close")

	def supersede(self, name: str, id: str) -> None:
		"""End the socket `id` of namespace `name`, whose client has reconnected to another process."""
		namespace = self.namespaces.get(name)
		socket = None if namespace is None else namespace.sockets.get(id)
		if namespace is None or socket is None:
			return
		self._supersede(socket)
		self.namespaces.discard_empty(namespace)

	def _supersede(self, socket: ServerSocket) -> None:
		"""End a socket whose client has reconnected before the loss of its old connection was noticed."""
		client: Client | None = socket.connection.data
		if client is not None:
			client.sockets.pop(socket.namespace.name, None)
		socket.pid = None
		self._leave(socket)
		self.application.on_disconnect(socket, "transport close", {})
		socket.connection.close("transport close", abort=True)

	def _end(self, socket: ServerSocket, reason: str) -> None:
		if not socket.connected:
			# Sending DISCONNECT closed the connection of a client that does not read, which ended the socket.
			return
		rooms = self._leave(socket)
		self.namespaces.discard_empty(socket.namespace)
		self.application.on_disconnect(socket, reason, rooms)

	@staticmethod
	def _leave(socket: ServerSocket) -> dict[str, str]:
		"""Remove `socket` from its namespace and its rooms, and return these (`ServerSocket.joined_at`)."""
		namespace = socket.namespace
		if namespace.sockets.pop(socket.id, None) is not None and socket.offsets:
			namespace.recoverable -= 1
		rooms = socket.joined_at.copy()
		for room in rooms:
			socket.leave(room)
		socket.cancel_acks()
		return rooms


def _measure_connect(client: Client, latency: Histogram) -> None:
	if client.opened:
		latency.observe(perf_counter() - client.opened)
		client.opened = 0.0


def _ack_of(socket: ServerSocket, id: int) -> Ack:
	answered = False

	def ack(*arguments: Any) -> None:
		nonlocal answered
		if not answered:
			# Before it counts as answered: the handler may catch what this raises, and answer otherwise.
			encoded = packets.encode_event(socket.namespace.name, arguments, id, packets.ACK)
			answered = True
			socket.send(encoded)

	return ack
