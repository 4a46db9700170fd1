"""examples/team_tasks in Chromium, built as `bench build` does: the list of tasks, the users who have one open, and the shared note."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from frappe_realtime.contract.access import USER_CHANGED
from frappe_realtime.contract.channels import ACCESS_CHANNEL
from realtime.demo.model import GUEST, User
from tests.browser.conftest import EVERYTHING_ELSE, FOLDERS, address, hand_out, sign_in
from tests.browser.driving import kill_sidecar, wait_until
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.nodejs import missing
from tests.wire.sidecar import ROOT

DOCTYPE = "Team Task"
TOKEN = "the token of the session"
TEMPLATE = ROOT / "examples" / "team_tasks" / "team_tasks" / "www" / "tasks.html"
PAUSED = "Live updates are paused"


class Tasks:
	"""The web process of a site with the app: answers requests for tasks, and publishes their changes as Frappe does.

	Args:
		bench: The bench with the site.
	"""

	def __init__(self, bench: Bench) -> None:
		self._bench = bench
		self.tasks: dict[str, dict[str, Any]] = {}
		"""The fields of the tasks by name."""
		self.is_quiet = False
		"""Whether changes are not published, as while Redis does not answer."""

	def add(self, title: str) -> str:
		"""Add a task; return its name."""
		name = self._bench.document()
		self.tasks[name] = {
			"name": name,
			"title": title,
			"done": 0,
			"assigned_to": None,
			"assigned_name": None,
		}
		self._publish(name)
		return name

	def page(self, user: User) -> str:
		"""Return the page of a user, as Frappe renders it."""
		about = {"user": user.name, "full_name": user.full_name, "can_write": self._may_write(user.name)}
		values = {
			"boot.sitename": APP_SITE,
			"dev_server": 0,
			"version": 1,
			"team_tasks | tojson": json.dumps(about),
		}
		text = re.sub(r"{{ (.+?) }}", lambda found: str(values.get(found[1], 9000)), TEMPLATE.read_text())
		return text.replace("<!-- csrf_token -->", f'<script>frappe.csrf_token = "{TOKEN}";</script>')

	def answer(self, route: Route) -> None:
		"""Answer a request of a page."""
		request = route.request
		sid = SimpleCookie(request.all_headers().get("cookie", ""))["sid"].value
		user = self._bench.site().sessions.get(sid, GUEST)
		if user == GUEST:
			return route.fulfill(status=403, json={"exc_type": "PermissionError"})
		if request.method == "GET":
			return self._load(route, user)
		if request.headers["x-frappe-csrf-token"] != TOKEN:
			return route.fulfill(status=400, json={"exc_type": "CSRFTokenError"})
		if not self._may_write(user):
			message = json.dumps([json.dumps({"message": "<b>Not</b> permitted"})])
			return route.fulfill(
				status=403, json={"exc_type": "PermissionError", "_server_messages": message}
			)
		name = self._name(request.url)
		fields: dict[str, Any] = request.post_data_json or {}
		if request.method == "POST":
			name = self.add(fields["title"])
		elif request.method == "DELETE":
			del self.tasks[name]
		else:
			self.tasks[name].update(fields)
			self.tasks[name]["assigned_name"] = self.tasks[name]["assigned_to"]
		self._publish(name)
		return route.fulfill(json={"data": self.tasks.get(name)})

	def _load(self, route: Route, user: str) -> None:
		path = urlsplit(route.request.url).path
		if path.startswith("/api/method/"):
			route.fulfill(json={"message": user})
		elif not (name := self._name(path)):
			route.fulfill(json={"data": sorted(self.tasks.values(), key=lambda task: task["done"])})
		elif name in self.tasks:
			route.fulfill(json={"data": self.tasks[name]})
		else:
			route.fulfill(status=404, json={"exc_type": "DoesNotExistError"})

	def _name(self, url: str) -> str:
		return unquote(urlsplit(url).path).partition(f"/{DOCTYPE}")[2].removeprefix("/")

	def _may_write(self, user: str) -> bool:
		return self._bench.site().has_permission(user, DOCTYPE, "", "write")

	def _publish(self, name: str) -> None:
		if self.is_quiet:
			return
		message = {"doctype": DOCTYPE, "name": name}
		self._bench.publish("doc_update", message, f"doc:{DOCTYPE}/{name}")
		self._bench.publish("list_update", message, f"doctype:{DOCTYPE}")


Open = Callable[[Tasks, Bench, User], Page]


@pytest.fixture
def open_tasks(browser: Browser) -> Iterator[Open]:
	"""Open the page in the browser of a user: `open_tasks(tasks, bench, user)`."""
	if reason := missing():
		pytest.skip(reason)
	if not (FOLDERS["/assets/team_tasks/"] / "frontend" / "main.js").exists():
		pytest.skip("the example is not built: run script/test once")
	windows: list[BrowserContext] = []

	def open_tasks(tasks: Tasks, bench: Bench, user: User) -> Page:
		window = browser.new_context()
		windows.append(window)
		window.route(EVERYTHING_ELSE, hand_out)
		window.route("**/api/**", tasks.answer)
		window.route("**/tasks", lambda route: route.fulfill(content_type="text/html", body=tasks.page(user)))
		sign_in(window, bench, user)
		page = window.new_page()
		page.goto(address(bench, "tasks"))
		# Its own changes come back to it: it is in the room of the list.
		expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
		expect(page.get_by_text("Loading")).to_have_count(0)
		return page

	yield open_tasks
	for window in windows:
		window.close()


def row(page: Page, title: str) -> Locator:
	"""Return the entry of a task in the list."""
	return page.locator(".tasks li", has_text=title)


def note(page: Page) -> Locator:
	"""Return the editor of the note."""
	return page.get_by_label("Note", exact=True)


def write(page: Page, text: str) -> None:
	"""Write at the end of the note."""
	expect(note(page)).to_have_attribute("contenteditable", "true")
	note(page).press("ControlOrMeta+End")
	note(page).press_sequentially(text)


def has_note(page: Page, text: str) -> None:
	"""Wait until the note is this text, apart from the cursors of others in it."""
	wait_until(
		page,
		"""text => {
			const note = document.querySelector(".tiptap")?.cloneNode(true);
			// An error would end the wait.
			if (!note) return false;
			note.querySelectorAll(".collaboration-carets__caret").forEach((caret) => caret.remove());
			// The cursors stand between characters that have no width.
			return note.textContent.replaceAll("\u2060", "") === text;
		}""",
		text,
	)


def test_two_users_see_what_the_other_does(bench: Bench, open_tasks: Open) -> None:
	tasks, ann, ben = Tasks(bench), bench.user(), bench.user()
	first, second = (open_tasks(tasks, bench, user) for user in (ann, ben))
	for page, other in ((first, ben), (second, ann)):
		expect(page.locator("main > header .people li")).to_have_attribute("title", other.full_name)
	expect(first.get_by_text("There is nothing to do")).to_be_visible()
	# The field has the focus from the beginning.
	first.keyboard.type("Buy paint")
	first.keyboard.press("Enter")
	expect(row(second, "Buy paint")).to_be_visible()
	second.get_by_role("link", name="Buy paint").click()
	expect(row(first, "Buy paint").locator(".people li")).to_have_attribute("title", ben.full_name)
	first.get_by_role("link", name="Buy paint").press("Enter")
	expect(second.locator("article .people li")).to_have_attribute("title", ann.full_name)

	title = first.get_by_label("Title")
	title.fill("Buy red paint")
	expect(second.get_by_text(f"{ann.full_name} edits the title")).to_be_visible()
	title.press("Enter")
	expect(second.get_by_label("Title")).to_have_value("Buy red paint")
	expect(second.get_by_text("edits the title")).to_have_count(0)
	second.get_by_role("button", name="Take it").click()
	expect(first.get_by_text(f"Assigned to {ben.name}")).to_be_visible()
	second.get_by_role("checkbox", name="Buy red paint").check()
	expect(first.get_by_role("checkbox", name="Buy red paint")).to_be_checked()
	expect(first.get_by_text("0 to do")).to_be_visible()

	write(first, "Ask ")
	has_note(second, "Ask ")
	label = second.locator(".collaboration-carets__label")
	expect(label).to_have_text(ann.full_name)
	# Tiptap shows a color that it does not know as transparent.
	expect(label).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
	write(second, "Cleo")
	has_note(first, "Ask Cleo")

	first.keyboard.press("Escape")
	expect(first.get_by_label("Title")).to_have_count(0)
	second.once("dialog", lambda dialog: dialog.accept())
	second.get_by_role("button", name="Delete").click()
	expect(row(first, "Buy red paint")).to_have_count(0)
	expect(second.get_by_label("Title")).to_have_count(0)
	assert not tasks.tasks


def test_what_happens_while_the_realtime_server_is_away(make_bench: MakeBench, open_tasks: Open) -> None:
	bench = make_bench()
	tasks = Tasks(bench)
	tasks.add("Buy paint")
	pages = [open_tasks(tasks, bench, bench.user()) for _ in range(2)]
	for page in pages:
		page.get_by_role("link", name="Buy paint").click()
	first, second = pages
	write(first, "one ")
	has_note(second, "one ")
	kill_sidecar(bench)
	for page in pages:
		expect(page.get_by_text(PAUSED)).to_be_visible()
	# Nothing to recover from is left anywhere.
	bench.valkey.client.flushall()
	tasks.is_quiet = True
	write(second, "two")
	title = first.get_by_label("Title")
	title.fill("Buy red paint")
	title.press("Enter")
	# The page that has made the change shows it at once.
	expect(row(first, "Buy red paint")).to_be_visible()
	bench.sidecar.start()
	for page in pages:
		has_note(page, "one two")
		expect(page.get_by_label("Title")).to_have_value("Buy red paint")
		expect(row(page, "Buy red paint").locator(".people li")).to_have_count(1)
		expect(page.get_by_text(PAUSED)).to_have_count(0)


def test_a_reader_and_a_user_who_is_logged_out(bench: Bench, open_tasks: Open) -> None:
	tasks, reader = Tasks(bench), bench.user()
	name = tasks.add("Buy paint")
	for of in ("", name):
		bench.site().forbid(reader.name, DOCTYPE, of, "write")
	page = open_tasks(tasks, bench, reader)
	page.get_by_role("link", name="Buy paint").click()
	expect(page.get_by_text("You may read this note")).to_be_visible()
	expect(note(page)).to_have_attribute("contenteditable", "false")
	expect(page.get_by_role("checkbox")).to_be_disabled()
	expect(page.get_by_label("Title")).not_to_be_editable()
	expect(page.get_by_role("button")).to_have_count(0)

	bench.site().logout(reader.name)
	message = {"site": APP_SITE, "kind": USER_CHANGED, "user": reader.name}
	bench.valkey.client.publish(ACCESS_CHANNEL, json.dumps(message))
	expect(page.get_by_text("You are logged out")).to_be_visible()
	sign_in(page.context, bench, reader)
	expect(page.get_by_text("You are logged out")).to_have_count(0)
	expect(page.get_by_text(PAUSED)).to_have_count(0)


def test_a_change_that_is_refused(bench: Bench, open_tasks: Open) -> None:
	tasks, user = Tasks(bench), bench.user()
	tasks.add("Buy paint")
	page = open_tasks(tasks, bench, user)
	# The page was opened before.
	bench.site().forbid(user.name, DOCTYPE, "", "write")
	box = page.get_by_role("checkbox", name="Buy paint")
	box.click()
	expect(page.get_by_role("alert")).to_contain_text("Not permitted")
	expect(box).not_to_be_checked()
	page.get_by_label("New task").fill("Buy brushes")
	page.keyboard.press("Enter")
	expect(page.get_by_label("New task")).to_have_value("Buy brushes")
	page.get_by_role("button", name="Close").click()
	expect(page.get_by_role("alert")).to_have_count(0)
	page.get_by_role("link", name="Buy paint").click()
	title = page.get_by_label("Title")
	title.fill("Buy red paint")
	title.press("Enter")
	expect(page.get_by_role("alert")).to_contain_text("Not permitted")
	expect(title).to_have_value("Buy red paint")
	title.press("Escape")
	expect(title).to_have_value("Buy paint")
