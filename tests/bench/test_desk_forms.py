"""Two users with one form or list of the Desk, on a site that has turned `realtime_desk_collaboration` on."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.bench.collaboration import click_cell, fill, open_contact, save, turned_on
from tests.bench.conftest import OpenWindow
from tests.bench.desk import PATIENCE, open_desk, origin, photograph, wait_until
from tests.bench.installation import Bench, Person

MEMBER = ".realtime-member"
EDITOR = ".realtime-editor"
NOTICE = ".realtime-saved"
ROLE = "System Manager"

pytestmark = pytest.mark.usefixtures("web_with_assets", "collaboration")


@pytest.fixture(scope="module")
def collaboration(bench: Bench) -> Iterator[None]:
	"""The site with the key set, and a second user who may write what the first one writes."""
	if not bench.web.is_ours:
		pytest.skip("the web process ran before the tests: stop it, and the tests start their own")
	colleague = bench.person("colleague").name
	bench.inside("set_role", user=colleague, role=ROLE, has=True)
	with turned_on(bench):
		yield
	bench.inside("set_role", user=colleague, role=ROLE, has=False)


@pytest.fixture
def contact(bench: Bench) -> Iterator[str]:
	"""A document with a child table."""
	manager = bench.person()
	emails = [{"email_id": f"{number}@example.com", "is_primary": number == 0} for number in range(2)]
	name = bench.insert(manager, "Contact", first_name=f"Ida {bench.event()}", email_ids=emails)
	yield name
	bench.inside("delete", doctype="Contact", name=name, force=True)


def open_form(bench: Bench, open_window: OpenWindow, person: Person, name: str) -> Page:
	"""Open a Contact as a person."""
	return open_contact(bench, open_window(person), name)


def field(page: Page, name: str) -> str:
	"""Return the value of a field of the form, as the user sees it."""
	return str(page.locator(f"[data-fieldname={name}] input").first.input_value())


def test_a_form_shows_who_edits_which_field(bench: Bench, open_window: OpenWindow, contact: str) -> None:
	page = open_form(bench, open_window, bench.person("manager"), contact)
	errors: list[str] = []
	page.on("pageerror", lambda error: errors.append(str(error)))
	other = open_form(bench, open_window, bench.person("colleague"), contact)
	expect(page.locator(f"{MEMBER} .sr-only")).to_have_text(["Colleague"], timeout=PATIENCE)
	expect(page.locator(".form-viewers .avatar:visible")).to_have_count(0)
	other.locator("[data-fieldname=last_name] input").first.click()
	expect(page.locator(f"[data-fieldname=last_name] {EDITOR}")).to_have_text(["Colleague"], timeout=PATIENCE)
	expect(page.locator(f"{MEMBER} .sr-only")).to_have_text(["Colleague edits Last Name"])
	photograph(bench, page, "field-presence")
	click_cell(other, 1, "email_id")
	expect(page.locator(f"[data-fieldname=email_ids] > .realtime-editors {EDITOR}")).to_have_text(
		["Colleague"]
	)
	expect(page.locator(".grid-row .realtime-outlined-cell")).to_have_count(1)
	expect(page.locator(f"{MEMBER} .sr-only")).to_contain_text("Row #2")
	page.evaluate("cur_frm.refresh()")
	expect(page.locator(".grid-row .realtime-outlined-cell")).to_have_count(1)
	photograph(bench, page, "cell-presence")
	other.evaluate("frappe.set_route('List', 'Contact', 'List')")
	expect(page.locator(f"{MEMBER}, {EDITOR}, .realtime-outlined-cell")).to_have_count(0, timeout=PATIENCE)
	assert errors == []


def test_a_form_without_own_changes_takes_over_what_was_saved(
	bench: Bench, open_window: OpenWindow, contact: str
) -> None:
	page = open_form(bench, open_window, bench.person("manager"), contact)
	other = open_form(bench, open_window, bench.person("colleague"), contact)
	fill(other, "last_name", "Berg")
	save(other)
	wait_until(page, "cur_frm.doc.last_name === 'Berg'")
	assert field(page, "last_name") == "Berg"
	expect(page.locator(NOTICE)).to_have_count(0)


def test_own_changes_are_kept_beside_what_was_saved(
	bench: Bench, open_window: OpenWindow, contact: str
) -> None:
	page = open_form(bench, open_window, bench.person("manager"), contact)
	other = open_form(bench, open_window, bench.person("colleague"), contact)
	fill(page, "last_name", "Own")
	fill(other, "middle_name", "Saved")
	save(other)
	notice = page.locator(NOTICE)
	expect(notice).to_contain_text("Colleague has saved this document.", timeout=PATIENCE)
	expect(notice).to_contain_text("Middle Name")
	expect(notice).not_to_contain_text("You have changed too")
	expect(notice).to_be_in_viewport()
	photograph(bench, page, "saved-elsewhere")
	notice.get_by_role("button", name="Keep My Changes").click()
	expect(notice).to_have_count(0, timeout=PATIENCE)
	wait_until(page, "cur_frm.doc.middle_name === 'Saved' && cur_frm.is_dirty()")
	assert field(page, "last_name") == "Own"
	save(page)
	wait_until(other, "cur_frm.doc.last_name === 'Own'")
	document = bench.request(bench.person(), f"/api/resource/Contact/{quote(contact)}")["data"]
	assert (document["last_name"], document["middle_name"]) == ("Own", "Saved")
	assert len(document["email_ids"]) == 2


def test_own_changes_can_be_discarded(bench: Bench, open_window: OpenWindow, contact: str) -> None:
	page = open_form(bench, open_window, bench.person("manager"), contact)
	other = open_form(bench, open_window, bench.person("colleague"), contact)
	fill(page, "last_name", "Own")
	fill(other, "last_name", "Saved")
	save(other)
	notice = page.locator(NOTICE)
	expect(notice).to_contain_text("You have changed too: Last Name.", timeout=PATIENCE)
	notice.get_by_role("button", name="Discard My Changes and Reload").click()
	wait_until(page, "cur_frm.doc.last_name === 'Saved' && !cur_frm.is_dirty()")
	expect(notice).to_have_count(0)
	assert field(page, "last_name") == "Saved"


def test_a_list_shows_who_has_which_document_open(
	bench: Bench, open_window: OpenWindow, contact: str
) -> None:
	page = open_desk(bench, open_window(bench.person("manager")), origin(bench, bench.site), "contact")
	wait_until(page, "cur_list?.doctype === 'Contact' && cur_list.realtime_events_setup")
	row = page.locator(".list-row-container", has_text=contact)
	expect(row).to_have_count(1, timeout=PATIENCE)
	other = open_form(bench, open_window, bench.person("colleague"), contact)
	members = row.locator(".realtime-row-members .sr-only")
	expect(members).to_have_text(["Colleague has this open"], timeout=PATIENCE)
	expect(page.locator(".realtime-row-members")).to_have_count(1)
	photograph(bench, page, "list-presence")
	other.evaluate("frappe.set_route('List', 'Contact', 'List')")
	expect(members).to_have_count(0, timeout=PATIENCE)


def test_a_list_does_not_show_who_is_in_a_document_that_may_not_be_read(
	bench: Bench, open_window: OpenWindow
) -> None:
	manager, reader = bench.person("manager"), bench.person("reader")
	private = bench.insert(manager, "Note", title=f"Private {bench.event()}", public=0)
	page = open_desk(bench, open_window(manager), origin(bench, bench.site), f"note/{private}")
	wait_until(page, "name => frappe.realtime.presence('Note', name).me", private)
	path = "/api/method/frappe_realtime.desk.members_of_documents"
	question = {"doctype": "Note", "names": [private]}
	assert bench.request(manager, path, question)["message"][private]["users"][0]["user"] == manager.name
	assert bench.request(reader, path, question)["message"] == {}
