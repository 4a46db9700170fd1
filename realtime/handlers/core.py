"""Frappe's core events: subscriptions to documents, lists and tasks, and ping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from frappe_realtime.contract.events import LIMIT_REACHED, REWIND_EVENT
from frappe_realtime.contract.rooms import (
	SITE_ROOM,
	WEBSITE_ROOM,
	doc_room,
	doctype_room,
	open_doc_room,
	task_room,
	user_room,
)
from frappe_realtime.contract.users import SYSTEM_USER
from frappe_realtime.errors import RewindRefused, WebUnavailable

from ..access.authentication import Session
from ..access.client_questions import MAX_NAME, allows_permission_question, document_name, is_name
from ..access.limits import ClientLimits
from ..access.permission_requests import log_unanswered
from ..access.permissions import Permissions, answer_of
from ..access.tasks import TaskAccess
from ..log_budget import LogBudget
from ..presence.viewers import DocumentViewers
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack
from .reply import reply_of
from .rewinds import Rewinds, acknowledge, may_rewind

logger = logging.getLogger("realtime.handlers")

Handler = Callable[..., None]


class CoreHandlers:
	"""Handles the events that the Desk sends. An event with invalid arguments is ignored, like an unknown event.

	A client joins the room of a document or a list when the web process has confirmed that its user may read it. Until
	then the join is pending; leaving the room, or disconnecting, cancels it.

	Args:
		permissions: Answers whether a user may read a document or a DocType.
		limits: Bounds the rooms of a client.
		tasks: Answers whether a user may follow a task.
		viewers: Sends who has a document open.
		rewinds: Answers subscriptions that ask for earlier events of their rooms.
		open_in_editor: Publishes the requests of `open_in_editor`; None unless in developer mode.
	"""

	def __init__(
		self,
		permissions: Permissions,
		limits: ClientLimits,
		tasks: TaskAccess,
		viewers: DocumentViewers,
		rewinds: Rewinds,
		open_in_editor: Callable[[dict[str, Any]], None] | None = None,
	) -> None:
		self._permissions = permissions
		self._limits = limits
		self._tasks = tasks
		self._viewers = viewers
		self._rewinds = rewinds
		self._open_in_editor = open_in_editor
		self._pending_joins: dict[ServerSocket, dict[str, asyncio.Future[bool]]] = {}
		"""For each socket, the answers of the web process that are awaited, by room."""
		self._log_budget = LogBudget()
		self._handlers: dict[str, Handler] = {
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
			REWIND_EVENT: lambda *_: None,
		}
		self.events = self._handlers.keys()

	# -- events of sockets: see `EventHandler`

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Do nothing: a recovered socket is in its rooms already."""

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle a core event."""
		reply = reply_of(ack)
		if self._rewind(socket, event, arguments, ack):
			if reply is not None:
				# It is answered when the room was read.
				reply.begin()
			return
		self._handlers[event](socket, *[*arguments, None, None][:2])
		if reply is not None:
			reply.no_answer("frappe")

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Cancel what is pending for the socket."""
		self._tasks.on_disconnect(socket)
		self._rewinds.on_disconnect(socket)
		for answer in self._pending_joins.pop(socket, {}).values():
			answer.cancel()

	# -- core events

	def ping(self, socket: ServerSocket, *_: Any) -> None:
		"""Answer with the event `pong`."""
		socket.emit("pong")

	def doctype_subscribe(self, socket: ServerSocket, doctype: Any, *_: Any) -> None:
		"""Join the room of a DocType's list."""
		if is_name(doctype):
			self._join(socket, doctype_room(doctype), doctype, "")

	def doctype_unsubscribe(self, socket: ServerSocket, doctype: Any, *_: Any) -> None:
		"""Leave the room of a DocType's list."""
		if is_name(doctype):
			self._leave(socket, doctype_room(doctype))

	def doc_subscribe(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		"""Join the room of a document."""
		name = document_name(name)
		if is_name(doctype) and name:
			self._join(socket, doc_room(doctype, name), doctype, name)

	def doc_unsubscribe(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		"""Leave the room of a document."""
		name = document_name(name)
		if is_name(doctype) and name:
			self._leave(socket, doc_room(doctype, name))

	def doc_open(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		"""Join the room of a document's viewers."""
		name = document_name(name)
		if is_name(doctype) and name:
			room = open_doc_room(doctype, name)
			if room in socket.rooms:
				self._viewers.send_to(socket, room)
			else:
				self._join(socket, room, doctype, name)

	def doc_close(self, socket: ServerSocket, doctype: Any, name: Any) -> None:
		"""Leave the room of a document's viewers."""
		name = document_name(name)
		if is_name(doctype) and name:
			self._leave(socket, open_doc_room(doctype, name))

	def task_subscribe(self, socket: ServerSocket, task_id: Any, *_: Any) -> None:
		"""Join the room of a background job."""
		if is_name(task_id) and self._limits.allows_room(socket, task_room(task_id)):
			self._tasks.subscribe(socket, task_id)

	def task_unsubscribe(self, socket: ServerSocket, task_id: Any, *_: Any) -> None:
		"""Leave the room of a background job."""
		if is_name(task_id):
			self._rewinds.cancel(socket, task_room(task_id))
			self._tasks.unsubscribe(socket, task_id)

	def open_in_editor(self, socket: ServerSocket, data: Any, *_: Any) -> None:
		"""Publish the place of a build error, `{file, line, column}`, for `bench watch`; only in developer mode."""
		session: Session = socket.session
		if self._open_in_editor is not None and isinstance(data, dict) and session.user_type == SYSTEM_USER:
			self._open_in_editor({key: data.get(key) for key in ("file", "line", "column")})

	# -- subscriptions that ask for earlier events of their room

	def _rewind(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> bool:
		"""Start a subscription with `{"rewind": …}` as its last argument; return False for any other event.

		A subscription to the same room without it is left alone, so that it does not end with a refusal.
		"""
		options = arguments[-1] if arguments else None
		if not isinstance(options, dict) or "rewind" not in options:
			return False
		session: Session = socket.session
		if event == REWIND_EVENT:
			name = options.get("event")
			rooms = [user_room(session.user), WEBSITE_ROOM, SITE_ROOM]
			rooms = [room for room in rooms if room in socket.rooms and may_rewind(session, room)]
			answer = partial(acknowledge, ack)
			if not is_name(name):
				answer(_without_name(event))
			elif not rooms:
				answer(RewindRefused("not_permitted", "this user has no events of its own"))
			else:
				self._rewinds.start(
					socket, rooms, options["rewind"], answer, _permitted, lambda: True, event=str(name)
				)
		elif event in ("task_subscribe", "progress_subscribe"):
			if is_name(arguments[0]):
				room = task_room(arguments[0])
				self._start_rewind(
					socket, room, options, ack, lambda: self._tasks.may_follow(session, arguments[0])
				)
			else:
				acknowledge(ack, _without_name(event))
		else:
			self._rewind_document(socket, event, arguments[:-1], options, ack)
		return True

	def _rewind_document(
		self,
		socket: ServerSocket,
		event: str,
		arguments: list[Any],
		options: dict[str, Any],
		ack: Ack | None,
	) -> None:
		"""Subscribe to a document or a DocType, with earlier events of its room."""
		if event not in ("doc_subscribe", "doctype_subscribe"):
			acknowledge(ack, RewindRefused("bad_request", f"{event} does not take `rewind`"))
			return
		doctype, name = [*arguments, None, None][:2]
		name = document_name(name) if event == "doc_subscribe" else ""
		if not is_name(doctype) or (event == "doc_subscribe" and not name):
			acknowledge(ack, _without_name(event))
			return
		room = doc_room(doctype, name) if name else doctype_room(doctype)
		if not allows_permission_question(self._permissions, self._limits, socket, doctype, name):
			acknowledge(ack, RewindRefused(LIMIT_REACHED, "the client asks for too many permissions"))
			return

		async def is_permitted() -> bool:
			return await answer_of(self._permissions.has_permission(socket.session, doctype, name))

		self._start_rewind(socket, room, options, ack, is_permitted)

	def _start_rewind(
		self,
		socket: ServerSocket,
		room: str,
		options: dict[str, Any],
		ack: Ack | None,
		is_permitted: Callable[[], Awaitable[bool]],
	) -> None:
		def join() -> bool:
			if room not in socket.rooms and not self._limits.allows_room(socket, room):
				return False
			socket.join(room)
			return True

		if room in socket.rooms or self._limits.allows_room(socket, room):
			answer = partial(acknowledge, ack)
			self._rewinds.start(socket, [room], options["rewind"], answer, is_permitted, join)
		else:
			refusal = RewindRefused(LIMIT_REACHED, "the client may not join this room, or is in too many")
			acknowledge(ack, refusal)

	# -- rooms

	def _join(self, socket: ServerSocket, room: str, doctype: str, name: str) -> None:
		"""Join `room` if the user may read the document, or the DocType if `name` is empty."""
		if room in socket.rooms or room in self._pending_joins.get(socket, {}):
			return
		if not self._limits.allows_room(socket, room):
			return
		if not allows_permission_question(self._permissions, self._limits, socket, doctype, name):
			return
		permitted = self._permissions.has_permission(socket.session, doctype, name)
		if isinstance(permitted, bool):
			if permitted:
				socket.join(room)
			return
		answer = asyncio.ensure_future(permitted)
		self._pending_joins.setdefault(socket, {})[room] = answer
		answer.add_done_callback(partial(self._complete_join, socket, room))

	def _complete_join(self, socket: ServerSocket, room: str, answer: asyncio.Future[bool]) -> None:
		# The client may have left the room while the answer was awaited, and asked for it again since.
		if self._pending_joins.get(socket, {}).get(room) is not answer:
			return
		self._remove_pending_join(socket, room)
		if (
			self._is_granted(answer)
			# A subscription with `rewind` may have been answered first.
			and room not in socket.rooms
			# Other joins that were pending at the same time may have used up the limit.
			and self._limits.allows_room(socket, room)
		):
			socket.join(room)

	def _is_granted(self, answer: asyncio.Future[bool]) -> bool:
		"""Return the answer, or False if there is none: the client subscribes again when it reconnects."""
		if answer.cancelled():
			return False
		try:
			return answer.result()
		except WebUnavailable as error:
			log_unanswered(
				logger,
				self._log_budget,
				error,
				"a subscription was refused because the web process did not answer: %s",
			)
			return False

	def _leave(self, socket: ServerSocket, room: str) -> None:
		"""Leave `room`; cancel the join if it is pending."""
		self._rewinds.cancel(socket, room)
		answer = self._remove_pending_join(socket, room)
		if answer is not None:
			answer.cancel()
		socket.leave(room)

	def _remove_pending_join(self, socket: ServerSocket, room: str) -> asyncio.Future[bool] | None:
		joins = self._pending_joins.get(socket)
		answer = None if joins is None else joins.pop(room, None)
		if not joins:
			self._pending_joins.pop(socket, None)
		return answer


async def _permitted() -> bool:
	"""Return True: the rooms are those that every socket of the user is in."""
	return True


def _without_name(event: str) -> RewindRefused:
	return RewindRefused(
		"bad_request", f"{event}: a name is missing, or is no text of 1 to {MAX_NAME} characters"
	)
