"""List updates that are held back, and how the offsets that are sent meanwhile name them."""

from __future__ import annotations

from dataclasses import dataclass

from ..bus.events import PublishedEvent
from ..socketio.namespace import Namespace


class UnsentUpdates:
	"""Counts the updates of one list that are held back, and notes in the namespace from which offset on.

	Args:
		namespace: The sockets of the site.
		room: The room of the list.
	"""

	__slots__ = ("count", "namespace", "room")

	def __init__(self, namespace: Namespace, room: str) -> None:
		self.count = 0
		"""Updates that have an offset and are not sent yet."""
		self.namespace = namespace
		self.room = room

	def add(self, event: PublishedEvent) -> None:
		"""Count an event that is held back. Updates without an offset do not count: they cannot be recovered."""
		if event.offset:
			if not self.count:
				self.namespace.hold_back(self.room, event.offset)
			self.count += 1

	def remove(self, event: PublishedEvent) -> None:
		"""Count an event that is not sent, because of later ones."""
		if event.offset:
			self.count -= 1
			if not self.count:
				self.namespace.release(self.room)

	def sent(self, event: PublishedEvent) -> None:
		"""Count an event that is about to be sent: those of the room up to its position are written then."""
		if event.offset:
			self.count -= 1
			if self.count:
				milliseconds, sequence = event.position
				self.namespace.hold_back(self.room, f"{milliseconds}-{sequence + 1}")
			else:
				self.namespace.release(self.room)


@dataclass(slots=True)
class JoinedUpdate(PublishedEvent):
	"""An update that was held back, and is sent with the newest offset of the site instead of its own.

	Args:
		unsent: Counts it until it is sent.
	"""

	unsent: UnsentUpdates | None = None

	@property
	def published_at(self) -> float:
		"""0: the time for which it was held back is no latency."""
		return 0.0

	@classmethod
	def of(cls, event: PublishedEvent, newest: str, unsent: UnsentUpdates) -> JoinedUpdate:
		"""Return the update that `event` becomes when `newest` is the newest offset of the site."""
		return cls(
			event.namespace,
			event.room,
			event.event,
			event.message,
			newest if event.offset else event.offset,
			site=event.site,
			size=event.size,
			position=event.position,
			unsent=unsent,
		)
