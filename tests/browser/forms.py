"""Forms of the Desk in Chromium, each in the browser of its user, and the documents that they show."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from realtime.demo.model import User
from tests.browser.conftest import EVERYTHING_ELSE, address, hand_out, sign_in
from tests.browser.driving import wait_for_room, wait_for_status, wait_until
from tests.wire.bench import APP_SITE, Bench

MEMBER = ".realtime-member"
NOTICE = ".realtime-saved"
STEPS = [
	{"name": "s1", "idx": 1, "parentfield": "steps", "step": "Measure", "minutes": 5},
	{"name": "s2", "idx": 2, "parentfield": "steps", "step": "Cut", "minutes": 7},
]
"""Rows of a child table."""

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
		"""Change a document as the web process does when a user has saved it, and tell the pages."""
		self.change(user, name, **values)
		self.tell(name)

	def change(self, user: User, name: str, **values: Any) -> None:
		"""Change a document as `save` does; the pages are not told yet."""
		self._known[name] |= {**values, "modified": str(next(NUMBERS)), "modified_by": user.name}

	def tell(self, name: str) -> None:
		"""Publish that a document was saved."""
		message = {"doctype": "ToDo", "name": name, "modified": self._known[name]["modified"]}
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
