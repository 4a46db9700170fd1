"""Takes the pictures of docs/desk.md; run by script/screenshots."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, expect

from tests.bench.collaboration import click_cell, fill, open_contact, save, turned_on
from tests.bench.desk import PATIENCE, set_theme, wait_until
from tests.bench.installation import Bench, NotSuitable, Person
from tests.bench.screenshots import running_bench, save_picture
from tests.wire.browser import NoChromium, chromium

PEOPLE = {
	"ann.berg@example.com": ("Ann", "Berg"),
	"carla.singh@example.com": ("Carla", "Singh"),
	"hugo.wood@example.com": ("Hugo", "Wood"),
}
CONTACTS = ("Ida Moss", "Jon Reed", "Lena Hill")
EMAILS = [{"email_id": "ida@example.com", "is_primary": 1}, {"email_id": "office@example.com"}]


def main() -> int:
	"""Take the pictures; return the exit code."""
	parser = argparse.ArgumentParser(description=__doc__)
	parser.add_argument("--folder", type=Path, default=Path("docs/images"))
	options = parser.parse_args()
	root = os.environ.get("FRAPPE_BENCH_ROOT")
	if not root:
		print("FRAPPE_BENCH_ROOT names no bench", file=sys.stderr)
		return 2
	options.folder.mkdir(parents=True, exist_ok=True)
	try:
		with (
			running_bench(Path(root)) as bench,
			chromium("--host-resolver-rules=MAP * 127.0.0.1") as browser,
			turned_on(bench),
			team(bench) as people,
			contacts(bench) as names,
		):
			take_pictures(bench, browser, people, names, options.folder)
	except (NotSuitable, NoChromium) as reason:
		print(reason, file=sys.stderr)
		return 1
	return 0


@contextlib.contextmanager
def team(bench: Bench) -> Iterator[list[Person]]:
	"""System Users with first and last names, who are removed in the end."""
	password = "Xk2-pictures-9q"
	tokens = bench.inside("make_team", users=list(PEOPLE))
	try:
		for user, (first_name, last_name) in PEOPLE.items():
			fields = {"first_name": first_name, "last_name": last_name, "new_password": password}
			bench.request(bench.person(), f"/api/resource/User/{user}", fields, "PUT")
		yield [Person(bench.site, user, token, password) for user, token in tokens.items()]
	finally:
		bench.inside("remove_team", users=list(PEOPLE))


@contextlib.contextmanager
def contacts(bench: Bench) -> Iterator[list[str]]:
	"""Contacts, of which the last one is the first in the list; they are removed in the end."""
	names = []
	try:
		for name in reversed(CONTACTS):
			first_name, _, last_name = name.partition(" ")
			fields = {"first_name": first_name, "last_name": last_name, "email_ids": EMAILS}
			names.append(bench.insert(bench.person(), "Contact", **fields))
		yield names
	finally:
		for name in names:
			bench.inside("delete", doctype="Contact", name=name, force=True)


def open_window(bench: Bench, browser: Browser, person: Person) -> BrowserContext:
	"""Return the browser of a person, logged in."""
	window = browser.new_context(viewport={"width": 1280, "height": 720})
	window.set_default_timeout(60_000)
	window.add_init_script("Object.defineProperty(navigator, 'onLine', { get: () => true })")
	window.add_cookies([{"name": "sid", "value": bench.log_in(person), "domain": bench.site, "path": "/"}])
	return window


def take_pictures(
	bench: Bench, browser: Browser, people: list[Person], names: list[str], folder: Path
) -> None:
	"""Open forms of all people, and the list, and save what the first one sees."""
	windows = [open_window(bench, browser, person) for person in people]
	pages = [open_contact(bench, window, names[-1]) for window in windows]
	page, other, third = pages
	other.locator("[data-fieldname=last_name] input").first.click()
	click_cell(third, 1, "email_id")
	page.locator(".realtime-outlined").first.wait_for()
	page.locator(".realtime-outlined-cell").first.wait_for()
	for theme in ("light", "dark"):
		set_theme(page, theme)
		# Transitions of colours.
		page.wait_for_timeout(1000)
		save_picture(page, folder, f"forms-v{bench.version}-{theme}")
	set_theme(page, "light")
	third.evaluate("name => frappe.set_route('Form', 'Contact', name)", names[0])
	page.evaluate("frappe.set_route('List', 'Contact', 'List')")
	rows = page.locator(".list-row-container:visible", has=page.locator(".realtime-row-members"))
	expect(rows).to_have_count(2, timeout=PATIENCE)
	page.wait_for_timeout(1000)
	save_picture(page, folder, f"forms-v{bench.version}-list")
	page.evaluate("name => frappe.set_route('Form', 'Contact', name)", names[-1])
	wait_until(
		page, "name => cur_frm?.docname === name && frappe.realtime.presence('Contact', name).me", names[-1]
	)
	fill(page, "last_name", "Moss-Reed")
	fill(other, "middle_name", "Maria")
	save(other)
	page.locator(".realtime-saved").wait_for()
	page.wait_for_timeout(1000)
	save_picture(page, folder, f"forms-v{bench.version}-saved")


if __name__ == "__main__":
	sys.exit(main())
