"""Handlers in JavaScript that fail, hang or end their process affect neither the sidecar nor other handlers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import (
	MakeJavaScriptBench,
	handlers_js,
	in_log,
	install,
	make_javascript_bench,
	processes,
	wait_for_process,
	write_app,
)
from tests.wire.workers import guest

__all__ = ["make_javascript_bench"]

GOOD = """
	socket.on("good", () => socket.emit("good"));
"""

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


def wait_for_good(client: Client) -> None:
	"""Wait until the app `good` responds to this client."""
	client.emit("good")
	until(lambda: client.all("good"), "a response")
	client.events.clear()


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
	make_javascript_bench: MakeJavaScriptBench, connect: Connect, event: str, text: str
) -> None:
	bench = make_javascript_bench(good=GOOD, bad=BAD)
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	client.emit(event)
	in_log(bench, text)
	line = next(line for line in bench.sidecar.log.splitlines() if text in line)
	assert "ERROR realtime.javascript: bad: " in line
	if event not in ("timer", "forgotten", "answer"):
		assert f'"{event}"' in line or f"middleware of {event}" in line
	if event != "no error":
		in_log(bench, "apps/bad/realtime/handlers.js:")
	wait_for_good(client)
	if event == "throw":
		client.emit("throw")
		client.next("second listener")
	assert processes(bench) == [pid]
	assert bench.sidecar.health()[1]["handlers"]["javascript"]["failures"]["bad"] >= 1


def test_error_in_a_disconnect_handler(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(good=GOOD, bad=BAD)
	client, other = connect(bench, bench.user()), connect(bench, bench.user())
	wait_for_good(client)
	client.close()
	in_log(bench, "in a disconnect handler")
	wait_for_good(other)


@pytest.mark.parametrize(
	("handlers", "text"),
	[
		("module.exports = (", "SyntaxError"),
		('throw new Error("while loading")', "while loading"),
		('require("nowhere")', "Cannot find module 'nowhere'"),
		("module.exports = {}", "does not export a function"),
	],
)
def test_handlers_that_cannot_be_loaded(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect, handlers: str, text: str
) -> None:
	bench = make_javascript_bench(broken=f"{handlers}\n// module.exports", good=GOOD)
	wait_for_good(connect(bench, bench.user()))
	in_log(bench, text)
	assert "broken" in bench.sidecar.health()[1]["handlers"]["javascript"]["left_out"]
	assert bench.sidecar.log.count("broken is left out") == 1
	wait_for_good(connect(bench, bench.user()))
	assert bench.sidecar.log.count("broken is left out") == 1


def test_exported_function_that_fails(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(
		bad='throw new Error("while setting up")', worse='return Promise.reject("later")', good=GOOD
	)
	wait_for_good(connect(bench, bench.user()))
	in_log(bench, "bad: handlers.js failed to set up a socket of app.test: Error: while setting up")
	in_log(bench, "worse: handlers.js failed to set up a socket of app.test: 'later'")


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


def node_environment() -> dict[str, str]:
	"""Return the environment variables by which the sidecar finds Node."""
	from tests.wire import nodejs

	return {"FRAPPE_REALTIME_NODE": nodejs.node()}


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
	slow = 'socket.on("slow", () => { const end = performance.now() + 2; while (performance.now() < end); });'
	bench = make_javascript_bench({"common": {"realtime_events_per_second": 1_000_000}}, good=GOOD, slow=slow)
	client = connect(bench, bench.user())
	wait_for_good(client)

	def dropped() -> int:
		for _ in range(100):
			client.emit("slow", "x" * 20_000)
		return int(bench.sidecar.health()[1]["handlers"]["javascript"]["dropped_events"])

	until(dropped, "events that are dropped")
	in_log(bench, "JavaScript handlers are too slow")


def test_core_works_while_the_process_is_stopped(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(good=GOOD)
	client = connect(bench, bench.user())
	wait_for_good(client)
	os.kill(wait_for_process(bench), signal.SIGSTOP)
	client.fence()
	bench.settle(client)
	connect(bench, bench.user()).fence()
	os.kill(wait_for_process(bench), signal.SIGCONT)
	wait_for_good(client)


def test_app_that_ends_the_process_while_it_loads_is_left_out(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	bench = make_javascript_bench(deadly="process.exit(7); module.exports = () => {}", good=GOOD)
	client = connect(bench, bench.user())
	wait_for_good(client)
	in_log(bench, "deadly is left out")
	assert bench.sidecar.log.count("with exit code 7") == 3


def test_without_node(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench({"env": {"FRAPPE_REALTIME_NODE": "/nowhere/node"}}, good=GOOD, other=GOOD)
	for _ in range(2):
		client = connect(bench, bench.user())
		client.emit("good")
		client.fence()
	left_out = bench.sidecar.health()[1]["handlers"]["javascript"]["left_out"]
	assert set(left_out) == {"good", "other"}
	assert "realtime_node" in left_out["good"]
	assert "/nowhere/node" in left_out["good"]
	assert bench.sidecar.log.count("good is left out") == 1


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


def test_signals_to_the_process_group_are_ignored(
	make_javascript_bench: MakeJavaScriptBench, connect: Connect
) -> None:
	"""Ctrl-C in a terminal reaches every process of the group; the sidecar decides when to stop."""
	bench = make_javascript_bench(good=GOOD)
	client = connect(bench, bench.user())
	wait_for_good(client)
	pid = wait_for_process(bench)
	for signum in (signal.SIGINT, signal.SIGTERM):
		os.kill(pid, signum)
	wait_for_good(client)
	assert processes(bench) == [pid]


# -- development


def test_changed_file_is_reloaded(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(
		{"common": {"developer_mode": 1}},
		chat='socket.on("version", () => socket.emit("version", require("./version")));',
		good=GOOD,
	)
	write_app(bench, "chat", "module.exports = 1;", "realtime/version.js")
	client = connect(bench, bench.user())
	wait_for_version(client, 1)
	write_app(bench, "chat", "module.exports = 2;", "realtime/version.js")
	write_app(
		bench,
		"chat",
		handlers_js('socket.on("version", () => socket.emit("version", 10 * require("./version")));'),
	)
	wait_for_version(client, 20)
	write_app(bench, "chat", "module.exports = (")
	until(
		lambda: "chat" in bench.sidecar.health()[1]["handlers"]["javascript"]["left_out"],
		"the app is left out",
	)
	wait_for_good(client)
	write_app(bench, "chat", handlers_js('socket.on("version", () => socket.emit("version", 30));'))
	wait_for_version(client, 30)
	assert bench.sidecar.health()[1]["handlers"]["javascript"]["left_out"] == {}
	assert client.disconnects == 0


def test_new_file_is_loaded(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench({"common": {"developer_mode": 1}})
	write_app(bench, "chat", "", "setup.py")
	install(bench, "chat")
	client = connect(bench, bench.user())
	client.fence()
	assert processes(bench) == []
	write_app(bench, "chat", handlers_js('socket.on("version", () => socket.emit("version", 1));'))
	wait_for_version(client, 1)


def test_required_file_is_watched(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	bench = make_javascript_bench(
		{"common": {"developer_mode": 1}},
		chat='const version = require("./version"); module.exports = (socket) => socket.on("version", () => socket.emit("version", version));',
	)
	write_app(bench, "chat", "module.exports = 1;", "realtime/version.js")
	client = connect(bench, bench.user())
	wait_for_version(client, 1)
	write_app(bench, "chat", "module.exports = 2;", "realtime/version.js")
	wait_for_version(client, 2)


def wait_for_version(client: Client, version: int) -> None:
	"""Wait until the handlers respond with a version."""

	def arrived() -> bool:
		client.emit("version")
		return (version,) in client.all("version")

	until(arrived, f"version {version}; so far {client.all('version')}")


# -- Frappe versions


@pytest.mark.parametrize("version", [15, 16, 17])
def test_every_version_with_and_without_the_app(
	make_bench: MakeBench, connect: Connect, version: int
) -> None:
	bench = make_bench(start=False, version=version, env=node_environment())
	write_app(bench, "good", handlers_js(GOOD))
	for site in bench.web.sites:
		install(bench, "good", site)
	bench.start()
	wait_for_good(connect(bench, bench.user(STOCK_SITE), STOCK_SITE))
	wait_for_good(connect(bench, bench.user()))


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
