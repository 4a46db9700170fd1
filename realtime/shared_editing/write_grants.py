"""Gives clients that follow a document the permission to change it, when their user gets it while they follow.

A client without `write` is in the room of those that read. When the app reports a change that may have given its user more, the web
process is asked again, once for each user and document; the sockets of the user then join the room of the writers, and their clients are
told. The opposite, a permission that is withdrawn, ends as every room does (realtime/access/revalidation.py). Where the app is not
installed, nothing is reported: there a client is asked about when it asks for what it lacks (`SharedEvents`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from frappe_realtime.contract.access import DOC_CHANGED, DOCTYPE_RULES_CHANGED, SITE_CHANGED, USER_CHANGED
from frappe_realtime.contract.rooms import shared_room, user_room
from frappe_realtime.contract.shared_editing import SHARED_MAY_WRITE
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.check_queue import CheckQueue
from ..access.invalidation import BATCH_SECONDS
from ..access.permissions import FAILURE_SECONDS, Permissions, answer_of
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from .members import SharedMembers

CONCURRENT_QUESTIONS = 2
"""Questions to the web process at a time."""


class Reader(NamedTuple):
	"""A user who may read a document, and perhaps write it now."""

	namespace: Namespace
	user: str
	doctype: str
	name: str


class WriteGrants:
	"""Looks for sockets whose user may write now.

	Args:
		namespaces: The sockets.
		members: What they follow.
		permissions: Answers whether a user may write.
	"""

	def __init__(self, namespaces: Namespaces, members: SharedMembers, permissions: Permissions) -> None:
		self._namespaces = namespaces
		self._members = members
		self._permissions = permissions
		self._messages: list[dict[str, Any]] = []
		self._queue = CheckQueue(CONCURRENT_QUESTIONS)
		self._postponed: set[Reader] = set()
		"""Readers that are asked about again later."""

	def stop(self) -> None:
		"""Ask no more questions."""
		self._queue.cancel()

	def on_access(self, message: dict[str, Any]) -> None:
		"""Note a message of the access channel, whose answers are dropped already."""
		if message["kind"] not in (USER_CHANGED, DOC_CHANGED, DOCTYPE_RULES_CHANGED, SITE_CHANGED):
			return
		if not self._messages:
			# As the rooms are: a client that joins with an earlier answer is among the members then.
			asyncio.get_running_loop().call_later(BATCH_SECONDS, self._take_messages)
		self._messages.append(message)

	def on_subscribed(self) -> None:
		"""Check all: messages may have been missed without the subscription."""
		for namespace in self._namespaces.values():
			self._check(
				namespace,
				[one for one in self._members.sockets if one.namespace is namespace and one.session.has_app],
			)

	def _take_messages(self) -> None:
		messages, self._messages = self._messages, []
		for message in messages:
			namespace = self._namespaces.get("/" + message["site"])
			if namespace is None:
				continue
			kind = message["kind"]
			if kind == USER_CHANGED:
				self._check(namespace, namespace.members(user_room(message["user"])))
			elif kind == DOC_CHANGED:
				about = message["doctype"], message["name"]
				self._check(namespace, namespace.members(shared_room(*about)), *about)
			else:
				sockets = [one for one in self._members.sockets if one.namespace is namespace]
				self._check(namespace, sockets, message.get("doctype"))

	def _check(
		self,
		namespace: Namespace,
		sockets: Iterable[ServerSocket],
		doctype: str | None = None,
		name: str | None = None,
	) -> None:
		"""Schedule the questions about documents that `sockets` read and may not write: all, those of one DocType, or one document."""
		for socket in sockets:
			for document in self._members.documents(socket):
				is_meant = doctype in (None, document.doctype) and name in (None, document.name)
				if is_meant and document.write_room not in socket.rooms:
					session: Session = socket.session
					reader = Reader(namespace, session.user, document.doctype, document.name)
					self._queue.put(session.site, reader, partial(self._ask, reader))

	async def _ask(self, reader: Reader) -> None:
		sockets = self._sockets_of(reader)
		if not sockets:
			return
		try:
			may_write = await answer_of(
				self._permissions.has_permission(sockets[0].session, reader.doctype, reader.name, "write")
			)
		except WebUnavailable:
			# Also for a session that has ended: the user may have others.
			self._postpone(reader)
			return
		if may_write:
			for socket in self._sockets_of(reader):
				self._grant(socket, reader)

	def _postpone(self, reader: Reader) -> None:
		if reader not in self._postponed:
			self._postponed.add(reader)
			asyncio.get_running_loop().call_later(FAILURE_SECONDS, self._check_reader, reader)

	def _check_reader(self, reader: Reader) -> None:
		self._postponed.discard(reader)
		self._check(reader.namespace, self._sockets_of(reader), reader.doctype, reader.name)

	def _sockets_of(self, reader: Reader) -> list[ServerSocket]:
		"""Return the sockets of the user that follow the document and may not change it."""
		members = reader.namespace.members(shared_room(reader.doctype, reader.name))
		return [
			socket
			for socket in members
			if socket.session.user == reader.user
			and any(
				document.write_room not in socket.rooms
				for document in self._members.documents(socket)
				if document[:2] == (reader.doctype, reader.name)
			)
		]

	def _grant(self, socket: ServerSocket, reader: Reader) -> None:
		for document in self._members.documents(socket):
			if document[:2] == (reader.doctype, reader.name):
				self._members.allow_write(socket, document)
				socket.emit(SHARED_MAY_WRITE, document.message())
