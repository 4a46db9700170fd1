"""The page of "A new page on a bench" in docs/clients.md: built with Vite, installed in an app, and opened in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.bench.apps import (
	build_page,
	installed,
	linked_assets,
	skip_unless_apps_can_be_installed,
	skip_unless_pages_can_be_built,
	write_app,
)
from tests.bench.conftest import OpenWindow
from tests.bench.desk import PATIENCE, origin
from tests.bench.installation import Bench
from tests.wire.sidecar import ROOT

APP = "shop"
"""The app of the page of the documentation."""

SECTIONS = {
	"## Vue\n": ("src/main.ts", "src/App.vue"),
	"### A new page on a bench\n": ("vite.config.ts", "todos.html"),
}
"""The first code blocks of these sections that are files, and where they belong."""


def files() -> dict[str, str]:
	"""Return the files of the documentation, by the paths that it gives them."""
	page = (ROOT / "docs" / "clients.md").read_text()
	found: dict[str, str] = {}
	for section, paths in SECTIONS.items():
		blocks = re.findall(r"^```(?:ts|vue|html)\n(.*?)^```$", page[page.index(section) :], re.M | re.S)
		found.update(zip(paths, blocks, strict=False))
	return found


@pytest.fixture(scope="module")
def with_shop(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench with the app and its page."""
	skip_unless_pages_can_be_built()
	skip_unless_apps_can_be_installed(bench)
	source = tmp_path_factory.mktemp("app") / APP
	texts = files()
	write_app(source, APP, {"www/todos.html": texts.pop("todos.html")})
	for path, text in texts.items():
		file = source / "frontend" / path
		file.parent.mkdir(parents=True, exist_ok=True)
		file.write_text(text)
	build_page(source / "frontend")
	with linked_assets(bench, APP), installed(bench, source):
		yield bench


def test_the_list_of_the_page_is_live(with_shop: Bench, open_window: OpenWindow) -> None:
	bench, manager = with_shop, with_shop.person()
	# More than a page of the list: the newest must be on the first.
	for _ in range(20):
		bench.insert(manager, "ToDo", description="an older one")
	first = bench.event()
	bench.insert(manager, "ToDo", description=first)
	page = open_window(manager).new_page()
	page.goto(f"{origin(bench, bench.site)}/todos", timeout=PATIENCE)
	expect(page.locator("li", has_text=first)).to_have_count(1, timeout=PATIENCE)
	expect(page.get_by_text("Live updates are paused")).to_have_count(0, timeout=PATIENCE)
	second = bench.event()
	name = bench.insert(manager, "ToDo", description=second)
	expect(page.locator("li", has_text=second)).to_have_count(1, timeout=PATIENCE)
	page.locator("li", has_text=second).click()
	expect(page.locator("article")).to_have_text(second, timeout=PATIENCE)
	third = bench.event()
	bench.request(manager, f"/api/resource/ToDo/{name}", {"description": third}, "PUT")
	expect(page.locator("article")).to_have_text(third, timeout=PATIENCE)
