"""A site that has turned `realtime_desk_collaboration` on, and its forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, Page

from tests.bench.desk import open_desk, origin, wait_until
from tests.bench.installation import Bench


@contextmanager
def turned_on(bench: Bench) -> Iterator[None]:
	"""Turn it on for the site with the app, until the block ends."""
	path = f"sites/{bench.site}/site_config.json"
	with bench.kept(path):
		config = json.loads((bench.root / path).read_text())
		(bench.root / path).write_text(json.dumps({**config, "realtime_desk_collaboration": 1}))
		# Some versions keep the configuration for a minute.
		_restart_web(bench)
		yield
	_restart_web(bench)


def _restart_web(bench: Bench) -> None:
	bench.web.stop()
	bench.web.start_unless_running()


def open_contact(bench: Bench, window: BrowserContext, name: str) -> Page:
	"""Open the form of a Contact, and wait until this page is a member of its presence."""
	page = open_desk(bench, window, origin(bench, bench.site), f"contact/{name}")
	wait_until(
		page, "name => cur_frm?.docname === name && frappe.realtime.presence('Contact', name).me", name
	)
	return page


def fill(page: Page, name: str, value: str) -> None:
	"""Type into a field of the form, and leave it."""
	box = page.locator(f"[data-fieldname={name}] input").first
	box.fill(value)
	box.blur()
	wait_until(page, "([name, value]) => cur_frm.doc[name] === value && cur_frm.is_dirty()", [name, value])


def click_cell(page: Page, row: int, name: str) -> None:
	"""Click into a cell of the table of e-mail addresses, which begins to edit it."""
	rows = page.locator("[data-fieldname=email_ids] .grid-body .grid-row")
	rows.nth(row).locator(f"[data-fieldname={name}]").first.click()


def save(page: Page) -> None:
	"""Save the form by its button, and wait until that is done."""
	page.evaluate("window.saved = cur_frm.doc.modified")
	page.locator(".page-head .primary-action:visible", has_text="Save").click()
	wait_until(page, "cur_frm.doc.modified !== saved && !cur_frm.is_dirty() && !frappe.ui.form.is_saving")
