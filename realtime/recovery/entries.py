"""Entries of a stream in Redis: decodes them to events, and checks that none is missing before or between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..bus.events import PublishedEvent, StreamPosition, read_event
from ..bus.store import Entry, HistoryPage
from .positions import START, offset_of, parse_offset


class HistoryGap(Exception):
	"""The history does not have every event since a position."""


def check_chain(position: StreamPosition, entries: Sequence[Entry]) -> None:
	"""Raise `HistoryGap` unless the first of `entries` follows the entry at `position`.

	After a failover the stream may have continued from an earlier entry, with ids below `position`. An entry names no
	earlier one if the site was without events until `last` had expired in Redis.
	"""
	if not entries:
		return
	before = parse_offset(entries[0].before)
	if before is not None and START < before < position:
		raise HistoryGap(
			f"the stream has continued from {entries[0].before}, while this process has had {offset_of(position)}"
		)


def check_continuity(position: StreamPosition, page: HistoryPage) -> None:
	"""Raise `HistoryGap` unless `page` has every event after `position` that the history keeps.

	Events of which only the newest one is kept are not in it.
	"""
	if page.entries:
		first = page.entries[0]
		before = parse_offset(first.previous or first.before)
		if before is None or before > position:
			raise HistoryGap(
				f"the history begins after {first.before or first.id}, asked for {offset_of(position)}"
			)
		return
	end, newest = parse_offset(page.last) or START, parse_offset(page.newest) or START
	if end < position or newest > position:
		raise HistoryGap(f"the last event was {offset_of(end)}, asked for {offset_of(position)}")


def read_events(site: str, entries: Iterable[Entry]) -> Iterable[PublishedEvent]:
	"""Return the events in `entries`; entries that are no events are skipped."""
	for entry in entries:
		try:
			event = read_event(entry.payload)
		except (ValueError, KeyError, TypeError, AttributeError, IndexError):
			continue
		event.site, event.namespace = site, f"/{site}"
		event.offset = entry.id
		position = parse_offset(entry.id)
		if position is not None:
			event.position = position
			yield event
