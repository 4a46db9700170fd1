"""What a plain handler is given: the same client as `Socket`, with calls that return when they are done.

A plain handler runs in a thread, and each call is carried out on the event loop while it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .response import Response
from .socket import Broadcast, Handshake, Rooms, Runtime, Socket


class SyncBroadcast:
	"""Where an event will go, as `Broadcast`."""

	__slots__ = ("_broadcast", "_host")

	def __init__(self, host: Runtime, broadcast: Broadcast) -> None:
		self._host = host
		self._broadcast = broadcast

	def to(self, rooms: Rooms) -> SyncBroadcast:
		"""To those of `rooms` too; a socket that is in several gets the event once."""
		return SyncBroadcast(self._host, self._broadcast.to(rooms))

	def emit(self, event: str, data: Any = None) -> None:
		"""Send; `data` as in `Socket.emit`."""
		return self._host.in_loop(lambda: self._broadcast.emit(event, data))


class SyncNamespace:
	"""All sockets of one site, as they were when they were asked for."""

	def __init__(self, host: Runtime, socket: Socket) -> None:
		self._host = host
		self._socket = socket
		self.name = socket.namespace

	@property
	def sockets(self) -> Mapping[str, SyncSocket]:
		"""The sockets by their ids."""
		return self._host.in_loop(
			lambda: {sid: SyncSocket(self._host, other) for sid, other in self._socket.nsp.sockets.items()}
		)

	@property
	def rooms(self) -> Mapping[str, frozenset[str]]:
		"""The ids of the sockets in each room."""
		return self._host.in_loop(lambda: dict(self._socket.nsp.rooms))

	def to(self, rooms: Rooms) -> SyncBroadcast:
		"""Everybody in `rooms`, the socket that acts among them."""
		return SyncBroadcast(self._host, self._socket.nsp.to(rooms))

	def emit(self, event: str, data: Any = None) -> None:
		"""Send to every socket of the site, Guests too."""
		return self._host.in_loop(lambda: self._socket.nsp.emit(event, data))


class SyncSocket:
	"""One client on one site; each method and property is that of `Socket`, without await.

	Where an async listener uses one, it can be awaited all the same: a plain set-up function hands the same object to
	listeners of both kinds.
	"""

	__slots__ = ("_host", "_socket")

	def __init__(self, host: Runtime, socket: Socket) -> None:
		object.__setattr__(self, "_host", host)
		object.__setattr__(self, "_socket", socket)

	def __repr__(self) -> str:
		return f"<SyncSocket {self.sid} of {self.user} on {self.site}>"

	def __eq__(self, other: object) -> bool:
		return isinstance(other, SyncSocket) and other._socket is self._socket

	def __hash__(self) -> int:
		return hash(self._socket)

	def __getattr__(self, name: str) -> Any:
		# Attributes of the app's own are kept on the one Socket that all handlers share.
		return getattr(self._socket, name)

	def __setattr__(self, name: str, value: Any) -> None:
		setattr(self._socket, name, value)

	def _do(self, action: Callable[[], Any]) -> Any:
		return self._host.in_loop(action)

	# -- who it is

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
		"""The user; `Guest` for one who has not logged in."""
		return self._socket.user

	@property
	def user_type(self) -> str:
		"""`System User` or `Website User`."""
		return self._socket.user_type

	@property
	def full_name(self) -> str:
		"""The user's full name where `frappe_realtime` is installed on the site, else the user's id."""
		return self._socket.full_name

	@property
	def installed_apps(self) -> list[str]:
		"""The apps of the site, in the order of their installation."""
		return self._socket.installed_apps

	@property
	def authorization_header(self) -> str | None:
		"""The Authorization header that the client proved its user with."""
		return self._socket.authorization_header

	@property
	def connected(self) -> bool:
		"""Whether the client is still there, as far as the server knows."""
		return self._socket.connected

	@property
	def handshake(self) -> Handshake:
		"""Headers, query and `auth` of the connection."""
		return self._do(lambda: self._socket.handshake)

	# -- rooms

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms this socket is in, its own id among them."""
		return self._do(lambda: self._socket.rooms)

	def join(self, room: Rooms) -> None:
		"""Enter a room, or several."""
		return self._do(lambda: self._socket.join(room))

	def leave(self, room: Rooms) -> None:
		"""Leave a room, or several."""
		return self._do(lambda: self._socket.leave(room))

	def participants(self, room: str) -> list[str]:
		"""The ids of the sockets in `room`; see `Socket.participants`."""
		return self._do(lambda: self._socket.participants(room))

	def user_of(self, sid: str) -> str | None:
		"""The user of another socket of this site; see `Socket.user_of`."""
		return self._socket.user_of(sid)

	# -- sending

	def emit(self, event: str, data: Any = None, room: Rooms | None = None) -> None:
		"""Send an event to this client, or to everybody in `room`; see `Socket.emit`."""
		return self._do(lambda: self._socket.emit(event, data, room))

	def call(self, event: str, data: Any = None, *, timeout: float | None = 60) -> Any:
		"""Send an event to this client and return its answer; see `Socket.call`."""
		return self._do(lambda: self._socket.call(event, data, timeout=timeout))

	def to(self, rooms: Rooms) -> SyncBroadcast:
		"""The others in `rooms`: all but this socket."""
		return SyncBroadcast(self._host, self._socket.to(rooms))

	@property
	def broadcast(self) -> SyncBroadcast:
		"""All other sockets of the site."""
		return SyncBroadcast(self._host, self._socket.broadcast)

	@property
	def nsp(self) -> SyncNamespace:
		"""All sockets of the site."""
		return SyncNamespace(self._host, self._socket)

	def disconnect(self, close: bool = False) -> None:
		"""End this socket; with `close` the whole connection."""
		return self._do(lambda: self._socket.disconnect(close))

	# -- listening

	def on(self, event: str, listener: Callable[..., Any]) -> None:
		"""Call `listener` with the arguments of each `event` of this client; see `Socket.on`."""
		return self._do(lambda: self._socket.on(event, listener))

	def once(self, event: str, listener: Callable[..., Any]) -> None:
		"""As `on`, for the next event only."""
		return self._do(lambda: self._socket.once(event, listener))

	def off(self, event: str | None = None, listener: Callable[..., Any] | None = None) -> None:
		"""Take away a listener of this app, all of an event, or all."""
		return self._do(lambda: self._socket.off(event, listener))

	def use(self, middleware: Callable[[str, list[Any]], Any]) -> None:
		"""Call `middleware(event, arguments)` before this app's handlers of this socket; see `Socket.use`."""
		return self._do(lambda: self._socket.use(middleware))

	# -- state

	def get(self, key: str, default: Any = None) -> Any:
		"""What was kept under `key` for this socket."""
		return self._socket.get(key, default)

	def set(self, key: str, value: Any) -> None:
		"""Keep `value` for this socket until it disconnects; all apps see it."""
		return self._do(lambda: self._socket.set(key, value))

	# -- asking the site

	def has_permission(self, doctype: str, name: str | int | None = None, ptype: str = "read") -> bool:
		"""Whether this user has the permission; see `Socket.has_permission`."""
		return self._do(lambda: self._socket.has_permission(doctype, name, ptype))

	def frappe_request(
		self,
		path: str,
		args: Mapping[str, Any] | None = None,
		method: str = "GET",
		body: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Response:
		"""Call the site as this user; see `Socket.frappe_request`."""
		return self._do(lambda: self._socket.frappe_request(path, args, method, body, headers))
