"""The pages without a build step in docs/clients.md, in Chromium: on the site, and on another origin behind nginx."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser import nginx
from tests.browser.conftest import FOLDERS, address, sign_in
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.sidecar import ROOT

TEXT = (ROOT / "docs" / "clients.md").read_text()
OTHER = "other.test"
"""The host of the other origin."""


def blocks(heading: str, language: str) -> list[str]:
	"""Return the code blocks of a section."""
	section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
	return re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)


def open_page(window: BrowserContext, url: str, html: str) -> tuple[Page, list[str]]:
	"""Open a page; return it, and the list of what it prints."""
	printed: list[str] = []
	page = window.new_page()
	page.on("console", lambda message: printed.append(message.text))
	page.route(url, lambda route: route.fulfill(content_type="text/html", body=f"<!doctype html>{html}"))
	page.goto(url)
	return page, printed


def check_page(bench: Bench, window: BrowserContext, url: str, html: str, user: str) -> None:
	"""Open a page, and wait until it prints what was published to its user."""
	page, printed = open_page(window, url, html)

	def arrived() -> bool:
		bench.publish("order_ready", "SO-0001", f"user:{user}")
		page.evaluate("0")
		return "SO-0001" in printed

	until(arrived, f"the page prints the message; it has printed {printed}")


def with_token(bench: Bench, html: str, user: str) -> str:
	"""Return a page with a token of a user."""
	assert "api_key:api_secret" in html
	return html.replace("api_key:api_secret", bench.site().authorization(user).removeprefix("token "))


@pytest.mark.parametrize("credential", ["cookie", "token"])
def test_a_page_of_the_site(bench: Bench, window: BrowserContext, credential: str) -> None:
	of_cookie, of_token = blocks("Pages without a build step", "html")
	user = bench.user()
	if credential == "cookie":
		sign_in(window, bench, user)
		html = of_cookie
	else:
		html = with_token(bench, of_token, user.name)
	check_page(bench, window, address(bench, "documented.html"), html, user.name)


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[..., nginx.Nginx]]:
	"""Start nginx with the documented locations, in front of a bench and of the files of /assets."""
	started: list[nginx.Nginx] = []

	def start(bench: Bench, has_header: bool) -> nginx.Nginx:
		assets = tmp_path / "sites" / "assets" / "frappe_realtime"
		shutil.copytree(ROOT / "frappe_realtime" / "public" / "js", assets / "js")
		client = FOLDERS["/assets/frappe_realtime/node_modules/socket.io-client/"]
		shutil.copytree(client, assets / "node_modules" / "socket.io-client")
		(locations,) = blocks("Another origin", "nginx")
		locations = locations.replace("erp.example.com", APP_SITE).replace(
			"127.0.0.1:9000", f"127.0.0.1:{bench.sidecar.port}"
		)
		locations = locations.replace("https://app.example.com", f"http://{OTHER}")
		if not has_header:
			locations = re.sub("add_header.*", "", locations)
		types = "types { text/javascript js; }"
		one = nginx.Nginx(tmp_path, f"root {tmp_path / 'sites'}; {types} {locations}")
		started.append(one)
		return one

	yield start
	for one in started:
		one.close()


@pytest.mark.skipif(not Path(nginx.COMMAND).exists(), reason="no nginx")
@pytest.mark.parametrize("has_header", [True, False])
def test_a_page_of_another_origin(
	make_bench: MakeBench,
	browser_context: BrowserContext,
	start_nginx: Callable[..., nginx.Nginx],
	has_header: bool,
) -> None:
	keys = re.findall(r"bench set-config -gp (realtime_allowed_origins) '\[\"app\.example\.com\"\]'", TEXT)
	bench = make_bench(common={key: [OTHER] for key in keys})
	site = f"http://{APP_SITE}:{start_nginx(bench, has_header).port}"
	user = bench.user()
	(html,) = blocks("Another origin", "html")
	html = html.replace("https://erp.example.com", site).replace("erp.example.com", APP_SITE)
	html = with_token(bench, html, user.name)
	url = f"http://{OTHER}/page"
	if has_header:
		check_page(bench, browser_context, url, html, user.name)
	else:
		page, printed = open_page(browser_context, url, html)
		until(
			lambda: page.evaluate("1") and any("CORS" in one for one in printed), "the refusal of the module"
		)
