"""Invalidation: withdraws access when the app reports a change on the access channel.

The kinds of messages are those of `ACCESS_KINDS` in the contract; `frappe_realtime/permissions/access_events.py` sends
them. Cached answers are dropped when the message is read. Sockets are revalidated a moment later, so that a socket that
is being admitted with such an answer is included.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from frappe_realtime.contract.access import (
	DOC_CHANGED,
	DOC_DELETED,
	DOC_RENAMED,
	DOCTYPE_RULES_CHANGED,
	SESSION_ENDED,
	SITE_CHANGED,
	TASK_STARTED,
	USER_CHANGED,
)
from frappe_realtime.contract.channels import ACCESS_CHANNEL
from frappe_realtime.contract.rooms import PERMISSION_ROOMS, room_subject, user_room
from frappe_realtime.contract.users import GUEST

from ..json_codec import loads
from ..log_budget import LogBudget
from ..signals import Signal
from ..socketio.namespace import Namespace, Namespaces, ServerSocket
from ..web.frappe_client import Credential
from .authentication import Authenticator, Session
from .document_checks import DocumentRevalidator
from .permissions import Permissions
from .revalidation import Revalidator
from .tasks import TaskAccess

logger = logging.getLogger("realtime.access")

BATCH_SECONDS = 0.05
"""Seconds in which messages are collected: saving a Role reports many users, and often twice."""

JOINING_TURNS = 10
"""Turns of the event loop after that: an answer from before a message takes some turns to become a membership, and the message may be the
last one that is collected."""

STRINGS = ("site", "kind", "sid_hash", "user", "doctype", "name", "old")
"""Fields of a message that must be strings where they are present."""

Message = dict[str, Any]


class AccessInvalidator:
	"""Handles the messages of the access channel.

	Args:
		namespaces: The sockets.
		authenticator: Caches the sessions that are dropped.
		permissions: Caches the answers that are dropped.
		revalidator: Checks the sockets and rooms that a change concerns.
		documents: Checks the rooms of documents that have changed.
		tasks: Receives the owners of background tasks.
	"""

	def __init__(
		self,
		namespaces: Namespaces,
		authenticator: Authenticator,
		permissions: Permissions,
		revalidator: Revalidator,
		documents: DocumentRevalidator,
		tasks: TaskAccess,
	) -> None:
		self.messages: Counter[str] = Counter()
		"""Messages by kind; `invalid` for those that were not understood."""
		self.received: Signal[[Message]] = Signal()
		"""Sent with each message about a change of access, after the cached answers are dropped."""
		self._namespaces = namespaces
		self._sessions = authenticator.sessions
		self._permissions = permissions
		self._revalidator = revalidator
		self._documents = documents
		self._tasks = tasks
		self._collected: list[Message] = []
		self._log_budget = LogBudget()

	def on_message(self, payload: bytes) -> None:
		"""Handle one message of the channel."""
		try:
			message = loads(payload)
			kind = message["kind"]
			if not all(isinstance(message[key], str) for key in STRINGS if key in message):
				raise ValueError("a field is not a string")
			if kind == TASK_STARTED:
				self._tasks.on_message(message)
			else:
				self._drop_answers(message["site"], kind, message)
				self.received.send(message)
				if not self._collected:
					asyncio.get_running_loop().call_later(BATCH_SECONDS, self._end_batch)
				self._collected.append(message)
		except (ValueError, KeyError, TypeError, AttributeError):
			self.messages["invalid"] += 1
			self._log_budget.write(
				logger.warning, "invalid message of %d bytes on the channel %r", len(payload), ACCESS_CHANNEL
			)
		else:
			self.messages[kind] += 1

	def on_subscribed(self) -> None:
		"""Revalidate all sockets of sites with the app: messages may have been missed without the subscription."""
		self._sessions.invalidate(lambda key, answer: True)
		self._permissions.invalidate(lambda *_: True)
		for namespace in list(self._namespaces.values()):
			self._revalidator.check_sessions(
				session for session in _sessions(namespace.sockets.values()) if session.has_app
			)

	def _drop_answers(self, site: str, kind: str, message: Message) -> None:
		if kind == SESSION_ENDED:
			hash = message["sid_hash"]
			self._sessions.invalidate(lambda key, answer: key[0] == site and key[1].sid_hash == hash)
		elif kind == USER_CHANGED:
			user = message["user"]
			self._sessions.invalidate(
				lambda key, answer: key[0] == site and (answer is None or answer.user == user)
			)
			self._permissions.invalidate(lambda of, who, *_: of == site and who == user)
		elif kind == DOCTYPE_RULES_CHANGED:
			doctype = message["doctype"]
			self._permissions.invalidate(lambda of, _, about, __: of == site and about == doctype)
		elif kind == DOC_CHANGED:
			self._permissions.invalidate_document(site, *_document(message))
		elif kind in (DOC_DELETED, DOC_RENAMED):
			document = _document(message)
			self._permissions.invalidate(lambda of, _, *about: of == site and tuple(about) == document)
		elif kind == SITE_CHANGED:
			self._sessions.invalidate(lambda key, answer: key[0] == site)
			self._permissions.invalidate(lambda of, *_: of == site)
		else:
			raise ValueError("unknown kind")

	def _end_batch(self) -> None:
		messages, self._collected = self._collected, []
		self._revalidate_after(JOINING_TURNS, messages)

	def _revalidate_after(self, turns: int, messages: list[Message]) -> None:
		"""Revalidate what `messages` concern, after so many turns of the event loop."""
		if turns:
			asyncio.get_running_loop().call_soon(self._revalidate_after, turns - 1, messages)
		else:
			self._revalidate(messages)

	def _revalidate(self, messages: list[Message]) -> None:
		ended: dict[Namespace, set[str]] = {}
		for message in messages:
			kind = message["kind"]
			namespace = self._namespaces.get("/" + message["site"])
			if namespace is None:
				continue
			if kind == SESSION_ENDED:
				ended.setdefault(namespace, set()).add(message["sid_hash"])
			elif kind == USER_CHANGED:
				self._revalidator.check_sessions(_sessions(namespace.members(user_room(message["user"]))))
			elif kind == SITE_CHANGED:
				self._revalidator.check_sessions(_sessions(namespace.sockets.values()))
			elif kind == DOCTYPE_RULES_CHANGED:
				self._check_rooms_of_doctype(namespace, message["doctype"])
			elif kind == DOC_CHANGED:
				self._documents.check(namespace, *_document(message))
			else:
				self._documents.empty(namespace, *_document(message))
		for namespace, hashes in ended.items():
			# It may be gone: the connection of an ended session can have the last socket of another site.
			self._end_sessions(namespace, hashes)

	def _check_rooms_of_doctype(self, namespace: Namespace, doctype: str) -> None:
		for room, members in namespace.rooms.items():
			if (
				room.startswith(PERMISSION_ROOMS)
				and (subject := room_subject(room)) is not None
				and subject[0] == doctype
			):
				for session in _sessions(members):
					self._revalidator.check_rooms(session, {room})

	def _end_sessions(self, namespace: Namespace, hashes: set[str]) -> None:
		is_ended: dict[Credential, bool] = {}
		for socket in list(namespace.sockets.values()):
			credential = socket.session.credential
			if credential not in is_ended:
				is_ended[credential] = credential.sid_hash in hashes
			# A Guest with the cookie of a dead session stays: reconnecting, it would be a Guest again.
			if is_ended[credential] and socket.session.user != GUEST:
				self._revalidator.end(socket)


def _document(message: Message) -> tuple[str, str]:
	"""Return DocType and name of the document that a message is about; of a renamed one, its old name."""
	return message["doctype"], message["old" if message["kind"] == DOC_RENAMED else "name"]


def _sessions(sockets: Iterable[ServerSocket]) -> list[Session]:
	# Sockets of the namespace `/` have no session.
	return [socket.session for socket in sockets if socket.session is not None]
