"""The npm packages on a real bench: pages for Vue and React, with and without frappe-ui and frappe-react-sdk, built with Vite."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.bench.apps import installed, linked_assets, skip_unless_apps_can_be_installed, write_app
from tests.bench.conftest import OpenWindow
from tests.bench.desk import PATIENCE, origin, wait_until
from tests.bench.installation import Bench, Person
from tests.bench.test_access import log_out
from tests.wire.conditions import until
from tests.wire.sidecar import ROOT

APP = "bench_test_pages"
CLIENT = ROOT / ".cache" / "client"
EXAMPLES = ("frappe-ui", "frappe-react-sdk")
FRAMEWORKS = ("vue", "react")
TODO = "T-1"
"""The name of the ToDo that the pages show."""

HTML = """<!doctype html>
<html>
	<body>
		<main></main>
		<script>
			window.frappe = {{ boot: {{ sitename: "{{{{ boot.sitename }}}}" }} }};
			window.dev_server = Number("{{{{ dev_server }}}}");
			window.socketio_port = Number("{{{{ frappe.socketio_port or 9000 }}}}");
			window.seen = [];
		</script>
		{}
	</body>
</html>
"""
"""A page of an app, as docs/clients.md describes it; the script of the page is left out."""

Open = Callable[[Person | None, str], Page]


@pytest.fixture(scope="module")
def with_pages(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench with an app that has the pages, and the ToDo; what only time ends is noticed soon."""
	built = [CLIENT / "examples" / name / "dist" / "index.html" for name in EXAMPLES]
	if not all(file.exists() for file in (*built, CLIENT / "pages" / "react.js")):
		pytest.skip("the npm packages are not built: run script/test wire once")
	skip_unless_apps_can_be_installed(bench)
	source = tmp_path_factory.mktemp("app") / APP
	pages = {"www/packages.html": HTML.format("")}
	for name, file in zip(EXAMPLES, built, strict=True):
		(script,) = re.findall(r'src="\./(.+?)"', file.read_text())
		tag = f'<script type="module" src="/assets/{APP}/{name}/{script}"></script>'
		pages[f"www/{name}.html"] = HTML.format(tag)
	write_app(source, APP, pages)
	public = source / APP / "public"
	for name in EXAMPLES:
		shutil.copytree(CLIENT / "examples" / name / "dist", public / name)
	for name in FRAMEWORKS:
		shutil.copy(CLIENT / "pages" / f"{name}.js", public)
	# With the app, it is ten times as long until a credential is asked about that nobody has changed.
	with bench.configured(realtime_recheck_seconds=0.2), linked_assets(bench, APP), installed(bench, source):
		# The lists of the pages show 20.
		bench.inside("remove_to_dos")
		bench.inside("make", doctype="ToDo", fields={"description": "first"}, name=TODO)
		yield bench
		bench.inside("delete", doctype="ToDo", name=TODO)


@pytest.fixture
def open_page(with_pages: Bench, open_window: OpenWindow) -> Open:
	"""Open a page: `open_page(person, path)`."""

	def open_page(person: Person | None, path: str) -> Page:
		page = open_window(person).new_page()
		page.goto(f"{origin(with_pages, with_pages.site)}/{path}", timeout=PATIENCE)
		return page

	return open_page


def mount(page: Page, framework: str, options: str = "{}") -> None:
	"""Show the components of a framework, with options of the connection."""
	page.evaluate(
		f"""async () => {{
			const {{ mount }} = await import("/assets/{APP}/{framework}.js");
			mount(document.querySelector("main"), {options});
		}}"""
	)


def change(bench: Bench, description: str) -> None:
	"""Change the ToDo, as the Desk does."""
	bench.request(bench.person(), f"/api/resource/ToDo/{TODO}", {"description": description}, "PUT")


def show_documents(page: Page, *texts: str) -> None:
	"""Wait until the components of the document show these texts."""
	expect(page.locator(".doc")).to_have_text(list(texts), timeout=PATIENCE)


def wait_for_status(page: Page, status: str) -> None:
	"""Wait until the page shows this status of its connection."""
	expect(page.locator(".status")).to_have_text(re.compile(rf"^{status}\b"), timeout=PATIENCE)


def forget_events(bench: Bench) -> None:
	"""Delete what the sidecar could recover a client from, as when Redis has lost its data."""
	for key in bench.events.scan_iter(f"frappe_realtime:{bench.site}:*"):
		bench.events.delete(key)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_live_and_comes_back(with_pages: Bench, open_page: Open, example: str) -> None:
	bench, manager = with_pages, with_pages.person()
	page = open_page(manager, example)

	def shows(description: str) -> None:
		expect(page.locator(".document")).to_have_text(description, timeout=PATIENCE)
		expect(page.locator(".list")).to_contain_text(description, timeout=PATIENCE)

	expect(page.locator(".state")).to_have_text("live", timeout=PATIENCE)
	first, *others = (bench.event() for _ in range(4))
	change(bench, first)
	shows(first)
	for description, is_lost in zip(others, (False, True, False), strict=True):
		bench.sidecar.stop()
		expect(page.locator(".state")).to_have_text("paused", timeout=PATIENCE)
		change(bench, description)
		if is_lost:
			forget_events(bench)
		bench.start_sidecar()
		shows(description)
		expect(page.locator(".state")).to_have_text("live", timeout=PATIENCE)
	count = bench.request(manager, "/api/method/frappe.client.get_count?doctype=ToDo")["message"]
	expect(page.locator(".count")).to_have_text(str(count), timeout=PATIENCE)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_components_follow_one_document_until_the_logout(
	with_pages: Bench, open_page: Open, framework: str
) -> None:
	bench, manager = with_pages, with_pages.person()
	page = open_page(manager, "packages")
	mount(page, framework)
	wait_for_status(page, "connected")
	both, one, last = (bench.event() for _ in range(3))
	change(bench, both)
	show_documents(page, f"{both} false false", f"{both} false false")
	page.evaluate("show('second')")
	show_documents(page, f"{both} false false")
	change(bench, one)
	show_documents(page, f"{one} false false")
	page.evaluate("show('first', 'second')")
	(cookie,) = [one for one in page.context.cookies() if one["name"] == "sid"]
	log_out(bench, manager, cookie["value"], bench.inside("csrf_token", sid=cookie["value"]))
	wait_for_status(page, "lost")
	# Before it has its next session, the page would come back as a Guest, and stay one.
	page.context.set_offline(True)
	show_documents(page, f"{one} false true", f"{one} false true")
	change(bench, last)
	session = bench.log_in(manager)
	page.context.add_cookies([{"name": "sid", "value": session, "domain": bench.site, "path": "/"}])
	page.context.set_offline(False)
	wait_for_status(page, "connected")
	show_documents(page, f"{last} false false", f"{last} false false")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_oauth_token_that_expires_is_renewed(with_pages: Bench, open_page: Open, framework: str) -> None:
	bench, manager = with_pages, with_pages.person()
	expiring, fresh = (bench.inside("make_bearer", user=manager.name) for _ in range(2))
	page = open_page(None, "packages")
	sent: list[Any] = []
	page.on("request", lambda request: sent.append(request.headers.get("authorization")))
	mount(
		page,
		framework,
		f"""{{ token: async ({{ renew }}) => {{
			if (renew) window.is_renewed = true;
			return {json.dumps([f"Bearer {expiring}", f"Bearer {fresh}"])}[window.is_renewed ? 1 : 0];
		}} }}""",
	)
	wait_for_status(page, "connected")
	before, after = bench.event(), bench.event()
	change(bench, before)
	show_documents(page, f"{before} false false", f"{before} false false")
	assert not page.evaluate("window.is_renewed")
	bench.inside("expire_bearer", token=expiring)
	wait_until(page, "window.is_renewed")
	wait_for_status(page, "connected")
	change(bench, after)
	show_documents(page, f"{after} false false", f"{after} false false")
	until(lambda: {f"Bearer {expiring}", f"Bearer {fresh}"} <= set(sent), "requests with both tokens")
