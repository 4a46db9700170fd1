"""The apps' handlers in Python: which of them answer an event of a socket, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from frappe_realtime.contract import HANDLERS_ERROR, SYSTEM_USER
from frappe_realtime.handlers.registry import Handler, current_app
from frappe_realtime.handlers.response import Response
from frappe_realtime.handlers.socket import Socket

from ..access.authentication import Session
from ..cluster.members import RemoteMembers
from ..histogram import Histogram
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces, ServerSocket
from ..socketio.server import Ack
from .files import HandlerFiles
from .loader import load
from .queue import App, HandlerQueue
from .runtime import HandlerRuntime, View
from .tasks import start_eagerly
from .threads import Threads, frappe_context
from .watchdog import Watchdog

logger = logging.getLogger("realtime.handlers")

GUARDS = frozenset({HandlerQueue._work.__code__})
"""The code of the function in which handlers run on the event loop."""


@dataclass(frozen=True, slots=True)
class HandlerLimits:
	"""What handlers may take; the keys of the configuration are `realtime_handler_*`."""

	queue: int = 2000
	seconds: float = 10.0
	blocking: float = 1.0
	threads: int = 16


@dataclass(slots=True)
class HandlerCounters:
	"""What handlers have done since the start."""

	events: int = 0
	failures: int = 0
	dropped: int = 0
	slow: int = 0


class PythonHandlers(HandlerRuntime):
	"""A responder for all apps with Python handlers."""

	def __init__(
		self,
		files: HandlerFiles,
		sites: Path,
		namespaces: Namespaces,
		fanout: Fanout,
		may: Callable[[Session, str, str, str], bool | Awaitable[bool]],
		request: Callable[..., Awaitable[Response]],
		limits: HandlerLimits | None = None,
		developer_mode: bool = False,
		elsewhere: RemoteMembers | None = None,
		loop: asyncio.AbstractEventLoop | None = None,
	) -> None:
		self.limits = limits or HandlerLimits()
		super().__init__(
			namespaces, fanout, may, request, elsewhere or RemoteMembers(), loop or asyncio.get_running_loop()
		)
		self.counters = HandlerCounters()
		self.errors: dict[str, dict[str, str]] = {}
		"""What went wrong with the files that are not loaded, by app."""
		self.queue_limit = self.limits.queue
		self.threads = Threads(self.limits.threads)
		self.developer_mode = developer_mode
		self._files = files
		self._sites = str(sites)
		self._scoped: dict[tuple[str, ...] | None, tuple[App, ...]] = {}
		self._running: dict[object, tuple[HandlerQueue, asyncio.Task[None]]] = {}
		"""The queues whose first step has not been the last."""
		self._stopping = False
		self._watchdog: Watchdog | None = None
		self._seen: dict[str, Any] = {}
		self._watching: asyncio.Task[None] | None = None

	# -- starting and stopping

	def start(self) -> None:
		"""Import the handlers of all apps of the bench. A file that fails is reported, and the others go on."""
		for app in self._files.apps():
			path = self._files.python(app)
			if path is not None:
				self._load(app, path)
		if "frappe" in sys.modules:
			# Much of Frappe takes for granted that it runs in the folder of the sites.
			os.chdir(self._sites)
		if self.developer_mode:
			self._watching = self._loop.create_task(self._reload_changed())

	async def stop(self) -> None:
		"""End what runs; handlers in threads are left to themselves."""
		self._stopping = True
		if self._watchdog is not None:
			self._watchdog.stop()
		if self._watching is not None:
			self._watching.cancel()
		for task in self.tasks():
			task.cancel()
		self.end()

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

	def latencies(self) -> dict[str, Histogram]:
		"""Return how long the apps took for one event, by app."""
		return {name: app.latency for name, app in self._apps.items()}

	def _load(self, app: str, path: Path) -> None:
		self._seen[app] = _state_of(path)
		known = self._apps.get(app) or App(app, Context())
		known.context.run(current_app.set, app)
		try:
			loaded = load(app, path, known.context.copy())
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
		known.bind(loaded.handlers, loaded.set_up)
		self._apps[app] = known
		self._scoped.clear()
		logger.info("loaded the handlers of %s from %s", app, path)
		if self._watchdog is None:
			self._watchdog = Watchdog(self.limits.blocking, GUARDS, _describe, self._on_beat)

	# -- the responder

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		apps = self._apps_of(socket)
		if auth and apps:
			self._view(socket, auth)
		for app in apps:
			if app.set_up is not None:
				self._queue(socket, app).set_up()
			if "connect" in app.handlers:
				self._queue(socket, app).push(("connect", [], None))
		if self.errors and self.developer_mode and socket.session.user_type == SYSTEM_USER:
			for app_name in self.errors:
				if app_name in (socket.session.installed_apps or ()):
					socket.emit(HANDLERS_ERROR, self.errors[app_name])

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		queues: dict[str, HandlerQueue] = {} if socket.view is None else socket.view.queues
		call = (event, arguments, ack)
		taken = False
		for app in self._apps_of(socket):
			queue = queues.get(app.name)
			if event in app.handlers or (queue is not None and queue.listens(event)):
				taken = True
				if not (queue or self._queue(socket, app)).push(call):
					self._dropped(socket, event)
		if taken:
			self.counters.events += 1

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		view: View | None = socket.view
		for app in self._apps_of(socket):
			queue = None if view is None else view.queues.get(app.name)
			if "disconnect" in app.handlers or (queue is not None and queue.listens("disconnect")):
				(queue or self._queue(socket, app)).queue_last(("disconnect", [reason], None))

	def _apps_of(self, socket: ServerSocket) -> tuple[App, ...]:
		installed = socket.session.installed_apps
		apps = self._scoped.get(installed)
		if apps is None:
			apps = tuple(self._apps[name] for name in installed or () if name in self._apps)
			self._scoped[installed] = apps
		return apps

	def _make_queue(self, app: App, socket: Socket) -> HandlerQueue:
		return HandlerQueue(self, app, socket)

	def _dropped(self, socket: ServerSocket, event: str) -> None:
		self.counters.dropped += 1
		# The first of them, and then every thousandth: it is the client that decides how many there are.
		if self.counters.dropped % 1000 == 1:
			logger.warning(
				"dropped %r of %s on %s: %d events wait already (realtime_handler_queue)",
				event,
				socket.session.user,
				socket.session.site,
				self.limits.queue,
			)

	# -- running

	def context_of(self, app: App) -> Context:
		"""A context for one run of the app's code.

		What Frappe keeps in `frappe.local` it changes in place: a context in which that exists is never copied, or one
		user's would be another's.
		"""
		context = app.context.copy()
		if "frappe" in sys.modules:
			context.run(_set_sites_path, self._sites)
		return context

	def start_task(
		self, queue: HandlerQueue, runner: object, work: Coroutine[Any, Any, None], context: Context
	) -> None:
		"""Run `work` in `context` as a task; its first step runs at once from Python 3.12 on."""
		task = start_eagerly(self._loop, work, context)
		if not task.done():
			self._running[runner] = (queue, task)

	def tasks(self) -> list[asyncio.Task[None]]:
		"""The tasks of handlers that have not ended."""
		return [task for _, task in self._running.values()]

	def ended(self, runner: object) -> None:
		"""The task of `runner` has nothing more to do."""
		self._running.pop(runner, None)

	async def in_thread(
		self, queue: HandlerQueue, handler: Handler, arguments: Iterable[Any], options: Any
	) -> Any:
		"""Run a plain handler in a thread, and in a Frappe context when it wants one."""
		context = self.context_of(queue.app)
		session: Session = queue.socket._server_socket.session
		if handler.frappe_context:

			def job() -> Any:
				with frappe_context(session.site, session.user, self._sites):
					return handler.function(*arguments, **options)

		else:

			def job() -> Any:
				return handler.function(*arguments, **options)

		return await self.threads.run(lambda: context.run(job))

	def failed(self, queue: HandlerQueue, event: str, error: BaseException) -> None:
		"""A handler raised: that is the end of this event for it, and of nothing else."""
		if self._stopping and isinstance(error, asyncio.CancelledError):
			raise error
		self.counters.failures += 1
		logger.error(
			"%s: a handler of %r failed (user %s of %s)",
			queue.app.name,
			event,
			queue.socket.user,
			queue.socket.site,
			exc_info=error,
		)

	def _on_beat(self) -> None:
		"""Report handlers that take long, and let the events behind them pass."""
		now = self.time()
		for runner, (queue, _) in list(self._running.items()):
			if queue.runner is runner and now - queue.started > self.limits.seconds:
				self.counters.slow += 1
				logger.warning(
					"%s: a handler of %r runs for more than %g s (user %s of %s, realtime_handler_seconds); "
					"the events behind it go on",
					queue.app.name,
					queue.event,
					self.limits.seconds,
					queue.socket.user,
					queue.socket.site,
				)
				queue.overtake()

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
			queue = self._queue(raw, self._apps[app])
			queue.listeners.clear()
			queue.middleware.clear()
			queue.set_up()

	def _sockets_with(self, app: str) -> Iterator[ServerSocket]:
		for namespace in list(self._namespaces.values()):
			for raw in list(namespace.sockets.values()):
				if raw.session is not None and app in (raw.session.installed_apps or ()):
					yield raw

	def _tell_developers(self, app: str) -> None:
		if self.developer_mode:
			for raw in self._sockets_with(app):
				if raw.session.user_type == SYSTEM_USER:
					raw.emit(HANDLERS_ERROR, self.errors[app])


def _describe(frame: FrameType) -> str:
	queue: HandlerQueue = frame.f_locals["self"]
	return f"{queue.app.name}: a handler of {queue.event!r} (user {queue.socket.user} of {queue.socket.site})"


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
