"""Sends what has changed about places, combined: one message for each place that has changed, in each interval."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ..config import Config
from ..signals import Signal
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces
from .members import Place


class PlaceMessages(Protocol):
	"""Makes the messages about the places of one kind."""

	event: str
	"""The event that carries them."""

	def room(self, place: Place) -> str:
		"""Return the room whose sockets get the messages about a place."""

	def message(self, place: Place, changed: set[str]) -> Any:
		"""Return the message about a place; None if nothing is to be sent.

		Args:
			place: The place.
			changed: What `ChangeSender.add` was called with since the last message.
		"""

	def forget(self, place: Place) -> None:
		"""Forget what was sent: no socket of this process is in the room of the place any more."""


class ChangeSender:
	"""Sends the messages about places, at most one for each place in `realtime_presence_interval`.

	If they need more than `realtime_presence_writes_per_second`, places wait for their turn, the oldest change first.

	Args:
		config: The two keys.
		namespaces: The sockets of this process.
		fanout: Sends the messages.
	"""

	def __init__(self, config: Config, namespaces: Namespaces, fanout: Fanout) -> None:
		self.messages = 0
		"""Messages about changes, one for each place and interval."""
		self.writes = 0
		"""Sockets to which they were written."""
		self.delayed = 0
		"""Places that had to wait for `realtime_presence_writes_per_second`."""
		self.due: Signal[[]] = Signal()
		"""Sent in each interval with changes, before the messages."""
		self._namespaces = namespaces
		self._fanout = fanout
		self._interval: float = config.realtime_presence_interval
		self._rate: float = config.realtime_presence_writes_per_second
		self._most = max(1.0, self._rate * self._interval)
		self._budget = self._most
		self._changed: dict[Place, tuple[PlaceMessages, set[str]]] = {}
		"""Places with changes that were not sent, the oldest first, and what has changed."""
		self._timer: asyncio.TimerHandle | None = None
		self._last = -self._interval

	def add(self, messages: PlaceMessages, place: Place, changed: str) -> None:
		"""Note that `changed` (a member or a user) has changed in a place; at once if nothing was sent for an interval.

		Args:
			messages: Makes the message; always the same for a place.
			place: The place.
			changed: Is given to `messages`, with what else has changed.
		"""
		known = self._changed.get(place)
		if known is not None:
			known[1].add(changed)
			return
		self._changed[place] = (messages, {changed})
		if self._timer is None:
			loop = asyncio.get_running_loop()
			self._timer = loop.call_at(max(loop.time(), self._last + self._interval), self._send_changes)

	def stop(self) -> None:
		"""Send nothing any more."""
		if self._timer is not None:
			self._timer.cancel()

	def _send_changes(self) -> None:
		loop = asyncio.get_running_loop()
		now = loop.time()
		self._budget = min(self._most, self._budget + self._rate * (now - self._last))
		self._last = now
		self._timer = None
		self.due.send()
		for place in list(self._changed):
			if self._budget <= 0:
				self.delayed += len(self._changed)
				if self._timer is None:
					self._timer = loop.call_at(now + self._interval, self._send_changes)
				return
			self._budget -= self._send(place, *self._changed.pop(place))

	def _send(self, place: Place, messages: PlaceMessages, changed: set[str]) -> int:
		"""Send the message about one place; return to how many sockets."""
		namespace = self._namespaces.get(place.namespace)
		room = messages.room(place)
		sockets = 0 if namespace is None else len(namespace.rooms.members(room))
		if namespace is None or not sockets:
			messages.forget(place)
			return 0
		message = messages.message(place, changed)
		if message is None:
			return 0
		self._fanout.emit_local(namespace, room, messages.event, message)
		self.messages += 1
		self.writes += sockets
		return sockets
