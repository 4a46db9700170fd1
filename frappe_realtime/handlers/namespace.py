"""The namespace of a site, as handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .broadcast import BroadcastOperator, Rooms
from .remote_socket import RemoteSocket
from .runtime import Runtime

if TYPE_CHECKING:
	from .socket import Socket


class NamespaceSockets(Mapping[str, "Socket | RemoteSocket"]):
	"""The sockets of a namespace in all processes by id, those of this process first; a live view."""

	def __init__(self, runtime: Runtime, namespace: Any) -> None:
		self._runtime = runtime
		self._namespace = namespace

	@property
	def _local(self) -> Mapping[str, Any]:
		return self._runtime.current_namespace(self._namespace).sockets

	def __getitem__(self, sid: str) -> Socket | RemoteSocket:
		socket = self._local.get(sid)
		if socket is not None:
			return self._runtime.socket_of(socket)
		remote = self._runtime.remote_socket(self._namespace, sid)
		if remote is None:
			raise KeyError(sid)
		return remote

	def __iter__(self) -> Iterator[str]:
		for sid in [*self._local, *self._runtime.remote_sockets(self._namespace)]:
			# A handler may wait between two of them: one that has left meanwhile is skipped, as in a Map of JavaScript.
			if sid in self._local or self._runtime.remote_socket(self._namespace, sid) is not None:
				yield sid

	def __len__(self) -> int:
		return len(self._local) + len(self._runtime.remote_sockets(self._namespace))


class NamespaceRooms(Mapping[str, frozenset[str]]):
	"""The socket ids in each room of a namespace; a live view. Empty rooms do not exist.

	The sockets of other processes are in the rooms that a handler has made and in `open_doc:` rooms.
	"""

	def __init__(self, runtime: Runtime, namespace: Any) -> None:
		self._runtime = runtime
		self._namespace = namespace

	def __getitem__(self, room: str) -> frozenset[str]:
		members = frozenset(self._members(room))
		if not members:
			raise KeyError(room)
		return members

	def __iter__(self) -> Iterator[str]:
		for room in self._names():
			if any(True for _ in self._members(room)):
				yield room

	def __len__(self) -> int:
		return len(self._names())

	def _members(self, room: str) -> Iterator[str]:
		for member in self._runtime.current_namespace(self._namespace).members(room):
			yield member.id
		yield from self._runtime.remote_socket_ids(self._namespace, room)

	def _names(self) -> dict[str, None]:
		local = self._runtime.current_namespace(self._namespace).rooms
		return dict.fromkeys((*local, *self._runtime.remote_rooms(self._namespace)))


class Namespace:
	"""All sockets of one site, on all sidecars.

	Attributes:
		name: `/` and the name of the site.
		sockets: The sockets by id, `Socket` for those of this process and `RemoteSocket` for the others.
		rooms: The rooms, and the ids of the sockets in them.
	"""

	def __init__(self, runtime: Runtime, namespace: Any) -> None:
		self.name: str = namespace.name
		self.sockets: Mapping[str, Socket | RemoteSocket] = NamespaceSockets(runtime, namespace)
		self.rooms: Mapping[str, frozenset[str]] = NamespaceRooms(runtime, namespace)
		self._broadcast = BroadcastOperator(runtime, namespace)

	def to(self, rooms: Rooms) -> BroadcastOperator:
		"""Return an operator that emits to all sockets in `rooms`, including the socket of the handler."""
		return self._broadcast.to(rooms)

	def emit(self, event: str, data: Any = None) -> Awaitable[None]:
		"""Emit an event to all sockets of the site, including those of Guests; see `Socket.emit`."""
		return self._broadcast.emit(event, data)

	def prepare_emit(self, event: str, data: Any) -> Callable[[], None]:
		"""Encode an event, and return what emits it; see `Runtime.prepare_emit`."""
		return self._broadcast.prepare_emit(event, data)
