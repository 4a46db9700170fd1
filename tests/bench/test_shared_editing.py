"""Shared editing with an app that loads and stores the text: the code of docs/shared-editing.md, installed on a real site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.shared_editing.storage import RETRY_SECONDS
from tests.bench.apps import installed, skip_unless_apps_can_be_installed, write_app
from tests.bench.editing import forget_state, skip_unless_states_are_kept, stored_soon
from tests.bench.installation import Bench
from tests.wire.conditions import until
from tests.wire.editors import BUILT, Editors, Page
from tests.wire.sidecar import ROOT

APP = "notes"
"""The app of the page of the documentation."""

SECTION = "## Loading and storing in your app"


@pytest.fixture(scope="module")
def with_notes(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench with the app, and the field that it needs; changes are stored soon."""
	if not BUILT.exists():
		pytest.skip("the npm packages are not built: run script/test once")
	skip_unless_apps_can_be_installed(bench)
	skip_unless_states_are_kept(bench)
	page = (ROOT / "docs" / "shared-editing.md").read_text()
	hooks, editing = re.findall(r"^```python\n(.*?)^```$", page[page.index(SECTION) :], re.M | re.S)
	source = tmp_path_factory.mktemp("app") / APP
	write_app(source, APP, {"editing.py": editing}, hooks)
	field = bench.inside("add_field", doctype="Note", fieldname="state", fieldtype="Long Text")
	try:
		with stored_soon(bench), installed(bench, source):
			yield bench
	finally:
		bench.inside("remove_field", doctype="Note", name=field)


@pytest.fixture
def editors() -> Iterator[Editors]:
	"""Pages in Node."""
	one = Editors()
	yield one
	one.close()


def open_note(bench: Bench, editors: Editors, name: str) -> Page:
	"""Open a page with a Note, and wait until it has the text."""
	manager = bench.person()
	headers = bench.headers(manager)
	url = f"http://127.0.0.1:{bench.port}"
	return editors.open_at(url, headers, manager.site, "Note", name).synced()


def note(bench: Bench, name: str) -> Any:
	"""Return the document of a Note."""
	return bench.request(bench.person(), f"/api/resource/Note/{name}")["data"]


def wait_for_content(bench: Bench, name: str, text: str) -> None:
	"""Wait until a text is stored. What the app could not store is handed to it again after `RETRY_SECONDS`."""
	until(
		lambda: note(bench, name)["content"] == text, f"{text!r} in the document", patience=RETRY_SECONDS + 30
	)


def test_the_app_stores_a_text_and_loads_it_when_nobody_else_has_it(
	with_notes: Bench, editors: Editors
) -> None:
	bench = with_notes
	name = bench.insert(bench.person(), "Note", title=bench.event())
	first, second = (open_note(bench, editors, name) for _ in range(2))
	first.insert("Hello")
	second.has("Hello")
	second.insert(" world", 5)
	first.has("Hello world")
	for page in (first, second):
		page.do("close")
	wait_for_content(bench, name, "Hello world")
	assert note(bench, name)["state"]

	forget_state(bench, "Note", name)
	later = open_note(bench, editors, name)
	later.has("Hello world")
	later.insert("! ", 11)
	wait_for_content(bench, name, "Hello world! ")
	forget_state(bench, "Note", name)
	# Its changes build on those that were stored: the page that was there all the time has nothing twice.
	later.do("cut")
	until(lambda: later.state["syncs"] > 1, "the page again")
	assert open_note(bench, editors, name).state["text"] == later.state["text"] == "Hello world! "
