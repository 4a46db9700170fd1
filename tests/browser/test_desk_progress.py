"""Progress in the Desk: its bars, one for each title, on the page that has asked."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.driving import listen, seen, settle, wait_for_status, wait_to_see, wait_until
from tests.wire.bench import Bench

BARS = "dialog"


def test_a_bar_shows_from_0_and_closes_at_100(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	for percent in (0, 50, 100):
		bench.publish("progress", {"title": "Import", "percent": percent}, f"user:{user.name}")
	wait_until(page, "seen.includes('Import: 100')")
	assert seen(page) == ["Import: 0", "Import: 50", "Import: 100"]
	expect(page.locator(BARS)).to_have_count(0)


def test_steps_and_odd_sums_close_it_too(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	for message in ({"progress": [1, 3]}, {"progress": [3, 3]}):
		bench.publish("progress", {"title": "Steps", **message}, f"user:{user.name}")
	for percent in (33.3333, 99.9999):
		bench.publish("progress", {"title": "Sum", "percent": percent}, f"user:{user.name}")
	wait_until(page, "seen.includes('Sum: 100')")
	assert seen(page) == ["Steps: 33", "Steps: 100", "Sum: 33", "Sum: 100"]
	expect(page.locator(BARS)).to_have_count(0)


def test_two_bars_do_not_disturb_each_other(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	for percent in (10, 20, 30):
		for title in ("One", "Other"):
			bench.publish("progress", {"title": title, "percent": percent}, f"user:{user.name}")
	wait_until(page, "seen.includes('Other: 30')")
	expect(page.locator(BARS)).to_have_text(["One: 30", "Other: 30"])
	bench.publish("progress", {"title": "One", "percent": 100}, f"user:{user.name}")
	expect(page.locator(BARS)).to_have_text(["Other: 30"])


def test_work_that_begins_again_keeps_its_bar(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	for percent in (100, 10):
		bench.publish("progress", {"title": "Import", "percent": percent}, f"user:{user.name}")
	bench.publish("progress", {"title": "Fence", "percent": 100}, f"user:{user.name}")
	wait_until(page, "seen.includes('Fence: 100')")
	# The fence's bar is closed after the other's would have been.
	expect(page.locator(BARS)).to_have_text(["Import: 10"])


def test_a_bar_that_the_user_has_closed_comes_back_with_the_next_work(
	bench: Bench, open_desk: OpenPage
) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	bench.publish("progress", {"title": "Import", "percent": 50}, f"user:{user.name}")
	wait_until(page, "frappe.cur_progress?.display")
	page.evaluate("frappe.cur_progress.close()")
	bench.publish("progress", {"title": "Import", "percent": 60}, f"user:{user.name}")
	wait_until(page, "seen.includes('Import: 60')")
	expect(page.locator(BARS)).to_have_count(0)
	bench.publish("progress", {"title": "Import", "percent": 5}, f"user:{user.name}")
	expect(page.locator(BARS)).to_have_text(["Import: 5"])


def test_only_the_page_that_has_asked_shows_the_bar(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	asking, other = open_desk(bench, user), open_desk(bench, user)
	for page in (asking, other):
		wait_for_status(page, "connected")
	name = asking.evaluate("window.frappe_realtime_page")
	bench.publish("progress", {"title": "Import", "percent": 5, "page": name}, f"user:{user.name}")
	for page in (asking, other):
		settle(bench, page)
	assert [seen(page) for page in (asking, other)] == [["Import: 5"], []]


def test_other_listeners_of_progress_get_every_message(bench: Bench, open_desk: OpenPage) -> None:
	user = bench.user()
	page = open_desk(bench, user)
	wait_for_status(page, "connected")
	listen(page, "progress")
	bench.publish("progress", {"progress": [1, 2], "page": "another"}, f"user:{user.name}")
	wait_to_see(page, ["progress", {"progress": [1, 2], "page": "another", "percent": 50}])
