"""What tests do with a page: connect the client in it, wait, and see what has arrived."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PageTimeout

from tests.wire.bench import Bench
from tests.wire.conditions import PATIENCE, until
from tests.wire.sidecars import metric

NUMBERS = itertools.count(1)
IMPORT = 'const client = await import("/assets/frappe_realtime/js/realtime.js")'


def connect(page: Page, **options: Any) -> None:
	"""Connect the client of realtime.js as `window.realtime`, and wait for the connection."""
	start(page, **options)
	wait_for_status(page, "connected")


def start(page: Page, **options: Any) -> None:
	"""Begin to connect the client of realtime.js as `window.realtime`."""
	page.evaluate(
		f"async (options) => {{ {IMPORT}; window.realtime = await client.connect(options); }}", options
	)


def wait_until(page: Page, condition: str, argument: Any = None) -> None:
	"""Wait until an expression is true in the page."""
	page.wait_for_function(condition, arg=argument, timeout=PATIENCE * 1000)


def wait_for_status(page: Page, status: str) -> None:
	"""Wait for a status of the connection, whichever client the page has."""
	wait_until(page, "status => (window.realtime ?? frappe.realtime).status === status", status)


def wait_for_websocket(page: Page) -> None:
	"""Wait until the page has upgraded: in the middle of it, Socket.IO's client notices a loss only when the next ping is overdue."""
	name = "(window.realtime ?? frappe.realtime).socket.io.engine.transport.name"
	wait_until(page, f"{name} === 'websocket'")


def lose_connection(bench: Bench, page: Page) -> None:
	"""Kill the sidecar, and wait until the page has noticed."""
	wait_for_websocket(page)
	bench.sidecar.kill()
	wait_for_status(page, "lost")


def kill_sidecar(bench: Bench) -> None:
	"""Kill the sidecar when all clients have upgraded, for pages whose client cannot be asked: see `wait_for_websocket`."""
	until(lambda: not metric(bench, 'connections{transport="polling"}'), "the upgrades")
	bench.sidecar.kill()


def watch_connection(page: Page) -> None:
	"""Let the page remember whether it loses its connection from now on, for `wait_until_back`."""
	page.evaluate(
		"""() => {
			window.was_lost = false;
			const client = window.realtime ?? frappe.realtime;
			client.on("realtime_status", (status) => (window.was_lost ||= status === "lost"));
		}"""
	)


def wait_until_back(page: Page) -> None:
	"""Wait until the page has lost its connection, and has one again: both may have happened before a test looks."""
	wait_until(page, "window.was_lost")
	wait_for_status(page, "connected")


def listen(page: Page, *events: str) -> None:
	"""Let the page note each event as `[event, ...arguments]` in `window.seen`."""
	page.evaluate(
		"""events => {
			const client = window.realtime ?? frappe.realtime;
			for (const event of events) client.on(event, (...args) => seen.push([event, ...args]));
		}""",
		list(events),
	)


def seen(page: Page) -> list[Any]:
	"""Return what the page has noted."""
	found: list[Any] = page.evaluate("seen")
	return found


def wait_to_see(page: Page, noted: Any) -> None:
	"""Wait until the page has noted something."""
	text = json.dumps(noted, separators=(",", ":"), ensure_ascii=False)
	wait_until(page, "text => seen.some((one) => JSON.stringify(one) === text)", text)


def wait_for_room(bench: Bench, page: Page, room: str) -> None:
	"""Wait until the page is in a room, by publishing to it until something arrives."""
	probe = f"probe-{next(NUMBERS)}"
	page.evaluate(
		"""probe => {
			const { socket } = window.realtime ?? frappe.realtime;
			window[probe] = false;
			socket.on(probe, () => (window[probe] = true));
		}""",
		probe,
	)

	def arrived() -> bool:
		bench.publish(probe, {}, room)
		return bool(page.evaluate("probe => window[probe]", probe))

	until(arrived, f"{page.url} is in {room}")


def wait_until_handled(page: Page) -> None:
	"""Wait until the server has handled what the page has emitted before."""
	page.evaluate(
		"""() => {
			const { socket } = window.realtime ?? frappe.realtime;
			window.is_handled = false;
			socket.once("pong", () => (window.is_handled = true)).emit("ping");
		}"""
	)
	wait_until(page, "window.is_handled")


def settle(bench: Bench, page: Page) -> None:
	"""Wait until all that was published before has reached the page, or never will."""
	event = f"settled-{next(NUMBERS)}"
	page.evaluate(
		"""event => {
			const { socket } = window.realtime ?? frappe.realtime;
			socket.once(event, () => (window[event] = true));
		}""",
		event,
	)
	bench.publish(event, {}, "website")
	wait_until(page, "event => window[event]", event)


def wait_for_texts(page: Page, name: str, *texts: str) -> None:
	"""Wait until the elements of a class have these texts; the error says which they have."""
	shown = f"[...document.querySelectorAll('.{name}')].map((one) => one.textContent)"
	try:
		wait_until(page, f"texts => JSON.stringify(texts) === JSON.stringify({shown})", list(texts))
	except PageTimeout:
		raise AssertionError(f".{name} has {page.evaluate(shown)}, and not {list(texts)}") from None


def publish_until(
	bench: Bench, page: Page, event: str, message: Any, room: str, arrived: Callable[[], Any]
) -> None:
	"""Publish an event again and again until it has had its effect; the page may not be in the room yet."""

	def publish() -> Any:
		bench.publish(event, message, room)
		page.evaluate("0")
		return arrived()

	until(publish, f"{event} has an effect")
