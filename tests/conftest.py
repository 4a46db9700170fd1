"""Fixtures of the wire ring, which has its tests in `wire`, `hostile` and `browser`.

`bench` is shared by many tests: a test uses its own users and documents (`bench.user()`, `bench.document()`), and
changes nothing that other tests depend on. `every_bench` is the same for v15, v16 and v17. `make_bench` starts a bench for
one test, which may stop, break and restart it; `make_pair` starts two sidecars of one bench. `connect` connects a client to a
bench, and closes it after the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from realtime.demo.model import GUEST, User
from tests.wire import nodejs
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.browser import NoChromium, chromium
from tests.wire.clients import Client
from tests.wire.conftest import LONG, VERSIONS, Connect, ConnectNode, MakeBench, StartConnecting
from tests.wire.sidecars import MakePair, Pair

LONG_FILES = (
	"browser/diagnosis/test_broken_benches.py",
	"browser/diagnosis/test_proxies.py",
	"browser/diagnosis/test_sign.py",
	"browser/diagnosis/test_pages.py",
	"browser/test_packages.py",
	"wire/test_doctor_causes.py",
	"wire/test_worker_processes.py",
	"wire/test_worker_reloads.py",
	"wire/test_systemd.py",
	"wire/test_presence.py",
	"wire/two_sidecars/test_presence.py",
	"wire/test_partition.py",
	"wire/test_doctor.py",
	"wire/test_web_away.py",
	"wire/test_doctor_sidecar.py",
	"wire/test_doctor_command.py",
	"wire/test_hosts.py",
	"wire/test_wheel.py",
)
"""The files whose tests take longest. They run first: at the end, the other processes would have nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
	"""Sort the tests by `LONG_FILES`; the others stay in their order."""
	folder = Path(__file__).parent
	order = {folder / name: place for place, name in enumerate(LONG_FILES)}
	items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
	"""The event loop of the stand-ins and of the Python clients."""
	one = Background()
	yield one
	one.close()


@pytest.fixture(scope="session")
def shared_benches(
	background: Background, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], Bench]]:
	"""Return the shared bench of a version; it is started when the first test uses it."""
	started: dict[int, Bench] = {}

	def get(version: int) -> Bench:
		if version not in started:
			one = Bench(background, tmp_path_factory.mktemp(f"v{version}"), version)
			started[version] = one
			one.start()
		assert started[version].sidecar.alive, (
			f"an earlier test has ended the sidecar:\n{started[version].sidecar.log}"
		)
		return started[version]

	yield get
	for one in started.values():
		one.close()


@pytest.fixture
def bench(shared_benches: Callable[[int], Bench]) -> Iterator[Bench]:
	"""The shared bench of v16."""
	one = shared_benches(16)
	yield one
	one.sidecar.check_log()


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def every_bench(request: pytest.FixtureRequest, shared_benches: Callable[[int], Bench]) -> Iterator[Bench]:
	"""The shared bench of each version in turn."""
	one = shared_benches(request.param)
	yield one
	one.sidecar.check_log()


@pytest.fixture
def make_bench(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeBench]:
	"""Make a bench for one test, with the arguments of `Bench`; with `start=False` the test starts it."""
	yield from _bench_maker(background, tmp_path_factory)


@pytest.fixture(scope="module")
def make_shared_bench(
	background: Background, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeBench]:
	"""Make a bench for the tests of a module, as `make_bench` does for one test."""
	yield from _bench_maker(background, tmp_path_factory)


def _bench_maker(background: Background, folders: pytest.TempPathFactory) -> Iterator[MakeBench]:
	made: list[Bench] = []

	def make(*, start: bool = True, **options: Any) -> Bench:
		one = Bench(background, folders.mktemp("own"), **options)
		made.append(one)
		return one.start() if start else one

	yield make
	for one in made:
		one.close()
	for one in made:
		one.sidecar.check_log()


@pytest.fixture
def make_pair(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePair]:
	"""Return a function that starts two sidecars for one test; its arguments are configuration keys."""
	made: list[Pair] = []

	def make(**common: object) -> Pair:
		one = Pair(background, tmp_path_factory.mktemp("own_pair"), common)
		made.append(one)
		return one.start()

	yield make
	for one in made:
		one.close()
		one.check_logs()


@pytest.fixture
def clients() -> Iterator[list[AnyClient]]:
	"""The clients of a test; they are closed after it."""
	made: list[AnyClient] = []
	yield made
	for one in made:
		one.close()


@pytest.fixture
def connect(clients: list[AnyClient]) -> Connect:
	"""Connect a Python client: `connect(bench, user, site, …)` with the arguments of `Bench.client`."""

	def connect(bench: Bench, user: User | str = GUEST, site: str = APP_SITE, **options: Any) -> Client:
		client = bench.client(user, site, **options)
		clients.append(client)
		return client.connect()

	return connect


@pytest.fixture
def start_connecting(clients: list[AnyClient]) -> StartConnecting:
	"""Start to connect a Python client; returns the client, and a future that is done when it is connected."""

	def start(
		bench: Bench, user: User | str = GUEST, site: str = APP_SITE, **options: Any
	) -> tuple[Client, Future[None]]:
		client = bench.client(user, site, **options)
		clients.append(client)
		return client, client.start_connecting(LONG)

	return start


@pytest.fixture(params=nodejs.VERSIONS)
def node_version(request: pytest.FixtureRequest) -> str:
	"""The module name of each version of socket.io-client in turn."""
	if reason := nodejs.missing():
		pytest.skip(reason)
	return str(request.param)


@pytest.fixture
def connect_node(clients: list[AnyClient]) -> ConnectNode:
	"""Connect a Node client: `connect_node(bench, module, user, site, …)`, arguments of `Bench.node_client`.

	With `wait=False`, it does not wait for the connection.
	"""
	if reason := nodejs.missing():
		pytest.skip(reason)

	def connect(
		bench: Bench,
		module: str,
		user: User | str = GUEST,
		site: str = APP_SITE,
		wait: bool = True,
		**options: Any,
	) -> nodejs.NodeClient:
		client = bench.node_client(module, user, site, **options)
		clients.append(client)
		return client.connect() if wait else client

	return connect


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
	"""One headless Chromium for all tests; it resolves hosts that end in `.test` to this machine."""
	try:
		with chromium() as one:
			yield one
	except NoChromium as reason:
		pytest.skip(str(reason))


@pytest.fixture
def browser_context(browser: Browser) -> Iterator[BrowserContext]:
	"""A browser context without cookies."""
	one = browser.new_context()
	yield one
	one.close()
