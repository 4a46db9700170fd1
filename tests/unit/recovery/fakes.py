"""A Redis stream in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from realtime.bus.events import PublishedEvent, read_event
from realtime.bus.store import Entry, HistoryPage, LatestPage
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
		self.values: list[Entry] = []
		"""The events of which only the newest one is kept."""
		self.newest_value = self.removed = ""
		self._keys: dict[str, str] = {}
		"""The keys of `values`, by id."""
		self.newest_entry: str | None = None
		"""The newest entry of the history, once there is an event that is not in it."""
		self.failures: list[Exception] = []
		self.reads = self.entries_read = 0
		self.after_reading: Callable[[], None] = lambda: None

	def append(self, number: int, room: str = "website") -> PublishedEvent:
		payload = {"event": "step", "message": number, "room": room, "namespace": SITE}
		id = f"{number}-0"
		text = json.dumps(payload).encode()
		self.entries.append(Entry(id, text, self.last or "0-0", self.newest_entry or ""))
		self.last = id
		if self.newest_entry:
			self.newest_entry = id
		return event(number, id, room or None, 50)

	def append_value(
		self, number: int, key: str, room: str = "website", seconds: float = 3600
	) -> PublishedEvent:
		"""Append an event of which only the newest one of its key is kept; return the live event."""
		latest = {"key": key, "seconds": seconds}
		payload = {"event": "step", "message": number, "room": room, "namespace": SITE, "latest": latest}
		id = f"{number}-0"
		self.values = [entry for entry in self.values if self._keys.get(entry.id) != key]
		self._keys[id] = key
		text = json.dumps(payload).encode()
		self.values.append(Entry(id, text, self.last or "0-0"))
		self.newest_entry = self.newest_entry or ("0-0" if not self.entries else self.entries[-1].id)
		self.last = self.newest_value = id
		return read_event(json.dumps({"offset": id, **payload}).encode())

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

	async def history(self, site: str, first: str, count: int) -> HistoryPage:
		if self.failures:
			raise self.failures.pop(0)
		self.reads += 1
		found = self._from(self.entries, first)[:count]
		self.entries_read += len(found)
		answer = HistoryPage(found, self.last, self.newest_entry or self.last)
		self.after_reading()
		await asyncio.sleep(0)
		return answer

	async def latest(self, site: str, first: str, count: int) -> LatestPage:
		if self.failures:
			raise self.failures.pop(0)
		self.reads += 1
		found = self._from(self.values, first)[:count]
		answer = LatestPage(found, self.last, self.newest_value, self.removed)
		self.after_reading()
		await asyncio.sleep(0)
		return answer

	@staticmethod
	def _from(entries: list[Entry], first: str) -> list[Entry]:
		begin = (0, 0) if first == "-" else parse_offset(first)
		assert begin is not None
		return [entry for entry in entries if (parse_offset(entry.id) or begin) >= begin]
