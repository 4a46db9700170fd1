"""What is kept of an event: all events, the newest one, or none; and binary messages, live and recovered."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.recoveries import AWAY, disconnected, messages, reconnect


@pytest.fixture
def publisher(bench: Bench) -> Publisher:
	return Publisher(bench.valkey.url)


def test_the_newest_value_is_replayed_in_its_place(
	bench: Bench, publisher: Publisher, connect_node: ConnectNode, node_version: str
) -> None:
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, node_version, user, options=AWAY)
	publisher.publish_latest("step", "1 %", room)
	client.next("step")
	disconnected(client)
	publisher.publish_latest("step", "2 %", room)
	publisher.publish("step", "a", room)
	publisher.publish_live("step", "gone", room)
	publisher.publish_latest("step", "3 %", room)
	publisher.publish_latest("step", "of another user", "user:somebody@example.com")
	publisher.publish("step", "b", room)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	publisher.publish_live("step", "live", room)
	until(lambda: "live" in messages(client, "step"), "the live event")
	assert messages(client, "step") == ["1 %", "a", "3 %", "b", "live"]
	assert client.state()["recovered"] is True


def test_values_are_replayed_after_a_restart_of_the_sidecar(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	"""Its memory is empty: the values come from Redis, in order with all other events."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, NEW, user)
	publisher.publish("step", 1, room)
	client.next("step")
	bench.sidecar.kill()
	publisher.publish_latest("step", 2, room)
	publisher.publish_latest("step", 3, room)
	publisher.publish("step", 4, room)
	publisher.publish_latest("step", 5, room, key="another")
	publisher.flush()
	bench.sidecar.start()
	client.connect(2)
	client.fence()
	assert messages(client, "step") == [1, 3, 4, 5]
	assert client.state()["recovered"] is True


def test_values_are_delivered_after_an_interruption_of_the_subscription(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, NEW, user)
	publisher.publish("step", 0, room)
	client.next("step")
	for number in range(1, 40):
		publisher.publish_latest("step", number, room, key=str(number % 7))
		if number % 10 == 0:
			bench.valkey.client.client_kill_filter(_type="pubsub")
	publisher.publish("step", "end", room)
	until(lambda: "end" in messages(client, "step"), "the last event")
	numbers = [int(str(number)) for number in messages(client, "step")[:-1]]
	assert numbers == sorted(set(numbers))
	assert set(range(33, 40)) <= set(numbers)
	assert client.state()["recovered"] is False
	assert len([line for line in client.lines if "disconnect" in line]) == 0


def test_ten_thousand_progress_events_leave_the_history_for_others(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	"""Somebody who was away during an import gets everything else, and the newest progress."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url, history_count=200)
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, NEW, user, options=AWAY)
	publisher.publish("step", 0, room)
	client.next("step")
	before = bench.valkey.client.xlen(f"frappe_realtime:{APP_SITE}:events")
	disconnected(client)
	for number in range(1, 101):
		publisher.publish("step", number, room)
		for percent in range(100):
			publisher.publish_latest("progress", {"percent": percent}, room)
	publisher.flush()
	assert bench.valkey.client.xlen(f"frappe_realtime:{APP_SITE}:events") == before + 100
	reconnect(client)
	client.connect(2)
	client.fence()
	assert messages(client, "step") == list(range(101))
	assert messages(client, "progress") == [{"percent": 99}]
	assert client.state()["recovered"] is True


MESSAGES: list[Any] = [
	b"\x00\xff",
	b"",
	{"image": b"\x89PNG", "size": 4, "parts": [b"a", {"b": b"b"}]},
	{"_placeholder": True, "num": 0},
	{"binary": [[[], "eA=="]]},
	[b"x"] * 10,
]


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING, BOTH], ids=str)
def test_binary_messages(
	bench: Bench,
	publisher: Publisher,
	connect_node: ConnectNode,
	node_version: str,
	transports: tuple[str, ...],
) -> None:
	"""Live and recovered, kept as all events or as the newest one; content that looks like a placeholder stays as it is."""
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, node_version, user, transports=transports, options=AWAY)
	for message in MESSAGES:
		publisher.publish("step", message, room)
		assert client.next("step") == (message,)
	disconnected(client)
	for message in MESSAGES:
		publisher.publish("step", message, room)
	publisher.publish_latest("value", {"image": b"old"}, room)
	publisher.publish_latest("value", {"image": b"new"}, room)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert messages(client, "step") == MESSAGES * 2
	assert messages(client, "value") == [{"image": b"new"}]
	assert client.state()["recovered"] is True


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=str)
def test_binary_messages_to_python(
	bench: Bench, publisher: Publisher, connect: Connect, transports: tuple[str, ...]
) -> None:
	user = bench.user()
	client = connect(bench, user, transports=transports)
	for message in MESSAGES:
		publisher.publish("step", message, f"user:{user.name}")
		assert client.next("step") == (message,)


def test_an_event_of_a_publisher_of_a_version_before(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	"""It appends to the stream of all events, and names the newest event of either stream as the one before."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	room = f"user:{user.name}"
	client = connect_node(bench, NEW, user, options=AWAY)
	publisher.publish_latest("step", 1, room)
	client.next("step")
	disconnected(client)
	publish_as_before(bench, 2, room)
	publisher.publish("step", 3, room)
	publisher.publish_latest("step", 4, room)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert messages(client, "step") == [1, 2, 3, 4]
	assert client.state()["recovered"] is True
	# Nothing says that the value is the only event before this one: the client is notified.
	disconnected(client)
	bench.sidecar.signal(signal.SIGSTOP)
	bench.valkey.client.client_kill_filter(_type="pubsub")
	publisher.publish_latest("step", 5, room)
	publisher.flush()
	publish_as_before(bench, 6, room)
	bench.sidecar.signal(signal.SIGCONT)
	until(lambda: bench.sidecar.log.count("subscribed to the events") == 2, "the new subscription")
	reconnect(client)
	client.connect(3)
	assert client.state()["recovered"] is False


BEFORE = """
local before = redis.call('GET', KEYS[2]) or '0-0'
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'e', ARGV[1], 'p', before)
redis.call('SET', KEYS[2], id, 'PX', 86400000)
redis.call('PUBLISH', 'events', '{"offset":"' .. id .. '",' .. string.sub(ARGV[1], 2))
"""
"""What the script of a version before wrote for one event, if the clock has moved on since the one before."""


def publish_as_before(bench: Bench, message: object, room: str) -> None:
	"""Publish one event as a publisher of a version before does."""
	stream = f"frappe_realtime:{APP_SITE}:events"
	payload = json.dumps({"event": "step", "message": message, "room": room, "namespace": APP_SITE})
	client: Any = bench.valkey.client
	last = client.get(f"frappe_realtime:{APP_SITE}:last")

	def later() -> bool:
		seconds, microseconds = client.time()
		last_text = last.decode() if isinstance(last, bytes) else str(last or "0-0")
		return int(seconds * 1000 + microseconds / 1000) > int(last_text.partition("-")[0])

	until(later, "another millisecond")
	client.eval(BEFORE, 2, stream, f"frappe_realtime:{APP_SITE}:last", payload)
