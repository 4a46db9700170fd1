"""What tests of the diagnosis share: what a page finds and shows, locations of nginx, and answers of a server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.nginx import COMMAND, SOCKETIO, Nginx
from tests.wire.bench import APP_SITE

SIGN = ".realtime-status"
MANAGER = {"roles": ["System Manager", "All"]}
TIMEOUT = 45_000
"""Milliseconds: the sign waits, and so does a client whose requests get no answer."""

needs_nginx = pytest.mark.skipif(not os.path.exists(COMMAND), reason="no nginx")

StartNginx = Callable[[str], Nginx]
OpenAt = Callable[..., Page]


def diagnose(page: Page) -> dict[str, Any]:
	"""Return what `diagnose()` of the page's client finds."""
	found: dict[str, Any] = page.evaluate("(window.realtime ?? frappe.realtime).diagnose()")
	assert re.fullmatch(r"docs/troubleshooting\.md#[a-z_]+", found["docs"])
	assert [step["step"] for step in found["steps"]] in (["polling", "websocket", "connect"], [])
	return found


def step(found: dict[str, Any], name: str) -> dict[str, Any]:
	"""Return a step of a diagnosis."""
	(one,) = [one for one in found["steps"] if one["step"] == name]
	return dict(one)


def read_details(page: Page) -> str:
	"""Open the details of the sign with the keyboard, and return their text once the diagnosis is there."""
	button = page.get_by_role("button", name="Details")
	expect(button).to_be_visible(timeout=TIMEOUT)
	expect(button).to_have_attribute("aria-expanded", "false")
	button.focus()
	page.keyboard.press("Enter")
	panel = page.get_by_role("region", name="Realtime diagnosis")
	expect(panel).to_be_visible()
	expect(panel).to_be_focused()
	expect(button).to_have_attribute("aria-expanded", "true")
	expect(panel).to_have_attribute("aria-busy", "false", timeout=TIMEOUT)
	return panel.inner_text()


def changed(old: str, new: str) -> str:
	"""Return the location that works with one line changed."""
	assert old in SOCKETIO
	return SOCKETIO.replace(old, new)


WITHOUT_UPGRADE = changed("proxy_set_header Upgrade $http_upgrade;", "").replace('"upgrade"', '""')

OPEN_PACKET = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'


def answer_with(page: Page, answers: Callable[[Route], dict[str, Any]]) -> None:
	"""Answer the polling requests of a page in the place of a server."""
	page.route(re.compile(r"/socket\.io/"), lambda route: route.fulfill(**answers(route)))


def refuse_with(data: Any, message: str = "No") -> Callable[[Route], dict[str, Any]]:
	"""Return the answers of a server that refuses every CONNECT."""

	def answers(route: Route) -> dict[str, Any]:
		if route.request.method == "POST":
			return {"body": "ok", "content_type": "text/html"}
		if "sid=" not in route.request.url:
			return {"body": OPEN_PACKET, "content_type": "text/plain"}
		packet = json.dumps({"message": message, "data": data})
		return {"body": f"44/{APP_SITE},{packet}", "content_type": "text/plain"}

	return answers
