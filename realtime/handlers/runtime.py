"""What handlers can do through their sockets: the implementation of `frappe_realtime.handlers.runtime.Runtime`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from frappe_realtime.handlers.registry import Handler, Signature, current_app, is_async
from frappe_realtime.handlers.remote_socket import RemoteSocket
from frappe_realtime.handlers.response import Response
from frappe_realtime.handlers.socket import Socket
from frappe_realtime.handlers.sync_socket import SyncSocket

from ..access.authentication import Session
from ..cluster.members import RemoteMembers
from ..cluster.sockets import Action, SocketTable
from ..presence.app_presence import AppPresence
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, ServerSocket
from ..socketio.packets import encode_event
from .app import App
from .app_rewinds import AppRewinds
from .executor import HandlerExecutor
from .loaded_apps import LoadedApps
from .queue import HandlerQueue

HasPermission = Callable[[ServerSocket, str, str, str], "bool | Awaitable[bool]"]
"""Takes a socket, a DocType, a document's name (empty for the DocType) and a permission type."""

FrappeRequest = Callable[..., Awaitable[Response]]
"""The signature is that of `FrappeRequests.send`."""


class SocketView:
	"""One socket as handlers see it: the objects that they get, and an event queue for each app.

	Args:
		socket: The socket that async handlers get.
		sync_socket: The same socket, as plain `def` handlers get it.
	"""

	__slots__ = ("queues", "socket", "sync_socket")

	def __init__(self, socket: Socket, sync_socket: SyncSocket) -> None:
		self.socket = socket
		self.sync_socket = sync_socket
		self.queues: dict[str, HandlerQueue] = {}


class HandlerRuntime:
	"""The `Runtime` of handlers' sockets. It keeps a view of each socket for which a handler has run.

	Args:
		fanout: Sends events to rooms.
		has_permission: Answers `socket.has_permission`.
		frappe_request: Answers `socket.frappe_request`.
		remote: The members of rooms on other sidecars.
		sockets: The sockets on other sidecars.
		presence: The members of places.
		rewinds: Answers `socket.rewind`.
		apps: The apps with handlers.
		executor: Runs the handlers.
	"""

	def __init__(
		self,
		fanout: Fanout,
		has_permission: HasPermission,
		frappe_request: FrappeRequest,
		remote: RemoteMembers,
		sockets: SocketTable,
		presence: AppPresence,
		rewinds: AppRewinds,
		apps: LoadedApps,
		executor: HandlerExecutor,
	) -> None:
		self.emit = fanout.emit
		self._fanout = fanout
		self._has_permission = has_permission
		self._frappe_request = frappe_request
		self._remote = remote
		self._sockets = sockets
		self._presence = presence
		self._rewinds = rewinds
		self._apps = apps
		self._executor = executor

	def view_of(self, server_socket: ServerSocket, auth: Mapping[str, Any] | None = None) -> SocketView:
		"""Return the view of a socket; make it first if there is none.

		Args:
			server_socket: The socket.
			auth: The `auth` object of its CONNECT packet, for a new view.
		"""
		view: SocketView | None = server_socket.view
		if view is None:
			socket = Socket(self, server_socket, auth or {})
			view = server_socket.view = SocketView(socket, SyncSocket(self, socket))
		return view

	def queue_of(self, server_socket: ServerSocket, app: App) -> HandlerQueue:
		"""Return the event queue of a socket for `app`; make it first if there is none."""
		view = self.view_of(server_socket)
		queue = view.queues.get(app.name)
		if queue is None:
			queue = view.queues[app.name] = HandlerQueue(self._executor, app, view.socket, view.sync_socket)
		return queue

	# -- methods of sockets

	def run_in_loop(self, action: Callable[[], Any]) -> Any:
		return self._executor.bridge.run(action)

	def post(self, action: Callable[[], None]) -> Any:
		return self._executor.bridge.post(action)

	def prepare_emit(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		event: str,
		arguments: tuple[Any, ...],
		excluded: ServerSocket | None,
	) -> Callable[[], None]:
		encoded = encode_event(namespace.name, [event, *arguments])
		but = () if excluded is None else (excluded.id,)
		return partial(self._fanout.send, namespace.name, rooms, encoded, but)

	def prepare_send(
		self, server_socket: ServerSocket, event: str, arguments: tuple[Any, ...]
	) -> Callable[[], None]:
		encoded = encode_event(server_socket.namespace.name, [event, *arguments])

		def send() -> None:
			if server_socket.connected:
				server_socket.send_event(encoded)

		return send

	def socket_of(self, server_socket: ServerSocket) -> Socket:
		return self.view_of(server_socket).socket

	def sync_socket_of(self, socket: Socket | RemoteSocket) -> SyncSocket:
		if isinstance(socket, RemoteSocket):
			return SyncSocket(self, socket)
		return self.view_of(socket._server_socket).sync_socket

	def current_namespace(self, namespace: Namespace) -> Namespace:
		return self._fanout.current(namespace)

	def leave(self, server_socket: ServerSocket, room: str) -> None:
		self._rewinds.cancel(server_socket, room)
		server_socket.leave(room)

	async def rewind(self, server_socket: ServerSocket, room: str, rewind: Any) -> int:
		return await self._rewinds.rewind(server_socket, room, rewind)

	def remote_socket_ids(self, namespace: Namespace, room: str) -> Iterable[str]:
		return self._remote.ids(namespace.name, room)

	def remote_user(self, namespace: Namespace, sid: str) -> str | None:
		socket = self._sockets.get(namespace.name, sid)
		return None if socket is None else socket.identity.user

	def remote_sockets(self, namespace: Namespace) -> Collection[str]:
		return self._sockets.ids(namespace.name)

	def remote_socket(self, namespace: Namespace, sid: str) -> RemoteSocket | None:
		socket = self._sockets.get(namespace.name, sid)
		if socket is None:
			return None
		if socket.view is None:
			socket.view = RemoteSocket(self, namespace, socket)
		view: RemoteSocket = socket.view
		return view

	def remote_rooms(self, namespace: Namespace) -> Iterable[str]:
		return self._remote.rooms(namespace.name)

	def remote_rooms_of(self, namespace: Namespace, sid: str) -> Iterable[str]:
		return self._remote.rooms_of(namespace.name, sid)

	def command(self, namespace: Namespace, sid: str, action: Action, room: str) -> None:
		self._sockets.command(namespace.name, sid, action, room)

	def state_changed(self, server_socket: ServerSocket, state: Mapping[str, Any]) -> None:
		self._sockets.set_state(server_socket, "python", state)

	def presence_join(
		self, server_socket: ServerSocket, place: str, state: Any, seconds: float | None
	) -> None:
		self._presence.join(server_socket, place, state, seconds)

	def presence_set(
		self, server_socket: ServerSocket, place: str, state: Any, seconds: float | None
	) -> None:
		self._presence.set(server_socket, place, state, seconds)

	def presence_members(self, namespace: Namespace, place: str) -> tuple[list[dict[str, Any]], int]:
		return self._presence.members(namespace.name, place)

	def disconnect(self, server_socket: ServerSocket, close: bool) -> None:
		server_socket.disconnect(close)

	def has_permission(
		self, server_socket: ServerSocket, doctype: str, name: str, ptype: str
	) -> bool | Awaitable[bool]:
		return self._has_permission(server_socket, doctype, name, ptype)

	async def frappe_request(self, session: Session, *arguments: Any) -> Response:
		return await self._frappe_request(session, *arguments)

	def add_listener(self, socket: Socket, event: str, listener: Callable[..., Any], once: bool) -> None:
		app = self._current_app("socket.on")
		if not callable(listener):
			raise TypeError(f"socket.on({event!r}, …) takes a function, and was given {listener!r}")
		handler = Handler(
			event=event,
			function=listener,
			app=app.name,
			signature=Signature.of(listener),
			is_async=is_async(listener),
			takes_socket=False,
			once=once,
		)
		self.queue_of(socket._server_socket, app).listeners.setdefault(event, []).append(handler)

	def remove_listeners(
		self, socket: Socket, event: str | None, listener: Callable[..., Any] | None
	) -> None:
		view: SocketView | None = socket._server_socket.view
		queue = None if view is None else view.queues.get(current_app.get(""))
		if queue is None:
			return
		if event is None:
			queue.listeners.clear()
		elif listener is None:
			queue.listeners.pop(event, None)
		else:
			queue.remove_listener(event, listener)

	def add_middleware(self, socket: Socket, middleware: Callable[..., Any]) -> None:
		app = self._current_app("socket.use")
		if not callable(middleware):
			raise TypeError(f"socket.use takes a function, and was given {middleware!r}")
		self.queue_of(socket._server_socket, app).middleware.append(middleware)

	def _current_app(self, method: str) -> App:
		"""Return the app whose code calls `method`."""
		app = self._apps.get(current_app.get(""))
		if app is None:
			raise RuntimeError(f"{method} is for the handlers of an app, while the server runs them")
		return app
