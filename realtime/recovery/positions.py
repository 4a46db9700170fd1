"""Places in the order of a site's events, and the offsets that name them: the ids of a stream in Redis."""

from __future__ import annotations

import re

from ..bus.events import StreamPosition

_OFFSET = re.compile("([0-9]{1,20})-([0-9]{1,20})")
_END = 1 << 64
"""Both parts are 64 bits in Redis."""

START: StreamPosition = (0, 0)
"""Before the first event of a site."""


def parse_offset(text: object) -> StreamPosition | None:
	"""The place that an offset names; None when it is none."""
	named = _OFFSET.fullmatch(text) if isinstance(text, str) else None
	if named is None:
		return None
	milliseconds, number = map(int, named.groups())
	return (milliseconds, number) if milliseconds < _END and number < _END else None


def offset_of(place: StreamPosition) -> str:
	"""`place` as clients and Redis write it."""
	return f"{place[0]}-{place[1]}"


def offset_before(end: StreamPosition) -> str:
	"""What a client is told that has everything before the event at `end`; it need not be an event's own offset."""
	milliseconds, number = end
	return offset_of((milliseconds, number - 1) if number else (milliseconds - 1, (1 << 64) - 1))


def offset_after(place: StreamPosition) -> str:
	"""The smallest id after `place`, as Redis before 6.2 needs it too."""
	milliseconds, number = place
	return offset_of((milliseconds, number + 1) if number + 1 < 1 << 64 else (milliseconds + 1, 0))
