"""AccessInvalidator that ends when it ends: what our app says has changed, on a Redis channel, and whom that concerns.

The kinds of messages stand in `frappe_realtime/permissions/access_events.py`. Answers given before count no more from the moment that a
message is read; sockets are looked at a moment later, when those that were let in on such an answer have arrived.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from frappe_realtime.contract import (
	ACCESS_CHANNEL,
	DOC_DELETED,
	DOC_RENAMED,
	DOCTYPE_RULES_CHANGED,
	PERMISSION_ROOMS,
	SESSION_ENDED,
	SITE_CHANGED,
	TASK_STARTED,
	USER_CHANGED,
	doc_room,
	open_doc_room,
	room_subject,
	user_room,
)

from ..json_codec import loads
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from ..web.frappe_client import Credential
from .authentication import Authenticator, Session
from .permissions import Permissions
from .revalidation import Revalidator
from .tasks import TaskAccess

logger = logging.getLogger("realtime.access")

GATHER = 0.05
"""Seconds in which messages are gathered: a saved role says the same of many users, and often twice."""

NAMES = ("site", "kind", "sid_hash", "user", "doctype", "name", "old")

Message = dict[str, Any]


class AccessInvalidator:
	"""Takes the messages of the channel."""

	def __init__(
		self,
		namespaces: Namespaces,
		authenticator: Authenticator,
		permissions: Permissions,
		recheck: Revalidator,
		tasks: TaskAccess,
	) -> None:
		self._namespaces = namespaces
		self._sessions = authenticator.sessions
		self._permissions = permissions
		self._recheck = recheck
		self.told: Counter[str] = Counter()
		"""Messages by kind; `invalid` are those that were not understood."""
		self._tasks = tasks
		self._gathered: list[Message] = []

	def take(self, payload: bytes) -> None:
		"""One message of the channel."""
		try:
			message = loads(payload)
			kind = message["kind"]
			if not all(isinstance(message[key], str) for key in NAMES if key in message):
				raise ValueError("a name that is no text")
			if kind == TASK_STARTED:
				self._tasks.take(message)
			else:
				self._forget(message["site"], kind, message)
				if not self._gathered:
					asyncio.get_running_loop().call_later(GATHER, self._look)
				self._gathered.append(message)
		except (ValueError, KeyError, TypeError, AttributeError):
			self.told["invalid"] += 1
			logger.warning("a message on the channel %r is not understood: %.200r", ACCESS_CHANNEL, payload)
		else:
			self.told[kind] += 1

	def missed(self) -> None:
		"""Messages may have been lost: ask again about everybody of the sites that would have sent them."""
		self._sessions.invalidate(lambda key, answer: True)
		self._permissions.forget(lambda *_: True)
		for namespace in list(self._namespaces.values()):
			self._recheck.sessions(
				session for session in _sessions(namespace.sockets.values()) if session.asks_in_batches
			)

	def _forget(self, site: str, kind: str, message: Message) -> None:
		if kind == SESSION_ENDED:
			hash = message["sid_hash"]
			self._sessions.invalidate(lambda key, answer: key[0] == site and key[1].sid_hash == hash)
		elif kind == USER_CHANGED:
			user = message["user"]
			self._sessions.invalidate(
				lambda key, answer: key[0] == site and (answer is None or answer.user == user)
			)
			self._permissions.forget(lambda of, who, *_: of == site and who == user)
		elif kind == DOCTYPE_RULES_CHANGED:
			doctype = message["doctype"]
			self._permissions.forget(lambda of, _, about, __: of == site and about == doctype)
		elif kind in (DOC_DELETED, DOC_RENAMED):
			document = _document(message)
			self._permissions.forget(lambda of, _, *about: of == site and tuple(about) == document)
		elif kind == SITE_CHANGED:
			self._sessions.invalidate(lambda key, answer: key[0] == site)
			self._permissions.forget(lambda of, *_: of == site)
		else:
			raise ValueError("a kind that is not known")

	def _look(self) -> None:
		messages, self._gathered = self._gathered, []
		ended: dict[str, set[str]] = {}
		for message in messages:
			kind = message["kind"]
			namespace = self._namespaces.get("/" + message["site"])
			if namespace is None:
				continue
			if kind == SESSION_ENDED:
				ended.setdefault(namespace.name, set()).add(message["sid_hash"])
			elif kind == USER_CHANGED:
				self._recheck.sessions(_sessions(namespace.members(user_room(message["user"]))))
			elif kind == SITE_CHANGED:
				self._recheck.sessions(_sessions(namespace.sockets.values()))
			elif kind == DOCTYPE_RULES_CHANGED:
				self._look_at_doctype(namespace, message["doctype"])
			else:
				self._recheck.empty(namespace, doc_room(*_document(message)))
				self._recheck.empty(namespace, open_doc_room(*_document(message)))
		for name, hashes in ended.items():
			self._end_sessions(self._namespaces[name], hashes)

	def _look_at_doctype(self, namespace: Namespace, doctype: str) -> None:
		for room, members in namespace.rooms.items():
			if (
				room.startswith(PERMISSION_ROOMS)
				and (about := room_subject(room)) is not None
				and about[0] == doctype
			):
				for session in _sessions(members):
					self._recheck.rooms(session, {room})

	def _end_sessions(self, namespace: Namespace, hashes: set[str]) -> None:
		concerned: dict[Credential, bool] = {}
		for socket in list(namespace.sockets.values()):
			credential = socket.session.credential
			if credential not in concerned:
				concerned[credential] = credential.sid_hash in hashes
			if concerned[credential]:
				self._recheck.end(socket)


def _document(message: Message) -> tuple[str, str]:
	return message["doctype"], message["old" if message["kind"] == DOC_RENAMED else "name"]


def _sessions(sockets: Iterable[ServerSocket]) -> list[Session]:
	# The namespace `/` has sockets without a session.
	return [socket.session for socket in sockets if socket.session is not None]
