"""Bursts of `list_update`: joined for each list, the newest update always delivered, and recovered exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.wire.bench import APP_SITE, SITES, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.recoveries import AWAY, disconnected, reconnect
from tests.wire.test_metrics import samples

DOCTYPE = "ToDo"
LIST = f"doctype:{DOCTYPE}"
KEY = "realtime_list_updates_per_second"


def updates(client: Any) -> list[dict[str, Any]]:
	"""Return the messages of the list updates that a client has received."""
	return [args[0] for args in client.all("list_update")]


def publish(bench: Bench, names: Iterable[int], site: str = APP_SITE) -> None:
	"""Publish an update for each of `names`, as fast as an import does."""
	with bench.valkey.client.pipeline(transaction=False) as pipeline:
		for number in names:
			message = {"doctype": DOCTYPE, "name": str(number), "user": "eve"}
			event = {"event": "list_update", "message": message, "room": LIST, "namespace": site}
			pipeline.publish("events", json.dumps(event))
		pipeline.execute()


def watch(bench: Bench, connect: Connect, site: str = APP_SITE) -> Client:
	"""Return a client with the list open."""
	client = connect(bench, "Administrator", site)
	bench.join(client, LIST, "doctype_subscribe", DOCTYPE, site=site)
	return client


@pytest.mark.parametrize("site", SITES)
def test_a_burst_is_joined(make_bench: MakeBench, connect: Connect, site: str) -> None:
	# Each name that is sent is a question to the web process, which has a second for all of them.
	bench = make_bench(common={KEY: 5})
	clients = [watch(bench, connect, site) for _ in range(3)]
	publish(bench, range(1000), site)
	last = {"doctype": DOCTYPE, "name": "999", "user": "eve", "more": True}
	for client in clients:
		until(lambda client=client: last in updates(client), "the newest update")  # type: ignore[misc]
		received = updates(client)
		assert received[0]["name"] == "0", "the first update of a quiet list"
		assert len(received) < 200
		names = [int(update["name"]) for update in received]
		assert names == sorted(names)
	assert samples(bench)["list_updates_left_out_total"] > 800
	assert samples(bench)["list_updates_held"] == 0


def test_updates_of_one_document_are_joined(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	client = watch(bench, connect)
	publish(bench, [*[1, 2] * 50, 5])
	until(lambda: updates(client)[-1:] == [{"doctype": DOCTYPE, "name": "5", "user": "eve"}], "the last one")
	assert len(updates(client)) < 50
	assert {update["name"] for update in updates(client)} == {"1", "2", "5"}
	assert samples(bench)["list_updates_joined_total"] > 50
	assert samples(bench)["list_updates_left_out_total"] == 0


def test_zero_sends_all_updates(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={KEY: 0})
	client = watch(bench, connect, STOCK_SITE)
	# Of two documents only: each name is a question to the web process, which has a second for all of them.
	publish(bench, [1, 2] * 30, STOCK_SITE)
	until(lambda: len(updates(client)) == 60, "all updates")
	assert [update["name"] for update in updates(client)] == ["1", "2"] * 30


@pytest.mark.parametrize("second", [False, True], ids=["same sidecar", "restarted sidecar"])
def test_a_client_recovers_what_was_held_back(
	make_bench: MakeBench, connect_node: ConnectNode, second: bool
) -> None:
	"""It has received a later event than the updates, and the sidecar may end before it sends them."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	client = connect_node(bench, NEW, "Administrator", options=AWAY)
	bench.join(client, LIST, "doctype_subscribe", DOCTYPE)

	def update(name: str) -> None:
		publisher.publish("list_update", {"doctype": DOCTYPE, "name": name}, LIST)

	for name in "abc":
		update(name)
	publisher.publish("news", 1)
	client.next("news")
	received = [message["name"] for message in updates(client)]
	if second:
		bench.sidecar.kill()
		client.wait_for("disconnect")
		bench.sidecar.start()
	else:
		disconnected(client)
	update("b")
	publisher.publish("news", 2)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	until(lambda: len(client.all("news")) == 2, "the event that it has missed")
	assert client.state()["recovered"] is True
	until(lambda: {"b", "c"} <= {one["name"] for one in updates(client)}, "the updates")
	update("d")
	until(lambda: updates(client)[-1]["name"] == "d", "the last one")
	names = [message["name"] for message in updates(client)]
	assert names[0] == "a"
	assert names.count("a") == names.count("c") == 1
	assert received in (["a"], ["a", "b", "c"])
	assert names[names.index("c") :] == ["c", "b", "d"]
	assert [args[0] for args in client.all("news")] == [1, 2]
