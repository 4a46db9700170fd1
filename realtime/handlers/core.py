"""The core's own events: subscriptions to documents, lists and tasks, who views a document, and ping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from frappe_realtime.contract import (
	DOC_VIEWERS,
	OPEN_DOC_ROOM,
	SYSTEM_USER,
	doc_room,
	doctype_room,
	open_doc_room,
	task_room,
)
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.limits import ClientLimits
from ..access.permissions import Permissions
from ..access.revalidation import Revalidator
from ..access.tasks import TaskAccess
from ..cluster.members import RemoteMembers
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, ServerSocket
from ..socketio.server import Ack

logger = logging.getLogger("realtime.handlers")

MAX_NAME = 600
"""Characters of a DocType's or document's name; Frappe's own names end at 140."""

Handler = Callable[..., None]


class CoreHandlers:
	"""Answers the events that the Desk sends. An event with the wrong arguments is ignored, as any unknown one."""

	def __init__(
		self,
		permissions: Permissions,
		fanout: Fanout,
		limits: ClientLimits,
		tasks: TaskAccess,
		elsewhere: RemoteMembers,
		revalidator: Revalidator,
		open_in_editor: Callable[[dict[str, Any]], None] | None = None,
	) -> None:
		self._permissions = permissions
		self._fanout = fanout
		self._limits = limits
		self._tasks = tasks
		self._elsewhere = elsewhere
		self._open_in_editor = open_in_editor
		self._entering: dict[ServerSocket, dict[str, asyncio.Future[bool]]] = {}
		self.events: dict[str, Handler] = {
			"ping": self.ping,
			"doctype_subscribe": self.doctype_subscribe,
			"doctype_unsubscribe": self.doctype_unsubscribe,
			"doc_subscribe": self.doc_subscribe,
			"doc_unsubscribe": self.doc_unsubscribe,
			"doc_open": self.doc_open,
			"doc_close": self.doc_close,
			"task_subscribe": self.task_subscribe,
			"task_unsubscribe": self.task_unsubscribe,
			"progress_subscribe": self.task_subscribe,
			"open_in_editor": self.open_in_editor,
		}
		revalidator.room_withdrawn.connect(self.on_room_withdrawn)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""A socket that has recovered has documents open: tell those who have too that it is back, and it who they are."""
		for room in list(socket.rooms):
			self.on_room_withdrawn(socket, room)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Answer `event` when it is the core's."""
		handler = self.events.get(event)
		if handler is not None:
			handler(socket, *[*arguments, None, None][:2])

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		"""Tell those who have a document open that this socket, which has left its rooms, does not any more."""
		self._tasks.on_disconnect(socket)
		for future in self._entering.pop(socket, {}).values():
			future.cancel()
		for room in rooms:
			self.on_room_withdrawn(socket, room)

	def on_room_withdrawn(self, socket: ServerSocket, room: str) -> None:
		"""The socket has left `room`, or is back in it, without having asked to."""
		self.on_viewers_changed(socket.namespace, room, {socket.session.user})

	def on_viewers_changed(self, namespace: Namespace, room: str, acted: set[str]) -> None:
		"""Sockets of the users in `acted` have entered or left `room`, here or in another sidecar."""
		if room.startswith(OPEN_DOC_ROOM):
			doctype, _, name = room.removeprefix(OPEN_DOC_ROOM).partition("/")
			self._tell_viewers(namespace, doctype, name, acted)

	# -- events

	def ping(self, socket: ServerSocket, *_: Any) -> None:
		socket.emit("pong")

	def doctype_subscribe(self, socket: ServerSocket, doctype: Any, *_: Any) -> None:
		if _is_name(doctype):
			self._enter(socket, doctype_room(doctype), doctype, "")

	def doctype_unsubscribe(self, socket: ServerSocket, doctype: Any, *_: Any) -> None:
		if _is_name(doctype):
			self._leave(socket, doctype_room(doctype))

	def doc_subscribe(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		name = _document_name(name)
		if _is_name(doctype) and name:
			self._enter(socket, doc_room(doctype, name), doctype, name)

	def doc_unsubscribe(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		name = _document_name(name)
		if _is_name(doctype) and name:
			self._leave(socket, doc_room(doctype, name))

	def doc_open(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		name = _document_name(name)
		if _is_name(doctype) and name:
			room = open_doc_room(doctype, name)
			self._enter(socket, room, doctype, name, lambda: self._has_acted(socket, doctype, name))

	def doc_close(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		name = _document_name(name)
		if _is_name(doctype) and name:
			room = open_doc_room(doctype, name)
			viewed = room in socket.rooms
			self._leave(socket, room)
			if viewed:
				self._has_acted(socket, doctype, name)

	def task_subscribe(self, socket: ServerSocket, task_id: Any, *_: Any) -> None:
		if _is_name(task_id) and self._limits.allows_room(socket, task_room(task_id)):
			self._tasks.subscribe(socket, task_id)

	def task_unsubscribe(self, socket: ServerSocket, task_id: Any, *_: Any) -> None:
		if _is_name(task_id):
			self._tasks.unsubscribe(socket, task_id)

	def open_in_editor(self, socket: ServerSocket, data: Any, *_: Any) -> None:
		"""Pass the place of a build error on to `bench watch`; only where `developer_mode` is set."""
		session: Session = socket.session
		if self._open_in_editor is not None and isinstance(data, dict) and session.user_type == SYSTEM_USER:
			self._open_in_editor({key: data.get(key) for key in ("file", "line", "column")})

	# -- rooms

	def _enter(
		self,
		socket: ServerSocket,
		room: str,
		doctype: str,
		name: str,
		entered: Callable[[], None] = lambda: None,
	) -> None:
		"""Join `room` once the web process has said that this user may read what it is about."""
		if room in socket.rooms:
			entered()
			return
		if room in self._entering.get(socket, {}):
			return
		if not self._limits.allows_room(socket, room):
			return
		if not (
			self._permissions.is_cached(socket.session, doctype, name) or self._limits.allows_question(socket)
		):
			return
		answer = self._permissions.has_permission(socket.session, doctype, name)
		if isinstance(answer, bool):
			if answer:
				socket.join(room)
				entered()
			return
		future = asyncio.ensure_future(_quietly(answer))
		self._entering.setdefault(socket, {})[room] = future
		future.add_done_callback(lambda future: self._entered(socket, room, future, entered))

	def _entered(
		self, socket: ServerSocket, room: str, future: asyncio.Future[bool], entered: Callable[[], None]
	) -> None:
		# Left again, or disconnected, while the question was out: then another future, or none, has this place.
		entering = self._entering.get(socket, {})
		if entering.get(room) is not future:
			return
		self._forget_entering(socket, room)
		if (
			not future.cancelled()
			and future.result()
			and socket.connected
			# Others that were asked about at the same time may have come first.
			and self._limits.allows_room(socket, room)
		):
			socket.join(room)
			entered()

	def _leave(self, socket: ServerSocket, room: str) -> None:
		future = self._forget_entering(socket, room)
		if future is not None:
			future.cancel()
		socket.leave(room)

	def _forget_entering(self, socket: ServerSocket, room: str) -> asyncio.Future[bool] | None:
		entering = self._entering.get(socket)
		future = None if entering is None else entering.pop(room, None)
		if not entering:
			self._entering.pop(socket, None)
		return future

	def _has_acted(self, socket: ServerSocket, doctype: str, name: str) -> None:
		self._tell_viewers(socket.namespace, doctype, name, {socket.session.user})

	def _tell_viewers(self, namespace: Namespace, doctype: str, name: str, acted: set[str]) -> None:
		"""Send those who have the document open the users who do, unless that is only the one who has just acted."""
		room = open_doc_room(doctype, name)
		users = dict.fromkeys(member.session.user for member in namespace.members(room))
		users.update(dict.fromkeys(self._elsewhere.users(namespace.name, room)))
		if users and not (len(acted) == 1 and acted == users.keys()):
			viewers = {"doctype": doctype, "docname": name, "users": list(users)}
			self._fanout.emit_local(namespace, room, DOC_VIEWERS, viewers)


async def _quietly(answer: Awaitable[bool]) -> bool:
	"""No answer is a no: the client asks again when it reconnects or opens the page anew."""
	try:
		return await answer
	except WebUnavailable as error:
		logger.warning("a subscription was not granted: %s", error)
		return False


def _is_name(value: Any) -> bool:
	return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _document_name(value: Any) -> str:
	"""A document's name as text, since names of some DocTypes are numbers; empty when it is none."""
	if isinstance(value, int) and not isinstance(value, bool):
		return str(value)
	return value if _is_name(value) else ""
