"""Revalidation of the rooms of documents that have changed.

One request asks about all users in the rooms of a document, so that a document with many viewers costs the web process
one question for each save. The revalidator then withdraws the rooms, with the answers from the cache.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from frappe_realtime.contract import document_rooms
from frappe_realtime.errors import WebUnavailable

from ..socketio.namespace import Namespace
from .authentication import Session
from .permissions import Permissions
from .revalidation import Revalidator

CONCURRENT_CHECKS = 2
"""Documents of one site that are asked about at a time: a site that gives no answers must not keep the others waiting."""

Document = tuple[Namespace, str, str]
"""The namespace of the site, DocType and name."""


class DocumentRevalidator:
	"""Checks who may stay in the rooms of a changed document.

	Args:
		permissions: Answers who may read the document.
		revalidator: Withdraws the rooms, and repeats a query that the web process did not answer.
	"""

	def __init__(self, permissions: Permissions, revalidator: Revalidator) -> None:
		self._permissions = permissions
		self._revalidator = revalidator
		self._pending: dict[str, dict[Document, None]] = {}
		"""The documents that are still to be asked about, by site."""
		self._running: Counter[str] = Counter()
		"""How many tasks ask about the documents of a site."""
		self._tasks: set[asyncio.Task[None]] = set()

	def check(self, namespace: Namespace, doctype: str, name: str) -> None:
		"""Schedule a check of a document, if a socket is in one of its rooms."""
		if not any(namespace.members(room) for room in document_rooms(doctype, name)):
			return
		site, document = _site(namespace), (namespace, doctype, name)
		pending = self._pending.setdefault(site, {})
		if document not in pending:
			pending[document] = None
			self._revalidator.begin_checks(site, document_rooms(doctype, name))
		if self._running[site] < CONCURRENT_CHECKS:
			self._running[site] += 1
			task = asyncio.get_running_loop().create_task(self._run_checks(site))
			self._tasks.add(task)
			task.add_done_callback(self._tasks.discard)

	async def _run_checks(self, site: str) -> None:
		try:
			while pending := self._pending.get(site):
				document = next(iter(pending))
				del pending[document]
				_, doctype, name = document
				try:
					await self._check(*document)
				finally:
					self._revalidator.end_checks(site, document_rooms(doctype, name))
		finally:
			self._running[site] -= 1

	async def _check(self, namespace: Namespace, doctype: str, name: str) -> None:
		rooms = set(document_rooms(doctype, name))
		site = _site(namespace)
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


def _site(namespace: Namespace) -> str:
	return namespace.name.removeprefix("/")
