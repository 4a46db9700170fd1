"""The publisher of the app, as Frappe's processes use it: one step appends to the stream and publishes."""

from __future__ import annotations

import json
from typing import Any

from frappe_realtime.publishing.access_messages import access_message
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
		payload = json.dumps({"event": event, "message": message, "room": room, "namespace": site})
		self._outbox.send(
			[
				Message(
					"events",
					payload,
					stream=f"frappe_realtime:{site}:events",
					history_count=self._history_count,
					history_seconds=600,
				)
			]
		)

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
