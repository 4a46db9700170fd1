"""The merge of the parts of several processes."""

from __future__ import annotations

from typing import Any

from realtime.histogram import LATENCY_BOUNDS
from realtime.monitor import merge

NO_LATENCY = [0] * (len(LATENCY_BOUNDS) + 1)


def part(id: str, incidents: Any = (), latency: list[int] = NO_LATENCY, **site: Any) -> dict[str, Any]:
	"""Return the part of a process with one site."""
	return {
		"process": {"id": id},
		"latency": latency,
		"sites": {"one.test": {**merge.EMPTY_SITE, **site}},
		"incidents": list(incidents),
	}


def snapshot(*parts: dict[str, Any]) -> dict[str, Any]:
	"""Return the snapshot of the site."""
	return merge.snapshot("one.test", parts, 5.0, 2.0)


def test_a_user_on_two_processes_is_one_user() -> None:
	found = snapshot(
		part("a", sockets=3, websocket=1, guests=1, users=[["ann", 2], ["Guest", 1]]),
		part("b", sockets=2, websocket=2, users=[["ann", 1], ["bob", 1]]),
	)
	assert found["totals"] == {
		"users": 2,
		"guests": 1,
		"sockets": 5,
		"websocket": 3,
		"polling": 2,
		"rooms": 0,
	}
	assert found["users"] == [
		{"user": "ann", "sockets": 3},
		{"user": "Guest", "sockets": 1},
		{"user": "bob", "sockets": 1},
	]
	assert [process["id"] for process in found["processes"]] == ["a", "b"]


def test_users_and_rooms_beyond_the_lists_are_counted() -> None:
	found = snapshot(
		part("a", users=[["ann", 1]], hidden_users=4, rooms=[["all", 1, ["ann"], 0]], hidden_rooms=2),
		part("b", users=[["ann", 1]], hidden_users=1, rooms=[["all", 1, ["ann"], 0]], hidden_rooms=1),
	)
	assert (found["totals"]["users"], found["totals"]["rooms"]) == (6, 4)


def test_a_room_on_two_processes_is_one_room() -> None:
	found = snapshot(
		part("a", rooms=[["all", 2, ["ann", "bob"], 0], ["chat", 1, ["ann"], 0]]),
		part("b", rooms=[["all", 12, ["ann", "cid"], 8]]),
	)
	assert found["rooms"] == [
		{"room": "all", "sockets": 14, "users": 11},
		{"room": "chat", "sockets": 1, "users": 1},
	]


def test_events_from_redis_are_counted_once_and_those_of_handlers_added() -> None:
	found = snapshot(
		part(
			"a",
			rates=[2.0, 1.0, 20.0, 0.5],
			events=[["news", 5, 0, 500, 0, 10, False], ["said", 0, 2, 0, 20, 4, True]],
		),
		part(
			"b",
			rates=[1.5, 0.5, 10.0, 0.5],
			events=[["news", 4, 0, 400, 0, 7, True], ["said", 0, 1, 0, 10, 5, False]],
		),
	)
	assert found["rates"] == {"events": 3.5, "deliveries": 30.0, "client_events": 1.0}
	assert found["events"] == [
		{"event": "news", "count": 5, "bytes": 500, "deliveries": 17, "to_all": True},
		{"event": "said", "count": 3, "bytes": 30, "deliveries": 9, "to_all": True},
	]


def test_handlers_are_added() -> None:
	found = snapshot(
		part("a", handlers=[["chat", "say", 2, 0.5, 1, "ValueError: a"], ["chat", "read", 1, 0.9, 0, ""]]),
		part("b", handlers=[["chat", "say", 3, 0.25, 0, ""]]),
	)
	assert found["handlers"] == [
		{"app": "chat", "event": "read", "calls": 1, "seconds": 0.9, "errors": 0, "last_error": ""},
		{
			"app": "chat",
			"event": "say",
			"calls": 5,
			"seconds": 0.75,
			"errors": 1,
			"last_error": "ValueError: a",
		},
	]


def test_the_newest_incident_is_the_first() -> None:
	def incident(time: float) -> list[Any]:
		return [time, "limit", "key", "A sentence.", "ann", "", 1, "one.test"]

	found = snapshot(part("a", [incident(3.0), incident(1.0)]), part("b", [incident(2.0)]))
	assert [one["time"] for one in found["incidents"]] == [3.0, 2.0, 1.0]
	assert found["incidents"][0].keys() == {"time", "kind", "code", "message", "user", "address", "count"}


def test_latencies_are_those_of_all_observations() -> None:
	fast, slow = NO_LATENCY.copy(), NO_LATENCY.copy()
	fast[0], slow[6] = 90, 10
	found = snapshot(part("a", latency=fast), part("b", latency=slow))["latency_ms"]
	assert found["p50"] < 1
	assert 50 <= found["p99"] <= 100
	assert snapshot(part("a"))["latency_ms"] == {"p50": 0.0, "p99": 0.0}


def test_lists_are_bounded() -> None:
	found = snapshot(
		part(
			"a",
			[[1.0, "limit", "key", "A sentence.", str(number), "", 1, ""] for number in range(1000)],
			users=[[str(number), 1] for number in range(1000)],
			rooms=[[str(number), 1, [], 1] for number in range(1000)],
			events=[[str(number), 1, 0, 1, 0, 1, False] for number in range(1000)],
			handlers=[["chat", str(number), 1, 1.0, 0, ""] for number in range(1000)],
		)
	)
	lengths = {key: len(found[key]) for key in ("users", "rooms", "events", "handlers", "incidents")}
	assert lengths == {"users": 100, "rooms": 50, "events": 50, "handlers": 100, "incidents": 50}
	assert (found["totals"]["users"], found["totals"]["rooms"]) == (1000, 1000)


def test_a_process_without_sockets_of_the_site_is_shown() -> None:
	found = snapshot({"process": {"id": "a"}, "latency": NO_LATENCY, "sites": {}, "incidents": []})
	assert found["totals"]["sockets"] == 0
	assert found["processes"] == [{"id": "a"}]


def test_samples_of_the_same_time_are_merged() -> None:
	first = [[10, 2, 1.0, 0.5, 8.0, 0.001, 0.002, 100], [20, 3, 2.0, 0.0, 9.0, 0.0, 0.0, 100]]
	second = [[20, 4, 1.5, 0.5, 1.0, 0.003, 0.004, 50]]
	assert merge.history([first, second]) == [
		[10, 2, 1.5, 8.0, 1.0, 2.0, 100],
		[20, 7, 2.5, 10.0, 3.0, 4.0, 150],
	]
	assert len(merge.history([[[10 * n, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 1] for n in range(1000)]])) == 360


def test_members_are_added() -> None:
	assert merge.members([[["ann", 1], ["bob", 3]], [["ann", 1]]]) == [
		{"user": "bob", "sockets": 3},
		{"user": "ann", "sockets": 2},
	]


def test_the_bench_has_all_sites_with_their_events() -> None:
	one = part(
		"a", [[1.0, "outage", "c", "A sentence.", "", "", 1, ""]], events=[["news", 1, 0, 5, 0, 1, False]]
	)
	two = part("b")
	two["sites"]["two.test"] = {**merge.EMPTY_SITE, "sockets": 1, "events": [["more", 2, 0, 5, 0, 1, False]]}
	found = merge.bench([one, two], 5.0, 2.0)
	assert [site["site"] for site in found["sites"]] == ["one.test", "two.test"]
	assert [(event["site"], event["event"]) for event in found["events"]] == [
		("two.test", "more"),
		("one.test", "news"),
	]
	assert found["incidents"][0]["site"] == ""
