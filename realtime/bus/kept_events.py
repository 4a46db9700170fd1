"""Events that are kept in memory for clients that recover, each in one form only.

A decoded event takes several times the memory of its JSON. So an event is kept as it was read, and from the first client that has
missed it on, as it is sent to all of them. Updates of lists are kept decoded, because it depends on their document which
clients are sent them, and how.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Any, TypeVar

from frappe_realtime.contract.events import LIST_UPDATE

from ..engine import Encoded
from ..json_codec import loads
from ..memory import memory_of
from ..socketio import packets
from .events import PublishedEvent, StreamPosition, with_binary

REFERENCE_BYTES = 8
"""Bytes of the reference to an event in the collection that keeps it."""

NUMBER_BYTES = 32
"""Bytes of an integer at most: the two of the position, `size` and `memory`."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Bytes of memory beyond which those of a message are not counted further; no history window has room for it."""


AnyEvent = TypeVar("AnyEvent", "PublishedEvent", "KeptEvent")


class KeptEvent:
	"""An event with an offset, for clients that have missed it.

	Args:
		event: The name of the event.
		room: Its room; None for all sockets of the site.
		position: Its position in the stream of the site.
		size: Bytes of what was published.
		message: The message of a `list_update`; None for any other event.
		payload: Any other event as it was read; empty for a `list_update`.
	"""

	__slots__ = ("_content", "_is_packet", "event", "memory", "message", "position", "room", "size")

	def __init__(
		self,
		event: str,
		room: str | None,
		position: StreamPosition,
		size: int,
		message: Any = None,
		payload: bytes = b"",
	) -> None:
		self.event = event
		self.room = room
		self.position = position
		self.size = size
		self.message = message
		self._content = payload
		self._is_packet = False
		"""Whether `_content` is the packet that is sent to clients, instead of the payload."""
		self.memory = self._measure()
		"""The bytes of memory that the event takes at most, before and after `encode`."""

	@classmethod
	def of(cls, event: PublishedEvent) -> KeptEvent:
		"""Return what is kept of `event`, which must have a position."""
		if event.event == LIST_UPDATE:
			return cls(LIST_UPDATE, event.room, event.position, event.size, event.message)
		return cls(event.event, event.room, event.position, event.size, payload=event.payload)

	def _measure(self) -> int:
		size = _FIXED_BYTES + getsizeof(self.event) + getsizeof(self.room)
		if self.event == LIST_UPDATE:
			return size + memory_of([self.message], MAX_MESSAGE_BYTES)
		return size + _EMPTY_BYTES + self.size

	def with_message(self, message: Any) -> KeptEvent:
		"""Return a `list_update` with another message."""
		return KeptEvent(self.event, self.room, self.position, self.size, message)

	def encode(self, namespace: str, offset: str = "") -> Encoded:
		"""Return the event as it is sent to a client that recovers.

		Args:
			namespace: With its slash.
			offset: The offset that the client gets with it; by default its own.
		"""
		milliseconds, sequence = self.position
		own_offset = f"{milliseconds}-{sequence}"
		if self.event == LIST_UPDATE:
			return packets.encode_event(namespace, (LIST_UPDATE, self.message, offset or own_offset))
		text, *attachments = self._packet(namespace, own_offset)
		return Encoded(f'{text[: -len(own_offset) - 2]}{offset}"]' if offset else text, *attachments)

	def encode_plain(self, namespace: str) -> Encoded:
		"""Return the event as it is sent to a client that takes no offset; `namespace` with its slash."""
		if self.event == LIST_UPDATE:
			return packets.encode_event(namespace, (LIST_UPDATE, self.message))
		milliseconds, sequence = self.position
		own_offset = f"{milliseconds}-{sequence}"
		text, *attachments = self._packet(namespace, own_offset)
		return Encoded(f"{text[: -len(own_offset) - 4]}]", *attachments)

	def _packet(self, namespace: str, own_offset: str) -> list[Any]:
		"""Return the text of the packet and its attachments.

		A text without attachments is kept in place of the payload, unless it takes more memory.
		"""
		if self._is_packet:
			return [self._content.decode()]
		data = loads(self._content)
		encoded = packets.encode_event(namespace, (self.event, with_binary(data), own_offset))
		if len(encoded.messages) == 1:
			packet = str(encoded.messages[0]).encode()
			if len(packet) <= len(self._content):
				self._content, self._is_packet = packet, True
		return list(encoded.messages)


_EMPTY_BYTES = getsizeof(b"")

_FIXED_BYTES = (
	REFERENCE_BYTES + 4 * NUMBER_BYTES + getsizeof(KeptEvent.__new__(KeptEvent)) + getsizeof((0, 0))
)
"""Bytes of each event besides its names and its content; measured once, because it is needed for each event."""
