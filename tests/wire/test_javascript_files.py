"""Files of apps with handlers in JavaScript: which are loaded, which are left out, and files that change in development."""

from __future__ import annotations

import pytest

from tests.wire.bench import STOCK_SITE
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import (
	GOOD,
	MakeJavaScriptBench,
	handlers_js,
	in_log,
	install,
	make_javascript_bench,
	node_environment,
	processes,
	wait_for_good,
	write_app,
)

__all__ = ["make_javascript_bench"]


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

	until(arrived, lambda: f"version {version}; so far {client.all('version')}")
