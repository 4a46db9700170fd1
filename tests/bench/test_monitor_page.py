"""The Desk page "Realtime" of a real site: what it shows of real clients, and what it does to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.bench.conftest import ConnectNode, OpenWindow
from tests.bench.desk import PATIENCE, open_desk, origin, photograph, set_theme, wait_until
from tests.bench.installation import Bench, Person
from tests.wire.conditions import until

pytestmark = pytest.mark.usefixtures("web_with_assets")

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
SMALLEST = 320
"""Pixels of the narrowest phones."""
HOSTILE = '<img src="/none" onerror="window.injected = true">'


def open_monitor(bench: Bench, open_window: OpenWindow, person: Person | None = None) -> Page:
	"""Open the page as a System Manager, and wait for its first numbers."""
	person = person or bench.person()
	page = open_desk(bench, open_window(person), origin(bench, person.site), "realtime")
	expect(card(page, "tile-users")).to_be_visible(timeout=PATIENCE)
	return page


def card(page: Page, name: str) -> Locator:
	"""Return a card of the page."""
	return page.locator(f".realtime-{name}")


def cells(page: Page, name: str, key: str) -> list[str] | None:
	"""Return the cells of the row of a table that begins with a text; None if there is none."""
	found: list[str] | None = card(page, name).evaluate(
		"""(card, key) => {
			const texts = [...card.querySelectorAll("tbody tr")].map((row) =>
				[...row.cells].map((cell) => cell.innerText.trim()));
			return texts.find(([first]) => first.startsWith(key)) ?? null;
		}""",
		key,
	)
	return found


def wait_for_cells(page: Page, name: str, key: str, expected: list[str]) -> None:
	"""Wait until a row of a table begins with these cells."""
	until(
		lambda: (cells(page, name, key) or [])[: len(expected)] == expected,
		f"{expected} in {name}",
		PATIENCE / 1000,
	)


def test_it_shows_the_users_sockets_and_rooms_of_the_site(
	bench: Bench, open_window: OpenWindow, connect_node: ConnectNode
) -> None:
	page = open_monitor(bench, open_window)
	reader = bench.person("reader")
	clients = [connect_node(reader) for _ in range(3)]
	# The people of both sites have the same names.
	connect_node(bench.person("reader", bench.other_site))
	wait_for_cells(page, "users", reader.name, [reader.name, "3"])
	bench.join(clients[0], "doctype:Note", bench.site, "doctype_subscribe", "Note")
	wait_for_cells(page, "rooms", "doctype:Note", ["doctype:Note", "1", "1"])
	clients[0].close()
	wait_for_cells(page, "users", reader.name, [reader.name, "2"])
	card(page, "users").get_by_role("button", name=reader.name).click()
	dialog = page.locator(".modal.show .realtime-dialog")
	expect(dialog).to_contain_text("2 sockets", timeout=PATIENCE)
	expect(dialog).to_contain_text(f"user:{reader.name}")
	photograph(bench, page, "monitor-user")


def test_it_counts_events_and_marks_those_to_every_desk_user(bench: Bench, open_window: OpenWindow) -> None:
	page = open_monitor(bench, open_window)
	everybody, one = bench.event(), bench.event()
	bench.publish(everybody, {}, "all", bench.site)
	bench.publish(one, {}, f"user:{bench.person().name}", bench.site)
	bench.publish(one, {}, f"user:{bench.person().name}", bench.site)
	wait_for_cells(page, "events", one, [one, "2"])
	marked = cells(page, "events", everybody)
	assert marked is not None
	assert "All Desk users" in marked[0]
	assert marked[1] == "1"


def test_a_users_sockets_can_be_ended(
	bench: Bench, open_window: OpenWindow, connect_node: ConnectNode
) -> None:
	page = open_monitor(bench, open_window)
	reader = bench.person("reader")
	client = connect_node(reader)
	wait_for_cells(page, "users", reader.name, [reader.name, "1"])
	card(page, "users").get_by_role("button", name=reader.name).click()
	page.locator(".modal.show").get_by_role("button", name="Disconnect").click()
	page.locator(".modal.show").get_by_role("button", name="Yes").click()
	client.wait_for("disconnect")


def test_a_test_event_makes_the_whole_way(bench: Bench, open_window: OpenWindow) -> None:
	page = open_monitor(bench, open_window)
	page.get_by_role("button", name="Send Test Event").click()
	expect(card(page, "tile-trip")).to_contain_text("Test event:", timeout=PATIENCE)


def test_it_ends_its_watch_when_it_is_left(bench: Bench, open_window: OpenWindow) -> None:
	page = open_monitor(bench, open_window)
	page.evaluate(
		"""() => {
			window.sent = [];
			frappe.realtime.socket.onAnyOutgoing((event, payload) => window.sent.push([event, payload]));
		}"""
	)
	page.evaluate("frappe.set_route('List', 'Note')")
	watch = "([event, payload]) => event === 'frappe_realtime:monitor' && payload.watch ==="
	wait_until(page, f"sent.some({watch} false)")
	page.evaluate("frappe.set_route('realtime')")
	wait_until(page, f"sent.some({watch} true)")
	expect(card(page, "tile-users")).to_be_visible(timeout=PATIENCE)


def test_it_goes_on_after_the_sidecar_was_away(own_processes: Bench, open_window: OpenWindow) -> None:
	bench = own_processes
	page = open_monitor(bench, open_window)
	bench.sidecar.stop()
	try:
		expect(card(page, "notice")).to_contain_text("not connected", timeout=PATIENCE)
		photograph(bench, page, "monitor-lost")
	finally:
		bench.start_sidecar()
	expect(card(page, "notice")).to_be_hidden(timeout=PATIENCE)
	event = bench.event()
	until(
		lambda: bench.publish(event, {}, "website", bench.site) or cells(page, "events", event),
		"events are counted again",
	)


def test_names_from_outside_are_text(bench: Bench, open_window: OpenWindow) -> None:
	page = open_monitor(bench, open_window)
	bench.publish(HOSTILE, {}, "website", bench.site)
	until(lambda: cells(page, "events", HOSTILE), "the event's name is shown", PATIENCE / 1000)
	assert not page.evaluate("window.injected")


def test_it_belongs_to_system_managers(bench: Bench, open_window: OpenWindow) -> None:
	page = open_desk(bench, open_window(bench.person("reader")), origin(bench, bench.site), "note")
	answer: Any = page.evaluate("frappe.realtime.emitWithAck('frappe_realtime:monitor', { watch: true })")
	assert answer["error"]["code"] == "not_permitted"
	page.evaluate("frappe.set_route('realtime')")
	wait_until(page, "document.body.innerText.match(/not permitted|No permission|Not Permitted/i)")
	assert page.locator(".realtime-tiles").count() == 0


def test_the_search_finds_it(bench: Bench, open_window: OpenWindow) -> None:
	page = open_desk(bench, open_window(bench.person()), origin(bench, bench.site), "note")
	found = page.evaluate("frappe.search.utils.get_pages('realtime').map(({ route }) => route.join('/'))")
	assert "realtime" in found, json.dumps(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_wide_and_narrow_windows(
	bench: Bench, open_window: OpenWindow, connect_node: ConnectNode, theme: str
) -> None:
	connect_node(bench.person("reader"))
	page = open_monitor(bench, open_window)
	for name, (width, height) in SIZES.items():
		page.set_viewport_size({"width": width, "height": height})
		# The Desk decides when it is loaded whether the window is narrow.
		page.reload(wait_until="domcontentloaded")
		expect(card(page, "tile-users")).to_be_visible(timeout=PATIENCE)
		set_theme(page, theme)
		assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
		assert overflowing(page) == []
		background = style(page.locator(".realtime-tile").first, "backgroundColor")
		text = style(page.locator(".realtime-value").first, "color")
		if theme == "light":
			assert brightness(text) < 100 < 200 < brightness(background)
		else:
			assert brightness(background) < 100 < 200 < brightness(text)
		photograph(bench, page, f"monitor-{theme}-{name}")


def overflowing(page: Page) -> list[str]:
	"""Return the texts that are wider than their box; none in a page with less space than a phone has."""
	found: list[str] = page.locator(".realtime-monitor").evaluate(
		"""(monitor, least) => monitor.clientWidth < least ? [] :
			[...monitor.querySelectorAll(".realtime-tile, .realtime-card > header")]
				.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)""",
		SMALLEST,
	)
	return found


def style(locator: Locator, name: str) -> str:
	"""Return a computed style."""
	value: str = locator.evaluate("(one, name) => getComputedStyle(one)[name]", name)
	return value


def brightness(color: str) -> float:
	"""Return the mean of the channels of `rgb(…)`, 0 to 255."""
	channels = [float(part) for part in color.partition("(")[2].rstrip(")").split(",")[:3]]
	return sum(channels) / 3
