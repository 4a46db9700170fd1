"""What the sockets of handlers need of the process that runs the handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .response import Response

if TYPE_CHECKING:
	from .remote_socket import RemoteSocket
	from .socket import Socket
	from .sync_socket import SyncSocket


class Runtime(Protocol):
	"""The handler runtime: the sidecar, or `frappe_realtime.testing`.

	`server_socket`, `namespace` and `session` are objects of the sidecar: `realtime.socketio.namespace.Socket` and
	`Namespace`, and `realtime.access.authentication.Session`. All methods but `run_in_loop`, `post` and those for it run on the event loop.
	"""

	@property
	def emit(self) -> Callable[[Any, Sequence[str] | None, str, tuple[Any, ...], Any], None]:
		"""Emit to rooms of a namespace, on all sidecars: (namespace, rooms, event, arguments, excluded socket).

		None for rooms is the whole namespace.
		"""

	def current_namespace(self, namespace: Any) -> Any:
		"""Return the namespace of the same name as it is now: a handler may run on when the last socket has left."""

	def leave(self, server_socket: Any, room: str) -> None:
		"""Let a socket leave a room, which it may be about to join with `rewind`."""

	async def rewind(self, server_socket: Any, room: str, rewind: Any) -> int:
		"""Let a socket join a room, after it was sent the earlier events of the room; raises `RewindRefused`."""

	def remote_socket_ids(self, namespace: Any, room: str) -> Iterable[str]:
		"""Return the ids of the sockets in `room` on other sidecars."""

	def remote_user(self, namespace: Any, sid: str) -> str | None:
		"""Return the user of a socket on another sidecar; None if it is unknown."""

	def remote_sockets(self, namespace: Any) -> Collection[str]:
		"""Return the ids of the sockets of a namespace on other sidecars."""

	def remote_socket(self, namespace: Any, sid: str) -> RemoteSocket | None:
		"""Return a socket on another sidecar; None if it is unknown."""

	def remote_rooms(self, namespace: Any) -> Iterable[str]:
		"""Return the rooms of a namespace that have sockets on other sidecars, as far as they are known."""

	def remote_rooms_of(self, namespace: Any, sid: str) -> Iterable[str]:
		"""Return the rooms of a socket on another sidecar, as far as they are known."""

	def command(self, namespace: Any, sid: str, action: Any, room: str) -> None:
		"""Let a socket `join` or `leave` a room, `disconnect`, or `close` its connection, on whichever sidecar it is."""

	def state_changed(self, server_socket: Any, state: Mapping[str, Any]) -> None:
		"""Handle that `set` has changed what a socket keeps; `state` is all of it."""

	def presence_join(self, server_socket: Any, place: str, state: Any, seconds: float | None) -> None:
		"""Let a socket join a place, or change its state there; raises `PresenceRefused`."""

	def presence_set(self, server_socket: Any, place: str, state: Any, seconds: float | None) -> None:
		"""Change the state of a socket in a place; raises `PresenceRefused`."""

	def presence_members(self, namespace: Any, place: str) -> tuple[list[dict[str, Any]], int]:
		"""Return the members of a place that are listed, and the number of all."""

	def disconnect(self, server_socket: Any, close: bool) -> None:
		"""Disconnect a socket from its namespace; with `close`, close the connection."""

	def add_listener(self, socket: Socket, event: str, listener: Callable[..., Any], once: bool) -> None:
		"""Add a listener for the app whose code runs."""

	def remove_listeners(
		self, socket: Socket, event: str | None, listener: Callable[..., Any] | None
	) -> None:
		"""Remove a listener of the app whose code runs; without `listener` all of the event, without `event` all."""

	def add_middleware(self, socket: Socket, middleware: Callable[..., Any]) -> None:
		"""Add a middleware for the app whose code runs."""

	def has_permission(
		self, server_socket: Any, doctype: str, name: str, ptype: str
	) -> bool | Awaitable[bool]:
		"""Return whether the user of a socket has a permission, or an awaitable of the answer."""

	async def frappe_request(
		self,
		session: Any,
		path: str,
		args: Mapping[str, Any] | None,
		method: str,
		body: Any,
		headers: Mapping[str, str] | None,
	) -> Response:
		"""Send a request to the site as the session's user."""

	def socket_of(self, server_socket: Any) -> Socket:
		"""Return the socket that async handlers get for `server_socket`."""

	def sync_socket_of(self, socket: Socket | RemoteSocket) -> SyncSocket:
		"""Return what plain handlers get for the socket that async handlers get."""

	def prepare_emit(
		self,
		namespace: Any,
		rooms: Sequence[str] | None,
		event: str,
		arguments: tuple[Any, ...],
		excluded: Any,
	) -> Callable[[], None]:
		"""Encode an event, and return what sends it as `emit` does, for `post`. For threads too."""

	def prepare_send(self, server_socket: Any, event: str, arguments: tuple[Any, ...]) -> Callable[[], None]:
		"""Encode an event, and return what sends it to a socket that is still connected, for `post`. For threads too."""

	def post(self, action: Callable[[], None]) -> Any:
		"""Run `action`, which must not raise, on the event loop, after what was asked for before; a thread does not wait."""

	def run_in_loop(self, action: Callable[[], Any]) -> Any:
		"""Run `action` on the event loop, wait for it, and for the awaitable that it may return. For threads."""
