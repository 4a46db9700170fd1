"""The namespace of a site, as handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .broadcast import BroadcastOperator, Rooms
from .runtime import Runtime

if TYPE_CHECKING:
	from .socket import Socket


class NamespaceSockets(Mapping[str, "Socket"]):
	"""The sockets of a namespace in this process by id; a live view."""

	def __init__(self, runtime: Runtime, namespace: Any) -> None:
		self._runtime = runtime
		self._namespace = namespace

	def __getitem__(self, sid: str) -> Socket:
		return self._runtime.socket_of(self._namespace.sockets[sid])

	def __iter__(self) -> Iterator[str]:
		return iter(list(self._namespace.sockets))

	def __len__(self) -> int:
		return len(self._namespace.sockets)


class NamespaceRooms(Mapping[str, frozenset[str]]):
	"""The socket ids of this process in each room of a namespace; a live view. Empty rooms do not exist."""

	def __init__(self, namespace: Any) -> None:
		self._namespace = namespace

	def __getitem__(self, room: str) -> frozenset[str]:
		members = frozenset(member.id for member in self._namespace.members(room))
		if not members:
			raise KeyError(room)
		return members

	def __iter__(self) -> Iterator[str]:
		return iter(list(self._namespace.rooms))

	def __len__(self) -> int:
		return len(self._namespace.rooms)


class Namespace:
	"""All sockets of one site. Emits reach the sockets on all sidecars.

	Attributes:
		name: `/` and the name of the site.
		sockets: The sockets in this process, by id.
		rooms: The rooms with sockets in this process, and the ids of these sockets.
	"""

	def __init__(self, runtime: Runtime, namespace: Any) -> None:
		self.name: str = namespace.name
		self.sockets: Mapping[str, Socket] = NamespaceSockets(runtime, namespace)
		self.rooms: Mapping[str, frozenset[str]] = NamespaceRooms(namespace)
		self._broadcast = BroadcastOperator(runtime, namespace)

	def to(self, rooms: Rooms) -> BroadcastOperator:
		"""Return an operator that emits to all sockets in `rooms`, including the socket of the handler."""
		return self._broadcast.to(rooms)

	def emit(self, event: str, data: Any = None) -> Awaitable[None]:
		"""Emit an event to all sockets of the site, including those of Guests; see `Socket.emit`."""
		return self._broadcast.emit(event, data)
