"""The outbox against a real Valkey: offsets, order and history, and a Redis that refuses the script."""

from __future__ import annotations

import json
import time

import pytest

from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing import redis_writer as redis_writer_module
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.unit.app.outbox.outboxes import LAST, PATIENCE, STREAM, connector, event, published, recorded


@pytest.mark.parametrize("sequence", [0, 41])
@pytest.mark.parametrize("expired", [False, True])
def test_offsets_grow_though_the_clock_of_redis_is_behind(server, client, subscriber, sequence, expired):
	"""The last event was an hour in the future, and its stream has expired, or another one has taken its place."""
	ahead = int((time.time() + 3600) * 1000)
	last = f"{ahead}-{sequence}"
	client.set(LAST, last)
	if not expired:
		client.xadd(STREAM, {"e": "{}", "p": "0-0"})
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1), event(2)])
	entries = client.xrange(STREAM)[-2:]
	assert [id for id, _ in entries] == [f"{ahead}-{sequence + 1}", f"{ahead}-{sequence + 2}"]
	assert [entry["p"] for _, entry in entries] == [last, f"{ahead}-{sequence + 1}"]
	assert client.get(LAST) == f"{ahead}-{sequence + 2}"
	published = json.loads(subscriber.get_message(timeout=PATIENCE)["data"])
	assert published["offset"] == f"{ahead}-{sequence + 1}"


def test_events_that_the_old_master_took_are_reported_as_lost(server, client, subscriber):
	"""The new master has the first event only. The next event of the stream shows the loss, once."""
	lines: list[str] = []
	outbox = Outbox(connector(server), lines.append, wait=PATIENCE)
	outbox.send([event(1)])
	((first, _),) = client.xrange(STREAM)
	outbox.send([event(2), event(3)])
	(*_, (newest, _)) = client.xrange(STREAM)
	[key] = client.keys("frappe_realtime:writer:*")
	client.set(key, 1)
	client.xtrim(STREAM, maxlen=0)
	client.set(LAST, first)
	outbox.send([event(4), event(5)])
	published = [json.loads(subscriber.get_message(timeout=PATIENCE)["data"]) for _ in range(5)]
	assert [one["message"] for one in published] == [1, 2, 3, 4, 5]
	assert published[3]["offset"] is None
	assert published[3]["lost"] == newest
	assert "lost" in published[3]["unrecorded"]
	assert published[4]["offset"]
	assert [json.loads(entry["e"])["message"] for _, entry in client.xrange(STREAM)] == [5]
	assert sum("lost" in line for line in lines) == 1


def test_a_writer_that_was_quiet_is_not_mistaken_for_a_loss(server, client, subscriber, monkeypatch):
	"""Its key has expired."""
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(1)])
	[key] = client.keys("frappe_realtime:writer:*")
	client.delete(key)
	monkeypatch.setattr(redis_writer_module, "WRITER_KEY_SECONDS", 0.0)
	outbox.send([event(2)])
	assert all("lost" not in json.loads(subscriber.get_message(timeout=PATIENCE)["data"]) for _ in range(2))
	assert len(client.xrange(STREAM)) == 2


def test_an_event_is_appended_and_published_with_its_offset(server, client, subscriber):
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1)])
	((offset, entry),) = client.xrange(STREAM)
	assert json.loads(entry["e"]) == {"event": "e", "message": 1}
	assert published(subscriber, 1) == [{"offset": offset, "event": "e", "message": 1}]


def test_events_keep_their_order_across_batches(server, client, subscriber, monkeypatch):
	monkeypatch.setattr(outbox_module, "BATCH", 7)
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(number) for number in range(50)])
	outbox.send([event(50)])
	assert recorded(client) == list(range(51))
	assert [message["message"] for message in published(subscriber, 51)] == list(range(51))


def test_a_message_without_a_stream_is_published_unchanged(server, client, subscriber):
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1, stream=None)])
	assert published(subscriber, 1) == [{"event": "e", "message": 1}]
	assert client.exists(STREAM) == 0


def test_a_change_of_access_names_the_event_before_it(server, client, subscriber):
	stream = "frappe_realtime:s:access"
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([Message("access", '{"kind":"site"}', stream, 10, 60)])
	outbox.send(
		[
			Message("events", '{"e":1}', "frappe_realtime:s:events", 10, 60),
			Message("access", '{"kind":"site"}', stream, 10, 60),
		]
	)
	(event,) = client.xrange("frappe_realtime:s:events")
	kept = [json.loads(entry["e"]) for _, entry in client.xrange(stream)]
	assert kept == [{"after": "0-0", "kind": "site"}, {"after": event[0], "kind": "site"}]


def test_the_history_is_bounded_by_count_and_by_age(server, client):
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(number, history_count=100) for number in range(1000)])
	assert 100 <= client.xlen(STREAM) < 300  # Redis trims whole nodes of a hundred
	assert 0 < client.pttl(STREAM) <= 600_000

	client.delete(STREAM)
	for number in range(300):
		client.xadd(STREAM, {"e": "old"}, id=f"{1000 + number}-0")
	outbox.send([event(1)])
	assert client.xlen(STREAM) < 102


def test_events_of_two_sites_in_one_batch_go_to_two_streams(server, client):
	other = "frappe_realtime:other:events"
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1), event(2, stream=other), event(3)])
	assert recorded(client) == [1, 3]
	assert client.xlen(other) == 1


@pytest.mark.parametrize(
	"rights",
	[
		"+@all -@scripting",
		"+@all -xadd",
		"+@all resetkeys ~rq:*",
	],
)
def test_events_are_published_without_history_if_redis_refuses_the_script(server, client, subscriber, rights):
	client.execute_command("ACL", "SETUSER", "web", "on", ">pw", "~*", "&*", *rights.split())
	reports: list[str] = []
	outbox = Outbox(connector(server, username="web", password="pw"), reports.append, wait=PATIENCE)
	outbox.send([event(1)])
	outbox.send([event(2), event(3, stream=None)])
	first, second, third = published(subscriber, 3)
	assert first["message"] == 1
	assert first["offset"] is None
	assert "permission" in first["unrecorded"].lower()
	assert (second["message"], second["offset"]) == (2, None)
	assert third == {"event": "e", "message": 3}
	assert client.exists(STREAM) == 0
	assert len(reports) == 1
	assert "refuses to keep a history" in reports[0]


def test_a_full_redis_still_publishes(server, client, subscriber):
	client.config_set("maxmemory-policy", "noeviction")
	client.config_set("maxmemory", 1)
	Outbox(connector(server), lambda line: None, wait=PATIENCE).send([event(1)])
	(message,) = published(subscriber, 1)
	assert message["offset"] is None
	assert "OOM" in message["unrecorded"] or "memory" in message["unrecorded"]


def test_the_script_is_tried_again_after_a_minute(server, client, monkeypatch):
	now = [1000.0]
	monkeypatch.setattr(redis_writer_module, "monotonic", lambda: now[0])
	client.execute_command("ACL", "SETUSER", "web", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
	outbox = Outbox(connector(server, username="web", password="pw"), lambda line: None, wait=PATIENCE)
	outbox.send([event(1)])
	client.execute_command("ACL", "SETUSER", "web", "+@all")
	outbox.send([event(2)])
	assert client.exists(STREAM) == 0
	now[0] += 61
	outbox.send([event(3)])
	assert recorded(client) == [3]


def test_a_replica_counts_as_a_redis_that_is_away(server, client):
	client.execute_command("REPLICAOF", "127.0.0.1", "1")
	outbox = Outbox(connector(server), lambda line: None, wait=PATIENCE)
	outbox.send([event(1)])
	assert outbox.pending == 1, "the replica has refused it"
	client.execute_command("REPLICAOF", "NO", "ONE")
	assert outbox.flush(PATIENCE)
	assert recorded(client) == [1]


def test_the_script_is_loaded_again_after_a_restart_of_redis(server, client):
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(1)])
	client.script_flush()
	outbox.send([event(2)])
	assert recorded(client) == [1, 2]
