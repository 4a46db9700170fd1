"""Who may watch a site: System Managers, while they have the role."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.monitor.watching import MONITOR, QUERY, SNAPSHOT, manager, query, snapshot, watch


def announce(bench: Bench, kind: str, **fields: str) -> None:
	"""Announce a change of access, as the app does."""
	message = {"site": APP_SITE, "kind": kind, **fields}
	bench.valkey.client.publish("frappe_realtime:access", json.dumps(message))


def test_a_user_without_the_role_is_refused(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	for answer in (
		client.call(MONITOR, {"watch": True}),
		query(client, "ping"),
		query(client, "room", room="all"),
	):
		assert answer["error"]["code"] == "not_permitted"
		assert answer["error"]["message"]
	assert client.all(SNAPSHOT) == []


def test_a_guest_is_refused_without_a_question(bench: Bench, connect: Connect) -> None:
	before = bench.web.counts["frappe.realtime.can_monitor"]
	assert connect(bench).call(MONITOR, {"watch": True})["error"]["code"] == "not_permitted"
	assert bench.web.counts["frappe.realtime.can_monitor"] == before


def test_a_site_without_the_app_is_not_shown(bench: Bench, connect: Connect) -> None:
	client = connect(bench, "Administrator", STOCK_SITE)
	assert client.call(MONITOR, {"watch": True})["error"]["code"] == "not_permitted"


@pytest.mark.parametrize("payload", [None, 1, [], {}, {"watch": 1}, {"watch": None}])
def test_a_malformed_request_to_watch(bench: Bench, connect: Connect, payload: Any) -> None:
	client = connect(bench, manager(bench))
	assert client.call(MONITOR, payload)["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
	"payload",
	[
		None,
		{},
		{"kind": "other"},
		{"kind": "room"},
		{"kind": "room", "room": 1},
		{"kind": "user", "user": ""},
	],
)
def test_a_malformed_query(bench: Bench, connect: Connect, payload: Any) -> None:
	client = connect(bench, manager(bench))
	assert client.call(QUERY, payload)["error"]["code"] == "bad_request"


def test_a_role_that_is_withdrawn_ends_the_watch(bench: Bench, connect: Connect) -> None:
	user = manager(bench)
	client, other = connect(bench, user), connect(bench, manager(bench))
	watch(client)
	watch(other)
	snapshot(client)
	user.roles.clear()
	announce(bench, "user", user=user.name)
	until(
		lambda: query(client, "ping").get("error", {}).get("code") == "not_permitted", "the query is refused"
	)
	count = len(client.all(SNAPSHOT))
	before = len(other.all(SNAPSHOT))
	until(lambda: len(other.all(SNAPSHOT)) >= before + 2, "two more snapshots for the other one")
	assert len(client.all(SNAPSHOT)) == count


def test_a_change_that_leaves_the_role_does_not_end_the_watch(bench: Bench, connect: Connect) -> None:
	user = manager(bench)
	client = connect(bench, user)
	watch(client)
	announce(bench, "user", user=user.name)
	before = len(client.all(SNAPSHOT))
	until(lambda: len(client.all(SNAPSHOT)) > before, "a further snapshot")


def test_without_the_web_process_there_is_no_answer(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_web_patience": 0, "realtime_cache_seconds": 0})
	client = connect(bench, manager(bench))
	bench.stop_web()
	assert client.call(MONITOR, {"watch": True})["error"]["code"] == "unavailable"
