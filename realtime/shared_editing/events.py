"""The events of clients about shared documents: join, changes, and questions for what a client lacks.

A change is passed on to the others as it is. A client that joins, or has lost a change, sends the state vector of what it has, and gets
the rest: from the state that the sidecar keeps, or else from clients that may change the document. Other clients are not asked:
what a client without this permission sends reaches nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from frappe_realtime.contract.shared_editing import (
	SHARED_ANSWER,
	SHARED_BAD_REQUEST,
	SHARED_JOIN,
	SHARED_LEAVE,
	SHARED_LIMIT,
	SHARED_NO_WRITE,
	SHARED_NOT_MEMBER,
	SHARED_NOT_PERMITTED,
	SHARED_SYNC,
	SHARED_TOO_LARGE,
	SHARED_UNAVAILABLE,
	SHARED_UPDATE,
)
from frappe_realtime.errors import WebUnavailable

from ..access.client_questions import allows_permission_question
from ..access.limit_source import Source
from ..access.limits import BURST_SECONDS, ClientLimits
from ..access.pending_answers import PendingAnswers
from ..access.permission_requests import log_unanswered
from ..access.permissions import Permissions, answer_of
from ..config import Config
from ..log_budget import LogBudget
from ..socketio.fanout import Fanout
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack, ignore_answer
from ..token_buckets import ReportedBuckets
from .crdt import Merged, is_update
from .documents import MAX_STATE_VECTOR, SharedDocument, SharedRefused, check_bytes, check_document
from .members import SharedMembers
from .states import SharedStates, StateUnavailable

logger = logging.getLogger("realtime.shared")

MAX_PEERS = 2
"""Clients that are asked for what another one lacks: more than one, because one may be about to leave."""

MAX_ATTEMPTS = 20
"""How often the permissions are asked for, if some are withdrawn meanwhile; most answers are cached then."""

UNIT = 16_384
"""Bytes of a change that count as one change more."""

STATE_COST = 10
"""Changes as which a question counts that is answered from the state."""

Handler = Callable[..., None]


class SharedEvents:
	"""Handles the events of clients (`EventHandler`).

	Args:
		config: The limits `realtime_shared_…`.
		members: Which sockets follow which documents.
		fanout: Sends changes to rooms.
		permissions: Answers whether a user may read or write a document.
		limits: Bounds the rooms of a client, and the questions that it causes.
		states: Keeps the states of documents; None to pass changes on only.
	"""

	def __init__(
		self,
		config: Config,
		members: SharedMembers,
		fanout: Fanout,
		permissions: Permissions,
		limits: ClientLimits,
		states: SharedStates | None = None,
	) -> None:
		self.updates = 0
		"""Changes that were passed on since the start."""
		self.update_bytes = 0
		"""Bytes of these changes, each counted once."""
		self.answers = 0
		"""Answers of clients to other clients."""
		self._rate: float = config.realtime_shared_updates_per_second
		self._sent = ReportedBuckets(self._rate, self._rate * BURST_SECONDS)
		self._update_bytes: int = config.realtime_shared_update_bytes
		self._document_bytes: int = config.realtime_shared_document_bytes
		self._members = members
		self._fanout = fanout
		self._permissions = permissions
		self._limits = limits
		self._states = states
		self._appends: set[asyncio.Task[None]] = set()
		self._pending: PendingAnswers[SharedDocument] = PendingAnswers()
		self._log_budget = LogBudget()
		self._handlers: dict[str, Handler] = {
			SHARED_JOIN: self._join,
			SHARED_SYNC: self._sync,
			SHARED_UPDATE: self._update,
			SHARED_ANSWER: self._answer,
			SHARED_LEAVE: self._leave,
		}
		self.events = self._handlers.keys()

	# -- events of sockets: see `EventHandler`

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Let a socket whose session was recovered follow nothing, until its client joins again."""
		self._members.leave_rooms(socket)

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle an event about a shared document."""
		answer = ack or ignore_answer
		doctype, name, field, *values = [*arguments, None, None, None, None, None, None][:6]
		try:
			self._handlers[event](socket, answer, check_document(doctype, name, field), *values)
		except SharedRefused as refused:
			self._refuse(socket, answer, refused)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Cancel joins that wait, and forget the socket."""
		self._pending.on_disconnect(socket)
		self._sent.forget(socket)
		self._members.on_disconnect(socket)

	# -- joining

	def _join(
		self, socket: ServerSocket, ack: Ack, document: SharedDocument, state_vector: Any, *_: Any
	) -> None:
		vector = _check_vector(state_vector)
		self._count(socket)
		self._members.check_join(socket, document)
		if document.read_room not in socket.rooms and not self._limits.allows_room(
			socket, document.read_room
		):
			raise SharedRefused(
				SHARED_LIMIT,
				f"{document.text} is not followed: this client is in too many rooms (realtime_rooms_per_socket), "
				"or a Guest (realtime_guest_rooms)",
			)
		for permission in ("read", "write"):
			if not allows_permission_question(
				self._permissions, self._limits, socket, document.doctype, document.name, permission
			):
				raise SharedRefused(
					SHARED_LIMIT,
					f"{document.text} is not followed: this client causes too many requests (realtime_questions_per_second)",
				)
		self._pending.start(socket, document, self._join_later(socket, ack, document, vector))

	async def _join_later(
		self, socket: ServerSocket, ack: Ack, document: SharedDocument, vector: bytes
	) -> None:
		try:
			may_read, may_write = await self._permitted(socket, document)
			if not may_read:
				raise _not_permitted(document)
			if socket.connected:
				self._members.join(socket, document, may_write)
				await self._send_missing(socket, ack, document, vector)
		except SharedRefused as refused:
			self._refuse(socket, ack, refused)
		except WebUnavailable as error:
			log_unanswered(logger, self._log_budget, error, "a client does not follow %s: %s", document.text)
			self._refuse(
				socket,
				ack,
				SharedRefused(
					SHARED_UNAVAILABLE, f"{document.text} is not followed: the web process did not answer"
				),
			)

	async def _permitted(self, socket: ServerSocket, document: SharedDocument) -> list[bool]:
		"""Return whether the user may read and write a document.

		Raises:
			WebUnavailable: The web process does not answer.
		"""
		for _ in range(MAX_ATTEMPTS):
			before = self._permissions.invalidations
			answers = await asyncio.gather(
				*[self._is_permitted(socket, document, permission) for permission in ("read", "write")]
			)
			if before == self._permissions.invalidations:
				return answers
			# One of them may have been withdrawn while the other was awaited.
		raise WebUnavailable("permissions change all the time")

	async def _is_permitted(self, socket: ServerSocket, document: SharedDocument, permission: str) -> bool:
		return await answer_of(
			self._permissions.has_permission(socket.session, document.doctype, document.name, permission)
		)

	def _leave(self, socket: ServerSocket, ack: Ack, document: SharedDocument, *_: Any) -> None:
		self._pending.cancel(socket, document)
		self._members.leave(socket, document)
		ack({})

	# -- what a client lacks

	def _sync(
		self, socket: ServerSocket, ack: Ack, document: SharedDocument, state_vector: Any, *_: Any
	) -> None:
		vector = _check_vector(state_vector)
		self._check_member(socket, document)
		self._count(socket)
		if (
			document.write_room in socket.rooms
			or socket.session.has_app
			or not allows_permission_question(
				self._permissions, self._limits, socket, document.doctype, document.name, "write"
			)
		):
			self._pending.start(socket, document, self._send_missing(socket, ack, document, vector))
		else:
			self._pending.start(socket, document, self._sync_reader(socket, ack, document, vector))

	async def _sync_reader(
		self, socket: ServerSocket, ack: Ack, document: SharedDocument, vector: bytes
	) -> None:
		"""Answer a client of a site without the app, which does not report that the user may write now."""
		with suppress(WebUnavailable):
			if await self._is_permitted(socket, document, "write") and self._members.follows(
				socket, document
			):
				self._members.allow_write(socket, document)
		await self._send_missing(socket, ack, document, vector)

	async def _send_missing(
		self, socket: ServerSocket, ack: Ack, document: SharedDocument, vector: bytes
	) -> None:
		"""Acknowledge with what a client lacks, or ask other clients for it."""
		if self._states is None:
			ack(self._ask_peers(socket, document, vector))
			return
		# Reading and merging a state takes more than passing a change on.
		self._sent.withdraw(socket, STATE_COST)
		merged: Merged | None = None
		try:
			merged = await self._states.read(socket.session, document, vector)
		except ValueError:
			self._refuse(socket, ack, SharedRefused(SHARED_BAD_REQUEST, "the state vector cannot be read"))
			return
		except StateUnavailable:
			pass
		if not self._members.follows(socket, document):
			# It was made to leave meanwhile: its user may not read the document any more.
			if not socket.namespace.members(document.room):
				self._states.forget(socket.session.site, document)
			self._refuse(socket, ack, _not_permitted(document))
		elif merged is None:
			ack(self._ask_peers(socket, document, vector))
		else:
			ack(
				{
					"write": document.write_room in socket.rooms,
					"peers": 0,
					"members": self._members.others(socket, document),
					"update": merged.difference,
					"state_vector": merged.state_vector,
				}
			)

	def _ask_peers(self, socket: ServerSocket, document: SharedDocument, vector: bytes) -> dict[str, Any]:
		"""Ask some clients for what a client lacks; return the acknowledgement."""
		peers = self._members.writers(socket, document, MAX_PEERS)
		question = document.message(state_vector=vector, **{"from": socket.id})
		for id in peers:
			self._fanout.emit(socket.namespace, [id], SHARED_SYNC, [question])
		return {
			"write": document.write_room in socket.rooms,
			"peers": len(peers),
			"members": self._members.others(socket, document),
			# Until the state is read, changes are only passed on.
			**({} if self._states is None else {"kept": False}),
		}

	def _answer(
		self,
		socket: ServerSocket,
		ack: Ack,
		document: SharedDocument,
		to: Any,
		update: Any,
		state_vector: Any,
	) -> None:
		vector = _check_vector(state_vector)
		update = check_bytes(update, "the answer", self._document_bytes, "realtime_shared_document_bytes")
		self._check_writer(socket, document)
		self._count(socket, len(update))
		if not isinstance(to, str) or not self._members.is_member(socket.namespace, document, to):
			raise SharedRefused(
				SHARED_BAD_REQUEST, "the client that is answered does not follow the document"
			)
		self.answers += 1
		answer = document.message(update=update, state_vector=vector)
		self._fanout.emit(socket.namespace, [to], SHARED_ANSWER, [answer])
		ack({})

	# -- changes

	def _update(self, socket: ServerSocket, ack: Ack, document: SharedDocument, update: Any, *_: Any) -> None:
		update = check_bytes(update, "the change", self._update_bytes, "realtime_shared_update_bytes")
		self._check_writer(socket, document)
		self._count(socket, len(update))
		if self._states is not None:
			if self._states.is_full(socket.session.site, document):
				key = "realtime_shared_document_bytes"
				raise SharedRefused(
					SHARED_TOO_LARGE,
					f"{document.text} is not changed: its state has more than {key}, {self._document_bytes}",
					key,
				)
			if not is_update(update):
				raise SharedRefused(SHARED_BAD_REQUEST, "the change cannot be read")
		self.updates += 1
		self.update_bytes += len(update)
		message = document.message(update=update)
		self._fanout.emit(socket.namespace, [document.room], SHARED_UPDATE, [message], but=socket)
		if self._states is None or not self._states.keeps(socket.session.site, document):
			# If the state could not be read, clients ask again, and then say what they have.
			ack({})
			return
		# Decided now: the client may leave with its next event, as the last one.
		task = asyncio.get_running_loop().create_task(
			self._append(self._states, socket, ack, document, update)
		)
		self._appends.add(task)
		task.add_done_callback(self._appends.discard)

	async def _append(
		self, states: SharedStates, socket: ServerSocket, ack: Ack, document: SharedDocument, update: bytes
	) -> None:
		try:
			await states.append(socket.session, document, update)
		except StateUnavailable as error:
			message = f"a change of {document.text} is not kept: {error}"
			self._refuse(socket, ack, SharedRefused(SHARED_UNAVAILABLE, message))
		else:
			ack({})

	# -- checks

	def _check_member(self, socket: ServerSocket, document: SharedDocument) -> None:
		if not self._members.follows(socket, document):
			raise SharedRefused(SHARED_NOT_MEMBER, f"this client does not follow {document.text}")

	def _check_writer(self, socket: ServerSocket, document: SharedDocument) -> None:
		self._check_member(socket, document)
		if document.write_room not in socket.rooms:
			raise SharedRefused(
				SHARED_NO_WRITE, f"{document.text} is not changed: this user may not write it"
			)

	def _count(self, socket: ServerSocket, size: int = 0) -> None:
		if self._sent.take(socket):
			# A large change overdraws the bucket, which then has to fill up again.
			self._sent.withdraw(socket, size // UNIT)
			return
		limit = key = "realtime_shared_updates_per_second"
		if not self._sent.is_first_refusal(socket):
			self._limits.record(key, f" by {socket.session.user}", Source.of_socket(socket))
			limit = ""
		raise SharedRefused(SHARED_LIMIT, f"too many changes: {key} is {self._rate:g}", limit)

	def _refuse(self, socket: ServerSocket, ack: Ack, refused: SharedRefused) -> None:
		if refused.limit:
			self._limits.on_client_limit(socket, refused.limit, str(refused))
		ack({"error": {"code": refused.code, "message": str(refused)}})


def _check_vector(value: Any) -> bytes:
	return check_bytes(value, "the state vector", MAX_STATE_VECTOR)


def _not_permitted(document: SharedDocument) -> SharedRefused:
	return SharedRefused(SHARED_NOT_PERMITTED, f"{document.text} is not followed: this user may not read it")
