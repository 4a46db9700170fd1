"""Offsets that do not grow, or that are far in the future: a site must not fall silent."""

from __future__ import annotations

import json
import time

import pytest

from tests.hostile.test_recovery_access import Tab
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher

STREAM = f"frappe_realtime:{APP_SITE}:events"
LAST = f"frappe_realtime:{APP_SITE}:last"


def wait_for_secret(tab: Tab, number: int) -> None:
	"""Read up to an event."""
	while number not in tab.secrets:
		text = str(tab.raw.receive())
		assert text.startswith("42"), text
		tab.events.append(json.loads(text.partition(",")[2]))


def test_the_clock_of_redis_is_behind(make_bench: MakeBench) -> None:
	"""The site was quiet until its stream expired; then a replica with another clock became the master."""
	bench = make_bench()
	ahead = f"{int((time.time() + 3600) * 1000)}-0"
	bench.valkey.client.set(LAST, ahead)
	tab = Tab(bench, bench.user())
	assert tab.offset == ahead
	publisher = Publisher(bench.valkey.url)
	for number in (1, 2):
		publisher.publish("secret", number)
		wait_for_secret(tab, number)
	again = tab.reconnect(ahead)
	assert again.recovered
	assert again.secrets == [1, 2]


def forge(bench: Bench, offset: str) -> None:
	"""Publish a message with an offset that Redis has not assigned."""
	message = {"event": "secret", "message": 0, "room": "website", "namespace": APP_SITE, "offset": offset}
	bench.valkey.client.publish("events", json.dumps(message))


@pytest.mark.parametrize("highest", [True, False])
def test_a_message_with_an_offset_far_in_the_future(make_bench: MakeBench, highest: bool) -> None:
	"""It is delivered as one without an offset, and the events after it as well."""
	bench = make_bench()
	tab = Tab(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	old = tab.offset
	publisher.publish("secret", 1)
	wait_for_secret(tab, 1)
	end = (1 << 64) - 1
	forge(bench, f"{end}-{end}" if highest else f"{int((time.time() + 3600) * 1000)}-0")
	publisher.publish("secret", 2)
	publisher.publish("secret", 3)
	for number in (3, 0):
		wait_for_secret(tab, number)
	assert sorted(tab.secrets) == [0, 1, 2, 3]
	assert parse(tab.offset) < (time.time() + 60) * 1000
	tab = tab.reconnect(old)
	assert tab.recovered
	assert tab.secrets == [1, 2, 3]


def test_a_message_with_an_offset_that_is_a_little_ahead(make_bench: MakeBench) -> None:
	"""By less than clocks differ: it is delivered, and so are the events after it, whose offsets are smaller."""
	bench = make_bench()
	tab = Tab(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	old = tab.offset
	publisher.publish("secret", 1)
	wait_for_secret(tab, 1)
	forge(bench, f"{int((time.time() + 8) * 1000)}-0")
	wait_for_secret(tab, 0)
	for number in (2, 3):
		publisher.publish("secret", number)
		wait_for_secret(tab, number)
	assert tab.secrets == [1, 0, 2, 3]
	tab = tab.reconnect(old)
	assert tab.recovered
	assert tab.secrets == [1, 2, 3]


@pytest.mark.parametrize("keeps_stream", [True, False])
def test_the_clock_of_redis_went_back_a_little(make_bench: MakeBench, keeps_stream: bool) -> None:
	"""Redis assigns offsets after the last one, although they are ahead of its clock."""
	bench = make_bench()
	valkey = bench.valkey.client
	ahead = f"{int((time.time() + 8) * 1000)}-0"
	if keeps_stream:
		event = {"event": "secret", "message": 0, "room": "website", "namespace": APP_SITE}
		valkey.xadd(STREAM, {"e": json.dumps(event), "p": ""}, id=ahead)
	valkey.set(LAST, ahead)
	tab = Tab(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	for number in (1, 2):
		publisher.publish("secret", number)
		wait_for_secret(tab, number)
	again = tab.reconnect(ahead)
	assert again.recovered
	assert again.secrets == [1, 2]


def parse(offset: str) -> int:
	"""Return the milliseconds of an offset."""
	return int(offset.partition("-")[0])
