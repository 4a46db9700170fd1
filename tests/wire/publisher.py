"""The publisher of the app, as Frappe's processes use it: one step appends to the stream and publishes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from frappe_realtime.publishing.access_messages import access_message
from frappe_realtime.publishing.binary import take_binary
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.wire.bench import APP_SITE


class Publisher:
	"""Publishes events on the Redis of a bench through the app's outbox.

	Args:
		url: The URL of redis_queue.
		history_count: The number of events that the stream keeps.
		more: More configuration keys.
		pending_seconds: Seconds that an event may wait for Redis.
	"""

	def __init__(
		self,
		url: str,
		history_count: int = 10_000,
		more: dict[str, Any] | None = None,
		pending_seconds: float = 60.0,
	) -> None:
		self._history_count = history_count
		self.reports: list[str] = []
		self._outbox = Outbox(
			queue_connector({"redis_queue": url, **(more or {})}),
			self.reports.append,
			pending_seconds=pending_seconds,
		)

	def publish(self, event: str, message: Any, room: str = "website", site: str = APP_SITE) -> None:
		"""Publish one event."""
		self.publish_all([(event, message)], room, site)

	def publish_all(self, events: Iterable[tuple[str, Any]], room: str, site: str = APP_SITE) -> None:
		"""Publish several events, each with its name and its message."""
		self._outbox.send(
			[
				Message(
					"events",
					json.dumps(_fields(event, message, room, site)),
					stream=f"frappe_realtime:{site}:events",
					history_count=self._history_count,
					history_seconds=600,
				)
				for event, message in events
			]
		)

	def publish_latest(
		self,
		event: str,
		message: Any,
		room: str = "website",
		site: str = APP_SITE,
		key: str = "",
		count: int = 1000,
	) -> None:
		"""Publish an event of which only the newest one is kept."""
		key = key or json.dumps([event, room])
		payload = {**_fields(event, message, room, site), "latest": {"key": key, "seconds": 3600}}
		stream = f"frappe_realtime:{site}:events"
		self._outbox.send([Message("events", json.dumps(payload), stream, count, 3600, key)])

	def publish_live(self, event: str, message: Any, room: str = "website", site: str = APP_SITE) -> None:
		"""Publish an event of which nothing is kept."""
		self._outbox.send([Message("events", json.dumps(_fields(event, message, room, site)))])

	def announce(self, kind: str, site: str = APP_SITE, **fields: str) -> None:
		"""Publish a change of access."""
		self._outbox.send([access_message({"site": site, "kind": kind, **fields}, expires=False)])

	@property
	def pending(self) -> int:
		"""The number of events that wait for Redis."""
		return self._outbox.pending

	def flush(self) -> None:
		"""Wait until Redis has received all events."""
		assert self._outbox.flush(30), "Redis has not received all events"


def _fields(event: str, message: Any, room: str, site: str) -> dict[str, Any]:
	"""Return the fields of an event, with its binary values beside the message."""
	text, binary = take_binary(message)
	fields = {"event": event, "message": text, "room": room, "namespace": site}
	return {**fields, "binary": binary} if binary else fields
