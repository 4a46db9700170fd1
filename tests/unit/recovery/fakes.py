"""A Redis stream in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from realtime.bus.events import PublishedEvent
from realtime.bus.store import Entry
from realtime.recovery.positions import parse_offset
from tests.unit.socketio.fakes import SITE


def event(
	number: int, offset: str | None, room: str | None = "website", size: int = 0, unrecorded: str = ""
) -> PublishedEvent:
	"""Return a live event of the site."""
	payload = json.dumps({"event": "step", "message": number, "room": room, "namespace": SITE}).encode()
	return PublishedEvent(
		f"/{SITE}",
		room,
		"step",
		number,
		offset,
		site=SITE,
		size=size,
		unrecorded=unrecorded,
		payload=payload,
	)


class FakeStore:
	"""A stream in memory. `after_reading` is called after a reply was built and before it is received."""

	endpoint = "a fake"

	def __init__(self) -> None:
		self.entries: list[Entry] = []
		self.changes: list[Entry] = []
		"""The access messages."""
		self.last: str | None = None
		self.failures: list[Exception] = []
		self.reads = self.entries_read = 0
		self.after_reading: Callable[[], None] = lambda: None

	def append(self, number: int, room: str = "website") -> PublishedEvent:
		payload = {"event": "step", "message": number, "room": room, "namespace": SITE}
		id = f"{number}-0"
		self.entries.append(Entry(id, json.dumps(payload).encode(), self.last or "0-0"))
		self.last = id
		return event(number, id, room or None, 50)

	def announce(self, kind: str, **fields: str) -> dict[str, str]:
		"""Append an access message; return the live message."""
		message = {"site": SITE, "kind": kind, "after": self.last or "0-0", **fields}
		before = self.changes[-1].id if self.changes else "0-0"
		time = max(parse_offset(before) or (0, 0), parse_offset(self.last) or (0, 0))[0]
		id = f"{time}-{len(self.changes) + 1}"
		self.changes.append(Entry(id, json.dumps(message).encode(), before))
		return {**message, "offset": id}

	async def access_messages(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		begin = parse_offset(first) or (0, 0)
		found = [entry for entry in self.changes if (parse_offset(entry.id) or begin) >= begin][:count]
		return found, self.changes[-1].id if self.changes else None

	async def history(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		if self.failures:
			raise self.failures.pop(0)
		self.reads += 1
		begin = (0, 0) if first == "-" else parse_offset(first)
		assert begin is not None
		found = [entry for entry in self.entries if (parse_offset(entry.id) or begin) >= begin][:count]
		self.entries_read += len(found)
		answer = (found, self.last)
		self.after_reading()
		await asyncio.sleep(0)
		return answer
