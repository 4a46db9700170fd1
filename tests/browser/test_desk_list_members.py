"""Lists of the Desk show who has which document open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from frappe_realtime.contract.presence import PRESENCE_SET
from realtime.demo.model import User
from tests.browser.conftest import EVERYTHING_ELSE, address, hand_out, sign_in
from tests.browser.driving import settle, wait_for_status, wait_until
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.presence import Watcher

MEMBERS = ".realtime-row-members"

OpenList = Callable[..., Page]


class Answers:
	"""What the web process answers, and what it was asked."""

	def __init__(self) -> None:
		self.status = 200
		self.members: dict[str, Any] = {}
		self.asked: list[dict[str, Any]] = []
		self.is_holding = False
		"""Whether questions are held back."""
		self.held: list[Route] = []

	def answer(self, route: Route) -> None:
		"""Answer one question."""
		question: dict[str, Any] = route.request.post_data_json or {}
		self.asked.append({**question, "token": route.request.headers["x-frappe-csrf-token"]})
		if self.is_holding:
			self.held.append(route)
			return
		route.fulfill(status=self.status, json={"message": self.members})


@pytest.fixture
def answers() -> Answers:
	"""The answers of the web process."""
	return Answers()


@pytest.fixture
def open_list(bench: Bench, browser: Browser, answers: Answers) -> Iterator[OpenList]:
	"""Open a list of ToDos in another browser: `open_list(user, "T-1", "T-2")`."""
	windows = []

	def open_list(user: User, *names: str, route: Sequence[str] = ("List", "ToDo", "List")) -> Page:
		window = browser.new_context()
		windows.append(window)
		window.route(EVERYTHING_ELSE, hand_out)
		window.route("**/api/method/frappe_realtime.desk.*", answers.answer)
		sign_in(window, bench, user)
		page = window.new_page()
		boot = {"sitename": APP_SITE, "user_name": user.name, "realtime_desk_collaboration": 1}
		page.goto(address(bench, f"desk.html?boot={json.dumps(boot)}"))
		wait_for_status(page, "connected")
		page.evaluate(
			"""([names, route]) => {
				frappe.csrf_token = "the token";
				window.route = route;
				window.cur_list = new frappe.views.ListView("ToDo", names);
				cur_list.render_list();
				cur_list.setup_realtime_updates();
			}""",
			[names, route],
		)
		return page

	yield open_list
	for window in windows:
		window.close()


def wait_for_questions(page: Page, answers: Answers, count: int) -> None:
	"""Wait until the list has asked so often. The page is what calls `Answers.answer`."""
	until(lambda: page.evaluate("true") and len(answers.asked) == count, f"{count} questions")


def user_of(user: User) -> dict[str, str]:
	"""Return a user as the web process describes it."""
	return {"user": user.name, "full_name": user.full_name}


def test_rows_show_who_has_their_documents_open(bench: Bench, open_list: OpenList, answers: Answers) -> None:
	ann, ben = bench.user(), bench.user()
	others = [{"user": str(number), "full_name": f"Other {number}"} for number in range(5)]
	answers.members = {
		"T-1": {"users": [user_of(ann), user_of(ben)], "count": 2},
		"T-2": {"users": others, "count": 7},
		"T-3": {"users": [user_of(ann)], "count": 1},
	}
	page = open_list(ann, "T-1", "T-2", "T-3", "T-4")
	rows = page.locator(".list-row")
	expect(rows.nth(0).locator(f"{MEMBERS} .sr-only")).to_have_text([f"{ben.full_name} has this open"])
	expect(rows.nth(1).locator(".realtime-member")).to_have_count(3)
	expect(rows.nth(1).locator(".realtime-more")).to_have_text("+4")
	expect(rows.nth(2).locator(MEMBERS)).to_have_count(0)
	names = ["T-1", "T-2", "T-3", "T-4"]
	assert answers.asked == [{"doctype": "ToDo", "names": names, "token": "the token"}]
	page.evaluate("cur_list.render_list()")
	expect(rows.nth(0).locator(MEMBERS)).to_have_count(1)


def test_a_list_asks_again_when_a_form_shows_another_document(
	bench: Bench, open_list: OpenList, answers: Answers, connect: Connect
) -> None:
	ann, ben = bench.user(), bench.user()
	page = open_list(ann, "T-1")
	wait_until(page, "frappe.realtime.presence('ToDo').me")
	wait_for_questions(page, answers, 1)
	# Another list changes nothing.
	watcher = Watcher(connect(bench, ben), "doctype:ToDo")
	wait_until(page, "frappe.realtime.presence('ToDo').count === 2")
	answers.members = {"T-1": {"users": [user_of(ben)], "count": 1}}
	watcher.client.call(PRESENCE_SET, watcher.place, {"form": 1}, None)
	expect(page.locator(MEMBERS)).to_have_count(1)
	assert len(answers.asked) == 2
	answers.members = {}
	watcher.client.close()
	expect(page.locator(MEMBERS)).to_have_count(0)


def test_an_older_answer_does_not_take_the_place_of_a_newer_one(
	bench: Bench, open_list: OpenList, answers: Answers, connect: Connect
) -> None:
	ann, ben = bench.user(), bench.user()
	answers.is_holding = True
	page = open_list(ann, "T-1")
	wait_until(page, "frappe.realtime.presence('ToDo').me")
	wait_for_questions(page, answers, 1)
	answers.is_holding = False
	answers.members = {"T-1": {"users": [user_of(ben)], "count": 1}}
	Watcher(connect(bench, ben), "doctype:ToDo", {"form": 1})
	expect(page.locator(MEMBERS)).to_have_count(1, timeout=15_000)
	with page.expect_response("**/api/method/frappe_realtime.desk.*"):
		answers.held[0].fulfill(json={"message": {}})
	settle(bench, page)
	expect(page.locator(MEMBERS)).to_have_count(1)


def test_a_list_that_is_not_shown_asks_nothing(
	bench: Bench, open_list: OpenList, answers: Answers, connect: Connect
) -> None:
	page = open_list(bench.user(), "T-1", route=["Form", "ToDo", "T-1"])
	assert page.evaluate("frappe.realtime.presence('ToDo').me") is None
	# It was shown, asks for the first time, and is left.
	page.evaluate("window.route = ['List', 'ToDo', 'List']; cur_list.setup_realtime_updates()")
	wait_until(page, "frappe.realtime.presence('ToDo').me")
	wait_for_questions(page, answers, 1)
	page.evaluate("window.route = ['Form', 'ToDo', 'T-1']")
	Watcher(connect(bench, bench.user()), "doctype:ToDo", {"form": 1})
	wait_until(page, "frappe.realtime.presence('ToDo').members.some(({ state }) => state.form)")
	answers.members = {"T-1": {"users": [user_of(bench.user())], "count": 1}}
	page.evaluate("window.route = ['List', 'ToDo', 'List']; cur_list.setup_realtime_updates()")
	expect(page.locator(MEMBERS)).to_have_count(1)
	assert len(answers.asked) == 2


def test_without_an_answer_rows_show_nobody(bench: Bench, open_list: OpenList, answers: Answers) -> None:
	answers.status = 500
	page = open_list(bench.user(), "T-1")
	errors: list[str] = []
	page.on("pageerror", lambda error: errors.append(str(error)))
	wait_for_questions(page, answers, 1)
	# Its answer comes behind that to the question of the list, which may have come before the test looks.
	page.evaluate(
		"fetch('/api/method/frappe_realtime.desk.another', { headers: { 'X-Frappe-CSRF-Token': 'x' } }).then(() => true)"
	)
	expect(page.locator(MEMBERS)).to_have_count(0)
	assert errors == []
