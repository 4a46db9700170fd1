"""A socket that a shell has opened, as that of Desk v2 does, with counts of its own; `share` puts a connection over it."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.driving import (
	lose_connection,
	settle,
	wait_for_room,
	wait_for_status,
	wait_until,
	wait_until_handled,
)
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench

SHELL = """async (site) => {
	const { io } = await import("/assets/frappe_realtime/node_modules/socket.io-client/dist/socket.io.esm.min.js");
	const socket = io(`${location.origin}/${site}`, { withCredentials: true });
	const holders = new Map();
	window.shell = {
		socket,
		enter(name) {
			const count = (holders.get(name) ?? 0) + 1;
			holders.set(name, count);
			if (count === 1) socket.emit("doc_subscribe", "ToDo", name);
		},
		leave(name) {
			const count = holders.get(name) - 1;
			holders.set(name, count);
			if (count === 0) socket.emit("doc_unsubscribe", "ToDo", name);
		},
	};
	// It joins again by itself.
	socket.on("connect", () => {
		for (const [name, count] of holders) if (count) socket.emit("doc_subscribe", "ToDo", name);
	});
	const { share } = await import("/assets/frappe_realtime/js/realtime.js");
	window.realtime = share(socket);
}"""

NUMBERS = itertools.count(1)


def open_shell(bench: Bench, open_portal: OpenPage) -> Page:
	"""Open a page with a shell and a connection over its socket."""
	page = open_portal(bench, bench.user())
	page.evaluate(SHELL, APP_SITE)
	wait_for_status(page, "connected")
	return page


def is_in(bench: Bench, page: Page, name: str) -> bool:
	"""Return whether the page is in the room of a document."""
	event = f"is-in-{next(NUMBERS)}"
	page.evaluate(
		"event => { window[event] = false; shell.socket.on(event, () => (window[event] = true)); }", event
	)
	bench.publish(event, {}, f"doc:ToDo/{name}")
	settle(bench, page)
	return bool(page.evaluate("event => window[event]", event))


@pytest.mark.parametrize("first", ["shell", "connection"])
def test_neither_makes_the_other_leave(bench: Bench, open_portal: OpenPage, first: str) -> None:
	page, name = open_shell(bench, open_portal), bench.document()
	page.evaluate(
		"name => { shell.enter(name); shell.enter(name); realtime.doc_subscribe('ToDo', name); }", name
	)
	wait_for_room(bench, page, f"doc:ToDo/{name}")
	of_shell = "name => { shell.leave(name); shell.leave(name); }"
	of_connection = "name => realtime.doc_unsubscribe('ToDo', name)"
	leave = [of_shell, of_connection] if first == "shell" else [of_connection, of_shell]
	page.evaluate(leave[0], name)
	wait_until_handled(page)
	assert is_in(bench, page, name)
	page.evaluate(leave[1], name)
	wait_until_handled(page)
	assert not is_in(bench, page, name)


def test_both_are_in_their_rooms_after_a_reconnect(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	page = open_shell(bench, open_portal)
	page.evaluate(
		"""() => {
			window.missed = 0;
			realtime.on("realtime_missed", () => (missed += 1));
			shell.enter("of the shell");
			shell.enter("of both");
			realtime.doc_subscribe("ToDo", "of both");
			realtime.doc_subscribe("ToDo", "of the connection");
		}"""
	)
	names = ("of the shell", "of both", "of the connection")
	for name in names:
		wait_for_room(bench, page, f"doc:ToDo/{name}")
	lose_connection(bench, page)
	bench.valkey.client.flushall()
	bench.sidecar.start()
	wait_for_status(page, "connected")
	for name in names:
		wait_for_room(bench, page, f"doc:ToDo/{name}")
	wait_until(page, "missed === 1")
	page.evaluate("shell.leave('of the shell'); shell.leave('of both')")
	wait_until_handled(page)
	assert [is_in(bench, page, name) for name in names] == [False, True, True]
