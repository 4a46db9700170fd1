"""What the sockets that handlers are given ask of the server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from frappe_realtime.handlers.broadcast import COMPLETED
from frappe_realtime.handlers.registry import Handler, Signature, current_app, is_async
from frappe_realtime.handlers.response import Response
from frappe_realtime.handlers.socket import Socket

from ..access.authentication import Session
from ..cluster.members import RemoteMembers
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from .queue import App, HandlerQueue


class View:
	"""What is kept of a socket for handlers."""

	__slots__ = ("queues", "socket")

	def __init__(self, socket: Socket) -> None:
		self.socket = socket
		self.queues: dict[str, HandlerQueue] = {}


class HandlerRuntime:
	"""The `Runtime` of `frappe_realtime.handlers.runtime`: keeps a view of each socket that handlers see, and acts for it."""

	def __init__(
		self,
		namespaces: Namespaces,
		fanout: Fanout,
		may: Callable[[Session, str, str, str], bool | Awaitable[bool]],
		request: Callable[..., Awaitable[Response]],
		elsewhere: RemoteMembers,
		loop: asyncio.AbstractEventLoop,
	) -> None:
		self.time: Callable[[], float] = loop.time
		"""The clock of the event loop."""
		self.emit = fanout.emit
		self._namespaces = namespaces
		self._may = may
		self._request = request
		self._elsewhere = elsewhere
		self._apps: dict[str, App] = {}
		self._asking: set[concurrent.futures.Future[Any]] = set()
		self._loop = loop
		self._loop_thread = threading.get_ident()

	def end(self) -> None:
		"""Let no thread wait for the loop any more."""
		for future in list(self._asking):
			future.cancel()

	def _view(self, raw: ServerSocket, auth: Mapping[str, Any] | None = None) -> View:
		view: View | None = raw.view
		if view is None:
			view = raw.view = View(Socket(self, raw, auth or {}))
		return view

	def _queue(self, raw: ServerSocket, app: App) -> HandlerQueue:
		view = self._view(raw)
		queue = view.queues.get(app.name)
		if queue is None:
			queue = view.queues[app.name] = self._make_queue(app, view.socket)
		return queue

	def _make_queue(self, app: App, socket: Socket) -> HandlerQueue:
		raise NotImplementedError

	# -- from threads

	def run_in_loop(self, action: Callable[[], Any]) -> Any:
		"""Do `action` on the event loop; from a thread, wait for it and for what it gives to await."""
		if threading.get_ident() == self._loop_thread:
			return action()
		future: concurrent.futures.Future[Any] = concurrent.futures.Future()
		self._asking.add(future)
		try:
			self._loop.call_soon_threadsafe(self._do, action, future)
			return future.result()
		finally:
			self._asking.discard(future)

	def _do(self, action: Callable[[], Any], future: concurrent.futures.Future[Any]) -> None:
		try:
			result = action()
		except BaseException as error:
			future.set_exception(error)
			return
		if result is COMPLETED:
			future.set_result(None)
		elif inspect.isawaitable(result):
			task = asyncio.ensure_future(result)
			task.add_done_callback(lambda task: _hand_over(task, future))
		else:
			future.set_result(result)

	# -- what sockets ask for

	def remote_socket_ids(self, namespace: Namespace, room: str) -> Iterable[str]:
		return self._elsewhere.ids(namespace.name, room)

	def remote_user(self, namespace: Namespace, sid: str) -> str | None:
		return self._elsewhere.user_of(namespace.name, sid)

	def disconnect(self, server_socket: ServerSocket, close: bool) -> None:
		server_socket.disconnect(close)

	def add_listener(self, socket: Socket, event: str, listener: Callable[..., Any], once: bool) -> None:
		app = self._apps.get(current_app.get(""))
		if app is None:
			raise RuntimeError("socket.on is for the handlers of an app, while the server runs them")
		self._queue(socket._server_socket, app).listeners.setdefault(event, []).append(
			Handler(
				event=event,
				function=listener,
				app=app.name,
				signature=Signature.of(listener),
				is_async=is_async(listener),
				takes_socket=False,
				once=once,
			)
		)

	def remove_listeners(
		self, socket: Socket, event: str | None, listener: Callable[..., Any] | None
	) -> None:
		queue = self._own_queue(socket)
		if queue is None:
			return
		if event is None:
			queue.listeners.clear()
			return
		kept = [
			one for one in queue.listeners.pop(event, ()) if listener is not None and one.function != listener
		]
		if kept:
			queue.listeners[event] = kept

	def add_middleware(self, socket: Socket, middleware: Callable[..., Any]) -> None:
		app = self._apps.get(current_app.get(""))
		if app is None:
			raise RuntimeError("socket.use is for the handlers of an app, while the server runs them")
		self._queue(socket._server_socket, app).middleware.append(middleware)

	def _own_queue(self, socket: Socket) -> HandlerQueue | None:
		view: View | None = socket._server_socket.view
		return None if view is None else view.queues.get(current_app.get(""))

	def has_permission(self, session: Session, doctype: str, name: str, ptype: str) -> bool | Awaitable[bool]:
		return self._may(session, doctype, name, ptype)

	async def frappe_request(self, session: Session, *arguments: Any) -> Response:
		return await self._request(session, *arguments)

	def socket_of(self, server_socket: ServerSocket) -> Socket:
		return self._view(server_socket).socket


def _hand_over(task: asyncio.Future[Any], future: concurrent.futures.Future[Any]) -> None:
	if future.done():
		return
	if task.cancelled():
		future.set_exception(ConnectionError("the server is stopping, or the client has disconnected"))
	elif (error := task.exception()) is not None:
		future.set_exception(error)
	else:
		future.set_result(task.result())
