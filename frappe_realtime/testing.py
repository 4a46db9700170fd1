"""Tests an app's handlers without a server, a network or a site.

	from frappe_realtime.testing import Site


	def test_typing():
		with Site("chat") as site:
			ann = site.connect("ann@example.com")
			bob = site.connect("bob@example.com")
			ann.call("chat_open", "general")
			bob.call("chat_open", "general")
			bob.emit("chat_typing", "general")
			assert ann.received("chat_typing") == [({"channel": "general", "user": "bob@example.com"},)]

The handlers are loaded, called and guarded by the code that serves them in production, over connections that are kept
in memory. `emit`, `call`, `connect` and `disconnect` return when all handlers have ended, and raise what a handler
raised.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .bench.launch import sidecar
from .contract import GUEST, SITE_ROOM, SYSTEM_USER, WEBSITE_ROOM, WEBSITE_USER, user_room
from .handlers.response import Response
from .handlers.socket import Socket

if TYPE_CHECKING:
	from realtime.access.authentication import Session
	from realtime.engine import Encoded

PATIENCE = 10.0
"""Seconds that handlers have to end."""


class NoAnswer(AssertionError):
	"""The client asked for an acknowledgement, and no handler answered."""


class Site:
	"""A site with `apps` installed, in this order, and clients that the test connects to it.

	Args:
		apps: names of apps that can be imported; or a name and the path of its handlers file.
		name: the site's name.
	"""

	def __init__(self, *apps: str | tuple[str, str | Path], name: str = "test.localhost") -> None:
		self.name = name
		self.clients: list[Client] = []
		self.requests: list[tuple[str, str, dict[str, Any], Any]] = []
		"""What handlers asked by `frappe_request`: method, path, arguments and body."""
		files = {app: _handlers_file(app) if isinstance(app, str) else Path(app[1]) for app in apps}
		self._files = {app if isinstance(app, str) else app[0]: path for app, path in files.items()}
		self._rules: dict[tuple[str, str, str, str], bool] = {}
		self._answers: dict[str, Response | Callable[..., Any]] = {}
		self._errors: list[BaseException] = []
		self._loop = asyncio.new_event_loop()
		self.handlers = self._make_handlers()

	def __enter__(self) -> Site:
		return self.open()

	def __exit__(
		self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
	) -> None:
		self.close()

	def open(self) -> Site:
		"""Load the handlers; done by `with`. Raises ImportError with what a file raised."""
		self._run(self._start())
		return self

	def close(self) -> None:
		"""End what runs; done by `with`."""
		self._loop.run_until_complete(self.handlers.stop())
		left = asyncio.all_tasks(self._loop)
		for task in left:
			task.cancel()
		if left:
			self._loop.run_until_complete(asyncio.wait(left))
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
		"""Connect a client of `user`; a Guest is a Website User."""
		session = sidecar("access.authentication").Session(
			site=self.name,
			credential=sidecar("web.frappe_client").Credential(sid=user),
			user=user,
			user_type=WEBSITE_USER if user == GUEST else user_type,
			full_name=user,
			installed_apps=("frappe", *self._files),
		)
		client = Client(self, session, dict(query or {}), dict(headers or {}), auth or {})
		self.clients.append(client)
		self._run(client._connect())
		return client

	def allow(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Let `has_permission` say yes; without rules System Users may do everything and others nothing."""
		self._rules[user, doctype, name, ptype] = True

	def forbid(self, user: str, doctype: str, name: str = "", ptype: str = "read") -> None:
		"""Let `has_permission` say no; without `name`, to the documents of the DocType too."""
		self._rules[user, doctype, name, ptype] = False

	def answer(self, path: str, message: Any = None, status: int = 200) -> None:
		"""Answer handlers' requests to `path` with a `message`, or by calling it with the arguments of the request."""
		if callable(message):
			self._answers[path] = message
		else:
			self._answers[path] = _response(message, status)

	def run(self, seconds: float = 0.0) -> None:
		"""Let tasks that handlers have started go on for a while."""
		self._run(asyncio.sleep(seconds))

	# -- behind it

	def _make_handlers(self) -> Any:
		python, server, fanout, namespace = (
			sidecar("handlers.python"),
			sidecar("socketio.server"),
			sidecar("socketio.fanout"),
			sidecar("socketio.namespace"),
		)
		errors = self._errors

		class Handlers(python.PythonHandlers):  # type: ignore[name-defined]
			def failed(self, queue: Any, event: str, error: BaseException) -> None:
				super().failed(queue, event, error)
				errors.append(error)

		namespaces = namespace.Namespaces()
		handlers = Handlers(
			_Files(self._files),
			Path(),
			namespaces,
			fanout.Fanout(namespaces),
			self._may,
			self._request,
			loop=self._loop,
		)
		self._server = server.SocketIOServer(_Application(handlers), namespaces)
		return handlers

	async def _start(self) -> None:
		self.handlers.start()
		for error in self.handlers.errors.values():
			raise ImportError(f"{error['file']} does not load: {error['traceback']}")

	def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
		result = self._loop.run_until_complete(self._finish(work))
		if self._errors:
			error = self._errors[0]
			self._errors.clear()
			raise error
		return result

	async def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
		result = await work
		deadline = self._loop.time() + PATIENCE
		while tasks := self.handlers.tasks():
			if self._loop.time() > deadline:
				raise TimeoutError(f"handlers still run after {PATIENCE} s: {tasks}")
			await asyncio.wait(tasks, timeout=0.05)
		await asyncio.sleep(0)
		return result

	def _may(self, session: Session, doctype: str, name: str, ptype: str) -> bool:
		rule = self._rules.get((session.user, doctype, name, ptype))
		if rule is None and name:
			rule = self._rules.get((session.user, doctype, "", ptype))
		return session.user_type == SYSTEM_USER if rule is None else rule

	async def _request(
		self, session: Session, path: str, args: Any, method: str, body: Any, headers: Any
	) -> Response:
		self.requests.append((method, path, dict(args or {}), body))
		answer = self._answers.get(path)
		if answer is None:
			return Response(404, b"{}")
		if isinstance(answer, Response):
			return answer
		return _response(answer(**(args or {}), **(body if isinstance(body, dict) else {})), 200)


class Client:
	"""A client in memory, as the browser's `io()`; made by `Site.connect`."""

	def __init__(
		self,
		site: Site,
		session: Session,
		query: dict[str, str],
		headers: dict[str, str],
		auth: dict[str, Any],
	) -> None:
		self.site = site
		self.user = session.user
		self.events: list[tuple[str, tuple[Any, ...]]] = []
		"""All that was received, in order: event and arguments."""
		self._session = session
		self._auth = auth
		self._connection = _Connection(self, query, headers)
		self._packets = sidecar("socketio.packets")
		self._answers: dict[str, Any] = {}
		self._acks: dict[int, list[Any]] = {}
		self._last_id = 0
		self._raw: Any = None

	@property
	def socket(self) -> Socket:
		"""The server's side of this client."""
		socket: Socket = self.site.handlers.socket_of(self._raw)
		return socket

	@property
	def rooms(self) -> frozenset[str]:
		"""The rooms it is in, its own id among them."""
		return self.socket.rooms

	@property
	def connected(self) -> bool:
		"""Whether it is still there."""
		return bool(self._raw.connected)

	def received(self, event: str) -> list[tuple[Any, ...]]:
		"""The arguments of every `event` so far."""
		return [arguments for name, arguments in self.events if name == event]

	def emit(self, event: str, *arguments: Any) -> None:
		"""Send an event."""
		self.site._run(self._send(self._packets.encode_event(self._namespace, [event, *arguments])))

	def call(self, event: str, *arguments: Any) -> Any:
		"""Send an event and return the answer: a tuple for several arguments. Raises `NoAnswer`."""
		self._last_id += 1
		encoded = self._packets.encode_event(self._namespace, [event, *arguments], self._last_id)
		self.site._run(self._send(encoded))
		if self._last_id not in self._acks:
			raise NoAnswer(f"no handler answered {event!r}")
		answer = self._acks.pop(self._last_id)
		if len(answer) > 1:
			return tuple(answer)
		return answer[0] if answer else None

	def answer(self, event: str, value: Any) -> None:
		"""What to answer when a handler calls this client: a value, or a function of the event's arguments."""
		self._answers[event] = value

	def disconnect(self) -> None:
		"""Leave."""
		self.site._run(self._send(self._packets.encode_disconnect(self._namespace)))

	# -- behind it

	@property
	def _namespace(self) -> str:
		return f"/{self.site.name}"

	async def _connect(self) -> None:
		clients, namespaces = sidecar("socketio.client"), sidecar("socketio.namespace")
		server = self.site._server
		namespace = server.namespaces.open(self._namespace)
		admission = namespaces.Admission(self._session)
		self._raw = raw = namespaces.ServerSocket(namespace, self._connection, admission)
		self._connection.data = clients.Client(self._connection, server)
		self._connection.data.sockets[namespace.name] = raw
		namespace.sockets[raw.id] = raw
		server.application.on_connect(raw, self._auth)

	async def _send(self, encoded: Encoded) -> None:
		for message in encoded.messages:
			self.site._server.on_message(self._connection, message)

	def _receive(self, encoded: Encoded) -> None:
		packets = self._packets
		packet: Any = None
		attachments: list[bytes] = []
		for message in encoded.messages:
			if isinstance(message, str):
				packet, attachments = packets.decode(message), []
			else:
				attachments.append(message)
			if packet is None or len(attachments) < packet.missing:
				continue
			data = packets.reconstruct(packet.data, attachments)
			if packet.type in (packets.ACK, packets.BINARY_ACK):
				self._acks[packet.id] = data
			elif packet.type in (packets.EVENT, packets.BINARY_EVENT):
				self.events.append((data[0], tuple(data[1:])))
				if packet.id is not None and data[0] in self._answers:
					value = self._answers[data[0]]
					answer = value(*data[1:]) if callable(value) else value
					encoded = packets.encode_event(self._namespace, [answer], packet.id, packets.ACK)
					asyncio.ensure_future(self._send(encoded))


class _Connection:
	"""What a socket writes to, and what it says about its request."""

	wire = None
	closed = False

	def __init__(self, client: Client, query: dict[str, str], headers: dict[str, str]) -> None:
		self.data: Any = None
		self.request = self
		self.query = query
		self.headers = {name.lower(): value for name, value in headers.items()}
		self.remote = "127.0.0.1"
		self.engine = _Engine()
		self._client = client

	def send(self, encoded: Encoded) -> None:
		self._client._receive(encoded)

	def close(self, reason: str, abort: bool = False) -> None:
		self.closed = True


class _Wheel:
	"""No connection of a test is closed because time passes."""

	def schedule(self, item: Any, delay: float) -> None: ...

	def cancel(self, item: Any) -> None: ...


class _Engine:
	wheel = _Wheel()


class _Application:
	"""Puts each socket into the rooms that every socket has, and passes all on to the handlers."""

	def __init__(self, handlers: Any) -> None:
		self.handlers = handlers

	def on_connect(self, socket: Any, auth: dict[str, Any]) -> None:
		socket.join(user_room(socket.session.user))
		socket.join(WEBSITE_ROOM)
		if socket.session.user_type == SYSTEM_USER:
			socket.join(SITE_ROOM)
		self.handlers.on_connect(socket, auth)

	def on_event(self, socket: Any, event: str, arguments: list[Any], ack: Any) -> None:
		self.handlers.on_event(socket, event, arguments, ack)

	def on_disconnect(self, socket: Any, reason: str, rooms: set[str]) -> None:
		self.handlers.on_disconnect(socket, reason, rooms)


class _Files:
	"""Stands for the bench's `apps`."""

	def __init__(self, files: Mapping[str, Path]) -> None:
		self._files = files

	def apps(self) -> list[str]:
		return list(self._files)

	def python(self, app: str) -> Path:
		return self._files[app]


def _handlers_file(app: str) -> Path:
	spec = importlib.util.find_spec(app)
	if spec is None or not spec.origin:
		raise ImportError(f"there is no app {app!r} to import; give ({app!r}, path of its handlers.py)")
	package = Path(spec.origin).parent
	for path in (package / "realtime" / "handlers.py", package.parent / "realtime" / "handlers.py"):
		if path.is_file():
			return path
	raise ImportError(f"{app} has no realtime/handlers.py, neither in {package} nor beside it")


def _response(message: Any, status: int) -> Response:
	text: str = sidecar("json_codec").dumps({} if message is None else {"message": message})
	return Response(status, text.encode(), {"content-type": "application/json"})
