"""`Socket`: one client on one site, as an async handler gets it.

	@realtime.on("chat_open")
	async def chat_open(socket: Socket, channel: str) -> dict:
		if not await socket.has_permission("Chat Channel", channel):
			return {"error": "no such channel"}
		await socket.join(f"chat:{channel}")
		await socket.to(f"chat:{channel}").emit("chat_joined", {"user": socket.user})
		return {"members": socket.participants(f"chat:{channel}")}

`join`, `leave`, `emit`, `set` and `disconnect` are done when they return. They may be awaited, which costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from .awaitable import must_be_awaited
from .broadcast import COMPLETED, BroadcastOperator, Rooms, arguments_of, rooms_of
from .namespace import Namespace
from .presence import Presence, place_of
from .response import Response
from .runtime import Runtime


class Handshake(NamedTuple):
	"""The data that the client sent when it connected.

	Attributes:
		headers: The headers of the request, by lower-case name.
		query: The query of the request.
		auth: The object that the JavaScript client was given as `auth`.
		address: The IP address of the client; empty behind a proxy that does not name it, see the limits in docs/operations.md.
	"""

	headers: Mapping[str, str]
	query: Mapping[str, str]
	auth: Mapping[str, Any]
	address: str


class Socket:
	"""One client on one site. All handlers of all apps get the same object while the client is connected.

	Apps may set attributes on it, or use `get` and `set`; both are lost at the disconnect.
	"""

	__slots__ = ("__dict__", "__weakref__", "_auth", "_runtime", "_server_socket", "_state")

	def __init__(self, runtime: Runtime, server_socket: Any, auth: Mapping[str, Any]) -> None:
		self._runtime = runtime
		self._server_socket = server_socket
		self._auth = auth
		self._state: dict[str, Any] | None = None

	def __repr__(self) -> str:
		return f"<{type(self).__name__} {self.sid} of {self.user} on {self.site}>"

	# -- identity

	@property
	def sid(self) -> str:
		"""The Socket.IO id. (In `handlers.js` the id is `id`, and `sid` is the session cookie: see `handshake`.)"""
		return self._server_socket.id

	id = sid

	@property
	def namespace(self) -> str:
		"""`/` and the name of the site."""
		return self._server_socket.namespace.name

	@property
	def site(self) -> str:
		"""The name of the site."""
		return self._server_socket.session.site

	@property
	def user(self) -> str:
		"""The user; `Guest` without a login."""
		return self._server_socket.session.user

	@property
	def user_type(self) -> str:
		"""`System User` or `Website User`."""
		return self._server_socket.session.user_type

	@property
	def full_name(self) -> str:
		"""The full name of the user if `frappe_realtime` is installed on the site, otherwise the user id."""
		return self._server_socket.session.full_name

	@property
	def installed_apps(self) -> list[str]:
		"""The apps of the site, in the order of their installation."""
		return list(self._server_socket.session.installed_apps or ())

	@property
	def authorization_header(self) -> str | None:
		"""The Authorization header that authenticated the client; None if a session cookie did."""
		return self._server_socket.session.credential.authorization or None

	@property
	def connected(self) -> bool:
		"""Whether the client is connected, as far as the server knows."""
		return self._server_socket.connected

	@property
	def handshake(self) -> Handshake:
		"""Headers, query, `auth` and address of the connection."""
		request = self._server_socket.connection.request
		return Handshake(request.headers, request.query, self._auth, request.remote)

	# -- rooms

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms of this socket, including its own id; empty after the disconnect."""
		server_socket = self._server_socket
		return frozenset((*server_socket.rooms, server_socket.id)) if server_socket.connected else frozenset()

	def join(self, room: Rooms) -> Awaitable[None]:
		"""Join a room, or several. A room exists while a socket is in it.

		Raises:
			TypeError: One of them is no string; then no room is joined.
		"""
		for one in rooms_of(room):
			self._server_socket.join(one)
		return COMPLETED

	def leave(self, room: Rooms) -> Awaitable[None]:
		"""Leave a room, or several."""
		for one in rooms_of(room):
			self._runtime.leave(self._server_socket, one)
		return COMPLETED

	@must_be_awaited
	async def rewind(self, room: str, rewind: Literal["latest"] | int) -> int:
		"""Join a room, and send this client first what was published to the room before.

		The client gets ordinary events, in their order and without a gap before the live ones. For a room of the handler, the handler
		decides who may be in it; the rooms of documents, DocTypes and tasks need the permission of the user, as for clients.

		Args:
			room: The room. A client that is in it already is sent the events again.
			rewind: `"latest"` for the events of which only the newest ones are kept (`history="latest"`), or the number of
				the last events, at most `realtime_rewind_events`.

		Returns:
			The number of events that were sent; 0 if the client has disconnected.

		Raises:
			TypeError: The room is no string.
			frappe_realtime.errors.RewindRefused: The client has not joined the room, and nothing was sent; `code` says why.
		"""
		(room,) = rooms_of((room,))
		return await self._runtime.rewind(self._server_socket, room, rewind)

	def participants(self, room: str) -> list[str]:
		"""Return the ids of the sockets in `room`, including those on other sidecars if a handler has made the room."""
		namespace = self._runtime.current_namespace(self._server_socket.namespace)
		local = [member.id for member in namespace.members(room)]
		return list(dict.fromkeys([*local, *self._runtime.remote_socket_ids(namespace, room)]))

	def user_of(self, sid: str) -> str | None:
		"""Return the user of another socket of this site, on any sidecar; None if there is no such socket."""
		namespace = self._runtime.current_namespace(self._server_socket.namespace)
		other = namespace.sockets.get(sid)
		return self._runtime.remote_user(namespace, sid) if other is None else other.session.user

	def presence(
		self, doctype: str | None = None, name: str | int | None = None, *, room: str | None = None
	) -> Presence:
		"""Return the presence of a place: who is there, with what state.

		Args:
			doctype: A DocType. Without it and `room`, the place is the site.
			name: A document; None for the DocType as a whole.
			room: A room that a handler has made, instead of a DocType.
		"""
		return Presence(self._runtime, self._server_socket, place_of(doctype, name, room))

	# -- emitting

	def emit(self, event: str, data: Any = None, room: Rooms | None = None) -> Awaitable[None]:
		"""Emit an event to this client, or to all sockets in `room`.

		Args:
			event: The name of the event.
			data: JSON or bytes. None sends no argument, a tuple sends several.
			room: A room, or several. None is this client, and an empty list nobody.

		Raises:
			TypeError: `data` can be serialised neither to JSON nor to bytes; or `event` is no string.
			ValueError: Socket.IO reserves the name of the event, or `data` has more than 10 binary values, or contains itself.
		"""
		arguments = arguments_of(event, data)
		if room is not None:
			self._runtime.emit(self._server_socket.namespace, rooms_of(room), event, arguments, None)
		elif self._server_socket.connected:
			self._server_socket.emit(event, *arguments)
		return COMPLETED

	def prepare_emit(self, event: str, data: Any, room: Rooms | None) -> Callable[[], None]:
		"""Encode an event, and return what emits it; see `Runtime.prepare_emit`."""
		arguments = arguments_of(event, data)
		if room is None:
			return self._runtime.prepare_send(self._server_socket, event, arguments)
		namespace = self._server_socket.namespace
		return self._runtime.prepare_emit(namespace, rooms_of(room), event, arguments, None)

	@must_be_awaited
	async def call(self, event: str, data: Any = None, *, timeout: float | None = 60) -> Any:
		"""Emit an event to this client, and wait for its acknowledgement.

		Args:
			event: The name of the event.
			data: As for `emit`.
			timeout: Seconds to wait; None waits until the client disconnects.

		Returns:
			The argument of the acknowledgement; None if it has none, a tuple if it has several.

		Raises:
			TimeoutError: The client did not acknowledge the event in time.
			ConnectionError: The client disconnected.
			TypeError, ValueError: As for `emit`.
		"""
		answer = self._server_socket.call(event, *arguments_of(event, data))
		try:
			arguments = await asyncio.wait_for(answer, timeout)
		except asyncio.TimeoutError:
			raise TimeoutError(f"{self!r} did not answer {event!r} within {timeout} s") from None
		except asyncio.CancelledError:
			if answer.cancelled() and not self._server_socket.connected:
				raise ConnectionError(f"{self!r} has disconnected without answering {event!r}") from None
			raise
		if len(arguments) > 1:
			return tuple(arguments)
		return arguments[0] if arguments else None

	def to(self, rooms: Rooms) -> BroadcastOperator:
		"""Return an operator that emits to the sockets in `rooms`, except this one."""
		return BroadcastOperator(
			self._runtime, self._server_socket.namespace, rooms_of(rooms), self._server_socket
		)

	@property
	def broadcast(self) -> BroadcastOperator:
		"""An operator that emits to all sockets of the site, except this one."""
		return BroadcastOperator(self._runtime, self._server_socket.namespace, None, self._server_socket)

	@property
	def nsp(self) -> Namespace:
		"""All sockets of the site: `socket.nsp.to(room).emit(…)`, `socket.nsp.sockets`, `socket.nsp.rooms`."""
		return Namespace(self._runtime, self._server_socket.namespace)

	def disconnect(self, close: bool = False) -> Awaitable[None]:
		"""Disconnect this socket. socket.io-client does not reconnect after it.

		Args:
			close: Close the whole connection, with its other namespaces.
		"""
		self._runtime.disconnect(self._server_socket, close)
		return COMPLETED

	# -- listeners

	def on(self, event: str, listener: Callable[..., Any]) -> None:
		"""Call `listener` with the arguments of each `event` of this client. For set-up functions.

		An `async def` listener runs on the event loop, a plain one in a thread. All listeners of an event run, in order. A plain one may use
		the socket of a set-up function or of a plain handler, and not that of an `async def` handler, which is for the event loop.

		Raises:
			RuntimeError: Called outside the handlers of an app.
			TypeError: `listener` is no function.
		"""
		self._runtime.add_listener(self, event, listener, False)

	def once(self, event: str, listener: Callable[..., Any]) -> None:
		"""Like `on`, for the next event only."""
		self._runtime.add_listener(self, event, listener, True)

	def off(self, event: str | None = None, listener: Callable[..., Any] | None = None) -> None:
		"""Remove a listener of this app; without `listener` all of the event, without `event` all."""
		self._runtime.remove_listeners(self, event, listener)

	def use(self, middleware: Callable[[str, list[Any]], Any]) -> None:
		"""Call `middleware(event, arguments)` for each event of this client, before this app's handlers; not for `connect` and `disconnect`.

		The middleware runs on the event loop, so a plain one must not block; it may be async, and may change the list. If it returns False or
		raises, the handlers do not run.

		Raises:
			RuntimeError: Called outside the handlers of an app.
			TypeError: `middleware` is no function.
		"""
		self._runtime.add_middleware(self, middleware)

	# -- state

	def get(self, key: str, default: Any = None) -> Any:
		"""Return the value that `set` stored under `key` for this socket."""
		return default if self._state is None else self._state.get(key, default)

	def set(self, key: str, value: Any) -> Awaitable[None]:
		"""Store a value for this socket until it disconnects. All apps share these values."""
		if self._state is None:
			self._state = {}
		self._state[key] = value
		self._runtime.state_changed(self._server_socket, self._state)
		return COMPLETED

	# -- the site

	@must_be_awaited
	async def has_permission(self, doctype: str, name: str | int | None = None, ptype: str = "read") -> bool:
		"""Return whether the user has a permission. Answers are cached for `realtime_cache_seconds`.

		Questions that are not answered from the cache count in `realtime_questions_per_second` of the client.

		Args:
			doctype: The DocType.
			name: The document; None for the DocType as a whole.
			ptype: The permission type of Frappe: `read`, `write`, ….

		Raises:
			frappe_realtime.WebUnavailable: The web process did not answer, or the client has caused too many questions.
		"""
		answer = self._runtime.has_permission(
			self._server_socket, doctype, "" if name is None else str(name), ptype
		)
		return answer if isinstance(answer, bool) else await answer

	@must_be_awaited
	async def frappe_request(
		self,
		path: str,
		args: Mapping[str, Any] | None = None,
		method: str = "GET",
		body: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Response:
		"""Send a request to the site as this user, for instance to `/api/method/chat.api.send`.

		Args:
			path: The path; it begins with a slash.
			args: The query. An item that is None is left out, text is sent as it is, other values as JSON.
			method: The HTTP method.
			body: Bytes or text are sent unchanged, other values as JSON.
			headers: Additional headers.

		Raises:
			ValueError: `path` does not begin with a slash.
			TypeError: `args` or `body` have a value that JSON cannot hold.
			frappe_realtime.WebUnavailable: The web process did not answer.
		"""
		return await self._runtime.frappe_request(
			self._server_socket.session, path, args, method, body, headers
		)
