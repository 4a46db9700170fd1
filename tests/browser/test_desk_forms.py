"""Forms of the Desk that several users have open: who edits which field."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from frappe_realtime.contract.presence import PRESENCE_JOIN
from tests.browser.driving import settle, wait_until
from tests.browser.forms import MEMBER, NOTICE, STEPS, Documents, OpenForm, documents, open_form
from tests.wire.bench import Bench
from tests.wire.conftest import Connect
from tests.wire.presence import Watcher

__all__ = ["documents", "open_form"]

EDITOR = ".realtime-editor"


def shown(page: Page) -> list[str]:
	"""Return what the page says about the others, for those who do not see it."""
	return page.locator(f"{MEMBER} .sr-only").all_text_contents()


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
