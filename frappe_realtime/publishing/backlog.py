"""The messages that Redis has not taken yet, within bounds of count, age and bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

PENDING_BYTES = 16 * 1024 * 1024
"""Bytes of payload that the backlog holds at most, whatever the number of messages. A larger payload is refused."""


@dataclass(slots=True)
class Message:
	"""One message for Redis.

	Attributes:
		channel: The channel to publish on.
		payload: A JSON object, as text.
		stream: The key of the stream that keeps the message; None for a message without history.
		history_count: Entries that the stream keeps at least, if there are as many.
		history_seconds: Seconds for which the stream keeps an entry.
		latest: A key, for an event that is kept beside the stream: it replaces the kept one with the same key. Then the two
			bounds above are those of the events that are kept by key.
		expires: Whether the message is dropped after `pending_seconds`. A message that does not expire also
			keeps the messages behind it, as the order is never changed.
		number: The place of the message in the order of its process, from 1; set by the backlog.
		created: When the backlog got the message, in seconds of the monotonic clock.
	"""

	channel: str
	payload: str
	stream: str | None = None
	history_count: int = 0
	history_seconds: float = 0
	latest: str = ""
	expires: bool = True
	number: int = field(default=0, init=False)
	created: float = field(default=0.0, init=False)


class Backlog:
	"""A queue of messages, the oldest first. It has no lock: its owner holds one for every call.

	Args:
		max_count: Messages held at most; at least 1.
		max_seconds: Seconds for which a message is held at most, if it expires.
	"""

	def __init__(self, max_count: int, max_seconds: float) -> None:
		self.messages: deque[Message] = deque()
		self.bytes = 0
		"""Bytes of all payloads."""
		self.last_number = 0
		"""The number of the newest message, written or not."""
		self.dropped = 0
		"""Messages dropped or refused since the backlog was made."""
		self._max_count = max(1, max_count)
		self._max_seconds = max_seconds

	def __len__(self) -> int:
		return len(self.messages)

	def add(self, messages: Sequence[Message]) -> list[Message]:
		"""Append messages, and number them. The bounds are applied by `drop_excess`.

		Returns:
			The messages that are refused: their payload alone is over the bound.
		"""
		refused = []
		for message in messages:
			if len(message.payload) > PENDING_BYTES:
				refused.append(message)
				continue
			self.last_number += 1
			message.number = self.last_number
			message.created = monotonic()
			self.messages.append(message)
			self.bytes += len(message.payload)
		self.dropped += len(refused)
		return refused

	def oldest(self, count: int) -> list[Message]:
		"""Return up to `count` of the oldest messages. They stay in the backlog until they are written."""
		return list(islice(self.messages, count))

	def remove_written(self, number: int) -> None:
		"""Remove the messages up to this number."""
		while self.messages and self.messages[0].number <= number:
			self.bytes -= len(self.messages.popleft().payload)

	def drop_excess(self) -> list[Message]:
		"""Drop the oldest messages until the bounds are met, and return them."""
		oldest_allowed = monotonic() - self._max_seconds
		dropped = []
		while self.messages and (
			len(self.messages) > self._max_count
			or self.bytes > PENDING_BYTES
			or (self.messages[0].expires and self.messages[0].created < oldest_allowed)
		):
			message = self.messages.popleft()
			self.bytes -= len(message.payload)
			dropped.append(message)
		self.dropped += len(dropped)
		return dropped

	@property
	def is_half_full(self) -> bool:
		"""Whether more than half of `max_count` is used."""
		return 2 * len(self.messages) > self._max_count
