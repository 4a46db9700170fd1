"""A namespace: the sockets of one site, who of them is in which room, and what each can be sent.

Who gets in, and what the sockets send, is the business of sockets.py.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from frappe_realtime.contract import OFFSET_EVENT

from ..engine import Connection, Encoded
from . import packets


@dataclass(slots=True)
class Admission:
	"""A client that is let in: the new socket's `session`, and for one that can recover its `pid`.

	`id` is the id of the socket that the client had before, when it recovers.
	"""

	session: Any
	pid: str | None = None
	id: str | None = None


class RoomObserver(Protocol):
	"""Hears of every move in a namespace, after it has been made. Neither method may raise."""

	def joined(self, socket: Socket, room: str) -> None: ...

	def left(self, socket: Socket, room: str) -> None: ...


class Namespace:
	"""The sockets of one namespace, and who of them is in which room."""

	__slots__ = ("_offset_event", "changed", "name", "observers", "offset", "recoverable", "rooms", "sockets")

	def __init__(self, name: str, changed: Callable[[Socket], None]) -> None:
		self.name = name
		self.sockets: dict[str, Socket] = {}
		self.rooms: dict[str, dict[Socket, None]] = {}
		"""The members of each room in the order in which they came, as in Node."""
		self.observers: tuple[RoomObserver, ...] = ()
		self.offset: str = ""
		"""The last place in the site's order of events of which all that goes to these sockets has been written."""
		self.recoverable = 0
		"""How many of the sockets take an offset."""
		self.changed = changed
		"""Told of a recoverable socket whose rooms have changed."""
		self._offset_event: tuple[str, Encoded] | None = None

	@property
	def offset_event(self) -> Encoded:
		"""The event that tells a client the offset alone."""
		if self._offset_event is None or self._offset_event[0] != self.offset:
			encoded = packets.encode_event(self.name, (OFFSET_EVENT, self.offset))
			self._offset_event = (self.offset, encoded)
		return self._offset_event[1]

	def members(self, room: str) -> Collection[Socket]:
		"""The sockets in `room`. As in Socket.IO a socket's own id is a room with this socket in it."""
		members = self.rooms.get(room)
		if members is not None:
			return members
		socket = self.sockets.get(room)
		return () if socket is None else (socket,)


class Socket:
	"""One client in one namespace."""

	__slots__ = (
		"__weakref__",
		"_acks",
		"_last_ack",
		"connection",
		"id",
		"namespace",
		"offsets",
		"pid",
		"rooms",
		"session",
		"view",
	)

	def __init__(self, namespace: Namespace, connection: Connection, admission: Admission) -> None:
		self.id = admission.id or secrets.token_urlsafe(15)
		self.namespace = namespace
		self.connection = connection
		self.session = admission.session
		self.rooms: set[str] = set()
		self.pid = admission.pid
		"""The private id by which this client can recover its session."""
		self.offsets = admission.pid is not None
		"""Whether this client takes an offset as the last argument of an event."""
		self.view: Any = None
		"""What handlers are given for this socket; made when the first one asks."""
		self._acks: dict[int, asyncio.Future[list[Any]]] | None = None
		self._last_ack = 0

	@property
	def connected(self) -> bool:
		return self.namespace.sockets.get(self.id) is self

	def join(self, room: str) -> None:
		"""Enter `room`; already in it, or gone, nothing happens."""
		if room in self.rooms or not self.connected:
			return
		self.rooms.add(room)
		members = self.namespace.rooms.get(room)
		if members is None:
			self.namespace.rooms[room] = {self: None}
		else:
			members[self] = None
		for observer in self.namespace.observers:
			observer.joined(self, room)
		if self.offsets:
			self.namespace.changed(self)

	def leave(self, room: str) -> None:
		"""Leave `room`; not in it, nothing happens."""
		if room not in self.rooms:
			return
		self.rooms.discard(room)
		members = self.namespace.rooms[room]
		members.pop(self, None)
		if not members:
			del self.namespace.rooms[room]
		for observer in self.namespace.observers:
			observer.left(self, room)
		if self.offsets and self.connected:
			self.namespace.changed(self)

	def emit(self, event: str, *arguments: Any) -> None:
		"""Send an event to this socket. Raises TypeError when an argument is neither JSON nor binary."""
		self.send_event(packets.encode_event(self.namespace.name, [event, *arguments]))

	def send_event(self, encoded: Encoded) -> None:
		"""Send an event that is encoded already and asks for no acknowledgement."""
		# A client that can recover takes any last argument that is a string for the offset: so there is always one.
		self.connection.send(packets.with_offset(encoded, self.namespace.offset) if self.offsets else encoded)

	def call(self, event: str, *arguments: Any) -> asyncio.Future[list[Any]]:
		"""Send an event and get the arguments of its acknowledgement; cancelled when the socket goes first."""
		self._last_ack += 1
		id = self._last_ack
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
		"""Send what is encoded already."""
		self.connection.send(encoded)

	def acknowledged(self, id: int, arguments: list[Any]) -> None:
		"""The client has answered event `id`; an answer nobody waits for is ignored."""
		future = self._acks.pop(id, None) if self._acks else None
		if future is not None and not future.done():
			future.set_result(arguments)

	def cancel_acks(self) -> None:
		"""Nobody will answer any more."""
		acks, self._acks = self._acks, None
		for future in (acks or {}).values():
			future.cancel()


def joined(encoded: Sequence[Encoded]) -> Encoded:
	"""Several messages as one, for one write."""
	if len(encoded) == 1:
		return encoded[0]
	return Encoded(*[message for one in encoded for message in one.messages])
