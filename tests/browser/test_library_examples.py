"""examples/frappe-ui and examples/frappe-react-sdk in Chromium, built as their users do: one line makes a list or a document live."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import FOLDERS, address, sign_in
from tests.browser.documents import Documents
from tests.browser.driving import kill_sidecar, publish_until, wait_for_texts
from tests.wire.bench import Bench
from tests.wire.conftest import MakeBench

pytestmark = pytest.mark.parametrize("example", ["frappe-ui", "frappe-react-sdk"])


@pytest.fixture
def documents(window: BrowserContext) -> Documents:
	"""The documents of the site."""
	return Documents(window)


@pytest.fixture
def open_example(example: str, window: BrowserContext, documents: Documents) -> Callable[[Bench], Page]:
	"""Open the page of an example for a new user."""
	if not (FOLDERS[f"/{example}/"] / "index.html").exists():
		pytest.skip("the examples are not built: run script/test once")

	def open_example(bench: Bench) -> Page:
		sign_in(window, bench, bench.user())
		page = window.new_page()
		page.goto(address(bench, f"{example}/index.html"))
		wait_for_texts(page, "state", "live")
		shows(page, documents)
		return page

	return open_example


def shows(page: Page, documents: Documents) -> None:
	"""Wait until the page shows the documents as they are."""
	rows = documents.descriptions.items()
	wait_for_texts(page, "list", ", ".join(f"{name} {description}" for name, description in rows))
	wait_for_texts(page, "names", " ".join(documents.descriptions))
	wait_for_texts(page, "count", str(len(documents.descriptions)))
	wait_for_texts(page, "document", documents.descriptions["T-1"])


def change(bench: Bench, page: Page, documents: Documents, name: str, description: str) -> None:
	"""Change or add a document, and wait until the page shows it."""
	documents.descriptions[name] = description
	message = {"doctype": "ToDo", "name": name, "modified": description}
	room = "doc:ToDo/T-1"
	if name == "T-1":
		publish_until(
			bench, page, "doc_update", message, room, lambda: description in page.inner_text(".document")
		)
	publish_until(
		bench,
		page,
		"list_update",
		message,
		"doctype:ToDo",
		lambda: description in page.inner_text(".list"),
	)
	shows(page, documents)


def test_lists_and_documents_are_live(
	bench: Bench, open_example: Callable[[Bench], Page], documents: Documents
) -> None:
	page = open_example(bench)
	change(bench, page, documents, "T-1", "changed")
	change(bench, page, documents, "T-2", "new")


def test_after_missed_events_everything_is_loaded_again(
	make_bench: MakeBench, open_example: Callable[[Bench], Page], documents: Documents
) -> None:
	bench = make_bench()
	page = open_example(bench)
	change(bench, page, documents, "T-1", "changed")
	kill_sidecar(bench)
	wait_for_texts(page, "state", "paused")
	# Nothing to recover from is left anywhere.
	bench.valkey.client.flushall()
	documents.descriptions.update({"T-1": "changed meanwhile", "T-2": "new"})
	bench.sidecar.start()
	shows(page, documents)
	wait_for_texts(page, "state", "live")
	change(bench, page, documents, "T-1", "changed again")
