"""The apps' handlers in JavaScript, as an event handler of the application."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.client_questions import ClientQuestions
from ..cluster.members import RemoteMembers
from ..cluster.sockets import SocketTable
from ..config import Config
from ..handlers.app_rewinds import AppRewinds
from ..handlers.calls import CallReports, HandlerCalls
from ..handlers.files import HandlerFiles
from ..histogram import Histogram
from ..presence.app_presence import AppPresence
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces, ServerSocket
from ..socketio.server import Ack
from ..web.secret import SharedSecret
from .app_loader import AppLoader
from .background import BackgroundTasks
from .channel import Channel
from .dispatcher import EventDispatcher
from .file_watcher import FileWatcher
from .handler_requests import HandlerRequests
from .node_process import ProcessSupervisor, find_node
from .process_log import ProcessLog
from .remote_replication import RemoteReplicator
from .replication import SocketReplicator

logger = logging.getLogger("realtime.javascript")


class JavaScriptHandlers:
	"""Runs the handlers of apps in a Node process, which is started with the first socket that needs it.

	Args:
		config: The configuration.
		files: Finds the handlers files of the apps.
		namespaces: The sockets of this process.
		sockets: The sockets of other sidecars.
		members: Their rooms.
		fanout: Sends broadcasts of handlers.
		questions: Answers `has_permission` of handlers.
		presence: Answers `presence` of handlers.
		rewinds: Answers `rewind` of handlers.
		secret: What Frappe shares with its realtime server.
	"""

	events = None

	def __init__(
		self,
		config: Config,
		files: HandlerFiles,
		namespaces: Namespaces,
		sockets: SocketTable,
		members: RemoteMembers,
		fanout: Fanout,
		questions: ClientQuestions,
		presence: AppPresence,
		rewinds: AppRewinds,
		secret: SharedSecret,
	) -> None:
		self._config = config
		self._namespaces = namespaces
		self._secret = secret
		self.latencies: dict[str, Histogram] = {}
		"""Seconds that a listener took, by app; a promise that it returned included."""
		self.calls = CallReports()
		"""The calls of listeners on watched sites."""
		self.calls.sites_changed.connect(self._send_watched_sites)
		self._background = BackgroundTasks()
		self._channel = Channel()
		secret.changed.connect(self._on_secret)
		self._log = ProcessLog()
		self.handler_failed = self._log.handler_failed
		self._apps = AppLoader(config.bench, files, self._channel)
		self._sockets = SocketReplicator(
			self._channel, self._apps, RemoteReplicator(self._channel, sockets, members)
		)
		self._events = EventDispatcher(
			self._channel,
			self._sockets,
			config.realtime_handler_queue,
			config.realtime_handler_queue_bytes,
		)
		self.limits_reached = self._events.limits_reached
		"""Events that were dropped for a limit of one socket, by its key."""
		self._requests = HandlerRequests(
			self._channel,
			self._sockets,
			sockets,
			fanout,
			questions,
			presence,
			rewinds,
			self._background,
			self._on_app_loaded,
			self._events.on_ready,
			self._on_calls,
			self._on_latency,
		)
		self._process = ProcessSupervisor(config, self._channel, self, self._log)
		self._watcher = FileWatcher(self._apps.paths, self.reload) if config.developer_mode else None

	def start(self) -> None:
		"""Watch the handlers files in developer mode."""
		if self._watcher is not None:
			self._background.start(self._watcher.run())

	async def stop(self) -> None:
		"""End the process."""
		self._background.cancel()
		await self._process.stop()

	def health(self) -> dict[str, Any]:
		"""Return `handlers.javascript` of `/health`.

		Returns:
			`apps` with handlers in JavaScript; `left_out`, reasons by app; `failures`, uncaught errors by app; `process`,
			the process id or None; `starts` of the process; `sockets` that are replicated; `dropped_events`.
		"""
		return {
			"apps": self._apps.apps(),
			"left_out": self._apps.problems,
			"failures": dict(self._log.failures),
			"process": self._process.pid,
			"starts": self._process.starts,
			"sockets": len(self._sockets),
			"dropped_events": self._events.dropped,
		}

	def has_handlers(self, session: Session) -> bool:
		"""Return True if an app on the site of a session has handlers in JavaScript."""
		return bool(self._apps.apps_of(session))

	def reload(self) -> None:
		"""Load all handlers again in a new process; the sockets stay connected."""
		self._apps.reset()
		for socket in self._namespaces.all_sockets():
			if socket.session is not None:
				self._sockets.update_apps(socket)
		if len(self._sockets):
			self._start_process()
		self._process.restart()

	# -- events of the application (EventHandler)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Let the handlers of the socket's apps see the socket."""
		self._sockets.add(socket, auth)
		if self._sockets.get(socket.id) is not None:
			self._start_process()

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Send an event to the handlers of the socket's apps."""
		replica = self._sockets.get(socket.id)
		if replica is not None and replica.apps and self._process.started:
			self._events.dispatch(replica, event, arguments, ack)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Let the handlers know that the socket has left its namespace, and drop its events that wait."""
		self._events.drop_events(socket.id)
		self._sockets.remove(socket, reason)

	def _start_process(self) -> None:
		"""Start the process, unless it was started or there is no Node."""
		if self._process.started:
			return
		node = find_node(self._config)
		if node is not None:
			self._process.start(node)
			return
		name = self._config.realtime_node or "node"
		for app in self._apps.apps():
			self._apps.leave_out(
				app,
				f"its handlers are JavaScript, and Node is not found: {name!r} "
				"(realtime_node, FRAPPE_REALTIME_NODE, PATH)",
			)

	# -- events of the process (ProcessListener)

	def on_process_started(self) -> None:
		"""Bring a new process up to date."""
		self._apps.on_process_started()
		self._background.start(self._send_secret())
		self._send_watched_sites()
		self._sockets.on_process_started()
		self._channel.send("ready")

	def on_operations(self, operations: list[Any], attachments: list[bytes]) -> None:
		"""Execute what handlers ask for."""
		self._requests.execute(operations, attachments)

	def on_process_ended(self) -> None:
		"""Keep events until the next process is ready."""
		self._events.on_process_ended()
		self._apps.on_process_ended()

	def _on_app_loaded(self, app: str, error: str | None, files: list[str]) -> None:
		self._apps.on_app_loaded(app, error)
		if self._watcher is not None:
			self._watcher.add(files)

	def _send_watched_sites(self) -> None:
		self._channel.send("watch", sorted(self.calls.sites))

	def _on_calls(
		self, site: str, app: str, event: str, calls: int, seconds: float, errors: int, last_error: str
	) -> None:
		if app in self._apps.apps():
			self.calls.reported.send(HandlerCalls(site, app, event, calls, seconds, errors, last_error))

	def _on_latency(self, app: str, counts: list[int], seconds: float) -> None:
		if app in self._apps.apps():
			self.latencies.setdefault(app, Histogram()).add(counts, seconds)

	async def _send_secret(self) -> None:
		try:
			self._on_secret(await self._secret.get())
		except WebUnavailable as error:
			logger.warning(
				"frappe_request of JavaScript handlers is sent without the shared secret until it can be read: %s",
				error,
			)

	def _on_secret(self, value: str) -> None:
		self._channel.send("secret", value)
