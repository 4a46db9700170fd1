"""examples/shared-editing in Chromium: a text, Tiptap and a drawing, in the pages of several users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from realtime.demo.model import User
from tests.browser.conftest import EVERYTHING_ELSE, FOLDERS, address, hand_out, sign_in
from tests.browser.driving import wait_until
from tests.wire.bench import Bench
from tests.wire.nodejs import missing

Open = Callable[..., Page]


@pytest.fixture
def open_note(browser: Browser) -> Iterator[Open]:
	"""Open the page of a document in the browser of a user: `open_note(bench, name, user)`."""
	if reason := missing():
		pytest.skip(reason)
	if not (FOLDERS["/packages/"] / "shared_editing.js").exists():
		pytest.skip("the example is not built: run script/test once")
	windows: list[BrowserContext] = []

	def open_note(bench: Bench, name: str, user: User | None = None) -> Page:
		user = user or bench.user()
		window = browser.new_context()
		windows.append(window)
		window.route(EVERYTHING_ELSE, hand_out)
		sign_in(window, bench, user)
		page = window.new_page()
		page.goto(address(bench, "portal.html"))
		page.evaluate(
			"""async ([name, user]) => {
				const { connect } = await import("/assets/frappe_realtime/js/realtime.js");
				const { mount } = await import("/packages/shared_editing.js");
				document.body.innerHTML = "<main></main>";
				window.connection = await connect();
				mount(document.querySelector("main"), connection, "Note", name, user);
			}""",
			[name, user.full_name],
		)
		wait_until(page, 'document.querySelector(".state").textContent.startsWith("up to date")')
		return page

	yield open_note
	for window in windows:
		window.close()


def wait_for_text(page: Page, selector: str, text: str) -> None:
	"""Wait until there is an element with this text."""
	wait_until(
		page,
		"""([selector, text]) => {
			const element = document.querySelector(selector);
			// An error would end the wait.
			return Boolean(element) && (element.value ?? element.textContent).includes(text);
		}""",
		[selector, text],
	)


def test_two_users_write_and_draw(bench: Bench, open_note: Open) -> None:
	name, ann, ben = bench.document(), bench.user(), bench.user()
	first, second = (open_note(bench, name, user) for user in (ann, ben))
	for page in (first, second):
		wait_for_text(page, ".state", ann.full_name)
		wait_for_text(page, ".state", ben.full_name)

	first.locator(".text").type("Hello Ben")
	wait_for_text(second, ".text", "Hello Ben")
	second.locator(".text").press("Home")
	second.locator(".text").type(">> ")
	wait_for_text(first, ".text", ">> Hello Ben")

	first.locator(".tiptap").click()
	first.locator(".tiptap").type("A formatted text")
	wait_for_text(second, ".tiptap", "A formatted text")
	# The cursor of the other user, with the name.
	wait_for_text(second, ".collaboration-carets__label", ann.full_name)
	wait_until(
		second,
		"getComputedStyle(document.querySelector('.collaboration-carets__label')).backgroundColor !== 'rgba(0, 0, 0, 0)'",
	)

	second.locator(".drawing").scroll_into_view_if_needed()
	box: Any = second.locator(".drawing").bounding_box()
	second.mouse.move(box["x"] + 20, box["y"] + 20)
	second.mouse.down()
	second.mouse.move(box["x"] + 80, box["y"] + 50, steps=5)
	second.mouse.up()
	wait_until(
		first, 'document.querySelector("polyline")?.getAttribute("points").split(" ").length > 8', None
	)

	# Back after a cut, with what was written meanwhile.
	second.evaluate("connection.socket.disconnect()")
	wait_for_text(second, ".state", "offline")
	second.locator(".text").press("End")
	second.locator(".text").type(" offline")
	first.locator(".text").type("!")
	second.evaluate("connection.socket.connect()")
	wait_for_text(first, ".text", " offline")
	wait_for_text(second, ".text", "!")
	third = open_note(bench, name)
	wait_for_text(third, ".text", " offline")
	wait_for_text(third, ".tiptap", "A formatted text")


def test_a_reader_sees_it_and_cannot_change_it(bench: Bench, open_note: Open) -> None:
	name, user = bench.document(), bench.user()
	bench.site().forbid(user.name, "Note", name, "write")
	writer = open_note(bench, name)
	writer.locator(".text").type("read this")
	reader = open_note(bench, name, user)
	wait_for_text(reader, ".text", "read this")
	wait_for_text(reader, ".state", "read only")
	assert reader.locator(".text").get_attribute("readonly") is not None
	assert reader.locator(".tiptap").get_attribute("contenteditable") == "false"
