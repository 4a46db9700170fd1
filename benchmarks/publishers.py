"""Publish events on Redis: as Frappe does, and as the app does."""

from __future__ import annotations

import json
import socket

import redis

from benchmarks.client import MARK, SITE
from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.redis_keys import events_key
from frappe_realtime.contract.settings import APP_DEFAULTS
from frappe_realtime.publishing.backlog import Message
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.rate_limited_log import RateLimitedLog
from frappe_realtime.publishing.redis_writer import RedisWriter

REDIS_TIMEOUT = 30.0


def payload(site: str, room: str, size: int) -> str:
	"""Return an event for `room` as it is on the channel; its message has about `size` bytes."""
	message = {"mark": MARK.decode(), "text": "x" * max(0, size - 30)}
	event = {"event": "bench", "message": message, "room": room, "namespace": site}
	return json.dumps(event, separators=(",", ":"))


class Publisher:
	"""Publishes with PUBLISH, as Frappe does, over one TCP connection.

	Args:
		port: The port of Redis.
		site: The site of the events.
	"""

	def __init__(self, port: int, site: str = SITE) -> None:
		self.site = site
		self._socket = socket.create_connection(("127.0.0.1", port))
		self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

	def event(self, room: str, size: int) -> str:
		"""Return an event to publish."""
		return payload(self.site, room, size)

	def publish(self, event: str, count: int = 1) -> None:
		"""Publish `event` several times at once, and wait for the answers."""
		command = b"*3\r\n$7\r\nPUBLISH\r\n$6\r\nevents\r\n$%d\r\n%b\r\n" % (len(event), event.encode())
		self._socket.sendall(command * count)
		answers = 0
		while answers < count:
			answers += self._socket.recv(1 << 16).count(b"\r\n")


class AppPublisher(Publisher):
	"""Publishes as `publish_realtime` of the app does: one script appends to the history and publishes.

	Several events at once are what a transaction sends when it commits.

	Args:
		port: The port of Redis.
		site: The site of the events.
	"""

	def __init__(self, port: int, site: str = SITE) -> None:
		super().__init__(port, site)
		pool = queue_connector({"redis_queue": f"redis://127.0.0.1:{port}"})(REDIS_TIMEOUT).connection_pool
		# The connection that the outbox makes for callers.
		self._client = redis.Redis(connection_pool=pool, single_connection_client=True)
		self._writer = RedisWriter(lambda timeout: self._client, REDIS_TIMEOUT, RateLimitedLog(print))
		self._published = 0

	def publish(self, event: str, count: int = 1) -> None:
		batch = []
		for _ in range(count):
			message = Message(
				EVENTS_CHANNEL,
				event,
				events_key(self.site),
				APP_DEFAULTS["realtime_history_count"],
				APP_DEFAULTS["realtime_history_seconds"],
			)
			self._published += 1
			message.number = self._published
			batch.append(message)
		self._writer.append(self._client, batch)
