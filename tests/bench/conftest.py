"""Fixtures of the bench ring.

`bench` is the real one that FRAPPE_BENCH_ROOT names, with everything running; what ran before is used and left alone.
`node_clients` are socket.io-client, of two versions and over each way to connect.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.bench.installation import AnyClient, Bench, NotSuitable, Person
from tests.wire import nodejs
from tests.wire.browser import NoChromium, chromium
from tests.wire.clients import BOTH, POLLING, WEBSOCKET

WAYS = [(version, transports) for version in nodejs.VERSIONS for transports in (POLLING, WEBSOCKET, BOTH)]
"""Both versions of socket.io-client, over polling, over WebSocket, and upgrading from one to the other."""

ConnectNode = Callable[..., nodejs.NodeClient]
OpenWindow = Callable[..., BrowserContext]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench, with all its processes running."""
	root = os.environ.get("FRAPPE_BENCH_ROOT")
	if not root:
		pytest.skip("FRAPPE_BENCH_ROOT names no bench")
	try:
		one = Bench(Path(root).resolve(), tmp_path_factory.mktemp("bench"))
	except NotSuitable as reason:
		pytest.skip(str(reason))
	try:
		one.start()
		yield one
	except NotSuitable as reason:
		pytest.skip(str(reason))
	finally:
		one.close()


@pytest.fixture
def own_processes(bench: Bench) -> Bench:
	"""The bench, whose processes a test may stop, since the tests have started all of them."""
	if names := ", ".join(bench.foreign_processes()):
		pytest.skip(f"not started by the tests, which may not stop it therefore: {names}")
	return bench


@pytest.fixture
def clients() -> Iterator[list[AnyClient]]:
	"""The clients of a test; they are closed in the end."""
	made: list[AnyClient] = []
	yield made
	for one in made:
		one.close()


@pytest.fixture
def connect_node(bench: Bench, clients: list[AnyClient]) -> ConnectNode:
	"""Connect a Node client: `connect_node(person or site, version=…, transports=…, credential=…, url=…)`.

	`wait=False` does not wait for the connection; more arguments become headers.
	"""
	if reason := nodejs.missing():
		pytest.skip(reason)

	def connect(
		person: Person | str,
		version: str = nodejs.NEW,
		transports: tuple[str, ...] = WEBSOCKET,
		credential: str = "",
		url: str = "",
		site: str = "",
		options: dict[str, Any] | None = None,
		wait: bool = True,
		**headers: str | None,
	) -> nodejs.NodeClient:
		site = site or (person if isinstance(person, str) else person.site)
		client = nodejs.NodeClient(
			version,
			f"{url or f'http://{site}:{bench.port}'}/{site}",
			bench.headers(person, credential, **headers),
			transports,
			options or {},
		)
		clients.append(client)
		return client.connect() if wait else client

	return connect


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
	"""One headless Chromium for the whole run, to which every host is this machine."""
	try:
		with chromium("--host-resolver-rules=MAP * 127.0.0.1") as one:
			yield one
	except NoChromium as reason:
		pytest.skip(str(reason))


@pytest.fixture
def web_with_assets(bench: Bench) -> None:
	"""A web process that serves /assets, without which the Desk has no scripts."""
	if not bench.web.is_ours:
		pytest.skip("the web process ran before the tests: stop it, and the tests start one that has /assets")


@pytest.fixture
def open_window(bench: Bench, browser: Browser) -> Iterator[OpenWindow]:
	"""One person's browser, logged in: `open_window(person)`; `host` where it is not the site's name."""
	windows: list[BrowserContext] = []

	def open_window(person: Person | None, host: str = "") -> BrowserContext:
		window = browser.new_context(ignore_https_errors=True, viewport={"width": 1300, "height": 850})
		windows.append(window)
		window.set_default_timeout(60_000)
		# Chromium on a machine without a network takes itself for offline, and Frappe then calls no server at all.
		window.add_init_script("Object.defineProperty(navigator, 'onLine', { get: () => true })")
		if person:
			sid, domain = bench.log_in(person), host or person.site
			window.add_cookies([{"name": "sid", "value": sid, "domain": domain, "path": "/"}])
		return window

	yield open_window
	for window in windows:
		window.close()
