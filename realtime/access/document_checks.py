"""Revalidation of the rooms of documents that have changed.

One request asks about all users in the rooms of a document, so that a document with many viewers costs the web process
one question for each save. The revalidator then withdraws the rooms, with the answers from the cache.
"""

from __future__ import annotations

from contextlib import suppress

from frappe_realtime.errors import WebUnavailable

from ..socketio.namespace import Namespace
from .authentication import Session
from .check_queue import CheckQueue
from .document_rooms import DocumentRooms
from .permissions import Permissions
from .revalidation import Revalidator

CONCURRENT_CHECKS = 2
"""Documents that are asked about at a time."""


class DocumentRevalidator:
	"""Checks who may stay in the rooms of a changed document.

	Args:
		rooms: The rooms about a document.
		permissions: Answers who may read the document.
		revalidator: Withdraws the rooms, and repeats a query that the web process did not answer.
	"""

	def __init__(self, rooms: DocumentRooms, permissions: Permissions, revalidator: Revalidator) -> None:
		self._rooms = rooms
		self._permissions = permissions
		self._revalidator = revalidator
		self._queue = CheckQueue(CONCURRENT_CHECKS)

	def empty(self, namespace: Namespace, doctype: str, name: str) -> None:
		"""Make all sockets leave the rooms of a document that is gone, or has another name."""
		for room in self._rooms.of(namespace, doctype, name):
			self._revalidator.empty_room(namespace, room)

	def check(self, namespace: Namespace, doctype: str, name: str) -> None:
		"""Schedule a check of a document, if a socket is in one of its rooms."""
		rooms = self._rooms.of(namespace, doctype, name)
		if not any(namespace.members(room) for room in rooms):
			return
		site = namespace.name.removeprefix("/")
		if self._queue.put(
			site, (namespace, doctype, name), lambda: self._check(site, namespace, doctype, name, rooms)
		):
			self._revalidator.begin_checks(site, rooms)

	async def _check(
		self, site: str, namespace: Namespace, doctype: str, name: str, under_way: set[str]
	) -> None:
		"""Check the rooms of a document, and end the checks of those that were `under_way` since the change."""
		rooms = self._rooms.of(namespace, doctype, name)
		try:
			sessions: dict[str, Session] = {
				socket.session.user: socket.session for room in rooms for socket in namespace.members(room)
			}
			unknown = [
				user for user in sessions if self._permissions.cached_read(site, user, doctype, name) is None
			]
			# Without an answer the revalidator asks about each user, until there is one.
			with suppress(WebUnavailable):
				await self._permissions.query_readers(site, doctype, name, unknown)
			for session in sessions.values():
				self._revalidator.check_rooms(session, rooms)
		finally:
			self._revalidator.end_checks(site, under_way)
