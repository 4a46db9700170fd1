"""Lists of the Desk: which rows they fetch after an update."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.driving import seen, settle, wait_for_room, wait_to_see, wait_until
from tests.wire.bench import Bench


def open_list(bench: Bench, page: Page, doctype: str = "ToDo") -> list[str]:
	"""Show a list of the Desk, and wait until its updates arrive; return the errors that the page raises from now on."""
	errors: list[str] = []
	page.on("pageerror", lambda error: errors.append(str(error)))
	page.evaluate(
		"""doctype => {
			window.route = ["List", doctype, "List"];
			window.cur_list = new frappe.views.ListView(doctype);
		}""",
		doctype,
	)
	wait_for_room(bench, page, f"doctype:{doctype}")
	return errors


def update_list(bench: Bench, doctype: str = "ToDo", **more: Any) -> None:
	"""Publish an update of a list."""
	bench.publish("list_update", {"doctype": doctype, **more}, f"doctype:{doctype}")


def test_a_list_fetches_the_rows_that_updates_name(bench: Bench, open_desk: OpenPage) -> None:
	page = open_desk(bench, bench.user())
	errors = open_list(bench, page)
	name = bench.document()
	update_list(bench, name=name)
	wait_to_see(page, ["rows", [name]])
	settle(bench, page)
	assert (seen(page), errors) == ([["rows", [name]]], [])


@pytest.mark.parametrize("update", [{}, {"name": "T-1", "more": True}], ids=["no name", "more"])
def test_a_list_fetches_all_rows_after_an_update_that_does_not_name_all(
	bench: Bench, open_desk: OpenPage, update: dict[str, Any]
) -> None:
	page = open_desk(bench, bench.user())
	errors = open_list(bench, page)
	for times in (1, 2):
		page.evaluate(
			"update => frappe.realtime.socket.listeners('list_update').forEach((one) => one(update))",
			{"doctype": "ToDo", **update},
		)
		wait_until(page, "times => seen.length === times", times)
	assert (seen(page), errors) == ([["all rows", "ToDo"]] * 2, []), "the second one within three seconds"


def test_an_update_from_the_sidecar_without_a_name_refreshes_the_list(
	bench: Bench, open_desk: OpenPage
) -> None:
	page = open_desk(bench, bench.user())
	errors = open_list(bench, page)
	update_list(bench)
	wait_to_see(page, ["all rows", "ToDo"])
	assert errors == []


@pytest.mark.parametrize("shown", ["a form", "another list"])
def test_a_list_that_is_not_shown_fetches_nothing(bench: Bench, open_desk: OpenPage, shown: str) -> None:
	page = open_desk(bench, bench.user())
	errors = open_list(bench, page)
	page.evaluate(
		"""shown => {
			window.hidden_list = cur_list;
			if (shown === "a form") window.route = ["Form", "ToDo", "T-1"];
			else {
				window.route = ["List", "Note", "List"];
				window.cur_list = { doctype: "Note" };
			}
		}""",
		shown,
	)
	update_list(bench)
	wait_until(page, "!hidden_list.realtime_events_setup")
	assert (seen(page), errors) == ([], [])
