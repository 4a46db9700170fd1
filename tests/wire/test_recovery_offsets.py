"""Which events and clients get an offset, by which they recover."""

from __future__ import annotations

import json

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW, OFFSET
from tests.wire.publisher import Publisher
from tests.wire.raw import WebSocketSession
from tests.wire.recoveries import answer, event, first


@pytest.fixture
def publisher(bench: Bench) -> Publisher:
	"""Return a publisher with history on the shared bench."""
	return Publisher(bench.valkey.url)


def test_every_event_ends_with_an_offset(
	bench: Bench, publisher: Publisher, connect_node: ConnectNode
) -> None:
	"""The client takes any string at the end for the offset, so events without their own repeat the last one."""
	user = bench.user()
	client = connect_node(bench, NEW, user)
	publisher.publish("recorded", "text", f"user:{user.name}")
	client.next("recorded")
	bench.publish("stock", "text", f"user:{user.name}")
	client.next("stock")
	client.fence()
	[recorded] = client.with_offsets("recorded")
	for name in ("stock", "pong"):
		for args in client.with_offsets(name):
			assert OFFSET.fullmatch(args[-1]), (name, args)
	assert client.with_offsets("stock")[0][:1] == ("text",)
	assert client.with_offsets("stock")[0][1] >= recorded[1]


def test_clients_that_get_no_offset(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	user = bench.user()
	client = connect(bench, user)
	publisher.publish("plain", 1, f"user:{user.name}")
	assert client.next("plain") == (1,)
	client.fence()
	assert client.all("pong")[-1] == ()
	assert not client.all("frappe_realtime:offset")


AGENTS: list[tuple[str, dict[str, bool], bool]] = [
	("Mozilla/5.0 (X11)", {}, True),
	("Mozilla/5.0 (X11)", {"recovery": False}, False),
	("Dart/3.4 (dart:io)", {}, False),
	("Dart/3.4 (dart:io)", {"recovery": True}, True),
	("okhttp/4.9", {}, True),
	("Raven/1 CFNetwork/1 Darwin/1", {}, False),
	("Ours/2", {}, True),
	("Mozilla/5.0 (Flutter", {}, False),
]


def test_which_clients_get_an_offset(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_recovery_agents": ["Ours/", "!Mozilla/5.0 (Flutter"]})
	for agent, auth, takes in AGENTS:
		raw = WebSocketSession(bench, bench.headers(bench.user(), more={"User-Agent": agent}))
		raw.send(f"40/{APP_SITE}," + json.dumps(auth))
		assert ("pid" in answer(raw)) is takes, (agent, auth)


def test_a_site_without_the_app(bench: Bench, connect_node: ConnectNode) -> None:
	"""It has no history, so no client recovers."""
	client = connect_node(bench, NEW, bench.user(STOCK_SITE), STOCK_SITE)
	bench.publish("stock", "text", "website", STOCK_SITE)
	until(lambda: client.with_offsets("stock") == [("text",)], "the event as it is")
	client.cut()
	client.connect(2)
	assert not client.state().get("recovered")


def test_the_offset_is_repeated_with_pings(make_bench: MakeBench) -> None:
	"""Otherwise the offset of a client without events would become older than the history."""
	bench = make_bench(common={"realtime_ping_interval": 1})
	raw, _, offset = first(bench, bench.user())
	Publisher(bench.valkey.url).publish("elsewhere", 1, "user:somebody@example.com")
	until(lambda: event(raw) > ["frappe_realtime:offset", offset], "a later offset")
