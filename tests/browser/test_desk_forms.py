"""Forms of the Desk that several users have open: who edits which field, and what happens when one of them saves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from frappe_realtime.contract import PRESENCE_JOIN
from realtime.demo.model import User
from tests.browser.conftest import EVERYTHING_ELSE, address, hand_out, sign_in
from tests.browser.driving import seen, settle, wait_for_room, wait_for_status, wait_until
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import Connect
from tests.wire.presence import Watcher

MEMBER = ".realtime-member"
EDITOR = ".realtime-editor"
NOTICE = ".realtime-saved"
DISCARD = "Discard My Changes and Reload"
KEEP = "Keep My Changes"
NUMBERS = itertools.count(1)


class Documents:
	"""The documents that the site's REST API returns to the pages."""

	def __init__(self, bench: Bench) -> None:
		self._bench = bench
		self._known: dict[str, dict[str, Any]] = {}

	def add(self, **values: Any) -> str:
		"""Add a ToDo; return its name."""
		name = self._bench.document()
		self._known[name] = {"doctype": "ToDo", "name": name, "docstatus": 0, "modified": "0", **values}
		return name

	def save(self, user: User, name: str, **values: Any) -> None:
		"""Change a document as the web process does when a user has saved it."""
		modified = str(next(NUMBERS))
		self._known[name] |= {**values, "modified": modified, "modified_by": user.name}
		message = {"doctype": "ToDo", "name": name, "modified": modified}
		self._bench.publish("doc_update", message, f"doc:ToDo/{name}")

	def delete(self, name: str) -> None:
		"""Let the API return the document no more."""
		del self._known[name]

	def answer(self, route: Route) -> None:
		"""Answer a request for a document."""
		document = self._known.get(route.request.url.rpartition("/")[2])
		if document is None:
			route.fulfill(status=404, json={"exc_type": "DoesNotExistError"})
		else:
			route.fulfill(json={"data": document})


OpenForm = Callable[..., Page]


@pytest.fixture
def documents(bench: Bench) -> Documents:
	"""Documents of the site."""
	return Documents(bench)


@pytest.fixture
def open_form(bench: Bench, browser: Browser, documents: Documents) -> Iterator[OpenForm]:
	"""Open a form in another browser: `open_form(user, name, realtime_desk_collaboration=1)`."""
	windows = []

	def open_form(user: User, name: str, window: Any = None, **boot: Any) -> Page:
		if window is None:
			window = browser.new_context()
			windows.append(window)
			window.route(EVERYTHING_ELSE, hand_out)
			window.route("**/api/resource/**", documents.answer)
			sign_in(window, bench, user)
		page: Page = window.new_page()
		settings = {"realtime_desk_collaboration": 1, **boot}
		page.goto(
			address(
				bench,
				"desk.html?boot=" + json.dumps({"sitename": APP_SITE, "user_name": user.name, **settings}),
			)
		)
		wait_for_status(page, "connected")
		page.evaluate("async (name) => { window.form = await frappe.open_form('ToDo', name); }", name)
		wait_for_room(bench, page, f"doc:ToDo/{name}")
		if settings["realtime_desk_collaboration"]:
			wait_until(page, "name => frappe.realtime.presence('ToDo', name).me", name)
		return page

	yield open_form
	for window in windows:
		window.close()


def shown(page: Page) -> list[str]:
	"""Return what the page says about the others, for those who do not see it."""
	return page.locator(f"{MEMBER} .sr-only").all_text_contents()


STEPS = [
	{"name": "s1", "idx": 1, "parentfield": "steps", "step": "Measure", "minutes": 5},
	{"name": "s2", "idx": 2, "parentfield": "steps", "step": "Cut", "minutes": 7},
]


def test_a_form_shows_who_has_it_open_and_which_field_each_edits(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	name = documents.add(steps=STEPS)
	page, other = open_form(ann, name), open_form(ben, name)
	expect(page.locator(f"{MEMBER} .sr-only")).to_have_text([ben.full_name])
	expect(page.locator(".form-viewers")).to_have_class("form-viewers is-replaced")
	other.get_by_label("Description").focus()
	description = page.locator("[data-fieldname=description]")
	expect(description.locator(EDITOR)).to_have_text([ben.full_name])
	expect(description.locator(".control-input-wrapper")).to_have_css("outline-style", "solid")
	assert shown(page) == [f"{ben.full_name} edits Description"]
	other.get_by_label("Minutes").nth(1).focus()
	expect(page.locator("[data-fieldname=steps] > .realtime-editors")).to_have_text([ben.full_name])
	expect(page.locator(".realtime-outlined-cell [data-fieldname=minutes]")).to_have_count(1)
	assert shown(page) == [f"{ben.full_name} edits Steps, Row #2, Minutes"]
	expect(page.locator(EDITOR)).to_have_count(1)
	other.evaluate("document.activeElement.blur()")
	expect(page.locator(EDITOR)).to_have_count(0)
	expect(page.locator(".realtime-outlined, .realtime-outlined-cell, .realtime-edited")).to_have_count(0)
	assert shown(page) == [ben.full_name]
	other.close()
	expect(page.locator(MEMBER)).to_have_count(0)


def test_nothing_is_shown_unless_the_site_turns_it_on(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	name = documents.add()
	page = open_form(bench.user(), name, realtime_desk_collaboration=0)
	other = open_form(bench.user(), name)
	other.get_by_label("Description").focus()
	settle(bench, other)
	page.evaluate("form.dirty()")
	documents.save(bench.user(), name)
	wait_until(page, 'seen.includes("the Desk\'s own message")')
	expect(page.locator(f"{MEMBER}, {EDITOR}, {NOTICE}")).to_have_count(0)
	assert page.evaluate("name => frappe.realtime.presence('ToDo', name).me", name) is None


def test_a_second_tab_of_the_same_user_is_not_shown(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, name = bench.user(), documents.add()
	page = open_form(ann, name)
	tab = open_form(ann, name, page.context)
	wait_until(page, "name => frappe.realtime.presence('ToDo', name).members.length === 2", name)
	tab.get_by_label("Description").focus()
	wait_until(page, "name => frappe.realtime.presence('ToDo', name).members[1].state.field", name)
	expect(page.locator(f"{MEMBER}, {EDITOR}, .realtime-more")).to_have_count(0)


@pytest.mark.parametrize("label", ["Secret", "Comment"])
def test_what_cannot_be_edited_and_what_is_no_field_is_not_named(
	bench: Bench, open_form: OpenForm, documents: Documents, label: str
) -> None:
	ann, name = bench.user(), documents.add()
	page = open_form(ann, name)
	page.get_by_label("Description").focus()
	state = "name => frappe.realtime.presence('ToDo', name).me.state"
	assert page.evaluate(state, name) == {"field": "description"}
	page.get_by_label(label).focus()
	assert page.evaluate(state, name) == {}


@pytest.mark.parametrize(
	"state",
	[
		{"field": "__proto__"},
		{"field": 5},
		{"field": "gone"},
		{"field": ["description"]},
		{"field": "steps", "row": "unsaved", "column": "minutes"},
		{"field": "steps", "row": {}, "column": []},
	],
	ids=str,
)
def test_a_state_that_names_no_field_of_the_form_is_left_out(
	bench: Bench, open_form: OpenForm, documents: Documents, connect: Connect, state: dict[str, Any]
) -> None:
	name = documents.add(steps=STEPS)
	page = open_form(bench.user(), name)
	errors: list[str] = []
	page.on("pageerror", lambda error: errors.append(str(error)))
	other = bench.user()
	Watcher(connect(bench, other), f"doc:ToDo/{name}", state)
	expect(page.locator(MEMBER)).to_have_count(1)
	if state["field"] == "steps":
		expect(page.locator("[data-fieldname=steps] > .realtime-editors")).to_have_text([other.full_name])
	expect(page.locator(".realtime-outlined-cell")).to_have_count(0)
	assert errors == []


def test_a_form_that_goes_on_to_another_document_leaves_the_one_before(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	first, second = documents.add(), documents.add()
	page, other = open_form(ann, first), open_form(ben, first)
	other.get_by_label("Description").focus()
	expect(page.locator(EDITOR)).to_have_count(1)
	page.evaluate("name => form.open(name)", second)
	expect(page.locator(f"{MEMBER}, {EDITOR}")).to_have_count(0)
	expect(other.locator(MEMBER)).to_have_count(0)
	page.evaluate("name => form.open(name)", first)
	expect(page.locator(EDITOR)).to_have_count(1)
	page.evaluate("form.is_new = () => true; form.refresh()")
	expect(other.locator(MEMBER)).to_have_count(0)
	page.evaluate("delete form.is_new; form.refresh()")
	expect(other.locator(MEMBER)).to_have_count(1)
	page.evaluate("$(document).trigger('form-unload', [form])")
	expect(other.locator(MEMBER)).to_have_count(0)


def test_a_form_that_is_refreshed_behind_a_list_stays_left(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	name = documents.add()
	page, other = open_form(bench.user(), name), open_form(bench.user(), name)
	expect(other.locator(MEMBER)).to_have_count(1)
	page.evaluate(
		"""() => {
			window.route = ["List", "ToDo", "List"];
			frappe.container.change_to(document.createElement("div"));
			window.cur_list = new frappe.views.ListView("ToDo", []);
			cur_list.setup_realtime_updates();
		}"""
	)
	expect(other.locator(MEMBER)).to_have_count(0)
	# The form reloads after a save elsewhere.
	state, sent = page.evaluate(
		"""() => {
			const sent = [];
			frappe.realtime.socket.onAnyOutgoing((event) => sent.push(event));
			form.refresh();
			return [frappe.realtime.presence("ToDo").me.state, sent];
		}"""
	)
	assert state == {}
	assert PRESENCE_JOIN not in sent
	page.evaluate("name => form.open(name)", name)
	expect(other.locator(MEMBER)).to_have_count(1)


def test_another_part_of_the_page_stays_a_member(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	first, second = documents.add(), documents.add()
	page, other = open_form(ann, second), open_form(ben, first)
	page.evaluate("name => frappe.realtime.presence('ToDo', name).join({ reads: true })", first)
	expect(other.locator(MEMBER)).to_have_count(1)
	page.evaluate("name => form.open(name)", first)
	page.get_by_label("Description").focus()
	expect(other.locator(EDITOR)).to_have_count(1)
	page.evaluate("$(document).trigger('form-unload', [form])")
	expect(other.locator(EDITOR)).to_have_count(0)
	expect(other.locator(MEMBER)).to_have_count(1)


def test_another_part_of_the_page_that_has_just_joined_stays_a_member(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	first, second = documents.add(), documents.add()
	page, other = open_form(ann, first), open_form(ben, first)
	page.evaluate("name => form.open(name)", second)
	expect(other.locator(MEMBER)).to_have_count(0)
	# As a script does when the form loads: the server has not answered when the form is shown.
	page.evaluate(
		"""name => {
			frappe.realtime.presence("ToDo", name).join({ reads: true });
			return form.open(name);
		}""",
		first,
	)
	expect(other.locator(MEMBER)).to_have_count(1)
	page.evaluate("name => form.open(name)", second)
	wait_until(page, "name => frappe.realtime.presence('ToDo', name).me", second)
	assert page.evaluate("name => frappe.realtime.presence('ToDo', name).me?.state", first) == {"reads": True}


# -- saved elsewhere


def test_a_form_without_own_changes_takes_over_what_was_saved(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	name = documents.add(description="before")
	page = open_form(bench.user(), name)
	documents.save(bench.user(), name, description="after")
	expect(page.get_by_label("Description")).to_have_value("after")
	expect(page.locator(NOTICE)).to_have_count(0)


def test_what_is_typed_before_the_form_reloads_is_not_lost(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ben, name = bench.user(), documents.add(description="before", priority="Low")
	page = open_form(bench.user(), name)
	page.get_by_label("Comment").fill("no field of the form")
	page.get_by_label("Description").press("End")
	page.get_by_label("Description").press_sequentially(" and more")
	documents.save(ben, name, priority="High")
	expect(page.locator(NOTICE)).to_contain_text("Changed: Priority.")
	page.get_by_role("button", name=KEEP).click()
	expect(page.get_by_label("Priority")).to_have_value("High")
	expect(page.get_by_label("Description")).to_have_value("before and more")
	assert "reload" not in seen(page)


def test_a_comment_that_is_being_typed_is_no_change_of_the_form(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	name = documents.add(description="before")
	page = open_form(bench.user(), name)
	page.get_by_label("Comment").press_sequentially("a comment")
	documents.save(bench.user(), name, description="after")
	expect(page.get_by_label("Description")).to_have_value("after")


def test_a_form_with_own_changes_says_who_saved_what_and_keeps_them(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	name = documents.add(description="before", priority="Low", hours=1, steps=STEPS)
	page = open_form(ann, name)
	open_form(ben, name)
	expect(page.locator(MEMBER)).to_have_count(1)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Hours").fill("2")
	page.get_by_label("Hours").blur()
	documents.save(ben, name, description="theirs", priority="High", total=7, steps=[STEPS[1]])
	notice = page.get_by_role("alert")
	expect(notice).to_contain_text(f"{ben.full_name} has saved this document.")
	expect(notice).to_contain_text("Changed: Description, Priority, Steps.")
	expect(notice).to_contain_text(
		"You have changed too: Description. If you keep your changes, yours replace theirs."
	)
	documents.save(ben, name, priority="Medium")
	page.get_by_role("button", name=KEEP).click()
	expect(notice).to_have_count(0)
	doc = page.evaluate("form.doc")
	assert (doc["description"], doc["priority"], doc["hours"]) == ("mine", "Medium", "2")
	assert [row["name"] for row in doc["steps"]] == ["s2"]
	assert page.evaluate("form.is_dirty() && !form.doc.__needs_refresh")
	assert "the Desk's own message" not in seen(page)
	documents.save(ben, name, priority="Low")
	expect(notice).to_contain_text("Changed: Priority.")
	expect(notice).not_to_contain_text("You have changed too")


def test_a_row_that_the_other_user_has_deleted_is_kept_as_a_new_one(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, ben = bench.user(), bench.user()
	name = documents.add(steps=STEPS)
	page = open_form(ann, name)
	page.get_by_label("Minutes").first.fill("9")
	page.get_by_label("Minutes").first.blur()
	documents.save(ben, name, steps=[STEPS[1]])
	page.get_by_role("button", name=KEEP).click()
	expect(page.locator(NOTICE)).to_have_count(0)
	rows = page.evaluate("form.doc.steps")
	assert [(row["name"], row.get("__islocal")) for row in rows] == [("s1", 1), ("s2", None)]
	assert rows[0]["minutes"] == "9"


def test_a_form_that_goes_on_to_another_document_says_what_was_saved_there(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ben, first, second = bench.user(), documents.add(), documents.add(priority="Low")
	page = open_form(bench.user(), first)
	page.evaluate("name => frappe.realtime.doc_subscribe('ToDo', name)", second)
	wait_for_room(bench, page, f"doc:ToDo/{second}")
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	page.evaluate(
		"""first => {
			const { fetch } = window;
			const released = new Promise((resolve) => (window.release = resolve));
			window.fetch = async (url, ...more) => {
				if (url.endsWith(first)) await ((window.is_held = true), released);
				return fetch(url, ...more);
			};
		}""",
		first,
	)
	documents.save(ben, first, description="theirs")
	wait_until(page, "window.is_held")
	page.evaluate("name => form.open(name)", second)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	documents.save(ben, second, priority="High")
	wait_until(page, "form.doc.__needs_refresh")
	page.evaluate("release()")
	expect(page.locator(NOTICE)).to_contain_text("Changed: Priority.")
	assert "the Desk's own message" not in seen(page)


def test_own_changes_can_be_discarded(bench: Bench, open_form: OpenForm, documents: Documents) -> None:
	name = documents.add(description="before")
	page = open_form(bench.user(), name)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	documents.save(bench.user(), name, description="theirs")
	page.get_by_role("button", name=DISCARD).click()
	expect(page.get_by_label("Description")).to_have_value("theirs")
	expect(page.locator(NOTICE)).to_have_count(0)


def test_changes_of_a_document_that_was_submitted_cannot_be_kept(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ben, name = bench.user(), documents.add(description="before")
	page = open_form(bench.user(), name)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	documents.save(ben, name, docstatus=1)
	text = f"{ben.name} has submitted this ToDo, so your changes cannot be kept."
	expect(page.locator(NOTICE)).to_contain_text(text)
	expect(page.get_by_role("button", name=KEEP)).to_have_count(0)
	expect(page.get_by_role("button", name=DISCARD)).to_have_count(1)


def test_a_save_that_changes_no_field_is_taken_over_silently(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	ann, name = bench.user(), documents.add(description="before", hours=0)
	page = open_form(ann, name)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	documents.save(ann, name, hours=None)
	wait_until(page, "form.doc.modified !== '0'")
	assert page.evaluate("[form.doc.description, form.doc.__needs_refresh ?? null]") == ["mine", None]
	expect(page.locator(NOTICE)).to_have_count(0)


def test_without_the_saved_document_the_form_says_what_the_desk_says(
	bench: Bench, open_form: OpenForm, documents: Documents
) -> None:
	name = documents.add(description="before")
	page = open_form(bench.user(), name)
	page.get_by_label("Description").fill("mine")
	page.get_by_label("Description").blur()
	documents.delete(name)
	bench.publish("doc_update", {"doctype": "ToDo", "name": name, "modified": "x"}, f"doc:ToDo/{name}")
	wait_until(page, 'seen.includes("the Desk\'s own message")')
	expect(page.locator(NOTICE)).to_have_count(0)
