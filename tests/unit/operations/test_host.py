"""`/health` and `/metrics` of several workers put together."""

from __future__ import annotations

from typing import Any

from realtime.operations import host
from realtime.operations.metrics import render
from realtime.workers.counters import Family


def part(worker: int, **more: Any) -> dict[str, Any]:
	return {
		"worker": worker,
		"name": f"name-{worker}",
		"pid": 100 + worker,
		"subscribed": True,
		"descriptors": {"open": 10 * worker, "limit": 100},
		"history": {"refused": {}, "sessions_refused": ""},
		"connections": worker,
		"clients_without_address": 1,
		"unreachable_sidecars": {},
		"handlers": {
			"python": {"apps": {"crm": {"events": ["a"], "set_up": True}}, "errors": {}, "events": 2},
			"javascript": {"apps": [], "failures": {"crm": 1}, "process": worker, "starts": 1},
		},
		**more,
	}


def test_counts_are_sums() -> None:
	found = host.health([part(2), part(1)], silent=0)
	assert found["connections"] == 3
	assert found["clients_without_address"] == 2
	assert found["handlers"]["python"] == {
		"apps": {"crm": {"events": ["a"], "set_up": True}},
		"errors": {},
		"events": 4,
	}
	assert found["handlers"]["javascript"] == {"apps": [], "failures": {"crm": 2}, "process": 2, "starts": 2}
	assert [one["worker"] for one in found["workers"]] == [1, 2]
	assert found["subscribed"]
	assert found["history"] == {"ok": True, "refused": {}, "sessions_refused": ""}


def test_the_worker_with_the_fewest_descriptors_left_counts() -> None:
	assert host.health([part(1), part(9), part(2)], silent=0)["descriptors"]["open"] == 90


def test_one_worker_without_events_or_without_an_answer_is_an_error() -> None:
	assert not host.health([part(1), part(2, subscribed=False)], silent=0)["subscribed"]
	assert not host.health([part(1)], silent=1)["subscribed"]


def test_what_redis_refuses_one_worker_is_reported() -> None:
	refused = part(2, history={"refused": {"a.test": "NOPERM"}, "sessions_refused": "NOPERM"})
	assert host.health([part(1), refused], silent=0)["history"] == {
		"ok": False,
		"refused": {"a.test": "NOPERM"},
		"sessions_refused": "NOPERM",
	}


def test_an_app_that_has_failed_in_one_worker_only_is_reported() -> None:
	failed = part(2)
	failed["handlers"]["javascript"]["failures"] = {"crm": 1, "hrms": 3}
	found = host.health([part(1), failed], silent=0)
	assert found["handlers"]["javascript"]["failures"] == {"crm": 2, "hrms": 3}


def test_a_single_process_is_no_worker() -> None:
	assert host.health([part(0)], silent=0)["workers"] == []


def test_metrics_are_sums_without_a_label_for_the_worker() -> None:
	def families(connections: float, subscribed: float, away: float) -> list[Family]:
		return [
			(
				"frappe_realtime_connections",
				"Connections",
				"gauge",
				[("frappe_realtime_connections", {"transport": "polling"}, connections)],
			),
			("frappe_realtime_subscribed", "1", "gauge", [("frappe_realtime_subscribed", {}, subscribed)]),
			("frappe_realtime_web_away", "1", "gauge", [("frappe_realtime_web_away", {}, away)]),
			(
				"frappe_realtime_seconds",
				"Seconds",
				"histogram",
				[
					("frappe_realtime_seconds_bucket", {"le": "1.0"}, 1),
					("frappe_realtime_seconds_bucket", {"le": "+Inf"}, 2),
					("frappe_realtime_seconds_count", {}, 2),
					("frappe_realtime_seconds_sum", {}, 3.5),
				],
			),
		]

	text = render(host.metrics([families(1, 1, 0), families(2, 0, 1)])).decode()
	assert [line for line in text.splitlines() if not line.startswith("#")] == [
		'frappe_realtime_connections{transport="polling"} 3.0',
		"frappe_realtime_subscribed 0.0",
		"frappe_realtime_web_away 1.0",
		'frappe_realtime_seconds_bucket{le="1.0"} 2.0',
		'frappe_realtime_seconds_bucket{le="+Inf"} 4.0',
		"frappe_realtime_seconds_count 4.0",
		"frappe_realtime_seconds_sum 7.0",
	]


def test_samples_that_only_one_worker_has_are_kept() -> None:
	one: list[Family] = [("a", "A", "gauge", [("a", {"site": "one"}, 1)])]
	other: list[Family] = [
		("a", "A", "gauge", [("a", {"site": "two"}, 1)]),
		("b", "B", "gauge", [("b", {}, 5)]),
	]
	assert host.metrics([one, other]) == [
		("a", "A", "gauge", [("a", {"site": "one"}, 1), ("a", {"site": "two"}, 1)]),
		("b", "B", "gauge", [("b", {}, 5)]),
	]


def test_what_each_worker_knows_of_all_sidecars_counts_once() -> None:
	def families(places: float, here: float, users: float) -> list[Family]:
		return [
			(f"frappe_realtime_{name}", "", "gauge", [(f"frappe_realtime_{name}", labels, value)])
			for name, labels, value in (
				("presence_places", {}, places),
				("presence_members", {}, here),
				("online_users", {"site": "one.test"}, users),
			)
		]

	samples = [
		sample for *_, found in host.metrics([families(3, 2, 7), families(3, 4, 6)]) for sample in found
	]
	assert samples == [
		("frappe_realtime_presence_places", {}, 3),
		("frappe_realtime_presence_members", {}, 6),
		("frappe_realtime_online_users", {"site": "one.test"}, 7),
	]
