"""Executes what handlers in the Node process ask for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from frappe_realtime.contract.calls import CALL_FAILED, CALL_NOT_ALLOWED
from frappe_realtime.contract.presence import PRESENCE_BAD_REQUEST
from frappe_realtime.errors import PresenceRefused, RewindRefused, WebUnavailable

from ..access.client_questions import ClientQuestions
from ..access.permission_requests import log_unanswered
from ..cluster.sockets import SocketTable
from ..engine import Encoded
from ..handlers.app_rewinds import AppRewinds
from ..handlers.reply import reply_of
from ..json_codec import loads
from ..log_budget import LogBudget
from ..presence.app_presence import AppPresence
from ..socketio import packets
from ..socketio.fanout import Fanout
from .background import BackgroundTasks
from .channel import Channel
from .ipc import encode_arguments
from .replication import SocketReplicator

logger = logging.getLogger("realtime.javascript")


WITH_ATTACHMENTS = frozenset({"emit", "broadcast", "ack"})
"""Operations whose last value is the number of their attachments."""

UNKNOWN_APP = "(unknown)"
"""Stands for the app of a listener that was added outside the code of any app."""


class HandlerRequests:
	"""Executes the operations of the Node process (see `ipc`).

	Args:
		channel: The channel to the process.
		sockets: The replicated sockets.
		table: The sockets of other sidecars.
		fanout: Sends broadcasts.
		questions: Answers `has_permission`.
		presence: Answers `presence`.
		rewinds: Answers `rewind`.
		background: Runs tasks.
		on_app_loaded: Called with the app, the error or None, and all files that the process has loaded.
		on_ready: Called when the process is ready for events.
		on_calls: Called with the values of an operation `calls`.
		on_latency: Called with an app, and the counts and the sum of a histogram of the latency of its listeners.
	"""

	def __init__(
		self,
		channel: Channel,
		sockets: SocketReplicator,
		table: SocketTable,
		fanout: Fanout,
		questions: ClientQuestions,
		presence: AppPresence,
		rewinds: AppRewinds,
		background: BackgroundTasks,
		on_app_loaded: Callable[[str, str | None, list[str]], None],
		on_ready: Callable[[], None],
		on_calls: Callable[[str, str, str, int, float, int, str], None],
		on_latency: Callable[[str, list[int], float], None],
	) -> None:
		self._channel = channel
		self._sockets = sockets
		self._table = table
		self._fanout = fanout
		self._questions = questions
		self._presence = presence
		self._rewinds = rewinds
		self._background = background
		self._log_budget = LogBudget()
		self._operations: dict[str, Callable[..., None]] = {
			"join": self._join,
			"leave": self._leave,
			"emit": self._emit,
			"broadcast": self._broadcast,
			"ack": self._ack,
			"call_ended": self._call_ended,
			"disconnect": self._disconnect,
			"command": table.command,
			"properties": self._set_properties,
			"has_permission": self._has_permission,
			"presence": self._answer_presence,
			"rewind": self._rewind,
			"app_loaded": on_app_loaded,
			"ready": on_ready,
			"calls": on_calls,
			"latency": on_latency,
		}

	def execute(self, operations: list[Any], attachments: list[bytes]) -> None:
		"""Execute the operations of one frame; one that fails is logged."""
		remaining = iter(attachments)
		for name, *values in operations:
			try:
				if name in WITH_ATTACHMENTS:
					values[-1] = _take(remaining, values[-1])
				self._operations[name](*values)
			except Exception:
				self._log_budget.write(logger.exception, "an operation of the Node process failed: %s", name)

	def _join(self, id: str, room: str) -> None:
		self._sockets.move(id, room, inside=True)

	def _leave(self, id: str, room: str) -> None:
		replica = self._sockets.get(id)
		if replica is not None:
			self._rewinds.cancel(replica.socket, room)
		self._sockets.move(id, room, inside=False)

	def _rewind(self, token: int, id: str, room: str, json: str) -> None:
		replica = self._sockets.get(id)
		if replica is None:
			# The socket has left its namespace.
			self._channel.send("answer", token, None, 0)
			return
		try:
			(rewind,) = loads(json)
		except ValueError as error:
			self._refuse(token, "bad_request", f"the value is not JSON: {error}")
			return
		self._background.start(
			self._send_rewind_answer(token, self._rewinds.rewind(replica.socket, room, rewind))
		)

	async def _send_rewind_answer(self, token: int, answer: Awaitable[int]) -> None:
		try:
			count = await answer
		except RewindRefused as refused:
			self._refuse(token, refused.code, str(refused))
		else:
			self._channel.send("answer", token, None, count)

	def _refuse(self, token: int, code: str, message: str) -> None:
		self._channel.send("answer", token, [code, message], None)

	def _emit(self, id: str, token: int | None, json: str, attachments: list[bytes]) -> None:
		replica = self._sockets.get(id)
		if replica is None:
			return
		socket = replica.socket
		if token is None:
			socket.send_event(_encode_event(socket.namespace.name, json, attachments))
			return
		event, *arguments = packets.reconstruct(loads(json), attachments)
		socket.call(event, *arguments).add_done_callback(
			lambda future: None if future.cancelled() else self._send_ack(id, token, future.result())
		)

	def _send_ack(self, id: str, token: int, arguments: list[Any]) -> None:
		"""Send the acknowledgement of a client to the handler that asked for it."""
		try:
			json, attachments = encode_arguments(arguments)
		except (ValueError, RecursionError):
			self._log_budget.write(
				logger.warning, "an acknowledgement is nested too deeply: its handler in JavaScript gets none"
			)
			return
		self._channel.send_encoded(f'["ack","{id}",{token},{len(attachments)},{json}]', attachments)

	def _broadcast(
		self,
		namespace: str,
		rooms: list[str] | None,
		excluded: list[str],
		local: bool,
		json: str,
		attachments: list[bytes],
	) -> None:
		send = self._fanout.send_local if local else self._fanout.send
		send(namespace, rooms, _encode_event(namespace, json, attachments), excluded)

	def _ack(self, id: str, token: int, json: str, attachments: list[bytes]) -> None:
		replica = self._sockets.get(id)
		ack = None if replica is None else replica.pop_ack(token)
		if ack is not None:
			arguments = loads(json)
			ack(*(packets.reconstruct(arguments, attachments) if attachments else arguments))

	def _call_ended(self, id: str, token: int, app: str | None, code: str, reason: str, stack: str) -> None:
		replica = self._sockets.get(id)
		reply = None if replica is None else reply_of(replica.pop_ack(token))
		if reply is None:
			return
		if code == CALL_NOT_ALLOWED:
			reply.not_allowed(app or UNKNOWN_APP)
		elif code == CALL_FAILED:
			reply.failed(app or UNKNOWN_APP, reason, stack)
		reply.end()

	def _disconnect(self, id: str, close: bool) -> None:
		replica = self._sockets.get(id)
		if replica is not None:
			replica.socket.disconnect(close)

	def _set_properties(self, id: str, properties: dict[str, Any]) -> None:
		replica = self._sockets.get(id)
		if replica is not None:
			self._table.set_state(replica.socket, "javascript", properties)

	def _answer_presence(
		self, token: int, id: str, namespace: str, action: str, place: str, json: str
	) -> None:
		"""Do what a handler asks about presence, and send the answer: an error as code and message, or a value."""
		replica = self._sockets.get(id)
		try:
			answer: Any = None
			state, seconds = loads(json)
			if action == "members":
				# Also of a socket that has left its namespace: its handler may ask who stays.
				answer = self._presence.members(namespace, place)
			elif replica is None:
				pass
			elif action == "join":
				self._presence.join(replica.socket, place, state, seconds)
			elif action == "set":
				self._presence.set(replica.socket, place, state, seconds)
			else:
				self._presence.leave(replica.socket, place)
		except PresenceRefused as refused:
			self._refuse(token, refused.code, str(refused))
		except ValueError as error:
			self._refuse(token, PRESENCE_BAD_REQUEST, f"the value is not JSON: {error}")
		else:
			self._channel.send("answer", token, None, answer)

	def _has_permission(self, token: int, id: str, doctype: str, name: str) -> None:
		replica = self._sockets.get(id)
		if replica is None:
			self._channel.send("permission", token, False)
			return
		try:
			allowed = self._questions.has_permission(replica.socket, doctype, name)
		except WebUnavailable:
			# The client has caused too many questions, which is counted and logged.
			allowed = False
		if isinstance(allowed, bool):
			self._channel.send("permission", token, allowed)
			return
		self._background.start(self._send_permission(token, allowed))

	async def _send_permission(self, token: int, query: Awaitable[bool]) -> None:
		try:
			allowed = await query
		except WebUnavailable as error:
			log_unanswered(
				logger,
				self._log_budget,
				error,
				"has_permission of a handler got no answer from the web process: %s",
			)
			allowed = False
		self._channel.send("permission", token, allowed)


def _take(attachments: Iterator[bytes], count: int) -> list[bytes]:
	return [next(attachments) for _ in range(count)]


def _encode_event(namespace: str, json: str, attachments: list[bytes]) -> Encoded:
	"""Return the packet of an event whose arguments are encoded already."""
	if attachments:
		return Encoded(f"{packets.BINARY_EVENT}{len(attachments)}-{namespace},{json}", *attachments)
	return Encoded(f"{packets.EVENT}{namespace},{json}")
