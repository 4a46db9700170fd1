"""Redis restarts, crashes, hangs, or is not there yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.doctor import run_doctor
from tests.wire.publisher import Publisher


def hears_again(bench: Bench, *clients: Client) -> None:
	"""Wait until clients receive what is published."""

	def arrived() -> bool:
		bench.publish("again", 1, "website")
		return all(client.all("again") for client in clients)

	until(arrived, "events after Redis came back", 60)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_redis_restarts(make_bench: MakeBench, connect: Connect, how: str) -> None:
	bench = make_bench()
	client = connect(bench, bench.user())
	for _ in range(2):
		getattr(bench.valkey, how)()
		client.fence()
		bench.valkey.start()
		client.events.clear()
		hears_again(bench, client)
	assert client.connected
	assert connect(bench, bench.user()).connected


def test_redis_hangs_and_goes_on(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	client = connect(bench, bench.user())
	pid = bench.valkey.freeze()
	try:
		client.fence()
	finally:
		bench.valkey.thaw(pid)
	hears_again(bench, client)


def test_redis_is_not_there_at_the_start(make_bench: MakeBench) -> None:
	bench = make_bench(start=False, version=17)
	bench.start_web()
	bench.sidecar.start()
	until(lambda: bench.valkey.url.removeprefix("redis://") in bench.sidecar.log, "a line that names Redis")
	client = bench.client(bench.user())
	waiting = client.start_connecting(90)
	bench.valkey.start()
	waiting.result(90)
	hears_again(bench, client)
	client.close()


def test_publishing_while_redis_restarts(make_bench: MakeBench, connect: Connect) -> None:
	"""Stock events are at most once: some are lost meanwhile, none comes twice or late."""
	bench = make_bench()
	client = connect(bench, bench.user())
	enough = threading.Event()

	def publish() -> None:
		number = 0
		with redis.Redis.from_url(bench.valkey.url) as connection:
			while not enough.is_set():
				number += 1
				payload = (
					f'{{"event": "count", "message": {number}, "room": "website", "namespace": "app.test"}}'
				)
				try:
					connection.publish("events", payload)
				except redis.RedisError:
					enough.wait(0.01)

	publisher = threading.Thread(target=publish)
	publisher.start()
	try:
		for restart in range(3):
			heard = len(client.all("count"))
			what = f"events before restart {restart}"
			until(lambda heard=heard: len(client.all("count")) > heard + 50, what)  # type: ignore[misc]
			bench.valkey.restart()
		heard = len(client.all("count"))
		until(lambda: len(client.all("count")) > heard + 50, "events after the restarts", 60)
	finally:
		enough.set()
		publisher.join()
	numbers = [args[0] for args in client.all("count")]
	assert numbers == sorted(set(numbers))


def test_health_follows_redis(make_bench: MakeBench) -> None:
	bench = make_bench()
	status: Callable[[], int] = lambda: bench.sidecar.health()[0]  # noqa: E731
	until(lambda: status() == 200, "a healthy sidecar")
	bench.valkey.stop()
	until(lambda: status() == 503, "an unhealthy sidecar")
	bench.valkey.start()
	until(lambda: status() == 200, "a healthy sidecar", 60)


def test_the_log_says_it_once(make_bench: MakeBench, connect: Connect) -> None:
	"""One line when Redis goes and one when it is back, not one for each attempt."""
	bench = make_bench()
	client = connect(bench)
	bench.valkey.stop()
	until(lambda: bench.sidecar.health()[0] == 503, "the sidecar has noticed")
	until(lambda: attempts_logged(bench) >= 1, "a line that names Redis")
	bench.valkey.start()
	hears_again(bench, client)
	assert attempts_logged(bench) <= 6


def attempts_logged(bench: Bench) -> int:
	"""Count the lines of the log that name Redis's address."""
	address = bench.valkey.url.removeprefix("redis://")
	return sum(address in line for line in bench.sidecar.log.splitlines())


def test_a_redis_with_a_password(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False)
	bench.valkey.start()
	bench.valkey.client.config_set("requirepass", "geheim")
	bench.valkey.client.connection_pool.connection_kwargs["password"] = "geheim"
	url = bench.valkey.url.replace("redis://", "redis://:geheim@")
	bench.write_config(redis_queue=url)
	bench.start_web()
	bench.sidecar.start()
	bench.wait_until_subscribed()
	hears_again(bench, connect(bench))
	assert "geheim" not in bench.sidecar.log


def test_a_redis_database_with_a_number(make_bench: MakeBench, connect: Connect) -> None:
	"""Channels have no database, the secret's key has."""
	bench = make_bench(start=False)
	bench.write_config(redis_queue=f"{bench.valkey.url}/1")
	bench.start()
	keys: Any = redis.Redis.from_url(f"{bench.valkey.url}/1").exists("socketio_auth_secret")
	connect(bench, bench.user())
	until(
		lambda: keys or redis.Redis.from_url(f"{bench.valkey.url}/1").exists("socketio_auth_secret"),
		"the key",
	)
	hears_again(bench, connect(bench))


def test_an_outage_that_outlasts_what_a_process_may_hold(make_bench: MakeBench, connect: Connect) -> None:
	"""The process publishes again without a restart; operators are shown what was dropped, and since when."""
	bench = make_bench(version=16)
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url, pending_seconds=0.2)

	def arrives(event: str) -> bool:
		publisher.publish(event, 1)
		return bool(client.all(event))

	# Not one event: on a busy machine it may take longer than the 0.2 seconds, and is dropped.
	until(lambda: arrives("before"), "events before the outage")
	bench.valkey.stop()
	for number in range(10):
		publisher.publish("lost", number)
	until(lambda: not publisher.pending, "the bound empties the outbox")
	bench.valkey.start()
	until(lambda: arrives("after"), "events of the same process after the outage", 60)
	# If some of these events were dropped too, that is a second outage: its report is written before the sum is read.
	publisher.flush()
	assert client.all("lost") == []
	shown = until(
		lambda: (p := bench.sidecar.health()[1]["publishers"])["outages"] and p, "the outage report"
	)
	assert shown["dropped"] >= 10
	assert 0 < shown["since"] <= shown["until"]
	_, metrics = bench.sidecar.get("/metrics")
	assert f"frappe_realtime_publisher_dropped_events {shown['dropped']:.1f}\n" in metrics
	bench.write(f"sites/{APP_SITE}/site_config.json", {"host_name": bench.sidecar.url})
	_, said = run_doctor(bench)
	assert f"events dropped: {shown['dropped']}." in said
