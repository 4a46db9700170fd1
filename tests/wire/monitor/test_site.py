"""What System Managers see of their site, on one sidecar and on two."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import BOTH, POLLING, Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.monitor.watching import manager, query, snapshot, watch
from tests.wire.sidecars import Pair


def test_the_site_is_described(own_bench: Bench, connect: Connect) -> None:
	bench = own_bench
	boss, ann = manager(bench), bench.user()
	client = connect(bench, boss)
	connect(bench, ann)
	connect(bench, ann, transports=POLLING)
	connect(bench)
	connect(bench, bench.user(STOCK_SITE), STOCK_SITE)
	answer = watch(client)
	assert answer["interval"] == 2
	assert answer["history"]["interval"] == 10
	assert answer["history"]["fields"] == [
		"time",
		"sockets",
		"events",
		"deliveries",
		"p50_ms",
		"p99_ms",
		"memory",
	]
	found = snapshot(client)
	assert found.keys() == {
		"time",
		"site",
		"interval",
		"processes",
		"totals",
		"rates",
		"latency_ms",
		"rooms",
		"users",
		"events",
		"handlers",
		"incidents",
	}
	assert found["site"] == APP_SITE
	assert found["totals"] == {
		"users": 2,
		"guests": 1,
		"sockets": 4,
		"websocket": 3,
		"polling": 1,
		"rooms": 2,
	}
	(process,) = found["processes"]
	assert process["sockets"] == 4
	assert process["pid"] == bench.sidecar.process.pid  # type: ignore[union-attr]
	assert process["redis"] == process["web"] == "ok"
	assert process["memory"] > 10_000_000
	assert {"user": ann.name, "sockets": 2} in found["users"]
	assert {"room": "website", "sockets": 4, "users": 3} in found["rooms"]
	assert {"room": "all", "sockets": 3, "users": 2} in found["rooms"]


def test_events_are_counted_from_the_first_watcher_on(own_bench: Bench, connect: Connect) -> None:
	bench = own_bench
	client, ann = connect(bench, manager(bench)), connect(bench, bench.user())
	bench.publish("early", {}, "all")
	bench.settle(client, ann)
	watch(client)
	for _ in range(3):
		bench.publish("news", {"text": "hello"}, "all")
	bench.publish("private", {}, f"user:{manager(bench).name}")
	bench.publish("news", {}, "all", STOCK_SITE)
	assert ann.call("say", "secret text") == "secret text"
	found = snapshot(
		client, lambda found: {"news", "private", "said"} <= {one["event"] for one in found["events"]}
	)
	events = {one["event"]: one for one in found["events"]}
	assert "early" not in events
	assert (events["news"]["count"], events["news"]["deliveries"], events["news"]["to_all"]) == (3, 6, True)
	assert events["news"]["bytes"] > 3 * len('{"text": "hello"}')
	assert (events["private"]["count"], events["private"]["deliveries"]) == (1, 0)
	assert not events["private"]["to_all"]
	assert (events["said"]["count"], events["said"]["deliveries"], events["said"]["to_all"]) == (1, 2, True)
	assert found["rates"]["events"] > 0
	assert found["rates"]["deliveries"] > 0
	assert found["rates"]["client_events"] > 0
	assert "secret text" not in json.dumps(found)
	(handler,) = found["handlers"]
	assert (handler["app"], handler["event"], handler["calls"], handler["errors"]) == ("chat", "say", 1, 0)


def test_only_the_own_site_is_shown(own_bench: Bench, connect: Connect) -> None:
	bench = own_bench
	other_site = "other.test"
	bench.add_site(other_site, ["frappe", "frappe_realtime"])
	boss, other_boss = manager(bench), manager(bench, other_site)
	client, other = connect(bench, boss), connect(bench, other_boss, other_site)
	watch(client)
	watch(other)
	bench.publish("of_app", {}, "all", APP_SITE)
	bench.publish("of_other", {}, "all", other_site)
	with pytest.raises(Refused):
		connect(bench, site=other_site, headers={"Origin": "https://elsewhere.invalid"})
	found = snapshot(other, lambda found: found["events"] and found["incidents"])
	assert [one["event"] for one in found["events"]] == ["of_other"]
	assert [one["code"] for one in found["incidents"]] == ["origin_not_allowed"]
	assert found["totals"]["sockets"] == 1
	found = snapshot(client, lambda found: found["events"])
	assert [one["event"] for one in found["events"]] == ["of_app"]
	assert found["incidents"] == []
	text = json.dumps([args for _, args in client.events])
	assert other_site not in text
	assert other_boss.name not in text or other_boss.name == boss.name
	assert query(client, "user", user=other_boss.name)["sockets"] == []
	assert query(client, "disconnect", user="Guest") == {"sockets": 0}


def test_samples_are_taken_while_no_client_watches(own_bench: Bench, connect: Connect) -> None:
	client = connect(own_bench, manager(own_bench))
	samples = until(lambda: watch(client)["history"]["samples"], "a sample")
	time, sockets, *_, memory = samples[-1]
	assert time % 10 == 0
	assert sockets == 1
	assert memory > 10_000_000


# -- queries


def test_queries(own_bench: Bench, connect: Connect) -> None:
	bench = own_bench
	client = connect(bench, manager(bench))
	ann = bench.user()
	name = bench.document()
	bench.site().allow(ann.name, "ToDo", name)
	first = connect(bench, ann, headers={"User-Agent": "A Browser/1.0"})
	connect(bench, ann, transports=BOTH)
	room = f"doc:ToDo/{name}"
	bench.join(first, room, "doc_subscribe", "ToDo", name)
	assert query(client, "ping")["time"] > 1_700_000_000
	assert query(client, "room", room=room) == {"members": [{"user": ann.name, "sockets": 1}]}
	assert query(client, "room", room="website")["members"][0] == {"user": ann.name, "sockets": 2}
	sockets = query(client, "user", user=ann.name)["sockets"]
	assert len(sockets) == 2
	(socket,) = [one for one in sockets if one["id"] == first.id]
	assert socket.keys() == {
		"id",
		"since",
		"address",
		"transport",
		"client",
		"rooms",
		"unsent",
		"process",
	}
	assert (socket["client"], socket["transport"], socket["unsent"]) == ("A Browser/1.0", "websocket", 0)
	assert socket["rooms"] == sorted(["all", "website", f"user:{ann.name}", room])
	assert socket["address"] == "127.0.0.1"
	assert not [sid for sid in bench.site().sessions if sid in json.dumps(sockets)]


def test_a_user_can_end_the_own_sockets(own_bench: Bench, connect: Connect) -> None:
	boss = manager(own_bench)
	client = connect(own_bench, boss)
	assert query(client, "disconnect", user=boss.name) == {"sockets": 1}
	client.wait_for_disconnect()


# -- two sidecars


@pytest.fixture
def pair(background: Background, tmp_path: Any) -> Iterator[Pair]:
	"""Two sidecars of one bench, for one test."""
	one = Pair(background, tmp_path)
	yield one.start()
	one.close()
	one.check_logs()


def test_two_sidecars_are_shown_as_one(pair: Pair, connect: Connect) -> None:
	bench = pair.first
	boss, ann = manager(bench), bench.user()
	client = connect(pair.first, boss)
	here, there = connect(pair.first, ann), connect(pair.second, ann)
	only_there = connect(pair.second, bench.user())
	watch(client)
	found = snapshot(client, lambda found: len(found["processes"]) == 2)
	assert found["totals"] == {
		"users": 3,
		"guests": 0,
		"sockets": 4,
		"websocket": 4,
		"polling": 0,
		"rooms": 2,
	}
	assert {process["pid"] for process in found["processes"]} == {
		one.sidecar.process.pid  # type: ignore[union-attr]
		for one in (pair.first, pair.second)
	}
	assert {"room": "website", "sockets": 4, "users": 3} in found["rooms"]
	# Each sidecar receives the event; it is counted once.
	bench.publish("news", {}, "all")
	there.call("enter", "chat")
	here.emit("say", "nsp", "", "hello")
	only_there.next("said")
	found = snapshot(client, lambda found: {"news", "said"} <= {one["event"] for one in found["events"]})
	events = {one["event"]: one for one in found["events"]}
	assert (events["news"]["count"], events["news"]["deliveries"]) == (1, 4)
	assert (events["said"]["count"], events["said"]["deliveries"]) == (1, 4)
	assert query(client, "room", room="website")["members"][0] == {"user": ann.name, "sockets": 2}
	assert {one["process"] for one in query(client, "user", user=ann.name)["sockets"]} == {
		process["id"] for process in found["processes"]
	}
	assert query(client, "disconnect", user=ann.name) == {"sockets": 2}
	here.wait_for_disconnect()
	there.wait_for_disconnect()
	assert only_there.connected


def test_a_sidecar_that_is_killed_disappears(pair: Pair, connect: Connect) -> None:
	client = connect(pair.first, manager(pair.first))
	watch(client)
	snapshot(client, lambda found: len(found["processes"]) == 2)
	pair.second.sidecar.kill()
	snapshot(client, lambda found: len(found["processes"]) == 1)


def test_a_sidecar_that_does_not_answer_is_shown_as_such(pair: Pair, connect: Connect) -> None:
	client = connect(pair.first, manager(pair.first))
	watch(client)
	snapshot(client, lambda found: len(found["processes"]) == 2)
	pair.second.sidecar.signal(signal.SIGSTOP)
	try:
		found = snapshot(client, lambda found: found["processes"][-1]["redis"] != "ok")
		assert "has not answered" in found["processes"][-1]["redis"]
	finally:
		pair.second.sidecar.signal(signal.SIGCONT)
	snapshot(client, lambda found: len(found["processes"]) == 2 and found["processes"][-1]["redis"] == "ok")
