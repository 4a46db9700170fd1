"""The components of docs/clients.md in Chromium, built with Vite: those for Vue and frappe-ui, for React and frappe-react-sdk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from script.library_examples import EXAMPLES
from tests.browser.conftest import LIBRARY_EXAMPLES, address, sign_in
from tests.browser.documents import Documents
from tests.browser.driving import publish_until, wait_until
from tests.wire.bench import Bench

BUILT = {example.language: LIBRARY_EXAMPLES / example.name / "documented" / "dist" for example in EXAMPLES}
"""By the language of the blocks: the folder with the page."""


@pytest.fixture(params=BUILT, ids=[example.package for example in EXAMPLES])
def language(request: pytest.FixtureRequest) -> str:
	"""The language of the blocks; their page is built."""
	if not (BUILT[request.param] / "index.html").exists():
		pytest.skip("the components are not built: run script/test once")
	return str(request.param)


@pytest.fixture
def open_page(window: BrowserContext, language: str) -> Callable[[Bench], tuple[Page, list[str]]]:
	"""Open the page for a new user; return it, and the list of what it prints."""

	def hand_out_built(route: Route) -> None:
		name = route.request.url.rpartition("/documented/")[2]
		route.fulfill(path=BUILT[language] / name)

	def open_page(bench: Bench) -> tuple[Page, list[str]]:
		window.route("**/documented/**", hand_out_built)
		sign_in(window, bench, bench.user())
		page = window.new_page()
		printed: list[str] = []
		page.on("console", lambda message: printed.append(message.text))
		page.on("pageerror", lambda error: printed.append(str(error)))
		page.goto(address(bench, "documented/index.html"))
		return page, printed

	return open_page


def test_the_components_show_what_changes(
	bench: Bench, language: str, window: BrowserContext, open_page: Callable[[Bench], tuple[Page, list[str]]]
) -> None:
	documents = Documents(window)
	documents.descriptions["TODO-0001"] = "first"
	page, printed = open_page(bench)
	wait_until(page, 'document.querySelectorAll("li").length >= 2')
	documents.descriptions["T-2"] = "second"
	message = {"doctype": "ToDo", "name": "T-2", "modified": "now"}
	publish_until(
		bench, page, "list_update", message, "doctype:ToDo", lambda: "second" in page.inner_text("main")
	)
	publish_until(bench, page, "order_ready", "SO-0001", "website", lambda: "SO-0001" in printed)
	if language == "vue":
		page.locator("li").first.click()
		wait_until(page, 'document.querySelector("article")?.textContent === "one"')
		documents.loads.clear()
		publish_until(
			bench,
			page,
			"list_update",
			{"doctype": "Sales Order", "name": "SO-0001", "modified": "now"},
			"doctype:Sales Order",
			lambda: "/api/method/shop.orders.summary" in documents.loads,
		)
		publish_until(
			bench,
			page,
			"doc_update",
			{"doctype": "ToDo", "name": "TODO-0001", "modified": "now"},
			"doc:ToDo/TODO-0001",
			lambda: "/api/method/frappe.client.get" in documents.loads,
		)
	else:
		wait_until(page, '[...document.querySelectorAll("li")].some((one) => one.textContent === "T-2")')
	assert not [one for one in printed if "rror" in one], printed
