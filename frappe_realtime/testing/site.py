"""A site in memory: loads the handlers of apps, and answers what they ask of the site."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..bench.launch import sidecar_module
from ..contract.rooms import SITE_ROOM, WEBSITE_ROOM, user_room
from ..contract.users import GUEST, SYSTEM_USER, WEBSITE_USER
from ..handlers.response import Response
from .access import SitePermissions, SiteTasks, client_limits
from .client import Client
from .history import KeptEvent, PublishedEvents

if TYPE_CHECKING:
	from realtime.access.authentication import Session

HANDLER_TIMEOUT = 10.0
"""Seconds within which handlers have to end."""


class Site:
	"""A site with apps installed, and clients that the test connects to it. Use it in a `with` block.

	Args:
		apps: The apps, in the order of their installation: names of apps that can be imported, or a name and the path
			of its handlers file.
		name: The name of the site.

	Attributes:
		name: The name of the site.
		clients: All clients that were connected.
		requests: What handlers sent with `frappe_request`: method, path, arguments and body of each.
	"""

	def __init__(self, *apps: str | tuple[str, str | Path], name: str = "test.localhost") -> None:
		self.name = name
		self.clients: list[Client] = []
		self.requests: list[tuple[str, str, dict[str, Any], Any]] = []
		self._files = {
			(app if isinstance(app, str) else app[0]): (
				_handlers_file(app) if isinstance(app, str) else Path(app[1])
			)
			for app in apps
		}
		self._permissions = SitePermissions()
		self._answers: dict[str, Response | Callable[..., Any]] = {}
		self._errors: list[BaseException] = []
		self._loop = asyncio.new_event_loop()
		namespaces = sidecar_module("socketio.namespace").Namespaces()
		self._fanout = sidecar_module("socketio.fanout").Fanout(namespaces)
		# Members get all changes at once: an interval ends with the turn of the event loop, and has any number of writes.
		config = sidecar_module("config").Config(
			bench=Path(), realtime_presence_interval=1e-6, realtime_presence_writes_per_second=10**12
		)
		table = sidecar_module("presence.members").PresenceTable(0)
		presence = sidecar_module("presence.presence").Presence(config, table)
		sender = sidecar_module("presence.sender").ChangeSender(config, namespaces, self._fanout)
		feed = sidecar_module("presence.feed").PresenceFeed(config, table, sender)
		namespaces.observe(presence)
		self._published = PublishedEvents()
		limits = client_limits(config, namespaces)
		questions = sidecar_module("access.client_questions").ClientQuestions(self._permissions, limits)
		tasks = SiteTasks()
		rewinds = sidecar_module("handlers.rewinds").Rewinds(self._published, config.realtime_rewind_events)
		viewers = sidecar_module("presence.viewers").DocumentViewers(
			namespaces, sender, lambda namespace, room: ()
		)
		core = sidecar_module("handlers.core").CoreHandlers(
			self._permissions, limits, tasks, viewers, rewinds
		)
		self.handlers = self._make_handlers(
			namespaces,
			questions.has_permission,
			sidecar_module("presence.app_presence").AppPresence(presence, feed),
			sidecar_module("handlers.app_rewinds").AppRewinds(
				rewinds, questions.has_permission, tasks.may_follow
			),
		)
		self._server = sidecar_module("socketio.server").SocketIOServer(
			_Application(core, self.handlers, presence), namespaces
		)

	def __enter__(self) -> Site:
		return self.open()

	def __exit__(
		self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
	) -> None:
		self.close()

	def open(self) -> Site:
		"""Load the handlers, and return the site. A `with` block calls it.

		Raises:
			ImportError: A handlers file raised; the message has its traceback.
		"""
		try:
			self._run(self._start())
		except BaseException:
			# A `with` block ends before it has begun, and closes nothing.
			self.close()
			raise
		return self

	def close(self) -> None:
		"""Stop the handlers that still run. A `with` block calls it. Does nothing the second time."""
		if self._loop.is_closed():
			return
		self._loop.run_until_complete(self.handlers.stop())
		tasks = asyncio.all_tasks(self._loop)
		for task in tasks:
			task.cancel()
		if tasks:
			self._loop.run_until_complete(asyncio.wait(tasks))
		self._loop.close()

	def connect(
		self,
		user: str = GUEST,
		user_type: str = SYSTEM_USER,
		*,
		query: Mapping[str, str] | None = None,
		headers: Mapping[str, str] | None = None,
		auth: dict[str, Any] | None = None,
	) -> Client:
		"""Connect a client.

		Args:
			user: The user.
			user_type: `System User` or `Website User`; a Guest is always a Website User.
			query: The query of the request that opens the connection.
			headers: The headers of that request.
			auth: What the JavaScript client is given as `auth`.
		"""
		authentication = sidecar_module("access.authentication")
		sent = {name.lower(): value for name, value in (headers or {}).items()}
		session = authentication.Session(
			site=self.name,
			# As the sidecar: an Authorization header, `token` in `auth`, or the cookie of a browser.
			credential=authentication.credential_of({**sent, "cookie": f"sid={user}"}, auth or {}),
			user=user,
			user_type=WEBSITE_USER if user == GUEST else user_type,
			full_name=user,
			installed_apps=("frappe", *self._files),
		)
		client = Client(self, session, query or {}, headers or {}, auth or {})
		self.clients.append(client)
		self._run(client._connect())
		return client

	def allow(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Let `has_permission` return True for a user and a document.

		Without such rules, System Users have all permissions, and other users have none.

		Args:
			user: The user.
			doctype: The DocType.
			name: The document; empty for the DocType and all its documents.
			ptype: The permission type.
		"""
		self._permissions.rules[user, doctype, name, ptype] = True

	def forbid(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Let `has_permission` return False, and the user's clients leave the rooms that need the permission.

		Those are the rooms of Frappe about a document or a DocType, and those of topics (`topic_room`). The arguments are those of `allow`.
		"""
		self._permissions.rules[user, doctype, name, ptype] = False
		self._run(self._withdraw(user))

	def answer(self, path: str, message: Any = None, status: int = 200) -> None:
		"""Set the response to a handler's `frappe_request`. A path without one gets HTTP status 404.

		Args:
			path: The path of the request.
			message: The `message` of the body; or a function that returns it, called with the arguments of the request
				and the items of its body.
			status: The HTTP status, unless `message` is a function.
		"""
		if callable(message):
			self._answers[path] = message
		else:
			self._answers[path] = _response(message, status)

	def publish(
		self, event: str, message: Any, room: str, history: Literal["all", "latest", "none"] = "all"
	) -> None:
		"""Publish an event to the clients in `room`, and keep it for handlers that call `rewind`.

		Stands for `frappe_realtime.publish_realtime` on the site.

		Args:
			event: The name of the event.
			message: The message.
			room: The room.
			history: What is kept: each event, the newest one of its name and room, or nothing.
		"""
		if history != "none":
			self._published.keep(KeptEvent(room, event, message, history == "latest"))
		self._run(self._emit(event, message, room))

	def run(self, seconds: float = 0.0) -> None:
		"""Run the event loop for some seconds, for tasks that handlers have started."""
		self._run(asyncio.sleep(seconds))

	# -- the handlers

	def _make_handlers(self, namespaces: Any, has_permission: Any, presence: Any, rewinds: Any) -> Any:
		handlers = sidecar_module("handlers.python").PythonHandlers(
			_HandlerFiles(self._files),
			Path(),
			namespaces,
			self._fanout,
			has_permission,
			self._frappe_request,
			presence,
			rewinds,
			loop=self._loop,
		)
		handlers.executor.handler_failed.connect(lambda queue, event, error: self._errors.append(error))
		return handlers

	async def _start(self) -> None:
		# Not `PythonHandlers.start`, which lets a watchdog watch the event loop: that of a test stands still between two calls.
		self.handlers.apps.load_all()
		for error in self.handlers.apps.errors.values():
			raise ImportError(f"{error['file']} does not load: {error['traceback']}")

	async def _withdraw(self, user: str) -> None:
		for client in self.clients:
			if client.user == user:
				client._leave_rooms(self._permissions)

	async def _emit(self, event: str, message: Any, room: str) -> None:
		namespace = self._server.namespaces.open(f"/{self.name}")
		self._fanout.emit(namespace, (room,), event, (message,), None)

	def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
		"""Run `work` and all handlers that it starts; raise the first error of a handler."""
		result = self._loop.run_until_complete(self._finish(work))
		if self._errors:
			error = self._errors[0]
			self._errors.clear()
			raise error
		return result

	async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
		result = await work
		deadline = self._loop.time() + HANDLER_TIMEOUT
		while tasks := self.handlers.executor.tasks():
			if self._loop.time() > deadline:
				asked = [
					f"{client.user} was asked {event!r}"
					for client in self.clients
					for event in client._unanswered
				]
				hint = f"; {', '.join(asked)}, without an answer (Client.answer)" if asked else ""
				raise TimeoutError(f"handlers still run after {HANDLER_TIMEOUT} s: {tasks}{hint}")
			await asyncio.wait(tasks, timeout=0.05)
		# Changes of presence are sent in the turn after the next one.
		for _ in range(3):
			await asyncio.sleep(0)
		return result

	async def _frappe_request(
		self, session: Session, path: str, args: Any, method: str, body: Any, headers: Any
	) -> Response:
		# Raises as in the sidecar.
		sidecar_module("handlers.frappe_requests").encode_request(path, args, body)
		self.requests.append((method, path, dict(args or {}), body))
		answer = self._answers.get(path)
		if answer is None:
			return Response(404, b"{}")
		if isinstance(answer, Response):
			return answer
		sent = {key: value for key, value in (args or {}).items() if value is not None}
		return _response(answer(**sent, **(body if isinstance(body, dict) else {})), 200)


class _Application:
	"""Joins the rooms that every socket is in, and passes events to the handlers of Frappe's core events and to those of the apps."""

	def __init__(self, core: Any, handlers: Any, presence: Any) -> None:
		self._core = core
		self._handlers = handlers
		self._presence = presence

	def on_connect(self, socket: Any, auth: dict[str, Any]) -> None:
		socket.join(user_room(socket.session.user))
		socket.join(WEBSITE_ROOM)
		if socket.session.user_type == SYSTEM_USER:
			socket.join(SITE_ROOM)
		self._handlers.on_connect(socket, auth)

	def on_event(self, socket: Any, event: str, arguments: list[Any], ack: Any) -> None:
		# As a call (`CALL` in the contract), so that a test learns why nobody answers.
		reply = None if ack is None else _reply(ack, event, socket)
		if event in self._core.events:
			self._core.on_event(socket, event, arguments, reply)
		self._handlers.on_event(socket, event, arguments, reply)
		if reply is not None:
			reply.end()

	def on_disconnect(self, socket: Any, reason: str, rooms: set[str]) -> None:
		self._core.on_disconnect(socket, reason, rooms)
		self._presence.on_disconnect(socket, may_return=False)
		self._handlers.on_disconnect(socket, reason, rooms)


def _reply(ack: Any, event: str, socket: Any) -> Any:
	return sidecar_module("handlers.reply").Reply(ack, event, socket.session.site, shows_errors=True)


class _HandlerFiles:
	"""The handlers files of the site's apps, in place of those of a bench."""

	def __init__(self, files: Mapping[str, Path]) -> None:
		self._files = files

	def apps(self) -> list[str]:
		return list(self._files)

	def python(self, app: str) -> Path:
		return self._files[app]


def _handlers_file(app: str) -> Path:
	spec = importlib.util.find_spec(app)
	if spec is None or not spec.origin:
		raise ImportError(
			f"the app {app!r} cannot be imported; give ({app!r}, path of its handlers.py) instead of its name"
		)
	package = Path(spec.origin).parent
	for path in (package / "realtime" / "handlers.py", package.parent / "realtime" / "handlers.py"):
		if path.is_file():
			return path
	raise ImportError(f"{app} has no realtime/handlers.py, neither in {package} nor in {package.parent}")


def _response(message: Any, status: int) -> Response:
	text: str = sidecar_module("json_codec").dumps({} if message is None else {"message": message})
	return Response(status, text.encode(), {"content-type": "application/json"})
