"""Sends the events of clients to the Node process."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from ..socketio.server import Ack
from .channel import Channel
from .ipc import encode_arguments
from .replication import SocketReplica, SocketReplicator

logger = logging.getLogger("realtime.javascript")

MAX_PENDING_EVENTS = 10_000
"""Most events that are kept while the process starts; beyond, the oldest is dropped."""

MAX_UNREAD = 8 * 1024 * 1024
"""Most bytes that the process may leave unread; beyond, events are dropped until it has read some."""


class EventDispatcher:
	"""Sends events to the process, and keeps them while it starts.

	Args:
		channel: The channel to the process.
		sockets: The replicated sockets.
	"""

	def __init__(self, channel: Channel, sockets: SocketReplicator) -> None:
		self.dropped = 0
		"""Events that were not sent to handlers, because there were too many."""
		self._channel = channel
		self._sockets = sockets
		self._ready = False
		self._pending: deque[tuple[str, str, list[bytes]]] = deque(maxlen=MAX_PENDING_EVENTS)
		"""Socket id, encoded operation and attachments."""

	def dispatch(self, replica: SocketReplica, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Send an event of a client, now or when the process is ready.

		Args:
			replica: The socket.
			event: The name.
			arguments: JSON values and bytes.
			ack: Sends the acknowledgement, if the client asks for one.
		"""
		id = replica.socket.id
		token = "null" if ack is None else str(replica.add_ack(ack))
		json, attachments = encode_arguments([event, *arguments])
		operation = f'["event","{id}",{token},{len(attachments)},{json}]'
		if not self._ready:
			if len(self._pending) == MAX_PENDING_EVENTS:
				self._count_dropped()
			self._pending.append((id, operation, attachments))
		elif self._channel.unread > MAX_UNREAD:
			self._count_dropped()
		else:
			self._channel.send_encoded(operation, attachments)

	def on_ready(self) -> None:
		"""Handle that the process has loaded the apps and knows all sockets: send the pending events."""
		self._ready = True
		pending = list(self._pending)
		self._pending.clear()
		for id, operation, attachments in pending:
			if self._sockets.get(id) is not None:
				self._channel.send_encoded(operation, attachments)

	def on_process_ended(self) -> None:
		"""Keep events until the next process is ready."""
		self._ready = False

	def _count_dropped(self) -> None:
		self.dropped += 1
		if self.dropped == 1 or self.dropped % 1000 == 0:
			logger.error(
				"JavaScript handlers are too slow: %s events were dropped so far (%s bytes unread)",
				self.dropped,
				self._channel.unread,
			)
