"""Clients that recover again and again to make the sidecar send much for little."""

from __future__ import annotations

import time

from realtime.demo.model import User
from tests.hostile.test_recovery_access import Tab
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher

ADDRESS = "192.0.2.7"

MISSED = 10
"""Events of 1 KB that each recovery replays."""

SECONDS = 10
"""Seconds after which 1,000 bytes per second are enough for one more recovery."""


def publish(bench: Bench, room: str = "website") -> None:
	publisher = Publisher(bench.valkey.url)
	for number in range(MISSED):
		publisher.publish("filler", "x" * 1000 + str(number), room)
	publisher.flush()


def recoveries(tab: Tab, attempts: int = 12) -> int:
	"""Recover with the same old offset until it is refused; return how often it worked."""
	old = tab.offset
	publish(tab.bench)
	for number in range(attempts):
		tab = tab.reconnect(old)
		if not tab.recovered:
			return number
	return attempts


def overdraw(bench: Bench, user: User | str) -> None:
	"""Recover once with so many bytes that it takes more than a minute until anything may be replayed again."""

	def is_replayed() -> bool:
		tab = Tab(bench, user, address=ADDRESS)
		publisher = Publisher(bench.valkey.url)
		publisher.publish("filler", "x" * 90_000)
		publisher.flush()
		again = tab.reconnect(tab.offset)
		again.raw.close()
		return again.recovered

	until(is_replayed, "a recovery that is allowed")


def limited(bench: Bench, key: str) -> bool:
	return f'limit_reached_total{{limit="{key}"}}' in bench.sidecar.get("/metrics")[1]


def test_a_guest_that_recovers_again_and_again(make_bench: MakeBench) -> None:
	"""A burst is 30 seconds' worth: 30 KB are three recoveries."""
	bench = make_bench(common={"realtime_guest_recovery_bytes_per_second": 1000})
	began = time.monotonic()
	count = recoveries(Tab(bench, "Guest", address=ADDRESS))
	assert 2 <= count <= 4 + (time.monotonic() - began) / SECONDS
	assert limited(bench, "realtime_guest_recovery_bytes_per_second")
	overdraw(bench, "Guest")
	# Another connection of the same address has no budget of its own, a user has.
	again = Tab(bench, "Guest", address=ADDRESS)
	old = again.offset
	publish(bench)
	assert not again.reconnect(old).recovered
	assert recoveries(Tab(bench, bench.user(), address=ADDRESS), 5) == 5


def test_a_user_that_recovers_again_and_again(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_recovery_bytes_per_second": 1000})
	began = time.monotonic()
	count = recoveries(Tab(bench, bench.user()))
	assert 2 <= count <= 4 + (time.monotonic() - began) / SECONDS
	assert limited(bench, "realtime_recovery_bytes_per_second")
	assert recoveries(Tab(bench, bench.user(), address=ADDRESS), 2) == 2
	assert APP_SITE in bench.sidecar.get("/metrics")[1]


def test_many_users_of_one_address(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_address_recovery_bytes_per_second": 1000})
	began = time.monotonic()
	assert recoveries(Tab(bench, bench.user(), address=ADDRESS), 2) == 2
	count = recoveries(Tab(bench, bench.user(), address=ADDRESS))
	assert count <= 2 + (time.monotonic() - began) / SECONDS
	assert limited(bench, "realtime_address_recovery_bytes_per_second")


def test_events_of_other_rooms_count_if_they_are_read_for_the_client(make_bench: MakeBench) -> None:
	"""Older events than the history window are read from Redis for each client, whatever its rooms are."""
	bench = make_bench(common={"realtime_guest_recovery_bytes_per_second": 1000})
	tab = Tab(bench, "Guest", address=ADDRESS)
	publisher = Publisher(bench.valkey.url)
	# The session is written after the answer to CONNECT, and must be in Redis when the sidecar is killed.
	publisher.publish("public", 1)
	tab.read_up_to("public")
	old = tab.offset
	publisher.publish("secret", "x" * 2_200_000, "user:nobody@example.com")
	publisher.flush()
	bench.sidecar.kill()
	bench.sidecar.start()
	bench.wait_until_subscribed()
	tab = tab.reconnect(old)
	assert tab.recovered
	assert not tab.reconnect(old).recovered
