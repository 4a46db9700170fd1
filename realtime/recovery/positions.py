"""Offsets: positions in the event stream of a site, as Redis and clients write them (`<milliseconds>-<sequence>`).

The offset of a client that has not received the newest updates of some lists ends with them, `;<offset>=<room>` for each:
it has all events up to its position, except for list updates of these rooms from that offset on
(access/list_update_joiner.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from ..bus.events import StreamPosition
from ..socketio.namespace import held_text

_DIGITS = 20
_END = 1 << 64
"""Both parts of a stream id are unsigned 64-bit integers in Redis."""

START: StreamPosition = (0, 0)
"""The position before the first event of a site."""


def parse_offset(text: object) -> StreamPosition | None:
	"""Return the position that an offset denotes; None if `text` is not a valid offset."""
	# Once for each event of each site. A regular expression takes twice as long.
	if not isinstance(text, str) or not text.isascii():
		return None
	first, _, second = text.partition("-")
	if not first.isdigit() or not second.isdigit() or len(first) > _DIGITS or len(second) > _DIGITS:
		return None
	milliseconds, sequence = int(first), int(second)
	return (milliseconds, sequence) if milliseconds < _END and sequence < _END else None


@lru_cache(maxsize=64)
def offset_of(position: StreamPosition) -> str:
	"""Return `position` as an offset."""
	return f"{position[0]}-{position[1]}"


def position_before(position: StreamPosition) -> StreamPosition:
	"""Return the largest position before `position`, or the start. It need not be the position of an event."""
	milliseconds, sequence = position
	if sequence:
		return milliseconds, sequence - 1
	return (milliseconds - 1, _END - 1) if milliseconds else START


def offset_before(position: StreamPosition) -> str:
	"""Return the largest offset before `position`. It need not be the id of an event."""
	return offset_of(position_before(position))


def position_after(position: StreamPosition) -> StreamPosition:
	"""Return the smallest position after `position`."""
	milliseconds, sequence = position
	return (milliseconds, sequence + 1) if sequence + 1 < _END else (milliseconds + 1, 0)


def offset_after(position: StreamPosition) -> str:
	"""Return the smallest offset after `position`; Redis before 6.2 has no exclusive ranges."""
	return offset_of(position_after(position))


MAX_HELD_ROOMS = 64
"""Rooms that the offset of a client may name."""


@dataclass(frozen=True, slots=True)
class ClientPosition:
	"""What a client has received.

	Args:
		position: All events up to here, except those of `held`.
		held: Rooms, each with a position: the client has not received their list updates from there on.
	"""

	position: StreamPosition
	held: Mapping[str, StreamPosition] = field(default_factory=dict)

	def of(self, room: str | None) -> StreamPosition:
		"""Return the position up to which the client has received the list updates of `room`."""
		since = self.held.get(room) if room is not None else None
		return self.position if since is None else min(self.position, position_before(since))

	def after(self, position: StreamPosition, held: Mapping[str | None, StreamPosition]) -> str:
		"""Return the offset of the client when it has been sent what it has missed up to `position`.

		Args:
			position: The position of the last event that it was sent.
			held: Rooms, each with a position: list updates of the room from there on are sent later.
		"""
		newest = max(self.position, position)
		behind = {str(room): since for room, since in held.items()}
		if position < self.position:
			for room, since in self.held.items():
				rest = max(since, position_after(position))
				behind[room] = min(rest, behind.get(room, rest))
		return offset_of(newest) + held_text(
			{room: offset_of(since) for room, since in behind.items() if since <= newest}
		)


def parse_client_offset(text: object) -> ClientPosition | None:
	"""Return what a client with the offset `text` has received; None if `text` is not a valid offset."""
	if not isinstance(text, str):
		return None
	newest, *rooms = text.split(";", MAX_HELD_ROOMS + 1)
	position = parse_offset(newest)
	if position is None or len(rooms) > MAX_HELD_ROOMS:
		return None
	held: dict[str, StreamPosition] = {}
	for one in rooms:
		offset, separator, room = one.partition("=")
		since = parse_offset(offset)
		if since is None or not separator:
			return None
		held[unquote(room)] = since
	return ClientPosition(position, held)
