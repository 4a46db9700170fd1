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
	return PublishedEvent(
		f"/{SITE}", room, "step", number, offset, site=SITE, size=size, unrecorded=unrecorded
	)


class FakeStore:
	"""A stream in memory. `after_reading` is called after a reply was built and before it is received."""

	endpoint = "a fake"

	def __init__(self) -> None:
		self.entries: list[Entry] = []
		self.last: str | None = None
		self.failures: list[Exception] = []
		self.reads = 0
		self.after_reading: Callable[[], None] = lambda: None

	def append(self, number: int, room: str = "website") -> PublishedEvent:
		payload = {"event": "step", "message": number, "room": room, "namespace": SITE}
		id = f"{number}-0"
		self.entries.append(Entry(id, json.dumps(payload).encode(), self.last or "0-0"))
		self.last = id
		return event(number, id, room or None, 50)

	async def history(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		if self.failures:
			raise self.failures.pop(0)
		self.reads += 1
		begin = parse_offset(first) or (0, 0)
		found = [entry for entry in self.entries if (parse_offset(entry.id) or begin) >= begin][:count]
		answer = (found, self.last)
		self.after_reading()
		await asyncio.sleep(0)
		return answer
