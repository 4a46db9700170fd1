"""Fixtures: pages of a site in Chromium, with the sidecar of the wire ring behind them.

`open_desk(bench, user)` opens a page like the Desk's, `open_portal(bench, user)` one that has no Desk. Pages and assets
are handed to the browser here; `/socket.io/` goes to the sidecar, on the same host and port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from realtime.demo.model import GUEST, User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import PATIENCE
from tests.wire.nodejs import NEW, NODE_FOLDER, OLD, missing
from tests.wire.sidecar import ROOT

PAGES = Path(__file__).parent / "pages"
LIBRARY_EXAMPLES = ROOT / ".cache" / "client" / "examples"
FOLDERS = {
	"/assets/frappe_realtime/node_modules/socket.io-client/": NODE_FOLDER / "node_modules" / NEW,
	"/assets/frappe/node_modules/socket.io-client/": NODE_FOLDER / "node_modules" / OLD,
	"/assets/frappe/node_modules/jquery/": NODE_FOLDER / "node_modules" / "jquery",
	"/assets/frappe_realtime/": ROOT / "frappe_realtime" / "public",
	"/packages/": ROOT / ".cache" / "client" / "pages",
	"/assets/team_tasks/": LIBRARY_EXAMPLES / "team_tasks" / "team_tasks" / "public",
	"/frappe-ui/": LIBRARY_EXAMPLES / "frappe-ui" / "dist",
	"/frappe-react-sdk/": LIBRARY_EXAMPLES / "frappe-react-sdk" / "dist",
	"/": PAGES,
}
EVERYTHING_ELSE = re.compile(r"^http://[^/]+/(?!socket\.io/)")

# The default is 5 seconds.
expect.set_options(timeout=PATIENCE * 1000)

OpenPage = Callable[..., Page]


def hand_out(route: Route) -> None:
	"""Answer a request for a page or an asset, 404 where there is none."""
	path = urlsplit(route.request.url).path
	prefix = next(prefix for prefix in FOLDERS if path.startswith(prefix))
	file = FOLDERS[prefix] / path.removeprefix(prefix)
	if file.is_file():
		route.fulfill(path=file)
	else:
		route.fulfill(status=404, body="")


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
	"""One person's browser: its tabs share cookies and storage."""
	if reason := missing():
		pytest.skip(reason)
	one = browser.new_context()
	one.route(EVERYTHING_ELSE, hand_out)
	yield one
	one.close()


def sign_in(window: BrowserContext, bench: Bench, user: User | str, site: str = APP_SITE) -> None:
	"""Give the browser the cookie of a new session."""
	name = user if isinstance(user, str) else user.name
	sid = GUEST if name == GUEST else bench.site(site).login(name)
	window.add_cookies([{"name": "sid", "value": sid, "domain": site, "path": "/"}])


def address(bench: Bench, path: str, site: str = APP_SITE) -> str:
	"""Return the URL of a page on a site."""
	return f"http://{site}:{bench.sidecar.port}/{path}"


@pytest.fixture
def open_portal(window: BrowserContext) -> OpenPage:
	"""Open a page without the Desk: `open_portal(bench, user)`; without a user it has no cookie."""

	def open_portal(bench: Bench, user: User | str | None = None) -> Page:
		if user:
			sign_in(window, bench, user)
		page = window.new_page()
		page.goto(address(bench, "portal.html"))
		return page

	return open_portal


@pytest.fixture
def open_desk(window: BrowserContext) -> OpenPage:
	"""Open a page like the Desk's: `open_desk(bench, user, "website", **boot)`.

	What follows the user are flags of the page: `website` for one of Frappe's website, `dev_server`.
	"""

	def open_desk(bench: Bench, user: User | str, /, *flags: str, **boot: Any) -> Page:
		if not window.cookies():
			sign_in(window, bench, user)
		query = {"boot": json.dumps({"sitename": APP_SITE, **boot}), **dict.fromkeys(flags, 1)}
		page = window.new_page()
		page.goto(address(bench, f"desk.html?{urlencode(query)}"))
		return page

	return open_desk
