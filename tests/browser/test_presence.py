"""Presence in Chromium: pages without and with the Desk, reconnects, and access that ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from frappe_realtime.contract.presence import PRESENCE_LEAVE, PRESENCE_SET
from realtime.demo.model import User
from tests.browser.conftest import EVERYTHING_ELSE, OpenPage, address, hand_out, sign_in
from tests.browser.driving import connect as connect_page
from tests.browser.driving import (
	lose_connection,
	wait_for_status,
	wait_for_websocket,
	wait_until,
	wait_until_back,
	watch_connection,
)
from tests.browser.test_client_reconnects import SWALLOW
from tests.unit.docs.blocks import blocks_in
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.presence import Watcher
from tests.wire.test_access import tell

CLIENT = "(window.realtime ?? frappe.realtime)"


@pytest.fixture
def other_window(browser: Browser) -> Iterator[Any]:
	"""Return a function that opens a page as another user, in another browser."""
	windows = []

	def open_page(bench: Bench, user: User) -> Page:
		one = browser.new_context()
		windows.append(one)
		one.route(EVERYTHING_ELSE, hand_out)
		sign_in(one, bench, user)
		page = one.new_page()
		page.goto(address(bench, "portal.html"))
		connect_page(page)
		return page

	yield open_page
	for one in windows:
		one.close()


def join(page: Page, name: str, state: dict[str, Any] | None = None) -> None:
	"""Join the place of a document as `window.place`; the page notes all its events in `noted`."""
	page.evaluate(
		f"""async ([name, state]) => {{
			window.noted = [];
			window.place = {CLIENT}.presence("ToDo", name);
			for (const event of ["join", "leave", "update"])
				place.on(event, (member, changes) => noted.push([event, member.user, changes ?? null]));
			place.on("sync", (members) => noted.push(["sync", members.length]));
			place.on("end", (end) => noted.push(["end", end]));
			await place.join(state ?? undefined);
		}}""",
		[name, state],
	)


def sees(page: Page, expected: dict[str, dict[str, Any]]) -> None:
	"""Wait until the page sees these states, by user."""
	shown = "JSON.stringify(Object.fromEntries(place.members.map(({ user, state }) => [user, state])))"
	wanted = json.dumps(dict(sorted(expected.items())), separators=(",", ":"))

	def matches() -> bool:
		found = json.loads(page.evaluate(shown))
		return json.dumps(dict(sorted(found.items())), separators=(",", ":")) == wanted

	until(matches, f"{wanted}; seen: {page.evaluate(shown)}")


def noted(page: Page) -> list[Any]:
	found: list[Any] = page.evaluate("noted")
	return found


def test_two_pages_see_each_other(bench: Bench, open_portal: OpenPage, other_window: Any) -> None:
	ann, ben, name = bench.user(), bench.user(), bench.document()
	first, second = open_portal(bench, ann), other_window(bench, ben)
	connect_page(first)
	join(first, name, {"field": "subject"})
	assert noted(first) == [["sync", 1]]
	assert first.evaluate("place.me.user") == ann.name
	join(second, name)
	assert noted(second) == [["sync", 2]]
	for page in (first, second):
		sees(page, {ann.name: {"field": "subject"}, ben.name: {}})
		wait_until(page, "place.count === 2")
	assert noted(first)[1] == ["join", ben.name, None]

	first.evaluate("place.set({ field: 'due', typing: true }); place.set({ typing: null })")
	sees(first, {ann.name: {"field": "due"}, ben.name: {}})
	sees(second, {ann.name: {"field": "due"}, ben.name: {}})
	second.evaluate("place.set({ typing: true }, { ttl: 1 })")
	# A test that looks late sees the state without it again, but what the page has noted.
	wait_until(first, "user => noted.at(-1)[1] === user && noted.at(-1)[2]?.typing === null", ben.name)
	sees(first, {ann.name: {"field": "due"}, ben.name: {}})
	sees(second, {ann.name: {"field": "due"}, ben.name: {}})
	assert noted(first)[-2:] == [
		["update", ben.name, {"typing": True}],
		["update", ben.name, {"typing": None}],
	]
	second.evaluate("place.leave()")
	sees(first, {ann.name: {"field": "due"}})
	assert second.evaluate("[place.members.length, place.me, place.count]") == [0, None, 0]


def test_many_changes_are_few_messages_and_the_last_one_is_seen(
	bench: Bench, connect: Connect, open_portal: OpenPage
) -> None:
	ann, name = bench.user(), bench.document()
	page = open_portal(bench, ann)
	connect_page(page)
	join(page, name)
	watcher = Watcher(connect(bench, bench.user()), f"doc:ToDo/{name}")
	elapsed = page.evaluate(
		f"""async () => {{
			const began = performance.now();
			window.sent = 0;
			{CLIENT}.socket.onAnyOutgoing((event) => (sent += event === "{PRESENCE_SET}"));
			for (let x = 0; x < 300; x++) {{
				place.set({{ x }});
				await new Promise((resolve) => setTimeout(resolve, 1));
			}}
			return performance.now() - began;
		}}"""
	)
	id = page.evaluate("place.me.id")
	watcher.sees_state(id, {"x": 299})
	# One at once, one for each tenth of a second, and the last one.
	assert page.evaluate("sent") <= elapsed / 100 + 3
	assert page.evaluate("place.me.state") == {"x": 299}


def test_users_with_two_tabs(bench: Bench, open_portal: OpenPage) -> None:
	ann, name = bench.user(), bench.document()
	tabs = [open_portal(bench, ann) for _ in range(2)]
	for tab in tabs:
		connect_page(tab)
		join(tab, name)
	wait_until(tabs[0], "place.members.length === 2")
	users = tabs[0].evaluate("place.users.map(({ user, members }) => [user, members.length])")
	assert users == [[ann.name, 2]]
	# In the middle of its upgrade no request is open, so that the sidecar notices its end with the next ping only.
	wait_for_websocket(tabs[1])
	tabs[1].close()
	wait_until(tabs[0], "place.members.length === 1")
	assert noted(tabs[0])[-1][0] == "leave"


def test_a_page_joins_again_after_the_sidecar_has_restarted(
	make_bench: MakeBench, open_portal: OpenPage, connect: Connect
) -> None:
	bench = make_bench()
	ann, name = bench.user(), bench.document()
	page = open_portal(bench, ann)
	connect_page(page)
	join(page, name, {"page": 1})
	page.evaluate("place.set({ field: 'due' })")
	lose_connection(bench, page)
	page.evaluate("place.set({ field: 'subject' })")
	bench.sidecar.start()
	wait_for_status(page, "connected")
	watcher = Watcher(connect(bench, bench.user()), f"doc:ToDo/{name}")
	until(lambda: {"page": 1, "field": "subject"} in watcher.roster.states().values(), "the state")
	wait_until(page, "place.members.length === 2")
	assert page.evaluate("place.me.state") == {"page": 1, "field": "subject"}


def test_a_page_joins_again_with_a_new_session(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	ann, name = bench.user(), bench.document()
	page = open_portal(bench, ann)
	connect_page(page)
	join(page, name, {"page": 1})
	before = page.evaluate("place.me.id")
	lose_connection(bench, page)
	bench.valkey.client.flushall()
	bench.sidecar.start()
	wait_until(page, "before => place.me.id !== before", before)
	sees(page, {ann.name: {"page": 1}})


def test_a_page_that_leaves_over_a_dead_connection_leaves_when_it_has_recovered(
	make_bench: MakeBench, connect: Connect, open_portal: OpenPage
) -> None:
	bench = make_bench(common={"realtime_presence_grace_seconds": 600})
	ann, ben, name = bench.user(), bench.user(), bench.document()
	page = open_portal(bench, ann)
	connect_page(page)
	wait_until(page, "realtime.socket.io.engine.transport.name === 'websocket'")
	join(page, name)
	watcher = Watcher(connect(bench, ben), f"doc:ToDo/{name}")
	watcher.sees(ann.name, ben.name)
	watch_connection(page)
	page.evaluate(SWALLOW)
	page.evaluate("() => { place.leave(); hang_up(); }")
	wait_until_back(page)
	assert page.evaluate("realtime.socket.recovered")
	watcher.sees(ben.name)
	assert page.evaluate("place.me") is None
	assert [event for event, *_ in noted(page)].count("sync") == 1


def test_access_that_is_withdrawn_empties_the_roster(
	bench: Bench, connect: Connect, open_portal: OpenPage
) -> None:
	ann, name = bench.user(), bench.document()
	page = open_portal(bench, ann)
	connect_page(page)
	join(page, name)
	watcher = Watcher(connect(bench, bench.user()), f"doc:ToDo/{name}")
	wait_until(page, "place.members.length === 2")
	bench.site().forbid(ann.name, "ToDo", name)
	tell(bench, "changed", doctype="ToDo", name=name)
	wait_until(page, "noted.at(-1)[0] === 'end'")
	assert noted(page)[-1] == ["end", {"code": "not_permitted"}]
	assert page.evaluate("place.members") == []
	until(lambda: len(watcher.roster.members) == 1, "one is left")
	assert page.evaluate("place.join().catch(({ name, code }) => [name, code])") == [
		"PresenceError",
		"not_permitted",
	]


def test_the_desk(make_bench: MakeBench, connect: Connect, open_desk: OpenPage) -> None:
	bench = make_bench(common={"realtime_presence_grace_seconds": 600})
	ann, name = bench.user(), bench.document()
	page = open_desk(bench, ann)
	wait_for_status(page, "connected")
	join(page, name, {"field": "due"})
	watcher = Watcher(connect(bench, bench.user()), f"doc:ToDo/{name}")
	watcher.sees_state(page.evaluate("place.me.id"), {"field": "due"})
	# A page that goes while it is still polling, or in the middle of the upgrade, cannot say so.
	wait_for_websocket(page)
	page.evaluate("location.assign('about:blank')")
	until(lambda: len(watcher.roster.members) == 1, "a page that is closed leaves at once")


HANDLERS = """
from frappe.realtime import realtime

@realtime.on("let_me_in")
async def let_me_in(socket):
	await socket.join("lobby")
	socket.presence(room="lobby").join({"seat": 1})
	return True

@realtime.on("send_me_out")
async def send_me_out(socket):
	await socket.leave("lobby")
"""


def test_a_handler_lets_the_page_join(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench(start=False)
	write_handlers(bench, "lobby", HANDLERS)
	install(bench, "lobby")
	bench.start()
	page = open_portal(bench, bench.user())
	connect_page(page)
	page.evaluate(
		f"""() => {{
			window.place = {CLIENT}.presence({{ room: "lobby" }});
			place.on("end", ({{ code }}) => (window.ended = code));
			return {CLIENT}.emitWithAck("let_me_in");
		}}"""
	)
	wait_until(page, "place.me?.state.seat === 1")
	page.evaluate("place.set({ seat: 2 })")
	wait_until(page, "place.members.length === 1 && place.members[0].state.seat === 2")
	page.evaluate(f"{CLIENT}.emit('send_me_out')")
	wait_until(page, "window.ended === 'not_permitted'")
	assert page.evaluate("place.members") == []


def documented(text: str) -> str:
	"""Return the only JavaScript block of docs/presence.md that contains `text`."""
	(block,) = [one for one in blocks_in("js") if one.page.name == "presence.md" and text in one.text]
	return block.text


class Console:
	"""The lines that a page writes to its console from now on."""

	def __init__(self, page: Page) -> None:
		self._page = page
		self._lines: list[str] = []
		page.on("console", lambda message: self._lines.append(message.text))
		page.on("pageerror", lambda error: self._lines.append(str(error)))

	def has(self, line: str) -> None:
		"""Wait for a line."""

		def is_there() -> bool:
			# Events of the page arrive while it is asked for something.
			return bool(self._page.evaluate("true")) and line in self._lines

		until(is_there, f"{line!r} in the console")


def test_the_documented_example_in_the_desk(
	make_bench: MakeBench, connect: Connect, open_desk: OpenPage
) -> None:
	"""It stops before `leave`, until others have come, changed and gone."""
	bench = make_bench()
	ann, ben, cleo = bench.user(), bench.user(), bench.user()
	place = "doc:Task/TASK-0001"
	watcher = Watcher(connect(bench, ben), place)
	page = open_desk(bench, ann)
	wait_for_status(page, "connected")
	console = Console(page)
	example = documented("task.leave()")
	assert example.endswith("task.leave();\n")
	example = example.replace(
		"task.leave();", "await new Promise((resolve) => (window.go_on = resolve)); task.leave();"
	)
	page.evaluate(f"() => {{ (async () => {{ {example} }})(); }}")
	watcher.sees(ann.name, ben.name)
	(id,) = [id for id in watcher.roster.members if id != watcher.id]
	until(lambda: watcher.roster.states()[id].get("field") == "due_date", "the changes")
	console.has(f"[{ben.full_name}, {ann.full_name}]")
	other = Watcher(connect(bench, cleo), place)
	console.has(f"{cleo.full_name} has come")
	other.client.call(PRESENCE_SET, place, {"field": "subject"})
	console.has(f"{cleo.full_name} {{field: subject}}")
	other.client.call(PRESENCE_LEAVE, place)
	console.has(f"{cleo.full_name} has gone")
	wait_until(page, "typeof window.go_on === 'function'")
	page.evaluate("go_on()")
	watcher.sees(ben.name)


def test_the_documented_example_on_other_pages(
	make_bench: MakeBench, connect: Connect, open_portal: OpenPage
) -> None:
	bench = make_bench()
	page = open_portal(bench, bench.user())
	console = Console(page)
	Watcher(connect(bench, bench.user()), "doc:Task/TASK-0001")
	page.add_script_tag(content=documented("await connect()"), type="module")
	console.has("here: 2 of 2")
