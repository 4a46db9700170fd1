"""Offsets: positions in the event stream of a site, as Redis and clients write them (`<milliseconds>-<sequence>`)."""

from __future__ import annotations

import re

from ..bus.events import StreamPosition

_OFFSET = re.compile("([0-9]{1,20})-([0-9]{1,20})")
_END = 1 << 64
"""Both parts of a stream id are unsigned 64-bit integers in Redis."""

START: StreamPosition = (0, 0)
"""The position before the first event of a site."""


def parse_offset(text: object) -> StreamPosition | None:
	"""Return the position that an offset denotes; None if `text` is not a valid offset."""
	match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
	if match is None:
		return None
	milliseconds, sequence = map(int, match.groups())
	return (milliseconds, sequence) if milliseconds < _END and sequence < _END else None


def offset_of(position: StreamPosition) -> str:
	"""Return `position` as an offset."""
	return f"{position[0]}-{position[1]}"


def offset_before(position: StreamPosition) -> str:
	"""Return the largest offset before `position`. It need not be the id of an event."""
	milliseconds, sequence = position
	return offset_of((milliseconds, sequence - 1) if sequence else (milliseconds - 1, _END - 1))


def offset_after(position: StreamPosition) -> str:
	"""Return the smallest offset after `position`; Redis before 6.2 has no exclusive ranges."""
	milliseconds, sequence = position
	return offset_of((milliseconds, sequence + 1) if sequence + 1 < _END else (milliseconds + 1, 0))
