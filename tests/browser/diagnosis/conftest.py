"""Fixtures: nginx before a sidecar, and pages on its port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import sign_in
from tests.browser.diagnosis.diagnosing import OpenAt, StartNginx
from tests.browser.nginx import Nginx
from tests.wire.bench import APP_SITE, Bench


@pytest.fixture
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartNginx]:
	"""Start nginx with locations."""
	started = []

	def start_nginx(locations: str) -> Nginx:
		started.append(Nginx(tmp_path_factory.mktemp("nginx"), locations))
		return started[-1]

	yield start_nginx
	for one in started:
		one.close()


@pytest.fixture
def open_at(window: BrowserContext) -> OpenAt:
	"""Open a page like the Desk's on a port: `open_at(bench, port, user={"roles": [...]}, **boot)`."""

	def open_at(bench: Bench, port: int, **boot: Any) -> Page:
		sign_in(window, bench, bench.user())
		query = urlencode({"boot": json.dumps({"sitename": APP_SITE, **boot})})
		page = window.new_page()
		page.goto(f"http://{APP_SITE}:{port}/desk.html?{query}")
		return page

	return open_at
