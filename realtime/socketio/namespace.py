"""Namespaces, their sockets and rooms: the state of Socket.IO in this process. Admission and packets are in server.py."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from frappe_realtime.contract.events import OFFSET_EVENT

from ..engine import Connection, Encoded
from . import packets
from .rooms import Rooms

if TYPE_CHECKING:
	from .client import Client


RECOVERABLE_REASONS = frozenset(
	{"transport error", "transport close", "forced close", "ping timeout", "server shutting down"}
)
"""Reasons of a disconnect after which the session is kept, as in Node (socket.io's RECOVERABLE_DISCONNECT_REASONS)."""

CALL_NUMBERS = 1 << 31
"""The number of an event that asks for an acknowledgement is below: the Java client reads it into 32 bits."""


@dataclass(slots=True)
class Admission:
	"""The decision to admit a client to a namespace.

	Args:
		session: What the application knows of the user; None in a namespace that is open to everyone. A client that is
			in such namespaces only counts as unknown, and is closed after the connect timeout.
		pid: The private session id of a client that can recover (Socket.IO protocol 5, connection state recovery).
		id: The id of the socket that a recovering client had before; empty for a new socket.
		recoveries: How often the client has recovered, this time included.
	"""

	session: Any
	pid: str | None = None
	id: str | None = None
	recoveries: int = 0


class RoomObserver(Protocol):
	"""Is called after each change of a room. Neither method may raise or block."""

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""`socket` has joined `room`."""

	def left(self, socket: ServerSocket, room: str) -> None:
		"""`socket` has left `room`."""


class Namespaces(dict[str, "Namespace"]):
	"""The namespaces that have sockets, by name (`/site`).

	Args:
		connect_answer: Entries of the answer to CONNECT for sockets with a session, besides `sid` and `pid` of the protocol.
		first_call: The number of the first event that asks for an acknowledgement. No two of this process have the same one; it should
			be another for each process, because a client may reconnect to another one before it acknowledges an event.
	"""

	def __init__(self, connect_answer: Mapping[str, Any] = MappingProxyType({}), first_call: int = 1) -> None:
		super().__init__()
		self._calls = count(first_call)
		self._connect_answer = connect_answer
		self._observers: tuple[RoomObserver, ...] = ()

	def open(self, name: str) -> Namespace:
		"""Return the namespace `name`, which is created if it has no sockets yet."""
		namespace = self.get(name)
		if namespace is None:
			namespace = self[name] = Namespace(name, self._observers, self._connect_answer, self._calls)
		return namespace

	def discard_empty(self, namespace: Namespace) -> None:
		"""Remove `namespace` if its last socket has left."""
		if not namespace.sockets:
			self.pop(namespace.name, None)

	def all_sockets(self) -> Iterator[ServerSocket]:
		"""Return the sockets of all namespaces; the rooms may change while they are read."""
		for namespace in list(self.values()):
			yield from list(namespace.sockets.values())

	def observe(self, observer: RoomObserver) -> None:
		"""Call `observer` for every change of a room from now on, in all namespaces."""
		self._observers += (observer,)
		for namespace in self.values():
			namespace.observe(observer)

	def unobserve(self, observer: RoomObserver) -> None:
		"""Stop calling `observer`."""
		self._observers = _without(self._observers, observer)
		for namespace in self.values():
			namespace.observers = _without(namespace.observers, observer)


class Namespace:
	"""The sockets of one namespace and the members of its rooms.

	Args:
		name: With its slash, `/site`.
		observers: Called for every change of a room.
		connect_answer: Entries of the answer to CONNECT, as for `Namespaces`.
		calls: The numbers of events that ask for an acknowledgement.
	"""

	__slots__ = (
		"_offset_event",
		"calls",
		"client_events",
		"connect_answer",
		"deliveries",
		"emitted",
		"held",
		"held_text",
		"name",
		"observers",
		"offset",
		"published",
		"recoverable",
		"rooms",
		"sockets",
	)

	def __init__(
		self,
		name: str,
		observers: tuple[RoomObserver, ...],
		connect_answer: Mapping[str, Any],
		calls: Iterator[int],
	) -> None:
		self.name = name
		self.observers = observers
		self.connect_answer = connect_answer
		self.calls = calls
		self.sockets: dict[str, ServerSocket] = {}
		self.rooms = Rooms()
		self.offset: str = ""
		"""The newest offset up to which all events have been written to these sockets, except those of `held`."""
		self.held: dict[str, str] = {}
		"""Rooms of which events are held back, each with an offset: those from it on are not written yet."""
		self.held_text = ""
		"""`held` as the end of each offset that is sent."""
		self.recoverable = 0
		"""The number of sockets whose clients can recover, and so take an offset."""
		# Counters since the first socket came.
		self.published = 0
		"""Events from Redis; each process of a cluster counts the same ones."""
		self.emitted = 0
		"""Events of handlers in this process."""
		self.deliveries = 0
		"""Events written to sockets."""
		self.client_events = 0
		"""Events received from clients."""
		self._offset_event: tuple[str, Encoded] | None = None

	@property
	def client_offset(self) -> str:
		"""The offset that an event without one is sent with: `offset`, and what is held back."""
		return self.offset + self.held_text

	@property
	def offset_event(self) -> Encoded:
		"""The event that carries nothing but the offset; encoded once for each offset."""
		offset = self.client_offset
		if self._offset_event is None or self._offset_event[0] != offset:
			encoded = packets.encode_event(self.name, (OFFSET_EVENT, offset))
			self._offset_event = (offset, encoded)
		return self._offset_event[1]

	def hold_back(self, room: str, since: str) -> None:
		"""Note that the events of `room` from the offset `since` on are not written yet, while others are."""
		self.held[room] = since
		self.held_text = held_text(self.held)

	def release(self, room: str) -> None:
		"""Note that all events of `room` are written."""
		if self.held.pop(room, None) is not None:
			self.held_text = held_text(self.held)

	def observe(self, observer: RoomObserver) -> None:
		"""Call `observer` for every change of a room of this namespace from now on."""
		self.observers += (observer,)

	def members(self, room: str) -> Collection[ServerSocket]:
		"""Return the sockets in `room`. As in Socket.IO, the id of a socket is a room with this socket in it."""
		members = self.rooms.members(room)
		if members:
			return members
		socket = self.sockets.get(room)
		return () if socket is None else (socket,)


class ServerSocket:
	"""One client in one namespace, on the server's side.

	Args:
		namespace: The namespace that the client has joined.
		connection: The Engine.IO connection of the client.
		admission: The application's decision.
	"""

	__slots__ = (
		"__weakref__",
		"_acks",
		"connected_at",
		"connection",
		"id",
		"joined_at",
		"namespace",
		"offsets",
		"pid",
		"recoveries",
		"session",
		"view",
	)

	def __init__(self, namespace: Namespace, connection: Connection, admission: Admission) -> None:
		self.id = admission.id or secrets.token_urlsafe(15)
		self.namespace = namespace
		self.connection = connection
		self.session = admission.session
		self.connected_at = time()
		"""When the socket was admitted, in seconds since 1970."""
		self.joined_at: dict[str, str] = {}
		"""The rooms, each with the newest offset at the time when it was joined; empty if the client cannot recover."""
		self.pid = admission.pid
		"""The private session id by which the client can recover; None when it cannot (any more)."""
		self.recoveries = admission.recoveries
		"""How often the client has recovered; the socket of the last time is the valid one."""
		self.offsets = admission.pid is not None
		"""True if every event to this client ends with an offset."""
		self.view: Any = None
		"""The object that Python handlers are given for this socket; created when the first handler needs it."""
		self._acks: dict[int, asyncio.Future[list[Any]]] | None = None

	@property
	def rooms(self) -> KeysView[str]:
		"""The rooms that the socket is in; the view follows every change."""
		return self.joined_at.keys()

	@property
	def connected(self) -> bool:
		"""True until the socket has left its namespace."""
		return self.namespace.sockets.get(self.id) is self

	def join(self, room: str, offset: str = "") -> None:
		"""Join `room`; does nothing if the socket is in it already or is disconnected.

		Args:
			room: The room.
			offset: The offset at which a socket that recovers has joined the room before; empty: the newest one.
		"""
		if room in self.joined_at or not self.connected:
			return
		self.joined_at[room] = (offset or self.namespace.offset) if self.offsets else ""
		self.namespace.rooms.add(room, self)
		for observer in self.namespace.observers:
			observer.joined(self, room)

	def leave(self, room: str) -> None:
		"""Leave `room`; does nothing if the socket is not in it."""
		if room not in self.joined_at:
			return
		del self.joined_at[room]
		self.namespace.rooms.remove(room, self)
		for observer in self.namespace.observers:
			observer.left(self, room)

	def disconnect(self, close: bool = False) -> None:
		"""Send a DISCONNECT packet and leave the namespace.

		Args:
			close: Also disconnect the client's sockets in other namespaces, and close the connection.
		"""
		client: Client | None = self.connection.data
		if client is not None:
			client.server.disconnect(self, close)

	def send_connect(self, missed: Sequence[Encoded] = ()) -> None:
		"""Answer the client's CONNECT packet; events can be sent from here on.

		Args:
			missed: The events that a recovering client has missed, sent before all others.
		"""
		answer: dict[str, Any] = {"sid": self.id}
		if self.pid is not None:
			answer["pid"] = self.pid
		if self.session is not None:
			answer |= self.namespace.connect_answer
		first = [packets.encode_connect(self.namespace.name, answer), *missed]
		if self.offsets:
			first.append(self.namespace.offset_event)
		self.send(joined(first))

	def emit(self, event: str, *arguments: Any) -> None:
		"""Send an event to this socket.

		Raises:
			TypeError: An argument is neither JSON nor binary.
		"""
		self.send_event(packets.encode_event(self.namespace.name, [event, *arguments]))

	def send_event(self, encoded: Encoded) -> None:
		"""Send an encoded event that does not ask for an acknowledgement."""
		# A client that can recover takes any last argument that is a string for the offset: so there is always one.
		self.connection.send(
			packets.with_offset(encoded, self.namespace.client_offset) if self.offsets else encoded
		)

	def call(self, event: str, *arguments: Any) -> asyncio.Future[list[Any]]:
		"""Send an event that asks for an acknowledgement.

		Returns:
			A future of the arguments of the acknowledgement; it is cancelled when the socket disconnects first.
		"""
		# Not a number of this socket: the client may acknowledge an event of an earlier socket late, on its new connection.
		id = next(self.namespace.calls) % CALL_NUMBERS
		encoded = packets.encode_event(self.namespace.name, [event, *arguments], id)
		future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
		if not self.connected:
			future.cancel()
			return future
		if self._acks is None:
			self._acks = {}
		self._acks[id] = future
		future.add_done_callback(lambda _: self._acks and self._acks.pop(id, None))
		self.send(encoded)
		return future

	def send(self, encoded: Encoded) -> None:
		"""Send an encoded packet as it is."""
		self.connection.send(encoded)

	def acknowledged(self, id: int, arguments: list[Any]) -> bool:
		"""Resolve the future of event `id`; return False if no acknowledgement of this event is expected."""
		future = self._acks.pop(id, None) if self._acks else None
		if future is None or future.done():
			return False
		future.set_result(arguments)
		return True

	def cancel_acks(self) -> None:
		"""Cancel the futures of all acknowledgements that have not come."""
		acks, self._acks = self._acks, None
		for future in (acks or {}).values():
			future.cancel()


def held_text(held: Mapping[str, str]) -> str:
	"""Return the end of an offset, `;<since>=<room>` for each room of which events are held back."""
	return "".join(f";{since}={quote(room, safe='')}" for room, since in held.items())


def joined(encoded: Sequence[Encoded]) -> Encoded:
	"""Return several messages as one, for one write."""
	if len(encoded) == 1:
		return encoded[0]
	return Encoded(*[message for one in encoded for message in one.messages])


def _without(observers: tuple[RoomObserver, ...], observer: RoomObserver) -> tuple[RoomObserver, ...]:
	return tuple(one for one in observers if one is not observer)
