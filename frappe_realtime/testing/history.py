"""What was published to the rooms of a site in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bench.launch import sidecar_module
from ..errors import RewindRefused

if TYPE_CHECKING:
	from realtime.access.rewind_request import RewindRequest
	from realtime.engine import Encoded


class KeptEvent(NamedTuple):
	"""One event.

	Args:
		room: The room to which it was published.
		event: Its name.
		message: Its message.
		latest: True if only the newest one of its name and room is kept.
	"""

	room: str
	event: str
	message: Any
	latest: bool


class PublishedEvents:
	"""The events of a site, for handlers that ask for earlier events of a room (`RewindSource` of the sidecar)."""

	def __init__(self) -> None:
		self._events: list[KeptEvent] = []

	def keep(self, event: KeptEvent) -> None:
		"""Keep an event, in place of the one before it if only the newest one is kept."""
		if event.latest:
			kept = (event.room, event.event, True)
			self._events = [one for one in self._events if (one.room, one.event, one.latest) != kept]
		self._events.append(event)

	async def read(
		self, socket: Any, request: RewindRequest, is_permitted: Callable[[], Awaitable[bool]]
	) -> Callable[[], list[Encoded]]:
		"""Return a function that returns what the rooms of `request` have.

		Raises:
			RewindRefused: The user is not permitted.
		"""
		if not await is_permitted():
			raise RewindRefused("not_permitted", "the user may not read what the room is about")
		return lambda: self._encoded(socket.namespace.name, request)

	def _encoded(self, namespace: str, request: RewindRequest) -> list[Encoded]:
		events = [
			one
			for one in self._events
			if one.room in request.rooms and (not request.event or one.event == request.event)
		]
		# A request for the newest values has the count 0.
		events = events[-request.count :] if request.count else [one for one in events if one.latest]
		encode_event = sidecar_module("socketio.packets").encode_event
		return [encode_event(namespace, [one.event, one.message]) for one in events]
