"""The apps' handlers in Python: which of them answer an event of a socket, and all that they can ask of the server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from frappe_realtime.registry import Handler, Signature, current_app, is_async
from frappe_realtime.request import Response
from frappe_realtime.socket import DONE, Socket

from .apps import AppHandlers
from .auth import Session
from .fanout import Fanout
from .lanes import App, Call, Lane
from .loader import load
from .sockets import Ack, Namespace, SocketServer
from .sockets import Socket as RawSocket
from .threads import Threads, frappe_context
from .watchdog import Watchdog

logger = logging.getLogger("realtime.handlers")

ERROR_EVENT = "realtime_handlers_error"
"""Tells the Desk of a developer that a handlers file does not load."""


@dataclass(frozen=True, slots=True)
class Limits:
	"""What handlers may take; the keys of the configuration are `realtime_handler_*`."""

	rate: int = 200
	"""Events a second of one socket, on average; five times as many at once."""
	queue: int = 1000
	seconds: float = 10.0
	blocking: float = 1.0
	threads: int = 16


@dataclass(slots=True)
class Counters:
	"""What handlers have done since the start."""

	events: int = 0
	failures: int = 0
	dropped: int = 0
	slow: int = 0


class View:
	"""What is kept of a socket for handlers."""

	__slots__ = ("credit", "lanes", "refilled", "socket")

	def __init__(self, socket: Socket, credit: float, now: float) -> None:
		self.socket = socket
		self.lanes: dict[str, Lane] = {}
		self.credit = credit
		self.refilled = now


class PythonHandlers:
	"""A responder for all apps with Python handlers, and the `Host` of the sockets they are given."""

	def __init__(
		self,
		files: AppHandlers,
		sites: Path,
		server: SocketServer,
		fanout: Fanout,
		may: Callable[[Session, str, str, str], bool | Awaitable[bool]],
		request: Callable[..., Awaitable[Response]],
		limits: Limits | None = None,
		developer_mode: bool = False,
	) -> None:
		self.counters = Counters()
		self.errors: dict[str, dict[str, str]] = {}
		"""What went wrong with the files that are not loaded, by app."""
		self.limits = limits or Limits()
		self.queue_limit = self.limits.queue
		self.time: Callable[[], float] = lambda: 0.0
		self.threads = Threads(self.limits.threads)
		self.developer_mode = developer_mode
		self._files = files
		self._sites = str(sites)
		self._server = server
		self._fanout = fanout
		self._may = may
		self._request = request
		self._apps: dict[str, App] = {}
		self._scoped: dict[tuple[str, ...] | None, tuple[App, ...]] = {}
		self._running: dict[object, tuple[Lane, asyncio.Task[None] | None]] = {}
		self._asking: set[concurrent.futures.Future[Any]] = set()
		self._stopping = False
		self._loop: asyncio.AbstractEventLoop
		self._loop_thread = 0
		self._watchdog: Watchdog | None = None
		self._seen: dict[str, Any] = {}
		self._watching: asyncio.Task[None] | None = None

	# -- starting and stopping

	def start(self) -> None:
		"""Import the handlers of all apps of the bench. A file that fails is reported, and the others go on."""
		self._loop = asyncio.get_running_loop()
		self._loop_thread = threading.get_ident()
		self.time = self._loop.time
		for app in self._files.apps():
			path = self._files.python(app)
			if path is not None:
				self._load(app, path)
		if self.developer_mode:
			self._watching = self._loop.create_task(self._reload_changed())

	async def stop(self) -> None:
		"""End what runs; handlers in threads are left to themselves."""
		self._stopping = True
		if self._watchdog is not None:
			self._watchdog.stop()
		if self._watching is not None:
			self._watching.cancel()
		for _, task in list(self._running.values()):
			if task is not None:
				task.cancel()
		for future in list(self._asking):
			future.cancel()

	def health(self) -> dict[str, Any]:
		"""What `/health` says about handlers in Python."""
		return {
			"apps": {
				name: {"events": sorted(app.handlers), "set_up": app.set_up is not None}
				for name, app in sorted(self._apps.items())
			},
			"errors": {
				app: {key: error[key] for key in ("file", "error")} for app, error in self.errors.items()
			},
			"events": self.counters.events,
			"failures": self.counters.failures,
			"dropped": self.counters.dropped,
			"slow": self.counters.slow,
			"blocked": self._watchdog.blocked if self._watchdog is not None else 0,
		}

	def _load(self, app: str, path: Path) -> None:
		self._seen[app] = _state_of(path)
		known = self._apps.get(app) or App(app, Context())
		known.context.run(current_app.set, app)
		try:
			loaded = load(app, path, known.context)
		except (Exception, SystemExit) as error:
			place = f"{path}: {type(error).__name__}: {error}"
			logger.error("the handlers of %s are not loaded: %s", app, place, exc_info=error)
			self.errors[app] = {
				"app": app,
				"file": str(path),
				"error": f"{type(error).__name__}: {error}",
				"traceback": "".join(traceback.format_exception(error)),
			}
			self._tell_developers(app)
			return
		self.errors.pop(app, None)
		known.context.run(_set_sites_path, self._sites)
		known.bind(loaded.handlers, loaded.set_up)
		self._apps[app] = known
		self._scoped.clear()
		logger.info("loaded the handlers of %s from %s", app, path)
		if self._watchdog is None:
			self._watchdog = Watchdog(self.limits.blocking, Lane._work.__code__, _describe, self._on_beat)

	# -- the responder

	def on_connect(self, socket: RawSocket, auth: dict[str, Any]) -> None:
		apps = self._apps_of(socket)
		if auth and apps:
			self._view(socket, auth)
		for app in apps:
			if app.set_up is not None:
				self._lane(socket, app).set_up()
			if "connect" in app.handlers:
				self._lane(socket, app).push(Call("connect", [], None))
		if self.errors and self.developer_mode and socket.session.user_type == "System User":
			for app_name in self.errors:
				if app_name in (socket.session.installed_apps or ()):
					socket.emit(ERROR_EVENT, self.errors[app_name])

	def on_event(self, socket: RawSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		allowed = False
		lanes = () if socket.view is None else socket.view.lanes
		for app in self._apps_of(socket):
			if lanes and app.name in lanes:
				lane = lanes[app.name]
				if not lane.answers(event):
					continue
			elif event in app.handlers:
				lane = self._lane(socket, app)
			else:
				continue
			if not allowed:
				if not self._within_rate(socket, event):
					return
				allowed = True
				self.counters.events += 1
			if not lane.push(Call(event, arguments, ack)):
				self._dropped(
					socket, event, f"{self.limits.queue} events wait already (realtime_handler_queue)"
				)

	def on_disconnect(self, socket: RawSocket, reason: str, rooms: set[str]) -> None:
		view: View | None = socket.view
		for app in self._apps_of(socket):
			lane = None if view is None else view.lanes.get(app.name)
			if "disconnect" in app.handlers or (lane is not None and lane.answers("disconnect")):
				(lane or self._lane(socket, app)).queue_last(Call("disconnect", [reason], None))

	def _apps_of(self, socket: RawSocket) -> tuple[App, ...]:
		installed = socket.session.installed_apps
		apps = self._scoped.get(installed)
		if apps is None:
			apps = tuple(self._apps[name] for name in installed or () if name in self._apps)
			self._scoped[installed] = apps
		return apps

	def _view(self, raw: RawSocket, auth: Mapping[str, Any] | None = None) -> View:
		view: View | None = raw.view
		if view is None:
			view = raw.view = View(Socket(self, raw, auth or {}), 5.0 * self.limits.rate, self.time())
		return view

	def _lane(self, raw: RawSocket, app: App) -> Lane:
		view = self._view(raw)
		lane = view.lanes.get(app.name)
		if lane is None:
			lane = view.lanes[app.name] = Lane(self, app, view.socket)
		return lane

	def _within_rate(self, socket: RawSocket, event: str) -> bool:
		view = self._view(socket)
		rate = self.limits.rate
		now = self.time()
		view.credit = min(view.credit + (now - view.refilled) * rate, 5.0 * rate) - 1
		view.refilled = now
		if view.credit >= 0:
			return True
		view.credit = max(view.credit, -1.0)
		self._dropped(socket, event, f"more than {rate} events a second (realtime_handler_rate)")
		return False

	def _dropped(self, socket: RawSocket, event: str, reason: str) -> None:
		self.counters.dropped += 1
		# The first of them, and then every thousandth: it is the client that decides how many there are.
		if self.counters.dropped % 1000 == 1:
			logger.warning(
				"dropped %r of %s on %s: %s", event, socket.session.user, socket.session.site, reason
			)

	# -- running

	def start_lane(self, lane: Lane, runner: object, work: Coroutine[Any, Any, None]) -> None:
		"""Run `work` in a task in the app's context; on Python 3.12 and later its first step at once."""
		self._running[runner] = (lane, None)
		context = lane.app.context
		if sys.version_info >= (3, 12):
			task = asyncio.Task(work, loop=self._loop, eager_start=True, context=context.copy())
		else:
			task = context.run(self._loop.create_task, work)
		if not task.done():
			self._running[runner] = (lane, task)

	def tasks(self) -> list[asyncio.Task[None]]:
		"""The tasks of handlers that have not ended."""
		return [task for _, task in self._running.values() if task is not None]

	def ended(self, runner: object) -> None:
		"""The task of `runner` has nothing more to do."""
		del self._running[runner]

	async def in_thread(self, lane: Lane, handler: Handler, arguments: Iterable[Any], options: Any) -> Any:
		"""Run a plain handler in a thread, and in a Frappe context when it wants one."""
		context = lane.app.context.copy()
		session: Session = lane.socket._raw.session
		if handler.frappe_context:

			def job() -> Any:
				with frappe_context(session.site, session.user, self._sites):
					return handler.function(*arguments, **options)

		else:

			def job() -> Any:
				return handler.function(*arguments, **options)

		return await self.threads.run(lambda: context.run(job))

	def in_loop(self, action: Callable[[], Any]) -> Any:
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
		if result is DONE:
			future.set_result(None)
		elif inspect.isawaitable(result):
			task = asyncio.ensure_future(result)
			task.add_done_callback(lambda task: _hand_over(task, future))
		else:
			future.set_result(result)

	def failed(self, lane: Lane, event: str, error: BaseException) -> None:
		"""A handler raised: that is the end of this event for it, and of nothing else."""
		if self._stopping and isinstance(error, asyncio.CancelledError):
			raise error
		self.counters.failures += 1
		logger.error(
			"%s: a handler of %r failed (user %s of %s)",
			lane.app.name,
			event,
			lane.socket.user,
			lane.socket.site,
			exc_info=error,
		)

	def _on_beat(self) -> None:
		"""Report handlers that take long, and let the events behind them pass."""
		now = self.time()
		for runner, (lane, _) in list(self._running.items()):
			if lane.runner is runner and now - lane.started > self.limits.seconds:
				self.counters.slow += 1
				logger.warning(
					"%s: a handler of %r runs for more than %g s (user %s of %s, realtime_handler_seconds); "
					"the events behind it go on",
					lane.app.name,
					lane.event,
					self.limits.seconds,
					lane.socket.user,
					lane.socket.site,
				)
				lane.overtake()

	# -- what sockets ask for

	def emit(
		self,
		namespace: Namespace,
		rooms: Iterable[str] | None,
		event: str,
		arguments: tuple[Any, ...],
		but: RawSocket | None,
	) -> None:
		self._fanout.emit(namespace, rooms, event, arguments, but)

	def disconnect(self, raw: RawSocket, close: bool) -> None:
		self._server.disconnect(raw, close)

	def listen(self, socket: Socket, event: str, listener: Callable[..., Any], once: bool) -> None:
		app = self._apps.get(current_app.get(""))
		if app is None:
			raise RuntimeError("socket.on is for the handlers of an app, while the server runs them")
		self._lane(socket._raw, app).listeners.setdefault(event, []).append(
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

	def forget(self, socket: Socket, event: str | None, listener: Callable[..., Any] | None) -> None:
		lane = self._own_lane(socket)
		if lane is None:
			return
		if event is None:
			lane.listeners.clear()
			return
		kept = [
			one for one in lane.listeners.pop(event, ()) if listener is not None and one.function != listener
		]
		if kept:
			lane.listeners[event] = kept

	def use(self, socket: Socket, middleware: Callable[..., Any]) -> None:
		app = self._apps.get(current_app.get(""))
		if app is None:
			raise RuntimeError("socket.use is for the handlers of an app, while the server runs them")
		self._lane(socket._raw, app).middleware.append(middleware)

	def _own_lane(self, socket: Socket) -> Lane | None:
		view: View | None = socket._raw.view
		return None if view is None else view.lanes.get(current_app.get(""))

	def may(self, session: Session, doctype: str, name: str, ptype: str) -> bool | Awaitable[bool]:
		return self._may(session, doctype, name, ptype)

	async def request(self, session: Session, *arguments: Any) -> Response:
		return await self._request(session, *arguments)

	def socket(self, raw: RawSocket) -> Socket:
		return self._view(raw).socket

	# -- development

	async def _reload_changed(self) -> None:
		while True:
			await asyncio.sleep(1)
			for app in self._files.apps():
				path = self._files.python(app)
				if path is not None and _state_of(path) != self._seen.get(app):
					self.reload(app, path)

	def reload(self, app: str, path: Path) -> None:
		"""Import the handlers of `app` again; connected sockets stay, and are set up anew."""
		self._load(app, path)
		if app in self.errors:
			return
		for raw in self._sockets_with(app):
			lane = self._lane(raw, self._apps[app])
			lane.listeners.clear()
			lane.middleware.clear()
			lane.set_up()

	def _sockets_with(self, app: str) -> Iterator[RawSocket]:
		for namespace in list(self._server.namespaces.values()):
			for raw in list(namespace.sockets.values()):
				if raw.session is not None and app in (raw.session.installed_apps or ()):
					yield raw

	def _tell_developers(self, app: str) -> None:
		if self.developer_mode:
			for raw in self._sockets_with(app):
				if raw.session.user_type == "System User":
					raw.emit(ERROR_EVENT, self.errors[app])


def _hand_over(task: asyncio.Future[Any], future: concurrent.futures.Future[Any]) -> None:
	if future.done():
		return
	if task.cancelled():
		future.set_exception(ConnectionError("the server is stopping, or the client has gone"))
	elif (error := task.exception()) is not None:
		future.set_exception(error)
	else:
		future.set_result(task.result())


def _describe(frame: FrameType) -> str:
	lane: Lane = frame.f_locals["self"]
	return f"{lane.app.name}: a handler of {lane.event!r} (user {lane.socket.user} of {lane.socket.site})"


def _state_of(path: Path) -> tuple[tuple[str, int, int], ...]:
	"""What tells whether the file, or one beside it, has changed."""
	found = []
	for file in sorted(path.parent.glob("*.py")):
		try:
			stat = file.stat()
		except OSError:
			continue
		found.append((str(file), stat.st_mtime_ns, stat.st_size))
	return tuple(found)


def _set_sites_path(sites: str) -> None:
	"""Handlers outside a Frappe context find the sites too, once their file has imported Frappe."""
	frappe = sys.modules.get("frappe")
	if frappe is not None and hasattr(frappe, "local"):
		frappe.local.sites_path = sites
