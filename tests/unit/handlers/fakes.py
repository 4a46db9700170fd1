"""Fakes around the handlers: sockets without connections, and what the core handlers depend on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from frappe_realtime.errors import RewindRefused
from realtime.access.authentication import Session
from realtime.access.rewind_request import RewindRequest
from realtime.config import Config
from realtime.engine import Encoded
from realtime.handlers.core import CoreHandlers
from realtime.handlers.rewinds import Rewinds
from realtime.presence.sender import ChangeSender
from realtime.presence.viewers import DocumentViewers
from realtime.socketio import packets
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.web.frappe_client import Credential

SITE = "/test.localhost"


class FakeConnection:
	"""Records the events that are sent to a client."""

	writable_transport = None
	data = None

	def __init__(self) -> None:
		self.events: list[Any] = []

	def send(self, encoded: Encoded) -> None:
		for message in encoded.messages:
			self.events.append(packets.decode(str(message)).data)


class FakePermissions:
	"""Answers at once from `known`, else with a future in `questions` that the test resolves."""

	def __init__(self) -> None:
		self.known: dict[tuple[str, str], bool] = {}
		self.questions: list[tuple[str, str, asyncio.Future[bool]]] = []

	def is_cached(self, session: Session, doctype: str, name: str, ptype: str = "read") -> bool:
		return (doctype, name) in self.known

	def has_permission(self, session: Session, doctype: str, name: str) -> bool | Awaitable[bool]:
		if (doctype, name) in self.known:
			return self.known[doctype, name]
		future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
		self.questions.append((doctype, name, future))
		return future


class FakeLimits:
	"""Allows as many rooms as `most`."""

	def __init__(self) -> None:
		self.most = 1000
		self.questions = True
		self.refused: list[str] = []
		"""The rooms that were not allowed."""

	def allows_question(self, socket: ServerSocket) -> bool:
		return self.questions

	def allows_room(self, socket: ServerSocket, room: str) -> bool:
		if len(socket.rooms) < self.most:
			return True
		self.refused.append(room)
		return False


class FakeTasks:
	"""Records its calls. No task may be followed with `rewind`."""

	def __init__(self) -> None:
		self.calls: list[tuple[str, str]] = []

	def subscribe(self, socket: ServerSocket, task_id: str) -> None:
		self.calls.append(("subscribe", task_id))

	def unsubscribe(self, socket: ServerSocket, task_id: str) -> None:
		self.calls.append(("unsubscribe", task_id))

	async def may_follow(self, session: Session, task_id: str) -> bool:
		return False

	def on_disconnect(self, socket: ServerSocket) -> None:
		self.calls.append(("disconnect", ""))


class FakeRewindSource:
	"""Every room has one event, `had`, with what was asked for."""

	def __init__(self) -> None:
		self.error: Exception | None = None
		"""Raised instead of an answer."""

	async def read(
		self, socket: ServerSocket, request: RewindRequest, is_permitted: Callable[[], Awaitable[bool]]
	) -> Callable[[], list[Encoded]]:
		if self.error is not None:
			raise self.error
		if not await is_permitted():
			raise RewindRefused("not_permitted", "no")
		message = [*request.rooms, request.count, request.event]
		return lambda: [packets.encode_event(socket.namespace.name, ["had", message])]


class Core:
	"""The core handlers of one process, with sockets of one site. Must be made in a running event loop."""

	def __init__(self) -> None:
		self.permissions = FakePermissions()
		self.limits = FakeLimits()
		self.tasks = FakeTasks()
		self.opened_in_editor: list[dict[str, Any]] = []
		self.source: Any = FakeRewindSource()
		self.rewinds = Rewinds(self.source, 10)
		self._namespaces = Namespaces()
		fakes: Any = self
		sender = ChangeSender(Config(bench=Path()), self._namespaces, Fanout(self._namespaces))
		self.handlers = CoreHandlers(
			fakes.permissions,
			fakes.limits,
			fakes.tasks,
			DocumentViewers(self._namespaces, sender, lambda namespace, room: ()),
			self.rewinds,
			self.opened_in_editor.append,
		)

	def connect(self, user: str = "ann@example.com", user_type: str = "System User") -> ServerSocket:
		"""Connect a socket of `user`."""
		return add_socket(self._namespaces, user, user_type)

	def disconnect(self, socket: ServerSocket) -> None:
		"""Disconnect a socket as the Socket.IO server does: it leaves its rooms, then the handlers are called."""
		rooms = set(socket.rooms)
		for room in rooms:
			socket.leave(room)
		del socket.namespace.sockets[socket.id]
		self.handlers.on_disconnect(socket, "transport close", rooms)

	def emit(self, socket: ServerSocket, event: str, *arguments: Any) -> None:
		"""Handle an event of a client."""
		self.handlers.on_event(socket, event, list(arguments), None)


def add_socket(namespaces: Namespaces, user: str, user_type: str = "System User") -> ServerSocket:
	"""Add a socket of `user` to the namespace of the site."""
	namespace = namespaces.open(SITE)
	session = Session(
		site=SITE[1:],
		credential=Credential(sid=user),
		user=user,
		user_type=user_type,
		full_name=user,
		installed_apps=("frappe",),
	)
	connection: Any = FakeConnection()
	socket = ServerSocket(namespace, connection, Admission(session))
	namespace.sockets[socket.id] = socket
	return socket


def sent(socket: ServerSocket) -> list[Any]:
	"""Return the events that were sent to a socket: a list of the name and the arguments of each."""
	connection: Any = socket.connection
	events: list[Any] = connection.events
	return events


async def settle() -> None:
	"""Let all tasks and callbacks run that are ready."""
	for _ in range(5):
		await asyncio.sleep(0)
