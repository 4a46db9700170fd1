"""A failover in which the old master has taken events that the new one never gets."""

from __future__ import annotations

from tests.hostile.test_recovery_access import Tab
from tests.hostile.test_redis_clock import LAST, STREAM, wait_for_secret
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher


def test_clients_are_notified_of_events_that_redis_has_lost(make_bench: MakeBench) -> None:
	bench = make_bench()
	valkey = bench.valkey.client
	publisher = Publisher(bench.valkey.url)
	tab = Tab(bench, bench.user())
	publisher.publish("secret", 1)
	wait_for_secret(tab, 1)
	offset = tab.offset
	[writer] = valkey.keys("frappe_realtime:writer:*")
	written = valkey.get(writer) or ""
	# The sidecar subscribes again 0.1 s later, as to a new master, and does not receive this event.
	valkey.client_kill_filter(_type="pubsub")
	publisher.publish("secret", 2)
	publisher.flush()
	valkey.xtrim(STREAM, maxlen=0)
	valkey.set(LAST, offset)
	valkey.set(writer, written)
	bench.wait_until_subscribed()
	publisher.publish("secret", 3)
	assert tab.raw.ends()
	again = tab.reconnect(offset)
	assert not again.recovered
	publisher.publish("secret", 4)
	wait_for_secret(again, 4)
