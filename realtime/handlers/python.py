"""The apps' handlers in Python, as the application calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from frappe_realtime.contract.events import HANDLERS_ERROR
from frappe_realtime.contract.users import SYSTEM_USER

from ..access.authentication import Session
from ..cluster.members import RemoteMembers
from ..cluster.sockets import SocketTable
from ..presence.app_presence import AppPresence
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces, ServerSocket
from ..socketio.server import Ack
from .app_rewinds import AppRewinds
from .executor import HandlerExecutor, HandlerLimits
from .files import HandlerFiles
from .loaded_apps import LoadedApps
from .queue import HandlerQueue
from .runtime import FrappeRequest, HandlerRuntime, HasPermission, SocketView

RELOAD_SECONDS = 1.0
"""Seconds between two looks at the handlers files, in developer mode."""


class PythonHandlers:
	"""Passes the events of sockets to the handlers of the apps that are installed on the socket's site.

	Must be made in the thread of the event loop.

	Args:
		files: The handlers files of the bench.
		sites: The folder of sites.
		namespaces: The sockets of this process.
		fanout: Sends events to rooms.
		has_permission: Answers `socket.has_permission`.
		frappe_request: Answers `socket.frappe_request`.
		presence: Answers `socket.presence`.
		rewinds: Answers `socket.rewind`.
		limits: The limits of handlers.
		developer_mode: True to load changed files again, and to send errors of files to System Users.
		remote: The members of rooms on other sidecars.
		sockets: The sockets on other sidecars.
		loop: The event loop; the running one if None.
	"""

	events = None

	def __init__(
		self,
		files: HandlerFiles,
		sites: Path,
		namespaces: Namespaces,
		fanout: Fanout,
		has_permission: HasPermission,
		frappe_request: FrappeRequest,
		presence: AppPresence,
		rewinds: AppRewinds,
		limits: HandlerLimits | None = None,
		developer_mode: bool = False,
		remote: RemoteMembers | None = None,
		sockets: SocketTable | None = None,
		loop: asyncio.AbstractEventLoop | None = None,
	) -> None:
		self.apps = LoadedApps(files, sites)
		self.executor = HandlerExecutor(sites, limits or HandlerLimits(), loop or asyncio.get_running_loop())
		self.runtime = HandlerRuntime(
			fanout,
			has_permission,
			frappe_request,
			remote or RemoteMembers(),
			sockets or SocketTable(namespaces),
			presence,
			rewinds,
			self.apps,
			self.executor,
		)
		self._namespaces = namespaces
		self._developer_mode = developer_mode
		self._tasks: set[asyncio.Task[None]] = set()

	# -- starting and stopping

	def start(self) -> None:
		"""Import the handlers of all apps. Must be called on the event loop."""
		self.apps.load_all()
		if self.apps:
			self.executor.watchdog.start()
		if self._developer_mode:
			self._tasks.add(asyncio.get_running_loop().create_task(self._reload_changed_files()))

	async def stop(self) -> None:
		"""Cancel the handlers on the event loop. Handlers in threads run on until the process ends."""
		for task in self._tasks:
			task.cancel()
		self.executor.stop()

	def has_handlers(self, session: Session) -> bool:
		"""Return True if an app on the site of a session has handlers in Python."""
		return bool(self.apps.installed(session.installed_apps))

	def health(self) -> dict[str, Any]:
		"""Return what `/health` reports about handlers in Python.

		Returns:
			`{"apps": {app: {events, set_up}}, "errors": {app: {file, error}}, "events", "failures", "dropped", "slow",
			"blocked"}`; the last five are counters since the start.
		"""
		counters = self.executor.counters
		return {
			**self.apps.health(),
			"events": counters.events,
			"failures": counters.failures,
			"dropped": counters.dropped.total(),
			"slow": counters.slow,
			"blocked": self.executor.watchdog.blocked,
		}

	# -- events of sockets: see `EventHandler`

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Run the set-up functions and the handlers of `connect`; report broken files to developers."""
		apps = self.apps.installed(socket.session.installed_apps)
		if auth and apps:
			# The first view of a socket decides what its handshake shows as `auth`.
			self.runtime.view_of(socket, auth)
		for app in apps:
			if app.setup is not None:
				self.runtime.queue_of(socket, app).run_setup()
			if "connect" in app.handlers:
				self.runtime.queue_of(socket, app).push_lifecycle("connect")
		if self.apps.errors and self._developer_mode and socket.session.user_type == SYSTEM_USER:
			for app_name, error in self.apps.errors.items():
				if app_name in (socket.session.installed_apps or ()):
					socket.emit(HANDLERS_ERROR, error)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Queue an event for each app that handles it."""
		queues: dict[str, HandlerQueue] = {} if socket.view is None else socket.view.queues
		call = (event, arguments, ack)
		handled = False
		for app in self.apps.installed(socket.session.installed_apps):
			queue = queues.get(app.name)
			if event in app.handlers or (queue is not None and queue.may_handle(event)):
				handled = True
				(queue or self.runtime.queue_of(socket, app)).push(call)
		if handled:
			self.executor.counters.events += 1

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Drop the events that wait; queue the event `disconnect`, which gets the reason, for each app that handles it."""
		view: SocketView | None = socket.view
		for waiting in [] if view is None else view.queues.values():
			waiting.drop_client_events()
		for app in self.apps.installed(socket.session.installed_apps):
			queue = None if view is None else view.queues.get(app.name)
			if "disconnect" in app.handlers or (queue is not None and queue.may_handle("disconnect")):
				(queue or self.runtime.queue_of(socket, app)).push_lifecycle("disconnect", reason)

	# -- developer mode

	async def _reload_changed_files(self) -> None:
		while True:
			await asyncio.sleep(RELOAD_SECONDS)
			for name in self.apps.deleted():
				self.unload(name)
			for name, path in self.apps.changed():
				self.reload(name, path)

	def reload(self, name: str, path: Path) -> None:
		"""Import the handlers of an app again. Sockets stay connected, and set-up functions run again for them.

		If the file cannot be imported, System Users whose site has the app get the event `realtime_handlers_error` with
		`{app, file, error, traceback}`, and the earlier handlers stay.
		"""
		app = self.apps.load(name, path)
		if app is None:
			self._send_error(name)
			return
		self.executor.watchdog.start()
		for socket in self._sockets_with(name):
			queue = self.runtime.queue_of(socket, app)
			queue.remove_all_listeners()
			queue.run_setup()

	def unload(self, name: str) -> None:
		"""Remove the handlers of an app whose file was deleted, and the listeners that they have added."""
		self.apps.unload(name)
		for socket in self._sockets_with(name):
			view: SocketView | None = socket.view
			if view is not None and name in view.queues:
				view.queues.pop(name).remove_all_listeners()

	def _sockets_with(self, app: str) -> Iterator[ServerSocket]:
		"""Return the sockets of all sites that have `app`."""
		for namespace in list(self._namespaces.values()):
			for socket in list(namespace.sockets.values()):
				if socket.session is not None and app in (socket.session.installed_apps or ()):
					yield socket

	def _send_error(self, app: str) -> None:
		if self._developer_mode:
			for socket in self._sockets_with(app):
				if socket.session.user_type == SYSTEM_USER:
					socket.emit(HANDLERS_ERROR, self.apps.errors[app])
