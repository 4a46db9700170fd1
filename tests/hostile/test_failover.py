"""A failover in which the old master has taken events that the new one never gets."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.hostile.tabs import Address
from tests.hostile.tabs import Tab as ModelTab
from tests.hostile.test_recovery_access import Tab
from tests.hostile.test_redis_clock import LAST, STREAM, wait_for_secret
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import repeat_until, until
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher
from tests.wire.sentinels import Sentinels

CLIENTS = 5


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
	# The sidecar subscribes again, as to a new master, when this event is published and lost.
	bench.sidecar.signal(signal.SIGSTOP)
	try:
		valkey.client_kill_filter(_type="pubsub")
		publisher.publish("secret", 2)
		publisher.flush()
		valkey.xtrim(STREAM, maxlen=0)
		valkey.set(LAST, offset)
		valkey.set(writer, written)
	finally:
		bench.sidecar.signal(signal.SIGCONT)
	bench.wait_until_subscribed()
	publisher.publish("secret", 3)
	assert tab.raw.ends()
	again = tab.reconnect(offset)
	assert not again.recovered
	publisher.publish("secret", 4)
	wait_for_secret(again, 4)


class Reader(threading.Thread):
	"""A browser's tab that reads up to an event `end`, and comes back whenever its connection is closed.

	Args:
		tab: The tab, connected.
	"""

	def __init__(self, tab: ModelTab) -> None:
		super().__init__(daemon=True)
		self.sessions: list[list[int]] = [tab.received]
		"""What each session has received; one that is recovered is the same session."""
		self.end = 0
		"""The number of the event before `end`."""
		self._tab = tab

	def run(self) -> None:
		tab = self._tab
		while True:
			try:
				self.end = tab.read_until("end")[1]
				if tab.received:
					return
				# The session has begun between the event and its `end`.
				continue
			except ConnectionClosed:
				tab.cut()
			except TimeoutError:
				return
			before = tab.received
			tab.received = []
			if tab.open():
				before += tab.received
				tab.received = before
			else:
				self.sessions.append(tab.received)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
	"""A master, its replica, and a Sentinel."""
	one = Sentinels(tmp_path)
	yield one
	one.close()


def start(make_bench: MakeBench, sentinels: Sentinels) -> Bench:
	"""Return a bench whose redis_queue is what the Sentinel names."""
	bench = make_bench(start=False)
	bench.write_config(**sentinels.keys)
	bench.start_web()
	bench.sidecar.start()
	until(lambda: sentinels.clients[0].pubsub_numsub("events")[0][1], "the subscription", 60)
	return bench


def open_tab(bench: Bench) -> ModelTab:
	"""Connect a browser's tab of a new user."""
	user = bench.user().name
	address = Address(APP_SITE, bench.sidecar.port, bench.sidecar.port)
	tab = ModelTab(address, user, bench.site().login(user))
	tab.open()
	return tab


def test_events_of_the_new_master_before_the_sidecar_has_moved_to_it(
	make_bench: MakeBench, sentinels: Sentinels
) -> None:
	"""The history is read from the new master, although the old one still answers."""
	bench = start(make_bench, sentinels)
	old, new = sentinels.clients
	tab = open_tab(bench)
	publisher = Publisher("redis://none.invalid", more=sentinels.keys)
	publisher.publish("news", 1)
	publisher.flush()
	tab.read_until("news", 1)
	until(lambda: old.wait(1, 1000), "the replica has it")
	sentinels.sentinel.execute_command("SENTINEL", "FAILOVER", "queue")
	until(lambda: new.info("replication")["role"] == "master", "the failover", 60)
	other = Publisher(f"redis://127.0.0.1:{sentinels.ports[1]}")
	for number in (2, 3):
		other.publish("news", number)
	other.flush()
	until(lambda: new.pubsub_numsub("events")[0][1], "the subscription at the new master", 60)
	other.publish("news", 4)
	tab.read_until("news", 4)
	assert tab.received == [1, 2, 3, 4]
	tab.cut()
	bench.sidecar.stop()


def test_no_event_is_lost_silently_in_a_failover_by_sentinels(
	make_bench: MakeBench, sentinels: Sentinels
) -> None:
	"""An event that a client has not received lies between two of its sessions: the client knows of the gap."""
	bench = start(make_bench, sentinels)
	old = sentinels.clients[0]
	publisher = Publisher("redis://none.invalid", more=sentinels.keys)
	readers = [Reader(open_tab(bench)) for _ in range(CLIENTS)]
	publisher.publish("news", 1)
	publisher.flush()
	until(lambda: old.wait(1, 1000), "the replica has it")
	for reader in readers:
		reader.start()
	sentinels.sentinel.execute_command("SENTINEL", "FAILOVER", "queue")
	number = 1
	remaining = 100
	while remaining:
		number += 1
		publisher.publish("news", number)
		time.sleep(0.005)
		# The old master takes events until the Sentinel has told it that there is a new one.
		if old.info("replication")["role"] == "slave":
			remaining -= 1

	def publish_end() -> None:
		nonlocal number
		number += 1
		publisher.publish("news", number)
		publisher.publish("end", number)

	# Again and again: a client whose connection is closed after an `end` does not get it in its new session.
	repeat_until(publish_end, lambda: not any(reader.is_alive() for reader in readers), "all have an end", 60)
	for reader in readers:
		assert reader.sessions[-1][-1:] == [reader.end], reader.sessions
		for session in reader.sessions:
			assert all(second == first + 1 for first, second in pairwise(session)), reader.sessions
	bench.sidecar.stop()
