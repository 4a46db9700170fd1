"""Forms of the Desk whose document another user saves: what they take over, what they keep, and what they ask."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.driving import seen, wait_for_room, wait_until
from tests.browser.forms import MEMBER, NOTICE, STEPS, Documents, OpenForm, documents, open_form
from tests.wire.bench import Bench

__all__ = ["documents", "open_form"]

DISCARD = "Discard My Changes and Reload"
KEEP = "Keep My Changes"


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
	# `doc_update` is published after the click: it replaces the notice, and a button that is replaced while it is pressed gets no click.
	documents.change(ben, name, priority="Medium")
	page.get_by_role("button", name=KEEP).click()
	expect(notice).to_have_count(0)
	doc = page.evaluate("form.doc")
	assert (doc["description"], doc["priority"], doc["hours"]) == ("mine", "Medium", "2")
	assert [row["name"] for row in doc["steps"]] == ["s2"]
	assert page.evaluate("form.is_dirty() && !form.doc.__needs_refresh")
	assert "the Desk's own message" not in seen(page)
	documents.tell(name)
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
