"""The Desk in a browser: open it, wait for its connection, see what arrives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.bench.installation import Bench
from tests.wire.conditions import until

PATIENCE = 60_000
"""Milliseconds: the Desk is some megabytes of script, and the machine may have better to do."""


def open_desk(bench: Bench, window: BrowserContext, origin: str, route: str = "note") -> Page:
	"""Open a page of the Desk and wait until it is connected."""
	page = window.new_page()
	page.goto(f"{origin}/app/{route}", wait_until="domcontentloaded", timeout=PATIENCE)
	wait_for_status(page, "connected")
	return page


def origin(bench: Bench, site: str) -> str:
	"""Where the site is without a proxy."""
	return f"http://{site}:{bench.web_port}"


def wait_until(page: Page, condition: str, argument: Any = None) -> None:
	"""Wait until an expression is true in the page."""
	page.wait_for_function(condition, arg=argument, timeout=PATIENCE)


def wait_for_status(page: Page, status: str) -> None:
	"""Wait for the state of the Desk's connection; where the app is not installed, it has no name for it."""
	wait_until(
		page,
		"""status => {
			const client = window.frappe?.realtime;
			if (!client?.socket) return false;
			return (client.status ?? (client.socket.connected ? "connected" : "lost")) === status;
		}""",
		status,
	)


def listen(page: Page, event: str) -> None:
	"""Let the page note the messages of an event."""
	page.evaluate(
		"""event => {
			window.seen ??= {};
			window.seen[event] = [];
			frappe.realtime.on(event, (...args) => window.seen[event].push(args));
		}""",
		event,
	)


def seen(page: Page, event: str) -> list[list[Any]]:
	"""Return the arguments of each of the events so far."""
	found: list[list[Any]] = page.evaluate("event => window.seen[event]", event)
	return found


def wait_to_see(page: Page, event: str) -> list[Any]:
	"""Wait for an event; return the arguments of the last."""
	until(lambda: seen(page, event), f"{event} in {page.url}")
	return seen(page, event)[-1]


def photograph(bench: Bench, page: Page, name: str) -> None:
	"""Keep a picture where the environment names a folder for it."""
	if folder := os.environ.get("FRAPPE_BENCH_SHOTS"):
		page.screenshot(path=Path(folder) / f"v{bench.version}-{name}.png")


def set_theme(page: Page, theme: str) -> None:
	"""Show the Desk light or dark."""
	page.evaluate(
		"""theme => {
			document.documentElement.setAttribute("data-theme-mode", theme);
			document.documentElement.setAttribute("data-theme", theme);
		}""",
		theme,
	)
