"""Places in the order of a site's events, and the offsets that name them: the ids of a stream in Redis."""

from __future__ import annotations

Place = tuple[int, int]

START: Place = (0, 0)
"""Before the first event of a site."""


def parse_offset(text: object) -> Place | None:
	"""The place that an offset names; None when it is none."""
	if not isinstance(text, str) or len(text) > 41:
		return None
	milliseconds, dash, number = text.partition("-")
	if not (dash and milliseconds.isascii() and milliseconds.isdigit() and number.isascii()):
		return None
	if not number.isdigit():
		return None
	place = (int(milliseconds), int(number))
	return place if max(place) < 1 << 64 else None


def offset_of(place: Place) -> str:
	"""`place` as clients and Redis write it."""
	return f"{place[0]}-{place[1]}"


def offset_before(end: Place) -> str:
	"""What a client is told that has everything before the event at `end`; it need not be an event's own offset."""
	milliseconds, number = end
	return offset_of((milliseconds, number - 1) if number else (milliseconds - 1, (1 << 64) - 1))


def offset_after(place: Place) -> str:
	"""The smallest id after `place`, as Redis before 6.2 needs it too."""
	milliseconds, number = place
	return offset_of((milliseconds, number + 1) if number + 1 < 1 << 64 else (milliseconds + 1, 0))
