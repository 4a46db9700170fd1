"""What an async handler is given: one client on one site, and what can be done with it.

	@realtime.on("chat_open")
	async def chat_open(socket: Socket, channel: str) -> dict:
		if not await socket.has_permission("Chat Channel", channel):
			return {"error": "no such channel"}
		await socket.join(f"chat:{channel}")
		await socket.to(f"chat:{channel}").emit("chat_joined", {"user": socket.user})
		return {"members": socket.participants(f"chat:{channel}")}

`join`, `leave`, `emit` and `disconnect` are done when they return; awaiting them is allowed and costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..contract import RESERVED_EVENTS
from .response import Response

Rooms = str | Iterable[str]
"""One room, or several."""


class Done(Awaitable[None]):
	"""What has been done already, for those who await it."""

	def __await__(self) -> Generator[Any, None, None]:
		return _NOTHING  # type: ignore[return-value]


_NOTHING = iter(())
DONE = Done()


class Runtime(Protocol):
	"""The sidecar, as sockets see it. The low-level sockets and namespaces are those of `realtime.socketio`."""

	@property
	def emit(self) -> Callable[[Any, Sequence[str] | None, str, tuple[Any, ...], Any], None]: ...

	def ids_elsewhere(self, namespace: Any, room: str) -> Iterable[str]: ...

	def user_elsewhere(self, namespace: Any, sid: str) -> str | None: ...

	def disconnect(self, raw: Any, close: bool) -> None: ...

	def listen(self, socket: Socket, event: str, listener: Callable[..., Any], once: bool) -> None: ...

	def forget(self, socket: Socket, event: str | None, listener: Callable[..., Any] | None) -> None: ...

	def use(self, socket: Socket, middleware: Callable[..., Any]) -> None: ...

	def may(self, session: Any, doctype: str, name: str, ptype: str) -> bool | Awaitable[bool]: ...

	async def request(
		self,
		session: Any,
		path: str,
		args: Mapping[str, Any] | None,
		method: str,
		body: Any,
		headers: Mapping[str, str] | None,
	) -> Response: ...

	def socket(self, raw: Any) -> Socket: ...

	def in_loop(self, action: Callable[[], Any]) -> Any: ...


class Handshake(NamedTuple):
	"""What the client said when it connected."""

	headers: Mapping[str, str]
	"""By lower-case name."""
	query: Mapping[str, str]
	auth: Mapping[str, Any]
	"""The object given as `auth` to the JavaScript client."""
	address: str
	"""The address the connection came from, a proxy's if there is one."""


def arguments_of(event: str, data: Any) -> tuple[Any, ...]:
	"""The arguments that `data` stands for: None for none, a tuple for several. Raises ValueError for a reserved event."""
	if event in RESERVED_EVENTS:
		raise ValueError(f"{event!r} is an event of Socket.IO itself; choose another name")
	if data is None:
		return ()
	return data if type(data) is tuple else (data,)


def rooms_of(rooms: Rooms) -> tuple[str, ...]:
	"""The rooms that `rooms` stands for."""
	return (rooms,) if isinstance(rooms, str) else tuple(rooms)


class Broadcast:
	"""Where an event will go: the rooms that were named, or the whole namespace, without `but`."""

	__slots__ = ("_but", "_host", "_namespace", "_rooms")

	def __init__(self, host: Runtime, namespace: Any, rooms: tuple[str, ...] = (), but: Any = None) -> None:
		self._host = host
		self._namespace = namespace
		self._rooms = rooms
		self._but = but

	def to(self, rooms: Rooms) -> Broadcast:
		"""To those of `rooms` too; a socket that is in several gets the event once."""
		return Broadcast(self._host, self._namespace, self._rooms + rooms_of(rooms), self._but)

	def emit(self, event: str, data: Any = None) -> Awaitable[None]:
		"""Send; `data` as in `Socket.emit`."""
		self._host.emit(self._namespace, self._rooms or None, event, arguments_of(event, data), self._but)
		return DONE


class Sockets(Mapping[str, "Socket"]):
	"""The sockets of a namespace in this process by their ids, as they are at the moment they are asked for."""

	def __init__(self, host: Runtime, namespace: Any) -> None:
		self._host = host
		self._namespace = namespace

	def __getitem__(self, sid: str) -> Socket:
		return self._host.socket(self._namespace.sockets[sid])

	def __iter__(self) -> Iterator[str]:
		return iter(list(self._namespace.sockets))

	def __len__(self) -> int:
		return len(self._namespace.sockets)


class RoomsOfNamespace(Mapping[str, frozenset[str]]):
	"""The ids of this process's sockets in each room; a room exists while somebody is in it."""

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
	"""All sockets of one site. What is emitted reaches those on other sidecars too; `sockets` and `rooms` are this one's."""

	def __init__(self, host: Runtime, namespace: Any) -> None:
		self.name: str = namespace.name
		self.sockets: Mapping[str, Socket] = Sockets(host, namespace)
		self.rooms: Mapping[str, frozenset[str]] = RoomsOfNamespace(namespace)
		self._everybody = Broadcast(host, namespace)

	def to(self, rooms: Rooms) -> Broadcast:
		"""Everybody in `rooms`, the socket that acts among them."""
		return self._everybody.to(rooms)

	def emit(self, event: str, data: Any = None) -> Awaitable[None]:
		"""Send to every socket of the site, Guests too."""
		return self._everybody.emit(event, data)


class Socket:
	"""One client on one site. A socket is the same object in every handler of every app while it is connected.

	Apps may set attributes of their own on it, or use `get` and `set`; both end with the connection.
	"""

	__slots__ = ("__dict__", "__weakref__", "_auth", "_host", "_raw", "_state")

	def __init__(self, host: Runtime, raw: Any, auth: Mapping[str, Any]) -> None:
		self._host = host
		self._raw = raw
		self._auth = auth
		self._state: dict[str, Any] | None = None

	def __repr__(self) -> str:
		return f"<{type(self).__name__} {self.sid} of {self.user} on {self.site}>"

	# -- who it is

	@property
	def sid(self) -> str:
		"""The Socket.IO id. (In `handlers.js` this is `id`, and `sid` is the session cookie: see `handshake`.)"""
		return self._raw.id

	id = sid

	@property
	def namespace(self) -> str:
		"""`/` and the name of the site."""
		return self._raw.namespace.name

	@property
	def site(self) -> str:
		"""The name of the site."""
		return self._raw.session.site

	@property
	def user(self) -> str:
		"""The user; `Guest` for one who has not logged in."""
		return self._raw.session.user

	@property
	def user_type(self) -> str:
		"""`System User` or `Website User`."""
		return self._raw.session.user_type

	@property
	def full_name(self) -> str:
		"""The user's full name where `frappe_realtime` is installed on the site, else the user's id."""
		return self._raw.session.full_name

	@property
	def installed_apps(self) -> list[str]:
		"""The apps of the site, in the order of their installation."""
		return list(self._raw.session.installed_apps or ())

	@property
	def authorization_header(self) -> str | None:
		"""The Authorization header that the client proved its user with; None for one with a session cookie."""
		return self._raw.session.credential.authorization or None

	@property
	def connected(self) -> bool:
		"""Whether the client is still there, as far as the server knows."""
		return self._raw.connected

	@property
	def handshake(self) -> Handshake:
		"""Headers, query and `auth` of the connection."""
		request = self._raw.connection.request
		return Handshake(request.headers, request.query, self._auth, request.remote)

	# -- rooms

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms this socket is in; its own id is always one of them until it disconnects."""
		raw = self._raw
		return frozenset((*raw.rooms, raw.id)) if raw.connected else frozenset()

	def join(self, room: Rooms) -> Awaitable[None]:
		"""Enter a room, or several. Rooms are made by entering them."""
		for one in rooms_of(room):
			self._raw.join(one)
		return DONE

	def leave(self, room: Rooms) -> Awaitable[None]:
		"""Leave a room, or several."""
		for one in rooms_of(room):
			self._raw.leave(one)
		return DONE

	def participants(self, room: str) -> list[str]:
		"""The ids of the sockets in `room`, with those on other sidecars where a handler has made the room."""
		namespace = self._raw.namespace
		here = [member.id for member in namespace.members(room)]
		return list(dict.fromkeys([*here, *self._host.ids_elsewhere(namespace, room)]))

	def user_of(self, sid: str) -> str | None:
		"""The user of another socket of this site; None when there is no such socket.

		A socket on another sidecar is known while it is in a room that a handler has made.
		"""
		namespace = self._raw.namespace
		other = namespace.sockets.get(sid)
		return self._host.user_elsewhere(namespace, sid) if other is None else other.session.user

	# -- sending

	def emit(self, event: str, data: Any = None, room: Rooms | None = None) -> Awaitable[None]:
		"""Send an event to this client, or to everybody in `room`.

		Args:
			event: its name.
			data: JSON or bytes; None sends no argument, a tuple several.
			room: a room, or several.

		Raises:
			TypeError: `data` is neither JSON nor bytes.
			ValueError: the event's name is one of Socket.IO's own.
		"""
		arguments = arguments_of(event, data)
		if room is not None:
			self._host.emit(self._raw.namespace, rooms_of(room), event, arguments, None)
		elif self._raw.connected:
			self._raw.emit(event, *arguments)
		return DONE

	async def call(self, event: str, data: Any = None, *, timeout: float | None = 60) -> Any:
		"""Send an event to this client and return its answer: None for an empty one, a tuple for several arguments.

		Raises:
			TimeoutError: no answer within `timeout` seconds.
			ConnectionError: the client has gone.
		"""
		answer = self._raw.call(event, *arguments_of(event, data))
		try:
			arguments = await asyncio.wait_for(answer, timeout)
		except asyncio.TimeoutError:
			raise TimeoutError(f"{self!r} did not answer {event!r} within {timeout} s") from None
		except asyncio.CancelledError:
			if answer.cancelled() and not self._raw.connected:
				raise ConnectionError(f"{self!r} has gone without answering {event!r}") from None
			raise
		if len(arguments) > 1:
			return tuple(arguments)
		return arguments[0] if arguments else None

	def to(self, rooms: Rooms) -> Broadcast:
		"""The others in `rooms`: all but this socket."""
		return Broadcast(self._host, self._raw.namespace, rooms_of(rooms), self._raw)

	@property
	def broadcast(self) -> Broadcast:
		"""All other sockets of the site."""
		return Broadcast(self._host, self._raw.namespace, (), self._raw)

	@property
	def nsp(self) -> Namespace:
		"""All sockets of the site: `socket.nsp.to(room).emit(…)`, `socket.nsp.sockets`, `socket.nsp.rooms`."""
		return Namespace(self._host, self._raw.namespace)

	def disconnect(self, close: bool = False) -> Awaitable[None]:
		"""End this socket; with `close` the whole connection. The client does not come back by itself."""
		self._host.disconnect(self._raw, close)
		return DONE

	# -- listening

	def on(self, event: str, listener: Callable[..., Any]) -> None:
		"""Call `listener` with the arguments of each `event` of this client: what set-up functions do.

		`async def` listeners run on the event loop, plain ones in a thread. All listeners of an event run, in order.
		"""
		self._host.listen(self, event, listener, False)

	def once(self, event: str, listener: Callable[..., Any]) -> None:
		"""As `on`, for the next event only."""
		self._host.listen(self, event, listener, True)

	def off(self, event: str | None = None, listener: Callable[..., Any] | None = None) -> None:
		"""Take away a listener of this app, all of an event, or all."""
		self._host.forget(self, event, listener)

	def use(self, middleware: Callable[[str, list[Any]], Any]) -> None:
		"""Call `middleware(event, arguments)` before this app's handlers of this socket.

		It may be async, and may change the list. The event goes no further when it returns False or raises.
		"""
		self._host.use(self, middleware)

	# -- state

	def get(self, key: str, default: Any = None) -> Any:
		"""What was kept under `key` for this socket."""
		return default if self._state is None else self._state.get(key, default)

	def set(self, key: str, value: Any) -> Awaitable[None]:
		"""Keep `value` for this socket until it disconnects; all apps see it."""
		if self._state is None:
			self._state = {}
		self._state[key] = value
		return DONE

	# -- asking the site

	async def has_permission(self, doctype: str, name: str | int | None = None, ptype: str = "read") -> bool:
		"""Whether this user has the permission `ptype` on a document, or without `name` on the DocType.

		Answers are kept a few seconds. Raises `frappe_realtime.WebUnavailable` when the site gives no answer.
		"""
		answer = self._host.may(self._raw.session, doctype, "" if name is None else str(name), ptype)
		return answer if isinstance(answer, bool) else await answer

	async def frappe_request(
		self,
		path: str,
		args: Mapping[str, Any] | None = None,
		method: str = "GET",
		body: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Response:
		"""Call the site as this user, for instance `/api/method/chat.api.send`.

		Args:
			path: begins with a slash.
			args: the query.
			method: the HTTP method.
			body: bytes or text as they are, anything else as JSON.
			headers: more headers.

		Raises:
			ValueError: `path` does not begin with a slash.
			WebUnavailable: the site gives no answer.
		"""
		return await self._host.request(self._raw.session, path, args, method, body, headers)
