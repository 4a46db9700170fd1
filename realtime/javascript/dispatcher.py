"""Sends the events of clients to the Node process."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Any, NamedTuple

from ..handlers.reply import reply_of
from ..log_budget import LogBudget
from ..socketio.server import Ack
from .channel import Channel
from .ipc import encode_arguments
from .replication import ANY_APP, SocketReplica, SocketReplicator

logger = logging.getLogger("realtime.javascript")

MAX_PENDING_EVENTS = 10_000
"""Most events that are kept while the process starts; beyond, the oldest is dropped."""

MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Most bytes of memory that these events take; beyond, the oldest are dropped."""

MAX_UNREAD = 8 * 1024 * 1024
"""Most bytes that the process may leave unread; beyond, events are dropped until it has read some."""


DROPPED_SECONDS = 60.0
"""Seconds between two log lines about dropped events."""


class PendingEvent(NamedTuple):
	"""An event that waits for the process.

	Attributes:
		id: The id of the socket.
		token: The token of its acknowledgement, if the client asks for one.
		operation: The encoded operation.
		attachments: Its attachments.
		size: The memory that it takes, in bytes.
	"""

	id: str
	token: int | None
	operation: str
	attachments: list[bytes]
	size: int


@dataclass(slots=True)
class PendingOfSocket:
	"""The pending events of one socket.

	Attributes:
		numbers: Their numbers, in order.
		size: The memory that they take, in bytes.
	"""

	numbers: deque[int] = field(default_factory=deque)
	size: int = 0


class EventDispatcher:
	"""Sends events to the process, and keeps them while it starts.

	Args:
		channel: The channel to the process.
		sockets: The replicated sockets.
		queue: Events of one socket that may wait (`realtime_handler_queue`).
		queue_bytes: Memory that these events may take, in bytes (`realtime_handler_queue_bytes`).
	"""

	def __init__(
		self,
		channel: Channel,
		sockets: SocketReplicator,
		queue: int = 2000,
		queue_bytes: int = 4 * 1024 * 1024,
	) -> None:
		self.dropped = 0
		"""Events that were not sent to handlers, because there were too many."""
		self.limits_reached: Counter[str] = Counter()
		"""Those of them that were dropped for a limit of one socket, by its key."""
		self._channel = channel
		self._sockets = sockets
		self._queue = queue
		self._queue_bytes = queue_bytes
		self._log_budget = LogBudget(1, DROPPED_SECONDS)
		self._ready = False
		self._pending: OrderedDict[int, PendingEvent] = OrderedDict()
		"""By consecutive numbers."""
		self._last_number = 0
		self._pending_bytes = 0
		self._pending_of: dict[str, PendingOfSocket] = {}

	def dispatch(self, replica: SocketReplica, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Send an event of a client, now or when the process is ready.

		Args:
			replica: The socket.
			event: The name.
			arguments: JSON values and bytes.
			ack: Sends the acknowledgement, if the client asks for one.
		"""
		id = replica.socket.id
		reply = reply_of(ack)
		json, attachments = encode_arguments([event, *arguments])
		if self._ready and self._channel.unread > MAX_UNREAD:
			self._count_dropped()
			if reply is not None:
				reply.dropped(ANY_APP, "the Node process does not keep up")
			return
		size = getsizeof(json) + sum(map(getsizeof, attachments))
		if not self._ready and (limit := self._limit_reached(id, size)):
			self._count_dropped(limit)
			if reply is not None:
				reply.dropped(ANY_APP, limit)
			return
		token = None if ack is None else replica.add_ack(ack)
		is_call = ""
		if reply is not None:
			reply.begin()
			is_call = ",true"
		number = "null" if token is None else token
		operation = f'["event","{id}",{number},{len(attachments)},{json}{is_call}]'
		if self._ready:
			self._channel.send_encoded(operation, attachments)
		else:
			self._keep(PendingEvent(id, token, operation, attachments, size))

	def on_ready(self) -> None:
		"""Handle that the process has loaded the apps and knows all sockets: send the pending events."""
		self._ready = True
		while self._pending:
			event = self._remove_oldest()
			if self._sockets.get(event.id) is not None:
				self._channel.send_encoded(event.operation, event.attachments)

	def on_process_ended(self) -> None:
		"""Answer the calls that the process had, and keep events until the next one is ready."""
		if not self._ready:
			# It had no event yet: those that are kept are for the next process.
			return
		self._ready = False
		for replica in list(self._sockets):
			replica.fail_calls()

	def drop_events(self, id: str) -> None:
		"""Drop the pending events of a socket that has disconnected."""
		of_socket = self._pending_of.pop(id, None)
		if of_socket is not None:
			self._pending_bytes -= of_socket.size
			for number in of_socket.numbers:
				del self._pending[number]

	def _limit_reached(self, id: str, size: int) -> str:
		"""Return the key of the limit that does not let an event of `size` bytes wait; empty if it may."""
		of_socket = self._pending_of.get(id) or PendingOfSocket()
		if len(of_socket.numbers) >= self._queue:
			return "realtime_handler_queue"
		if of_socket.size + size > self._queue_bytes:
			return "realtime_handler_queue_bytes"
		return ""

	def _keep(self, event: PendingEvent) -> None:
		dropped = []
		while self._pending and (
			len(self._pending) >= MAX_PENDING_EVENTS or self._pending_bytes + event.size > MAX_PENDING_BYTES
		):
			dropped.append(self._remove_oldest())
			self._count_dropped()
		self._last_number += 1
		self._pending[self._last_number] = event
		self._pending_bytes += event.size
		of_socket = self._pending_of.setdefault(event.id, PendingOfSocket())
		of_socket.numbers.append(self._last_number)
		of_socket.size += event.size
		for oldest in dropped:
			replica = self._sockets.get(oldest.id)
			if replica is not None and oldest.token is not None:
				replica.drop_ack(oldest.token, "the Node process is not ready")

	def _remove_oldest(self) -> PendingEvent:
		_, event = self._pending.popitem(last=False)
		self._pending_bytes -= event.size
		of_socket = self._pending_of[event.id]
		of_socket.numbers.popleft()
		of_socket.size -= event.size
		if not of_socket.numbers:
			del self._pending_of[event.id]
		return event

	def _count_dropped(self, key: str = "") -> None:
		"""Count a dropped event, and the limit `key` of its socket if there is one; log it at most once in `DROPPED_SECONDS`."""
		self.dropped += 1
		if key:
			self.limits_reached[key] += 1
		if self._log_budget.take() is not None:
			logger.error(
				"JavaScript handlers are too slow: %s events were dropped so far (%s)",
				self.dropped,
				key or f"{self._channel.unread} bytes unread",
			)
