"""`RemoteSocket`: one client of the site that is connected to another worker or host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .broadcast import COMPLETED, Rooms, arguments_of, rooms_of
from .runtime import Runtime


class RemoteSocket:
	"""A socket in `nsp.sockets` whose client is connected to another process; as Socket.IO's class of this name.

	It has no listeners, handshake, acknowledgements and requests to the site. Of what handlers keep on a socket, it has what
	they have stored with `set`, as far as JSON can hold it.
	"""

	__slots__ = ("__dict__", "__weakref__", "_namespace", "_remote", "_runtime")

	def __init__(self, runtime: Runtime, namespace: Any, remote: Any) -> None:
		self._runtime = runtime
		self._namespace = namespace
		self._remote = remote

	def __repr__(self) -> str:
		return f"<{type(self).__name__} {self.sid} of {self.user} on {self.site}>"

	@property
	def sid(self) -> str:
		"""The Socket.IO id."""
		return self._remote.id

	id = sid

	@property
	def namespace(self) -> str:
		"""`/` and the name of the site."""
		return self._namespace.name

	@property
	def site(self) -> str:
		"""The name of the site."""
		return self.namespace[1:]

	@property
	def user(self) -> str:
		"""The user; `Guest` without a login."""
		return self._remote.identity.user

	@property
	def user_type(self) -> str:
		"""`System User` or `Website User`."""
		return self._remote.identity.user_type

	@property
	def full_name(self) -> str:
		"""The full name of the user if `frappe_realtime` is installed on the site, otherwise the user id."""
		return self._remote.identity.full_name

	@property
	def connected(self) -> bool:
		"""Whether the client is connected to another process, as far as this one knows."""
		return self._runtime.remote_socket(self._namespace, self.sid) is self

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms of this socket that a handler has made, its `open_doc:` rooms and its own id; empty after the disconnect."""
		rooms = self._runtime.remote_rooms_of(self._namespace, self.sid)
		return frozenset((*rooms, self.sid)) if self.connected else frozenset()

	def get(self, key: str, default: Any = None) -> Any:
		"""Return a copy of the value that `set` has stored under `key` in the process of this socket."""
		return self._remote.identity.state.get("python", {}).get(key, default)

	def emit(self, event: str, data: Any = None, room: Rooms | None = None) -> Awaitable[None]:
		"""Emit an event to this client, or to all sockets in `room`; see `Socket.emit`."""
		rooms = rooms_of(self.sid if room is None else room)
		self._runtime.emit(self._namespace, rooms, event, arguments_of(event, data), None)
		return COMPLETED

	def prepare_emit(self, event: str, data: Any, room: Rooms | None) -> Callable[[], None]:
		"""Encode an event, and return what emits it; see `Runtime.prepare_emit`."""
		rooms = rooms_of(self.sid if room is None else room)
		return self._runtime.prepare_emit(self._namespace, rooms, event, arguments_of(event, data), None)

	def join(self, room: Rooms) -> Awaitable[None]:
		"""Let the socket join a room, or several. Its process does so some milliseconds later."""
		for one in rooms_of(room):
			self._runtime.command(self._namespace, self.sid, "join", one)
		return COMPLETED

	def leave(self, room: Rooms) -> Awaitable[None]:
		"""Let the socket leave a room, or several."""
		for one in rooms_of(room):
			self._runtime.command(self._namespace, self.sid, "leave", one)
		return COMPLETED

	def disconnect(self, close: bool = False) -> Awaitable[None]:
		"""Disconnect the socket; with `close`, close the whole connection."""
		self._runtime.command(self._namespace, self.sid, "close" if close else "disconnect", "")
		return COMPLETED
