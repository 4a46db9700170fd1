"""Shows sockets to the Node process in which apps' `handlers.js` run, and does what those handlers ask for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.permissions import Permissions
from ..config import Config
from ..engine import Encoded
from ..handlers.files import HandlerFiles
from ..json_codec import dumps, loads
from ..socketio import packets
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces, ServerSocket
from ..socketio.server import Ack
from .child import Child, find_node
from .journal import Journal
from .mirrored import Mirrored
from .watch import Watch

logger = logging.getLogger("realtime.javascript")

MAX_NAME = 600
"""Characters of a DocType's or document's name in a question of a handler."""

MAX_WAITING = 10_000
"""Events that wait while the process is started; the oldest go when there are more."""

MAX_UNREAD_EVENTS = 8 * 1024 * 1024
"""Bytes that the process may leave unread; past them events are dropped until it has caught up."""


class JavaScriptHandlers:
	"""The responder for apps in JavaScript. It watches the rooms of each namespace that has a socket with such an app."""

	def __init__(
		self,
		config: Config,
		files: HandlerFiles,
		namespaces: Namespaces,
		fanout: Fanout,
		permissions: Permissions,
		secret: Callable[[], Awaitable[str]],
	) -> None:
		self.dropped = 0
		"""Events that no handler has seen, because there were too many of them."""
		self.problems: dict[str, str] = {}
		"""Apps whose handlers are left out, and why."""
		self.journal = Journal()
		self._config = config
		self._files = files
		self._namespaces = namespaces
		self._fanout = fanout
		self._permissions = permissions
		self._secret = secret
		self._known_files: dict[str, Path | None] = {}
		self._mirrored: dict[str, Mirrored] = {}
		self._waiting: deque[tuple[str, str, list[bytes]]] = deque(maxlen=MAX_WAITING)
		self._child: Child | None = None
		self._watch: Watch | None = None
		self._running = False
		self._ready = False
		self._loading: list[str] = []
		self._loaded_apps: set[str] = set()
		self._deaths: dict[str, int] = {}
		self._applying = False
		self._tasks: set[asyncio.Task[Any]] = set()
		self._does: dict[str, Callable[..., None]] = {
			"join": self._join,
			"leave": self._leave,
			"emit": self._emit,
			"to": self._to,
			"ack": self._ack,
			"disconnect": self._disconnect,
			"may": self._may,
			"loaded": self._loaded,
			"ready": self._is_ready,
			"pong": lambda *_: None,
		}

	def start(self) -> None:
		"""Watch the files where `developer_mode` is set. The process is started with the first socket that needs it."""
		if self._config.developer_mode:
			self._watch = Watch(self._places, self.reload)
			self._run(self._watch.run())

	async def stop(self) -> None:
		"""End the process."""
		for task in self._tasks:
			task.cancel()
		if self._child is not None:
			await self._child.stop()

	def health(self) -> dict[str, Any]:
		"""What `/health` says: the apps, those that are left out and why, and the process."""
		child = self._child
		return {
			"apps": sorted(app for app, file in self._known_files.items() if file),
			"left_out": self.problems,
			"failures": dict(self.journal.failures),
			"process": child.pid if child else None,
			"starts": child.starts if child else 0,
			"sockets": len(self._mirrored),
			"dropped_events": self.dropped,
		}

	# -- the responder

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		apps = self._apps(socket)
		namespace = socket.namespace
		if apps and self not in namespace.observers:
			namespace.observe(self)
			for other in namespace.sockets.values():
				if other is not socket:
					self._mirror(other, {})
		if self in namespace.observers:
			self._mirror(socket, auth)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		mirrored = self._mirrored.get(socket.id)
		if mirrored is None or not mirrored.apps or self._child is None:
			return
		token = "null" if ack is None else str(mirrored.owe(ack))
		text, attachments = _encode([event, *arguments])
		operation = f'["event","{socket.id}",{token},{len(attachments)},{text}]'
		if not self._ready:
			if len(self._waiting) == MAX_WAITING:
				self._drop()
			self._waiting.append((socket.id, operation, attachments))
		elif self._child.unread > MAX_UNREAD_EVENTS:
			self._drop()
		else:
			self._child.send(operation, attachments)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		if self._mirrored.pop(socket.id, None) is not None:
			self._send("gone", socket.id, reason)

	# -- the observer of rooms

	def joined(self, socket: ServerSocket, room: str) -> None:
		if not self._applying and socket.id in self._mirrored:
			self._send("join", socket.id, room)

	def left(self, socket: ServerSocket, room: str) -> None:
		if not self._applying and socket.id in self._mirrored:
			self._send("leave", socket.id, room)

	# -- showing sockets

	def _apps(self, socket: ServerSocket) -> list[str]:
		"""The apps of the socket's site that have handlers in JavaScript, in the order of installation."""
		session: Session = socket.session
		return [app for app in session.installed_apps or () if self._file(app) is not None]

	def _file(self, app: str) -> Path | None:
		if app not in self._known_files:
			self._known_files[app] = self._files.javascript(app)
		return self._known_files[app]

	def _mirror(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		mirrored = Mirrored(socket, self._apps(socket), auth, time.time() * 1000)
		self._mirrored[socket.id] = mirrored
		if self._child is None:
			self._start()
		if self._running:
			self._add(mirrored)
			self._set_up(mirrored)

	def _start(self) -> None:
		node = find_node(self._config)
		if node is None:
			for app in (app for app, file in self._known_files.items() if file):
				self._leave_out(
					app,
					f"its handlers are JavaScript, and there is no Node: {self._config.realtime_node or 'node'!r} is not found (realtime_node, FRAPPE_REALTIME_NODE, PATH)",
				)
			return
		self._child = Child(self._config, node, self, self.journal)
		self._child.start()

	def _leave_out(self, app: str, reason: str) -> None:
		if self.problems.get(app) != reason:
			logger.error("%s is left out: %s", app, reason)
		self.problems[app] = reason

	def _add(self, mirrored: Mirrored) -> None:
		socket = mirrored.socket
		self._send("add", socket.namespace.name, socket.id, mirrored.about(), list(socket.rooms))

	def _set_up(self, mirrored: Mirrored) -> None:
		apps = [app for app in mirrored.apps if self._load(app)]
		if apps:
			self._send("set_up", mirrored.socket.id, apps)

	def _load(self, app: str) -> bool:
		"""Have the process load `app`, unless it has died of it before; whether it is worth calling."""
		if self._deaths.get(app, 0) >= 3:
			self._leave_out(app, "the Node process has died three times while it loaded its handlers.js")
			return False
		if app not in self._loading and app not in self._loaded_apps:
			self._loading.append(app)
			self._send("load", app, str(self._file(app)))
		return True

	# -- the process

	def started(self) -> None:
		self._running = True
		self._loaded_apps = set()
		self._loading = []
		self._send("start", self._config.web_url)
		self._run(self._tell_secret())
		for mirrored in self._mirrored.values():
			self._add(mirrored)
		for mirrored in list(self._mirrored.values()):
			self._set_up(mirrored)
		self._send("ready")

	def _is_ready(self) -> None:
		"""The process has loaded the handlers and set up the sockets there were: now it gets the events that waited."""
		self._ready = True
		waiting, self._waiting = self._waiting, deque(maxlen=MAX_WAITING)
		for id, operation, attachments in waiting:
			if id in self._mirrored and self._child is not None:
				self._child.send(operation, attachments)

	def died(self) -> None:
		self._running = self._ready = False
		if self._loading:
			self._deaths[self._loading[0]] = self._deaths.get(self._loading[0], 0) + 1

	def received(self, operations: list[Any], attachments: list[bytes]) -> None:
		self._incoming = iter(attachments)
		for name, *values in operations:
			try:
				self._does[name](*values)
			except Exception:
				logger.exception("the Node process asked for %s%.200r", name, values)

	async def _tell_secret(self) -> None:
		try:
			self._send("secret", await self._secret())
		except WebUnavailable as error:
			logger.warning("frappe_request of JavaScript handlers goes without the shared secret: %s", error)

	def _places(self) -> list[str]:
		"""Where each app of the bench has its handlers, or would have them."""
		return [
			str(self._config.bench / "apps" / app / "realtime" / "handlers.js") for app in self._files.apps()
		]

	def reload(self) -> None:
		"""Load all handlers anew, in a new process; the sockets stay connected."""
		self._known_files.clear()
		self.problems.clear()
		self._deaths.clear()
		for namespace in list(self._namespaces.values()):
			for socket in list(namespace.sockets.values()):
				if socket.session is None:
					continue
				mirrored = self._mirrored.get(socket.id)
				if mirrored is not None:
					mirrored.apps = self._apps(socket)
				elif self._apps(socket):
					self.on_connect(socket, {})
		if self._child is not None:
			self._child.restart()

	def _send(self, *operation: Any) -> None:
		if self._child is not None:
			self._child.send(dumps(operation))

	def _drop(self) -> None:
		self.dropped += 1
		if self.dropped == 1 or self.dropped % 1000 == 0:
			logger.error(
				"JavaScript handlers do not keep up: %s events were dropped so far (%s bytes unread)",
				self.dropped,
				self._child.unread if self._child else 0,
			)

	# -- what handlers ask for

	def _loaded(self, app: str, problem: str | None, files: list[str]) -> None:
		if app in self._loading:
			self._loading.remove(app)
		self._loaded_apps.add(app)
		self._deaths.pop(app, None)
		if self._watch is not None:
			self._watch.add(files)
		if problem is None:
			self.problems.pop(app, None)
		else:
			self._leave_out(app, f"handlers.js cannot be loaded: {problem}")

	def _join(self, id: str, room: str) -> None:
		self._move(id, room, True)

	def _leave(self, id: str, room: str) -> None:
		self._move(id, room, False)

	def _move(self, id: str, room: str, inside: bool) -> None:
		mirrored = self._mirrored.get(id)
		if mirrored is None:
			return
		socket = mirrored.socket
		self._applying = True
		try:
			if inside:
				socket.join(room)
			else:
				socket.leave(room)
		finally:
			self._applying = False
		self._send("moved", id, room, room in socket.rooms)

	def _emit(self, id: str, token: int | None, json: str, count: int) -> None:
		attachments = self._take(count)
		mirrored = self._mirrored.get(id)
		if mirrored is None:
			return
		socket = mirrored.socket
		if token is None:
			socket.send_event(_event(socket.namespace.name, json, attachments))
			return
		event, *arguments = packets.reconstruct(loads(json), attachments)
		socket.call(event, *arguments).add_done_callback(
			lambda future: None if future.cancelled() else self._answer(id, token, future.result())
		)

	def _answer(self, id: str, token: int, answer: list[Any]) -> None:
		"""The client has answered what a handler emitted."""
		if self._child is not None:
			text, attachments = _encode(answer)
			self._child.send(f'["answer","{id}",{token},{len(attachments)},{text}]', attachments)

	def _to(
		self, name: str, rooms: list[str] | None, excluded: list[str], local: bool, json: str, count: int
	) -> None:
		send = self._fanout.send_local if local else self._fanout.send
		send(name, rooms, _event(name, json, self._take(count)), excluded)

	def _ack(self, id: str, token: int, json: str, count: int) -> None:
		attachments = self._take(count)
		mirrored = self._mirrored.get(id)
		ack = mirrored.acks.pop(token, None) if mirrored else None
		if ack is not None:
			arguments = loads(json)
			ack(*(packets.reconstruct(arguments, attachments) if attachments else arguments))

	def _disconnect(self, id: str, close: bool) -> None:
		mirrored = self._mirrored.get(id)
		if mirrored is not None:
			mirrored.socket.disconnect(close)

	def _may(self, token: int, id: str, doctype: str, name: str) -> None:
		mirrored = self._mirrored.get(id)
		if mirrored is None or not doctype or max(len(doctype), len(name)) > MAX_NAME:
			self._send("may_answer", token, False)
			return
		answer = self._permissions.may(mirrored.socket.session, doctype, name)
		if isinstance(answer, bool):
			self._send("may_answer", token, answer)
			return
		self._run(self._answer_may(token, answer))

	async def _answer_may(self, token: int, answer: Awaitable[bool]) -> None:
		try:
			yes = await answer
		except WebUnavailable as error:
			logger.warning("a handler's question for a permission was not answered: %s", error)
			yes = False
		self._send("may_answer", token, yes)

	def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
		task = asyncio.get_running_loop().create_task(coroutine)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	def _take(self, count: int) -> list[bytes]:
		return [next(self._incoming) for _ in range(count)]


def _encode(arguments: list[Any]) -> tuple[str, list[bytes]]:
	"""Arguments as JSON with placeholders, and the attachments."""
	try:
		return dumps(arguments), []
	except TypeError:
		attachments: list[bytes] = []
		return dumps(packets.deconstruct(arguments, attachments)), attachments


def _event(name: str, json: str, attachments: list[bytes]) -> Encoded:
	"""The packet of an event whose arguments the process has written already."""
	if attachments:
		return Encoded(f"{packets.BINARY_EVENT}{len(attachments)}-{name},{json}", *attachments)
	return Encoded(f"{packets.EVENT}{name},{json}")
