"""Handlers in JavaScript that fail, hang or end their process affect neither the sidecar nor other handlers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import (
	GOOD,
	MakeJavaScriptBench,
	handlers_js,
	in_log,
	make_javascript_bench,
	node_environment,
	processes,
	start_with_apps,
	wait_for_good,
	wait_for_process,
)
from tests.wire.workers import guest

__all__ = ["make_javascript_bench"]

BAD = """
	socket.on("throw", () => { throw new Error("thrown"); });
	socket.on("throw", () => socket.emit("second listener"));
	socket.on("reject", async () => { await null; throw new Error("rejected"); });
	socket.on("timer", () => setTimeout(() => { throw new Error("in a timer"); }, 1));
	socket.on("forgotten", () => { Promise.reject(new Error("forgotten")); });
	socket.on("no error", () => { throw null; });
	socket.on("answer", () => socket.emit("echo", () => { throw new Error("in an acknowledgement"); }));
	socket.on("event", () => require("events").prototype.emit.call(new (require("events"))(), "error", new Error("emitted")));
	socket.use((packet, next) => { if (packet[0] === "middleware") throw new Error("in middleware"); next(); });
	socket.on("disconnect", () => { throw new Error("in a disconnect handler"); });
	socket.on("exit", () => process.exit(3));
	socket.on("hang", () => { for (;;); });
	socket.on("print", () => setInterval(() => { for (let n = 0; n < 1000; n++) console.log("x".repeat(500)); }, 1));
	socket.on("print a line", () => setInterval(() => process.stdout.write("x".repeat(1e6)), 1));
	socket.on("grow", () => { const all = []; for (;;) all.push(new Array(1e6).fill(all.length)); });
	socket.on("remember", (room) => { socket.join(room); socket.emit("rooms", [...socket.rooms]); });
	socket.on("rooms", () => socket.emit("rooms", [...socket.rooms]));
"""


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests that end neither its sidecar nor its Node process."""
	return start_with_apps(make_shared_bench, good=GOOD, bad=BAD)


@pytest.mark.parametrize(
	("event", "text"),
	[
		("throw", "thrown"),
		("reject", "rejected"),
		("timer", "in a timer"),
		("forgotten", "forgotten"),
		("no error", "null"),
		("answer", "in an acknowledgement"),
		("event", "emitted"),
		("middleware", "in middleware"),
	],
)
def test_error_is_logged_and_affects_no_other_handler(
	shared: Bench, connect: Connect, event: str, text: str
) -> None:
	bench = shared
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	before, failures = len(bench.sidecar.log), failures_of_bad(bench)

	def log() -> str:
		"""The log from the line of this error on."""
		new = bench.sidecar.log[before:]
		return new[new.rfind("\n", 0, new.find(text)) + 1 :] if text in new else ""

	client.emit(event)
	until(log, f"{text!r} in the log")
	line = log().splitlines()[0]
	assert "ERROR realtime.javascript: bad: " in line
	if event not in ("timer", "forgotten", "answer"):
		assert f'"{event}"' in line or f"middleware of {event}" in line
	if event != "no error":
		until(lambda: "apps/bad/realtime/handlers.js:" in log(), "where it was raised")
	wait_for_good(client)
	if event == "throw":
		client.emit("throw")
		client.next("second listener")
	assert processes(bench) == [pid]
	assert failures_of_bad(bench) > failures


def failures_of_bad(bench: Bench) -> int:
	"""Return how many errors of the app `bad` were not caught so far."""
	return int(bench.sidecar.health()[1]["handlers"]["javascript"]["failures"].get("bad", 0))


def test_error_in_a_disconnect_handler(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(good=GOOD, bad=BAD)
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	wait_for_good(client)
	client.close()
	in_log(bench, "in a disconnect handler")
	wait_for_good(other)


def end_process(bench: Bench, client: Client, cause: str) -> int:
	"""Let the process end; return the id of the next one."""
	pid = wait_for_process(bench)
	if cause == "kill":
		os.kill(pid, signal.SIGKILL)
	else:
		client.emit(cause)
	return wait_for_process(bench, other_than=pid)


@pytest.mark.parametrize("cause", ["exit", "kill", "grow", "hang"])
def test_process_that_ends_is_restarted(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect, cause: str
) -> None:
	bench = make_javascript_bench(
		{
			"common": {"realtime_javascript_timeout": 2 if cause == "hang" else 60},
			"env": {**node_environment(), "NODE_OPTIONS": "--max-old-space-size=64"},
		},
		bad=BAD,
		good=GOOD,
	)
	one, two = connect(bench, bench.user()), connect(bench, bench.user())
	one.emit("remember", "kept")
	rooms = set(one.next("rooms")[0])
	assert "kept" in rooms
	end_process(bench, one, cause)
	for client in (one, two):
		wait_for_good(client)
		assert client.disconnects == 0
	one.emit("rooms")
	until(lambda: one.all("rooms"), "rooms")
	assert set(one.all("rooms")[-1][0]) == rooms
	in_log(
		bench,
		{"exit": "exit code 3", "kill": "by SIGKILL", "grow": "by SIGABRT", "hang": "by SIGKILL"}[cause],
	)
	if cause == "hang":
		in_log(bench, "the last handler that it began is bad: hang")


@pytest.mark.parametrize("event", ["print", "print a line"])
def test_flood_of_output_fills_neither_memory_nor_log(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect, event: str
) -> None:
	bench = make_javascript_bench(good=handlers_js(GOOD + BAD))
	client = connect(bench, bench.user())
	wait_for_good(client)
	before = bench.sidecar.memory()
	client.emit(event)
	for _ in range(100):
		# The sidecar and the handlers keep responding.
		wait_for_good(client)
	assert bench.sidecar.memory() - before < 32 << 20
	assert len(bench.sidecar.log) < 8 << 20


def test_events_are_kept_while_the_process_restarts(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(
		good=GOOD, order='socket.on("order", (number) => socket.emit("order", number));'
	)
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	os.kill(pid, signal.SIGKILL)
	until(lambda: "ended by SIGKILL" in bench.sidecar.log, "the end of the process")
	for number in range(100):
		client.emit("order", number)
	until(lambda: len(client.all("order")) == 100, "all events")
	assert [args[0] for args in client.all("order")] == list(range(100))


def test_a_process_that_does_not_keep_up_leaves_events_unread(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	"""So the sidecar drops them, and the memory of neither process fills."""
	slow = (
		'socket.on("slow", () => { const end = performance.now() + 20; while (performance.now() < end); });'
	)
	bench = make_javascript_bench({"common": {"realtime_events_per_second": 1_000_000}}, good=GOOD, slow=slow)
	client = connect(bench, bench.user())
	wait_for_good(client)

	def dropped() -> int:
		for _ in range(100):
			client.emit("slow", "x" * 20_000)
		return int(bench.sidecar.health()[1]["handlers"]["javascript"]["dropped_events"])

	until(dropped, "events that are dropped")
	in_log(bench, "JavaScript handlers are too slow")


def test_a_process_that_is_only_behind_is_not_ended(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	"""Its pong comes after some seconds, behind all events that wait, and the handlers emit in the meantime."""
	slow = """
		socket.on("slow", (number) => {
			const end = performance.now() + 5;
			while (performance.now() < end);
			socket.emit("slow", number);
		});
	"""
	options = {"realtime_events_per_second": 1_000_000, "realtime_javascript_timeout": 2}
	bench = make_javascript_bench({"common": options}, good=GOOD, slow=slow)
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	for number in range(1400):
		client.emit("slow", number)
	until(lambda: len(client.all("slow")) == 1400, "all events", 90)
	assert processes(bench) == [pid]


def test_core_works_while_the_process_is_stopped(shared: Bench, connect: Connect) -> None:
	bench = shared
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	os.kill(pid, signal.SIGSTOP)
	try:
		client.fence()
		bench.settle(client)
		connect(bench, bench.user()).fence()
	finally:
		os.kill(pid, signal.SIGCONT)
	wait_for_good(client)


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_process_ends_with_the_sidecar(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect, hangs: bool, signum: int
) -> None:
	bench = make_javascript_bench(bad=BAD, good=GOOD)
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	if hangs:
		client.emit("hang")
		until(lambda: is_busy(pid), "a process that uses the CPU")
	bench.sidecar.signal(signum)
	bench.sidecar.wait()
	until(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), "the end of the process")


def is_busy(pid: int) -> bool:
	"""Return whether a process is running on a CPU now."""
	return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "R"


def is_zombie(pid: int) -> bool:
	"""Return whether a process has ended without its exit code having been read."""
	try:
		return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
	except OSError:
		return True


def test_signals_to_the_process_group_are_ignored(shared: Bench, connect: Connect) -> None:
	"""Ctrl-C in a terminal reaches every process of the group; the sidecar decides when to stop."""
	bench = shared
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	for signum in (signal.SIGINT, signal.SIGTERM):
		os.kill(pid, signum)
	wait_for_good(client)
	assert processes(bench) == [pid]


def test_an_answer_to_a_process_that_has_ended_is_not_taken_for_another(
	make_javascript_bench: MakeJavaScriptBench,
) -> None:
	"""The client acknowledges an event of the process before, while the next one waits for another acknowledgement."""
	bench = make_javascript_bench(
		asking='socket.on("ask", (name) => socket.emit("question", name, (text) => socket.emit("answered", name, text)));'
	)
	session = guest(bench)

	def ask(name: str) -> str:
		"""Let the handler ask the client; return the number by which the client acknowledges the question."""
		assert session.post(f'42/{APP_SITE},["ask","{name}"]').status == 200
		return packet(f'["question","{name}"]').partition(",")[2].partition("[")[0]

	def packet(end: str) -> str:
		"""Return the next packet that ends so."""
		packets: list[str] = []
		while not packets:
			packets = [one for one in session.poll() if one.endswith(end)]
		return packets[0]

	before = ask("first")
	pid = wait_for_process(bench)
	os.kill(pid, signal.SIGKILL)
	wait_for_process(bench, other_than=pid)
	after = ask("second")
	for number, text in ((before, "late"), (after, "right")):
		assert session.post(f'43/{APP_SITE},{number}["{text}"]').status == 200
	assert packet("]").endswith('["answered","second","right"]')


def test_a_namespace_that_a_handler_has_kept_has_the_clients_that_come_later(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	"""Also if the site had no client in between."""
	bench = make_javascript_bench(
		counter="""
			let kept;
			module.exports = (socket) => {
				kept ??= socket.nsp;
				socket.on("count", () => socket.emit("count", kept === socket.nsp, kept.sockets.size, kept.adapter.rooms.has(socket.id)));
			};
		"""
	)
	first = connect(bench, bench.user())
	first.emit("count")
	assert first.next("count") == (True, 1, True)
	first.close()
	until(lambda: bench.sidecar.health()[1]["handlers"]["javascript"]["sockets"] == 0, "the disconnect")
	second = connect(bench, bench.user())
	second.emit("count")
	assert second.next("count") == (True, 1, True)
