"""examples/team_tasks on a real bench: installed, and opened in Chromium by users with and without its role."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from realtime.shared_editing.storage import RETRY_SECONDS
from tests.bench.apps import installed, linked_assets, skip_unless_apps_can_be_installed
from tests.bench.conftest import OpenWindow
from tests.bench.desk import PATIENCE, origin, photograph
from tests.bench.editing import forget_state, skip_unless_states_are_kept, stored_soon
from tests.bench.installation import Bench, Person
from tests.bench.test_access import log_out
from tests.wire.conditions import until
from tests.wire.sidecar import ROOT

APP, DOCTYPE, ROLE = "team_tasks", "Team Task", "Task Member"
PATH = "/api/resource/Team%20Task"
BUILT = ROOT / ".cache" / "client" / "examples" / APP
"""A copy of the example whose page is built."""

Open = Callable[[Person], Page]


@pytest.fixture(scope="module")
def with_tasks(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench with the app; two users have its role, and notes are stored soon."""
	if not (BUILT / APP / "public" / "frontend" / "main.js").exists():
		pytest.skip("the example is not built: run script/test wire once")
	skip_unless_apps_can_be_installed(bench)
	skip_unless_states_are_kept(bench)
	source = tmp_path_factory.mktemp("app") / APP
	shutil.copytree(BUILT, source, ignore=shutil.ignore_patterns("node_modules"))
	try:
		with stored_soon(bench), linked_assets(bench, APP), installed(bench, source):
			for role in ("manager", "colleague"):
				give_role(bench, bench.person(role))
			yield bench
	finally:
		bench.inside("delete", doctype="Role", name=ROLE, force=True)


def give_role(bench: Bench, person: Person) -> None:
	"""Let a person change tasks."""
	bench.inside("set_role", user=person.name, role=ROLE, has=True)


@pytest.fixture
def open_tasks(with_tasks: Bench, open_window: OpenWindow) -> Open:
	"""Open the page in the browser of a person: `open_tasks(person)`."""

	def open_tasks(person: Person) -> Page:
		page = open_window(person).new_page()
		page.goto(f"{origin(with_tasks, with_tasks.site)}/tasks", timeout=PATIENCE)
		return page

	return open_tasks


def note(page: Page) -> Locator:
	"""Return the editor of the note."""
	return page.get_by_label("Note", exact=True)


def write(page: Page, text: str) -> None:
	"""Write at the end of the note."""
	expect(note(page)).to_have_attribute("contenteditable", "true", timeout=PATIENCE)
	note(page).press("ControlOrMeta+End")
	note(page).press_sequentially(text)


def task(bench: Bench, name: str) -> Any:
	"""Return a task as the Desk gets it."""
	return bench.request(bench.person(), f"{PATH}/{name}")["data"]


def wait_for_note(bench: Bench, name: str, text: str) -> None:
	"""Wait until a note is stored. What the app could not store is handed to it again after `RETRY_SECONDS`."""
	notes: list[Any] = []

	def is_stored() -> bool:
		notes.append(task(bench, name).get("note"))
		return notes[-1] == text

	try:
		until(is_stored, patience=RETRY_SECONDS + 30)
	except AssertionError:
		pytest.fail(f"the note is {notes[-1]!r}; the log of the sidecar: {bench.sidecar.log[-2000:]}")


def change(bench: Bench, person: Person, name: str, **fields: Any) -> None:
	"""Change a task by REST."""
	bench.request(person, f"{PATH}/{name}", fields, "PUT")


def test_two_users_share_tasks_and_the_note_is_kept(with_tasks: Bench, open_tasks: Open) -> None:
	bench, title = with_tasks, with_tasks.event()
	manager, colleague = bench.person(), bench.person("colleague")
	first, second = open_tasks(manager), open_tasks(colleague)
	first.get_by_label("New task").fill(title)
	first.keyboard.press("Enter")
	second.get_by_role("link", name=title).click(timeout=PATIENCE)
	name = second.evaluate("location.hash.slice(1)")
	entry = first.locator(".tasks > li", has_text=title)
	expect(entry.locator(".people li")).to_have_attribute("title", "Colleague", timeout=PATIENCE)
	first.get_by_role("link", name=title).click()
	first.get_by_label("Title").fill(f"{title} changed")
	expect(second.get_by_text("Manager edits the title")).to_be_visible(timeout=PATIENCE)
	first.keyboard.press("Enter")
	expect(second.get_by_label("Title")).to_have_value(f"{title} changed", timeout=PATIENCE)
	second.get_by_role("button", name="Take it").click()
	expect(first.get_by_text("Assigned to Colleague")).to_be_visible(timeout=PATIENCE)
	second.get_by_role("checkbox", name=title).check()
	expect(first.get_by_role("checkbox", name=title)).to_be_checked(timeout=PATIENCE)
	saved = task(bench, name)
	assert (saved["title"], saved["done"], saved["assigned_to"]) == (f"{title} changed", 1, colleague.name)

	write(first, "Two pots")
	expect(note(second)).to_contain_text("Two pots", timeout=PATIENCE)
	second.bring_to_front()
	note(second).press("ControlOrMeta+Home")
	note(second).press_sequentially("Red. ")
	expect(note(first)).to_contain_text(re.compile(r"Red\. .*Two pots"), timeout=PATIENCE)
	photograph(bench, second, "team-tasks")
	for page in (first, second):
		page.context.close()
	wait_for_note(bench, name, "Red. Two pots")
	# Users do not get the Yjs state, and storing the note does not change `modified`.
	assert "note_state" not in (after := task(bench, name))
	assert after["modified"] == saved["modified"]
	# What saves a task with an earlier note, or none, does not replace it, not even as Administrator.
	bench.inside("change", doctype=DOCTYPE, name=name, fields={"note": "", "note_state": "", "done": 0})
	assert task(bench, name)["note"] == "Red. Two pots"
	forget_state(bench, DOCTYPE, name)
	later = open_tasks(manager)
	later.get_by_role("link", name=title).click(timeout=PATIENCE)
	expect(note(later)).to_have_text("Red. Two pots", timeout=PATIENCE)
	later.once("dialog", lambda dialog: dialog.accept())
	later.get_by_role("button", name="Delete").click()
	expect(later.get_by_role("link", name=title)).to_have_count(0, timeout=PATIENCE)


def test_a_user_without_the_role_reads_until_it_is_given(with_tasks: Bench, open_tasks: Open) -> None:
	bench, title = with_tasks, with_tasks.event()
	manager, reader = bench.person(), bench.person("reader")
	name = bench.insert(manager, DOCTYPE, title=title)
	writer, page = open_tasks(manager), open_tasks(reader)
	for one in (writer, page):
		one.get_by_role("link", name=title).click(timeout=PATIENCE)
	write(writer, "Read this")
	expect(note(page)).to_contain_text("Read this", timeout=PATIENCE)
	expect(note(page)).to_have_attribute("contenteditable", "false")
	expect(page.get_by_role("checkbox", name=title)).to_be_disabled()
	expect(page.get_by_label("Title")).not_to_be_editable()
	expect(page.get_by_role("button")).to_have_count(0)
	with pytest.raises(AssertionError, match="HTTP 403"):
		change(bench, reader, name, done=1)
	# What a page makes of the note although it may not stays in it.
	page.evaluate("document.querySelector('.tiptap').editor.commands.insertContent('Mine. ')")
	expect(note(page)).to_contain_text("Mine. Read this")
	write(writer, ", please")
	expect(note(page)).to_contain_text(", please", timeout=PATIENCE)
	wait_for_note(bench, name, "Read this, please")
	expect(note(writer)).to_have_text(re.compile(r"^Read this, please\W*$"))
	give_role(bench, reader)
	expect(page.get_by_text("You may read this note")).to_have_count(0, timeout=PATIENCE)
	expect(note(writer)).to_contain_text("Mine. Read this, please", timeout=PATIENCE)
	(cookie,) = [one for one in page.context.cookies() if one["name"] == "sid"]
	log_out(bench, reader, cookie["value"], page.evaluate("frappe.csrf_token"))
	expect(page.get_by_text("You are logged out")).to_be_visible(timeout=PATIENCE)
	with page.expect_response(lambda answer: urlsplit(answer.url).path == "/tasks") as answered:
		page.reload(wait_until="commit")
	# A browser would keep a permanent redirect, and never open the page again.
	assert answered.value.status == 302
	assert answered.value.headers["location"].endswith("/login?redirect-to=/tasks")
