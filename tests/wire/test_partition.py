"""Three hosts of one bench, each in a network namespace of its own, one of which is separated from the others for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.publisher import Publisher
from tests.wire.recoveries import answer, event, first, recover
from tests.wire.separate_hosts import (
	HOSTS,
	OTHERS,
	SEPARATED,
	Audience,
	SeparateHosts,
	missing,
	separate_hosts,
)
from tests.wire.test_doc_viewers import viewers, wait_for_viewers


@pytest.fixture(scope="module", autouse=True)
def _needs() -> None:
	"""Leave the tests out where they cannot run."""
	if reason := missing():
		pytest.skip(reason)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[SeparateHosts]:
	"""Start three hosts for one test. Pings are frequent, so that clients notice soon that their host is gone."""
	with separate_hosts(tmp_path, {"realtime_ping_interval": 2, "realtime_ping_timeout": 2}) as started:
		yield started


@pytest.fixture
def patient_hosts(tmp_path: Path) -> Iterator[SeparateHosts]:
	"""Start three hosts that take no client for dead during the test."""
	with separate_hosts(tmp_path, {"realtime_ping_interval": 600}) as started:
		yield started


def test_a_host_is_separated_from_the_others_for_a_while(hosts: SeparateHosts, node_version: str) -> None:
	audience = Audience(hosts, node_version)
	try:
		here = [
			audience.add(number, transports)
			for number, transports in zip(OTHERS, (WEBSOCKET, POLLING), strict=True)
		]
		there = [audience.add(SEPARATED, transports) for transports in (WEBSOCKET, POLLING)]
		travellers = [audience.add(None, transports) for transports in (POLLING, WEBSOCKET, BOTH)]
		leave_here, leave_there = audience.add(OTHERS[0], WEBSOCKET), audience.add(SEPARATED, WEBSOCKET)
		audience.wait_until_seen(list(audience.present), list(audience.present))

		hosts.network.partition(SEPARATED)
		audience.remove(leave_here, leave_there)
		audience.until(lambda: hosts.is_alone(SEPARATED), "the separated host notices it")
		hosts.wait_until_known(OTHERS)
		audience.wait_until_seen([*here, *travellers], [*here, *travellers])

		hosts.network.heal(SEPARATED)
		audience.wait_until_seen(list(audience.present), list(audience.present))
		hosts.wait_until_known(range(HOSTS))
		audience.check_events()
		audience.wait_until_seen(list(audience.present), [*here, *there, *travellers])
	finally:
		audience.close()


def test_a_client_that_has_left_a_separated_host(patient_hosts: SeparateHosts) -> None:
	"""It has recovered at another host. Its old socket is still open at the separated one, which does not know it yet."""
	hosts = patient_hosts
	here, there = hosts.at(0), hosts.at(SEPARATED)
	user, watching = here.user(), here.user()
	one, other = here.document(), here.document()
	publisher = Publisher(here.valkey.url)
	with contextlib.ExitStack() as stack:
		watcher = here.client(watching)
		stack.callback(watcher.close)
		watcher.connect()
		for name in (one, other):
			watcher.emit("doc_open", "ToDo", name)
		old, known, offset = first(there, user)
		stack.callback(old.close)
		old.send(packet("doc_open", one))
		wait_for_viewers(watcher, one, user.name, watching.name)

		hosts.network.partition(SEPARATED)
		hosts.wait_until_known(OTHERS)
		wait_for_viewers(watcher, one, watching.name)
		new = recover(here, user, known["pid"], offset)
		stack.callback(new.close)
		assert answer(new) == known
		new.send(packet("doc_open", other))
		new.send(packet("doc_close", one))
		wait_for_viewers(watcher, other, user.name, watching.name)
		wait_for_viewers(watcher, one, watching.name)
		hosts.network.heal(SEPARATED)
		hosts.wait_until_known(range(HOSTS))
		# The old socket must neither stay, nor replace what is kept of its client.
		assert old.ends()
		wait_for_viewers(watcher, one, watching.name)
		new.close()
		wait_for_viewers(watcher, other, watching.name)
		publisher.publish("missed", 1, f"open_doc:ToDo/{other}")
		publisher.flush()
		last = recover(there, user, known["pid"], offset)
		stack.callback(last.close)
		assert answer(last) == known
		assert event(last)[:2] == ["missed", 1]
		wait_for_viewers(watcher, other, user.name, watching.name)
		assert viewers(watcher, one) == [watching.name]


def packet(event: str, name: str) -> str:
	"""Return the packet of an event about a document."""
	return f'42/{APP_SITE},["{event}","ToDo","{name}"]'
