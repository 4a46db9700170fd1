"""Pages elsewhere, and headers that only a proxy may set."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from realtime.demo.model import User
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import POLLING, WEBSOCKET, Refused
from tests.wire.conftest import Connect, MakeBench
from tests.wire.nodejs import NEW, NODE_FOLDER, missing

CLIENT = NODE_FOLDER / "node_modules" / NEW / "dist" / "socket.io.js"

CONNECT = """([url, transports, header]) => new Promise((resolve) => {
	const options = { transports, withCredentials: true, forceNew: true, reconnection: false };
	if (header) options.extraHeaders = { [header[0]]: header[1] };
	const socket = io(url, options);
	window.events = [];
	socket.onAny((event, ...args) => window.events.push([event, ...args]));
	socket.on("connect", () => resolve("connected"));
	socket.on("connect_error", (error) => resolve(error.message));
})"""


def open_page(window: BrowserContext, bench: Bench, host: str) -> Page:
	"""Open a page on a host, with socket.io-client in it."""
	page = window.new_page()
	# Of the sidecar itself, a 404: where Playwright hands out pages, it answers the preflights of CORS in the server's place.
	page.goto(f"http://{host}:{bench.sidecar.port}/page")
	page.add_script_tag(path=CLIENT)
	return page


@pytest.fixture
def victim(bench: Bench, browser_context: BrowserContext) -> User:
	"""A user who is logged in on the site, in the browser that the tests open pages in."""
	if reason := missing():
		pytest.skip(reason)
	user = bench.user()
	sid = bench.site().login(user.name)
	browser_context.add_cookies([{"name": "sid", "value": sid, "domain": APP_SITE, "path": "/"}])
	return user


def hijack(page: Page, bench: Bench, transports: tuple[str, ...], header: Any = None) -> str:
	"""Connect from a page to the site; return what the client says."""
	url = f"http://{APP_SITE}:{bench.sidecar.port}/{APP_SITE}"
	return str(page.evaluate(CONNECT, [url, list(transports), header]))


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids="+".join)
def test_a_page_of_the_site_connects(
	bench: Bench, browser_context: BrowserContext, victim: User, transports: tuple[str, ...]
) -> None:
	page = open_page(browser_context, bench, APP_SITE)
	assert hijack(page, bench, transports) == "connected"
	bench.publish("secret", 1, f"user:{victim.name}")
	page.wait_for_function("window.events.some(([event]) => event === 'secret')")


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids="+".join)
@pytest.mark.parametrize("host", ["evil.test", f"evil.{APP_SITE}", STOCK_SITE])
def test_a_page_elsewhere_does_not(
	bench: Bench, browser_context: BrowserContext, victim: User, transports: tuple[str, ...], host: str
) -> None:
	"""Cross-site WebSocket hijacking. From a neighbour below the same domain the browser even sends the cookie."""
	asked = len(bench.web.requests)
	page = open_page(browser_context, bench, host)
	assert hijack(page, bench, transports) in ("Invalid origin", "Invalid namespace")
	assert [request for request in list(bench.web.requests)[asked:] if request.user == victim.name] == []


@pytest.mark.parametrize("header", ["X-Frappe-Site-Name", "X-Forwarded-Host", "X-Forwarded-For"])
def test_a_page_elsewhere_sets_no_header_of_a_proxy(
	bench: Bench, browser_context: BrowserContext, victim: User, header: str
) -> None:
	page = open_page(browser_context, bench, f"evil.{APP_SITE}")
	# The browser asks first (CORS), and is not allowed to send it.
	assert hijack(page, bench, POLLING, [header, f"evil.{APP_SITE}"]) == "xhr poll error"


BEHIND_NGINX = {"Host": APP_SITE, "Origin": f"https://{APP_SITE}", "X-Frappe-Site-Name": APP_SITE}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_behind_a_proxy_that_hides_its_origin(
	bench: Bench, connect: Connect, site: str
) -> None:
	"""Bench's nginx replaces the Origin by its own; what some browsers say beside it is left."""
	headers = {**BEHIND_NGINX, "Sec-Fetch-Site": site}
	user = bench.user()
	with pytest.raises(Refused, match="Invalid origin"):
		connect(bench, user, headers=headers)
	token = bench.site().authorization(user.name)
	assert connect(bench, authorization=token, headers=headers).connected, "nobody else has the token"


def test_pages_of_the_site_behind_nginx(bench: Bench, connect: Connect) -> None:
	for more in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
		assert connect(bench, bench.user(), headers={**BEHIND_NGINX, **more}).connected


def test_a_page_of_the_site_from_another_port(bench: Bench, connect: Connect) -> None:
	"""As with `bench start`: the browser calls the page and the realtime server of one host "same-site"."""
	direct = {"Origin": f"http://{APP_SITE}:8000", "Sec-Fetch-Site": "same-site"}
	assert connect(bench, bench.user(), headers=direct).connected


def test_an_allowed_origin(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_allowed_origins": ["https://portal.example"]})
	headers = {**BEHIND_NGINX, "Origin": "https://portal.example", "Sec-Fetch-Site": "cross-site"}
	assert connect(bench, bench.user(), headers=headers).connected
	with pytest.raises(Refused, match="Invalid origin"):
		connect(bench, bench.user(), headers={**headers, "Origin": "https://portal.example.evil.test"})


FROM_PROXY = {
	"Host": "upstream",
	"Origin": "https://public.example",
	"X-Forwarded-Host": "public.example",
	"X-Frappe-Site-Name": APP_SITE,
}


def test_a_proxy_that_changes_the_host(bench: Bench, connect: Connect) -> None:
	assert connect(bench, bench.user(), headers=FROM_PROXY).connected
	with pytest.raises(Refused, match="Invalid origin"):
		connect(bench, headers={**FROM_PROXY, "X-Forwarded-Host": None})


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, list[str]]:
	"""A configuration in which this machine is no proxy."""
	return {"realtime_trusted_proxies": ["192.0.2.0/24", "2001:db8::/32"]}


def test_only_a_proxy_names_the_site(
	make_bench: MakeBench, connect: Connect, elsewhere: dict[str, list[str]]
) -> None:
	bench = make_bench(common=elsewhere)
	with pytest.raises(Refused, match=r"Invalid (origin|namespace)"):
		connect(bench, headers=FROM_PROXY)
	with pytest.raises(Refused, match="Invalid namespace"):
		connect(bench, headers={"X-Frappe-Site-Name": STOCK_SITE}, namespace=f"/{STOCK_SITE}")
	direct = {"X-Frappe-Site-Name": STOCK_SITE}
	assert connect(bench, bench.user(), headers=direct).connected, "it is not looked at"


def test_only_a_proxy_names_the_host(
	make_bench: MakeBench, connect: Connect, elsewhere: dict[str, list[str]]
) -> None:
	bench = make_bench(common=elsewhere)
	headers = {"Host": APP_SITE, "Origin": "http://evil.test", "X-Forwarded-Host": "evil.test"}
	with pytest.raises(Refused, match=r"Invalid (origin|namespace)"):
		connect(bench, bench.user(), headers=headers)


def test_a_proxy_that_is_no_network(make_bench: MakeBench) -> None:
	bench = make_bench(start=False, common={"realtime_trusted_proxies": ["nginx"]})
	bench.sidecar.launch()
	assert bench.sidecar.wait() == 4
	assert "realtime_trusted_proxies in " in bench.sidecar.log
	assert "'nginx' does not appear to be an IPv4 or IPv6 network" in bench.sidecar.log
