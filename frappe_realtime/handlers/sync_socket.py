"""`SyncSocket`: one client on one site, as a plain handler gets it.

A plain handler runs in a thread. Calls run on the event loop, in their order. The thread waits for those that have a result;
an event that is emitted is encoded in the thread and sent while the handler goes on.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Literal, TypeVar

from .broadcast import BroadcastOperator, Rooms
from .presence import SyncPresence
from .remote_socket import RemoteSocket
from .response import Response
from .runtime import Runtime
from .socket import Handshake, Socket

V = TypeVar("V")
W = TypeVar("W")


class SyncBroadcastOperator:
	"""Emits to rooms of a site, or to all its sockets; see `BroadcastOperator`."""

	__slots__ = ("_broadcast", "_runtime")

	def __init__(self, runtime: Runtime, broadcast: BroadcastOperator) -> None:
		self._runtime = runtime
		self._broadcast = broadcast

	def to(self, rooms: Rooms) -> SyncBroadcastOperator:
		"""Add rooms. A socket that is in several of them gets the event once; if there are none, nobody gets it."""
		return SyncBroadcastOperator(self._runtime, self._broadcast.to(rooms))

	def emit(self, event: str, data: Any = None) -> None:
		"""Emit an event; the arguments and errors are those of `Socket.emit`."""
		return self._runtime.post(self._broadcast.prepare_emit(event, data))


class LoopMapping(Mapping[str, V]):
	"""A live view of a mapping that belongs to the event loop. Each call runs there; an iteration is over what the mapping has at its start.

	Args:
		runtime: Runs what is done on the event loop.
		mapping: The mapping.
		convert: Makes a value of this mapping from one of `mapping`.
	"""

	def __init__(self, runtime: Runtime, mapping: Mapping[str, W], convert: Callable[[W], V]) -> None:
		self._run = runtime.run_in_loop
		self._mapping = mapping
		self._convert = convert

	def __getitem__(self, key: str) -> V:
		value: V = self._run(lambda: self._convert(self._mapping[key]))
		return value

	def __contains__(self, key: object) -> bool:
		return bool(self._run(lambda: key in self._mapping))

	def __len__(self) -> int:
		return int(self._run(lambda: len(self._mapping)))

	def __iter__(self) -> Iterator[str]:
		return iter(self._copy())

	def items(self) -> ItemsView[str, V]:
		"""Return the items as they are now."""
		return self._copy().items()

	def values(self) -> ValuesView[V]:
		"""Return the values as they are now."""
		return self._copy().values()

	def _copy(self) -> dict[str, V]:
		copy: dict[str, V] = self._run(
			lambda: {key: self._convert(value) for key, value in self._mapping.items()}
		)
		return copy


class SyncNamespace:
	"""All sockets of one site; see `Namespace`."""

	def __init__(self, runtime: Runtime, socket: Socket) -> None:
		self._runtime = runtime
		self._socket = socket
		self.name = socket.namespace

	@property
	def sockets(self) -> Mapping[str, SyncSocket]:
		"""The sockets on all sidecars, by id. Those of other processes can do what a `RemoteSocket` can."""
		return LoopMapping(self._runtime, self._socket.nsp.sockets, self._runtime.sync_socket_of)

	@property
	def rooms(self) -> Mapping[str, frozenset[str]]:
		"""The rooms, and the ids of the sockets in them."""
		return LoopMapping(self._runtime, self._socket.nsp.rooms, frozenset)

	def to(self, rooms: Rooms) -> SyncBroadcastOperator:
		"""Return an operator that emits to all sockets in `rooms`, including the socket of the handler."""
		return SyncBroadcastOperator(self._runtime, self._socket.nsp.to(rooms))

	def emit(self, event: str, data: Any = None) -> None:
		"""Emit an event to all sockets of the site, including those of Guests; see `Socket.emit`."""
		return self._runtime.post(self._socket.nsp.prepare_emit(event, data))


class SyncSocket:
	"""One client on one site. Its methods and properties are those of `Socket`, and return without `await`.

	A set-up function passes the same object to async and to plain listeners. On the event loop the methods return
	what those of `Socket` return, so an async set-up function or listener can await them.
	"""

	__slots__ = ("__weakref__", "_runtime", "_socket")

	def __init__(self, runtime: Runtime, socket: Socket | RemoteSocket) -> None:
		object.__setattr__(self, "_runtime", runtime)
		object.__setattr__(self, "_socket", socket)

	def __repr__(self) -> str:
		return f"<SyncSocket {self.sid} of {self.user} on {self.site}>"

	def __eq__(self, other: object) -> bool:
		return isinstance(other, SyncSocket) and other._socket is self._socket

	def __hash__(self) -> int:
		return hash(self._socket)

	def __getattr__(self, name: str) -> Any:
		# Attributes that apps set are kept on the Socket, which all handlers share.
		return getattr(self._socket, name)

	def __setattr__(self, name: str, value: Any) -> None:
		setattr(self._socket, name, value)

	def __delattr__(self, name: str) -> None:
		delattr(self._socket, name)

	def _run(self, action: Callable[[], Any]) -> Any:
		return self._runtime.run_in_loop(action)

	# -- identity

	@property
	def sid(self) -> str:
		"""The Socket.IO id."""
		return self._socket.sid

	id = sid

	@property
	def namespace(self) -> str:
		"""`/` and the name of the site."""
		return self._socket.namespace

	@property
	def site(self) -> str:
		"""The name of the site."""
		return self._socket.site

	@property
	def user(self) -> str:
		"""The user; `Guest` without a login."""
		return self._socket.user

	@property
	def user_type(self) -> str:
		"""`System User` or `Website User`."""
		return self._socket.user_type

	@property
	def full_name(self) -> str:
		"""The full name of the user if `frappe_realtime` is installed on the site, otherwise the user id."""
		return self._socket.full_name

	@property
	def installed_apps(self) -> list[str]:
		"""The apps of the site, in the order of their installation."""
		return self._socket.installed_apps

	@property
	def authorization_header(self) -> str | None:
		"""The Authorization header that authenticated the client; None if a session cookie did."""
		return self._socket.authorization_header

	@property
	def connected(self) -> bool:
		"""Whether the client is connected, as far as the server knows."""
		return self._socket.connected

	@property
	def handshake(self) -> Handshake:
		"""Headers, query, `auth` and address of the connection."""
		return self._run(lambda: self._socket.handshake)

	# -- rooms

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms of this socket, including its own id; empty after the disconnect."""
		socket = self._socket
		if isinstance(socket, Socket):
			# Without the event loop: the copy of its set is made while the interpreter lets no other thread run.
			return socket.rooms
		return self._run(lambda: socket.rooms)

	def join(self, room: Rooms) -> None:
		"""Join a room, or several."""
		return self._run(lambda: self._socket.join(room))

	def leave(self, room: Rooms) -> None:
		"""Leave a room, or several."""
		return self._run(lambda: self._socket.leave(room))

	def rewind(self, room: str, rewind: Literal["latest"] | int) -> int:
		"""Join a room, and send this client first what was published to the room before; see `Socket.rewind`."""
		return self._run(lambda: self._socket.rewind(room, rewind))

	def participants(self, room: str) -> list[str]:
		"""Return the ids of the sockets in `room`; see `Socket.participants`."""
		return self._run(lambda: self._socket.participants(room))

	def user_of(self, sid: str) -> str | None:
		"""Return the user of another socket of this site; see `Socket.user_of`."""
		return self._socket.user_of(sid)

	def presence(
		self, doctype: str | None = None, name: str | int | None = None, *, room: str | None = None
	) -> SyncPresence:
		"""Return the presence of a place; see `Socket.presence`."""
		return SyncPresence(self._runtime, self._socket.presence(doctype, name, room=room))

	# -- emitting

	def emit(self, event: str, data: Any = None, room: Rooms | None = None) -> None:
		"""Emit an event to this client, or to all sockets in `room`; see `Socket.emit`."""
		return self._runtime.post(self._socket.prepare_emit(event, data, room))

	def call(self, event: str, data: Any = None, *, timeout: float | None = 60) -> Any:
		"""Emit an event to this client, and wait for its acknowledgement; see `Socket.call`."""
		return self._run(lambda: self._socket.call(event, data, timeout=timeout))

	def to(self, rooms: Rooms) -> SyncBroadcastOperator:
		"""Return an operator that emits to the sockets in `rooms`, except this one."""
		return SyncBroadcastOperator(self._runtime, self._socket.to(rooms))

	@property
	def broadcast(self) -> SyncBroadcastOperator:
		"""An operator that emits to all sockets of the site, except this one."""
		return SyncBroadcastOperator(self._runtime, self._socket.broadcast)

	@property
	def nsp(self) -> SyncNamespace:
		"""All sockets of the site."""
		return SyncNamespace(self._runtime, self._socket)

	def disconnect(self, close: bool = False) -> None:
		"""Disconnect this socket; with `close`, close the whole connection."""
		return self._run(lambda: self._socket.disconnect(close))

	# -- listeners

	def on(self, event: str, listener: Callable[..., Any]) -> None:
		"""Call `listener` with the arguments of each `event` of this client; see `Socket.on`."""
		return self._run(lambda: self._socket.on(event, listener))

	def once(self, event: str, listener: Callable[..., Any]) -> None:
		"""Like `on`, for the next event only."""
		return self._run(lambda: self._socket.once(event, listener))

	def off(self, event: str | None = None, listener: Callable[..., Any] | None = None) -> None:
		"""Remove a listener of this app; without `listener` all of the event, without `event` all."""
		return self._run(lambda: self._socket.off(event, listener))

	def use(self, middleware: Callable[[str, list[Any]], Any]) -> None:
		"""Call `middleware(event, arguments)` before this app's handlers of this socket; see `Socket.use`."""
		return self._run(lambda: self._socket.use(middleware))

	# -- state

	def get(self, key: str, default: Any = None) -> Any:
		"""Return the value that `set` stored under `key` for this socket."""
		return self._socket.get(key, default)

	def set(self, key: str, value: Any) -> None:
		"""Store a value for this socket until it disconnects; see `Socket.set`."""
		return self._run(lambda: self._socket.set(key, value))

	# -- the site

	def has_permission(self, doctype: str, name: str | int | None = None, ptype: str = "read") -> bool:
		"""Return whether the user has a permission; see `Socket.has_permission`."""
		return self._run(lambda: self._socket.has_permission(doctype, name, ptype))

	def frappe_request(
		self,
		path: str,
		args: Mapping[str, Any] | None = None,
		method: str = "GET",
		body: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Response:
		"""Send a request to the site as this user; see `Socket.frappe_request`."""
		return self._run(lambda: self._socket.frappe_request(path, args, method, body, headers))
