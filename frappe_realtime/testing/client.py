"""A Socket.IO client in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..bench.launch import sidecar_module
from ..contract.rooms import room_permission
from ..errors import NoAnswer
from ..handlers.broadcast import arguments_of
from ..handlers.socket import Socket

if TYPE_CHECKING:
	from realtime.access.authentication import Session
	from realtime.engine import Encoded

	from .access import SitePermissions
	from .site import Site


class Client:
	"""A client of a `Site`, like the browser's `io()`. `Site.connect` makes it.

	Attributes:
		site: The site.
		user: The user.
		events: All events received so far, in order: the name and the arguments of each.
	"""

	def __init__(
		self,
		site: Site,
		session: Session,
		query: Mapping[str, str],
		headers: Mapping[str, str],
		auth: dict[str, Any],
	) -> None:
		self.site = site
		self.user = session.user
		self.events: list[tuple[str, tuple[Any, ...]]] = []
		self._auth = auth
		self._packets = sidecar_module("socketio.packets")
		self._namespace = f"/{site.name}"
		self._connection = _Connection(self, query, headers)
		self._server_socket = self._make_server_socket(session)
		self._answers: dict[str, Any] = {}
		self._unanswered: list[str] = []
		self._acks: dict[int, list[Any]] = {}
		self._last_id = 0

	def _make_server_socket(self, session: Session) -> Any:
		"""Make what the server makes of a client that it admits to the namespace of the site."""
		module = sidecar_module("socketio.namespace")
		namespace = self.site._server.namespaces.open(self._namespace)
		server_socket = module.ServerSocket(namespace, self._connection, module.Admission(session))
		self._connection.data.sockets[namespace.name] = server_socket
		namespace.sockets[server_socket.id] = server_socket
		return server_socket

	@property
	def socket(self) -> Socket:
		"""The socket that handlers get for this client."""
		socket: Socket = self.site.handlers.runtime.socket_of(self._server_socket)
		return socket

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms of this client, including its own id."""
		return self.socket.rooms

	@property
	def connected(self) -> bool:
		"""Whether the client is connected."""
		return bool(self._server_socket.connected)

	def received(self, event: str) -> list[tuple[Any, ...]]:
		"""Return the arguments of each `event` received so far."""
		return [arguments for name, arguments in self.events if name == event]

	def emit(self, event: str, *arguments: Any) -> None:
		"""Emit an event to the server.

		Raises:
			ConnectionError: The client has disconnected.
			TypeError: The name of the event is no string, or an argument is neither JSON nor binary.
			ValueError: Socket.IO reserves the name of the event.
		"""
		self._emit(event, arguments, None)

	def call(self, event: str, *arguments: Any) -> Any:
		"""Emit an event to the server, and return its acknowledgement.

		Returns:
			The argument of the acknowledgement; None if it has none, a tuple if it has several.

		Raises:
			NoAnswer: No handler acknowledged the event; the message says why, as for the clients of this project.
			ConnectionError, TypeError, ValueError: As for `emit`.
		"""
		self._last_id += 1
		self._emit(event, arguments, self._last_id)
		if self._last_id not in self._acks:
			raise NoAnswer(f"no handler answered {event!r} so far")
		error, *answer = self._acks.pop(self._last_id)
		if error is not None:
			raise NoAnswer(f"no handler answered {event!r}: {error['message']}")
		if len(answer) > 1:
			return tuple(answer)
		return answer[0] if answer else None

	def answer(self, event: str, value: Any) -> None:
		"""Set the acknowledgement of `event`, which a handler emits with `Socket.call`.

		Args:
			event: The name of the event.
			value: The argument of the acknowledgement, or a function that returns it for the arguments of the event.
		"""
		self._answers[event] = value

	def disconnect(self) -> None:
		"""Disconnect from the server. Does nothing if the client has disconnected already."""
		if self.connected:
			self.site._run(self._send(self._packets.encode_disconnect(self._namespace)))

	def _emit(self, event: str, arguments: tuple[Any, ...], id: int | None) -> None:
		if not self.connected:
			raise ConnectionError(f"{self.user} has disconnected, and cannot emit {event!r}")
		# As clients, which refuse such a name: the server closes the connection of one that sends it.
		arguments_of(event, None)
		self.site._run(self._send(self._packets.encode_event(self._namespace, [event, *arguments], id)))

	def _leave_rooms(self, permissions: SitePermissions) -> None:
		"""Leave the rooms that need a permission that the user does not have."""
		for room in list(self._server_socket.rooms):
			permission = room_permission(room)
			if permission is not None and not permissions.has_permission(
				self._server_socket.session, *permission
			):
				self._server_socket.leave(room)

	async def _connect(self) -> None:
		self.site._server.application.on_connect(self._server_socket, self._auth)

	async def _send(self, encoded: Encoded) -> None:
		for message in encoded.messages:
			self.site._server.on_message(self._connection, message)

	def _receive(self, encoded: Encoded) -> None:
		packets = self._packets
		packet: Any = None
		attachments: list[bytes] = []
		for message in encoded.messages:
			if isinstance(message, str):
				packet, attachments = packets.decode(message), []
			else:
				attachments.append(message)
			if packet is None or len(attachments) < packet.missing:
				continue
			data = packets.reconstruct(packet.data, attachments)
			if packet.type in (packets.ACK, packets.BINARY_ACK):
				self._acks[packet.id] = data
			elif packet.type in (packets.EVENT, packets.BINARY_EVENT):
				self.events.append((data[0], tuple(data[1:])))
				if packet.id is None:
					continue
				if data[0] not in self._answers:
					self._unanswered.append(data[0])
				else:
					value = self._answers[data[0]]
					answer = value(*data[1:]) if callable(value) else value
					acknowledgement = packets.encode_event(self._namespace, [answer], packet.id, packets.ACK)
					asyncio.ensure_future(self._send(acknowledgement))


class _Connection:
	"""Stands for an Engine.IO connection, and for the request that opened it."""

	id = "in memory"
	leaving = ""
	writable_transport = None
	remote = "127.0.0.1"

	def __init__(self, client: Client, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
		self.closed = False
		self.query = query
		self.headers = {name.lower(): value for name, value in headers.items()}
		self.engine = _Engine()
		self.data = sidecar_module("socketio.client").Client(self, client.site._server)
		self._client = client

	@property
	def request(self) -> _Connection:
		return self

	def send(self, encoded: Encoded) -> None:
		if not self.closed:
			self._client._receive(encoded)

	def close(self, reason: str, abort: bool = False) -> None:
		self.closed = True

	def close_when_sent(self, reason: str) -> None:
		self.close(reason)


class _Timers:
	"""Never fires: no connection of a test is closed because time passes."""

	def schedule(self, item: Any, delay: float) -> None: ...

	def cancel(self, item: Any) -> None: ...


class _Engine:
	timers = _Timers()
