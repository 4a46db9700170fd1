"""The Desk page "Realtime", with a stand-in for the Desk, and a sidecar that the test plays."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.driving import seen, wait_to_see, wait_until
from tests.wire.conditions import PATIENCE

MONITOR = "frappe_realtime:monitor"
SNAPSHOT = "frappe_realtime:monitor_snapshot"
QUERY = "frappe_realtime:monitor_query"
TEST_EVENT = "frappe_realtime:test"

FIELDS = ["time", "sockets", "events", "deliveries", "p50_ms", "p99_ms", "memory"]
WATCH = [MONITOR, {"watch": True}]
UNWATCH = [MONITOR, {"watch": False}]
HOSTILE = '<img src="/none" onerror="window.injected = true">'


def acknowledgement(*samples: list[float]) -> dict[str, Any]:
	"""Return the acknowledgement of a watch."""
	return {"interval": 2, "history": {"interval": 10, "fields": FIELDS, "samples": list(samples)}}


def snapshot(**changes: Any) -> dict[str, Any]:
	"""Return a snapshot of a site with two users and one guest."""
	now = time.time()
	process = {
		"id": "p1",
		"host": "server",
		"pid": 123,
		"version": "0.1.0",
		"started": now - 7260,
		"sockets": 4,
		"memory": 50 * 1024**2,
		"cpu": 0.031,
		"redis": "ok",
		"web": "ok",
		"clients_waiting": 0,
	}
	return {
		"time": now,
		"site": "erp.example",
		"interval": 2,
		"processes": [process],
		"totals": {"users": 2, "guests": 1, "sockets": 4, "websocket": 3, "polling": 1, "rooms": 7},
		"rates": {"events": 3.5, "deliveries": 42.0, "client_events": 1.0},
		"latency_ms": {"p50": 0.4, "p99": 3.1},
		"rooms": [{"room": "doc:ToDo/1", "sockets": 3, "users": 2}],
		"users": [{"user": "ann@example.com", "sockets": 2}, {"user": "bob@example.com", "sockets": 1}],
		"events": [
			{"event": "doc_update", "count": 10, "bytes": 2048, "deliveries": 30, "to_all": False},
			{"event": "stock_changed", "count": 1, "bytes": 90, "deliveries": 4, "to_all": True},
		],
		"handlers": [
			{
				"app": "chat",
				"event": "say",
				"calls": 10,
				"seconds": 0.2,
				"errors": 1,
				"last_error": "ValueError: x",
			}
		],
		"incidents": [
			{
				"time": now - 5,
				"kind": "refused",
				"code": "permission_denied",
				"message": "The user may not read the document.",
				"user": "bob@example.com",
				"address": "203.0.113.7",
				"count": 3,
			}
		],
		**changes,
	}


def answer(page: Page, event: str, value: Any) -> None:
	"""Let the sidecar acknowledge an event with a value; None for no answer."""
	page.evaluate(
		"([event, value]) => { frappe.realtime.answers[event] = value ?? undefined; }", [event, value]
	)


def receive(page: Page, event: str, message: Any) -> None:
	"""Let an event arrive at the page."""
	page.evaluate("([event, message]) => frappe.realtime.receive(event, message)", [event, message])


def card(page: Page, name: str) -> Locator:
	"""Return a card of the page."""
	return page.locator(f".realtime-{name}")


def rows(page: Page, name: str) -> list[list[str]]:
	"""Return the texts of the cells of a table."""
	found: list[list[str]] = card(page, name).evaluate(
		"card => [...card.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
	)
	return found


@pytest.fixture
def monitor(window: BrowserContext) -> Page:
	"""The page before it is opened; its clock only moves when the test moves it."""
	page = window.new_page()
	page.goto("http://desk.test/monitor.html")
	wait_until(page, "window.is_loaded")
	now = time.time()
	page.clock.install(time=now)
	# The clock goes on until then, and cannot be paused at a time that is over.
	page.clock.pause_at(now + PATIENCE)
	return page


def open_page(page: Page) -> None:
	"""Open the page in the Desk."""
	page.evaluate("frappe.realtime_monitor.open(frappe.container.page)")


@pytest.fixture
def live(monitor: Page) -> Page:
	"""The page, with a snapshot."""
	answer(monitor, MONITOR, acknowledgement())
	answer(monitor, QUERY, {"time": 0})
	open_page(monitor)
	wait_to_see(monitor, WATCH)
	receive(monitor, SNAPSHOT, snapshot())
	return monitor


def test_it_shows_the_numbers_of_a_snapshot(live: Page) -> None:
	for name, value, detail in (
		("users", "2", "and 1 socket of guests"),
		("sockets", "4", "3 WebSocket, 1 polling"),
		("rooms", "7", "without those of single users"),
		("memory", "50 MB", "1 sidecar"),
		("events", "3.5", "and 1.0 from clients"),
		("deliveries", "42", "12 sockets per event"),
		("latency", "0.4 ms", "99 % of events: 3.1 ms"),
	):
		tile = card(live, f"tile-{name}")
		expect(tile.locator(".realtime-value")).to_have_text(value)
		expect(tile.locator(".realtime-detail")).to_have_text(detail)
	assert rows(live, "users") == [["ann@example.com", "2"], ["bob@example.com", "1"]]
	assert rows(live, "rooms") == [["doc:ToDo/1", "2", "3"]]
	assert rows(live, "events") == [
		["doc_update", "10", "205 B", "3.0"],
		["stock_changedAll Desk users", "1", "90 B", "4.0"],
	]
	assert rows(live, "handlers") == [["chat", "say\nValueError: x", "10", "20 ms", "1"]]
	[[_, kind, what, user, address]] = rows(live, "incidents")
	assert (kind, user, address) == ("Refused", "bob@example.com", "203.0.113.7")
	assert what == "The user may not read the document.\u00d7 3"
	assert rows(live, "processes") == [
		["server : 123", "0.1.0", "2 h 1 min", "4", "50 MB", "3.1 %", "OK", "OK", "0"]
	]
	assert live.evaluate("frappe.container.page.page.indicator") == ["Live", "green"]


def test_it_says_so_when_there_is_nothing(live: Page) -> None:
	receive(live, SNAPSHOT, snapshot(events=[], handlers=[], incidents=[], latency_ms={"p50": 0, "p99": 0}))
	for name in ("events", "handlers", "incidents"):
		assert rows(live, name) == []
		expect(card(live, name).locator(".realtime-empty")).to_be_visible()
	expect(card(live, "tile-latency").locator(".realtime-value")).to_have_text("\u2013")


def test_an_incident_without_a_user_is_no_link(live: Page) -> None:
	incident = snapshot()["incidents"][0]
	incidents = [incident, {**incident, "kind": "outage", "user": ""}]
	receive(live, SNAPSHOT, snapshot(incidents=incidents))
	assert [user for *_, user, _ in rows(live, "incidents")] == ["bob@example.com", ""]
	expect(card(live, "incidents").get_by_role("button")).to_have_count(1)


def test_names_and_messages_are_not_parsed_as_html(live: Page) -> None:
	incident = {
		**snapshot()["incidents"][0],
		"message": HOSTILE,
		"user": HOSTILE,
		"address": HOSTILE,
		"code": HOSTILE,
	}
	handler = {**snapshot()["handlers"][0], "app": HOSTILE, "event": HOSTILE, "last_error": HOSTILE}
	process = {
		**snapshot()["processes"][0],
		"host": HOSTILE,
		"version": HOSTILE,
		"redis": HOSTILE,
		"id": HOSTILE,
	}
	receive(
		live,
		SNAPSHOT,
		snapshot(
			users=[{"user": HOSTILE, "sockets": 1}],
			rooms=[{"room": HOSTILE, "sockets": 1, "users": 1}],
			events=[{**snapshot()["events"][1], "event": HOSTILE}],
			handlers=[handler],
			incidents=[incident, {**incident, "kind": HOSTILE}],
			processes=[process],
		),
	)
	socket = {
		"id": HOSTILE,
		"since": time.time(),
		"address": HOSTILE,
		"transport": HOSTILE,
		"client": HOSTILE,
		"rooms": [HOSTILE],
		"unsent": 0,
		"process": HOSTILE,
	}
	answer(live, QUERY, {"sockets": [socket], "members": [{"user": HOSTILE, "sockets": 1}]})
	card(live, "users").get_by_role("button", name=HOSTILE).click()
	expect(live.locator("dialog dd", has_text=HOSTILE).first).to_be_visible()
	answer(live, QUERY, {"sockets": 1})
	live.get_by_role("button", name="Disconnect").click()
	wait_to_see(live, ["alert", "Disconnected: 1 socket", "green"])
	answer(live, QUERY, {"error": {"code": "unavailable", "message": HOSTILE}})
	live.get_by_role("button", name="Disconnect").click()
	wait_to_see(live, ["alert", HOSTILE, "red"])
	live.evaluate("document.querySelector('dialog').remove()")
	answer(live, QUERY, {"members": [{"user": HOSTILE, "sockets": 1}]})
	card(live, "rooms").get_by_role("button", name=HOSTILE).click()
	expect(live.locator("dialog td", has_text=HOSTILE)).to_be_visible()
	answer(live, MONITOR, {"error": {"code": "unavailable", "message": HOSTILE}})
	live.evaluate("frappe.realtime.change_status('connected')")
	expect(card(live, "notice")).to_contain_text(HOSTILE)
	assert live.locator("img").count() == 0
	assert not live.evaluate("window.injected")


def test_a_row_keeps_its_element_while_its_numbers_change(live: Page) -> None:
	live.evaluate("window.row = document.querySelector('.realtime-users tbody tr')")
	users = [{"user": "carla@example.com", "sockets": 9}, {"user": "ann@example.com", "sockets": 5}]
	receive(live, SNAPSHOT, snapshot(users=users))
	assert rows(live, "users") == [["carla@example.com", "9"], ["ann@example.com", "5"]]
	assert live.evaluate("document.querySelectorAll('.realtime-users tbody tr')[1] === row")


def test_the_charts_show_the_last_hour_and_go_on(monitor: Page) -> None:
	now = time.time()
	old = [[now - 20, 1, 2, 3, 0.1, 0.2, 1024**2], [now - 10, 2, 4, 6, 0.3, 0.4, 2 * 1024**2]]
	answer(monitor, MONITOR, acknowledgement(*old))
	open_page(monitor)
	receive(monitor, SNAPSHOT, snapshot(time=now - 9))
	values = "charts.map(({ data }) => data.datasets.map(({ values }) => values))"
	wait_until(monitor, "window.charts?.length === 4")
	assert monitor.evaluate(values) == [[[3, 6], [2, 4]], [[0.2, 0.4], [0.1, 0.3]], [[1, 2]], [[1, 2]]]
	receive(
		monitor, SNAPSHOT, snapshot(time=now, rates={"events": 4.5, "deliveries": 44, "client_events": 0})
	)
	assert monitor.evaluate(values) == [
		[[3, 6, 43], [2, 4, 4]],
		[[0.2, 0.4, 3.1], [0.1, 0.3, 0.4]],
		[[1, 2, 4]],
		[[1, 2, 50]],
	]


def test_it_watches_only_while_it_is_visible(live: Page) -> None:
	live.evaluate("$('#page').trigger('hide')")
	assert watches(live) == [WATCH, UNWATCH]
	live.clock.run_for(60_000)
	assert watches(live) == [WATCH, UNWATCH]
	live.evaluate("$('#page').trigger('show')")
	assert watches(live) == [WATCH, UNWATCH, WATCH]
	set_visibility(live, "hidden")
	assert watches(live)[3:] == [UNWATCH]
	set_visibility(live, "visible")
	assert watches(live)[3:] == [UNWATCH, WATCH]


def test_a_menu_that_closes_does_not_end_the_watch(live: Page) -> None:
	live.evaluate("$('.layout-main-section').trigger($.Event('hide.bs.dropdown'))")
	assert watches(live) == [WATCH]


def test_it_asks_again_after_a_reconnect(live: Page) -> None:
	live.evaluate("frappe.realtime.change_status('lost')")
	expect(card(live, "notice")).to_contain_text("not connected")
	expect(card(live, "tile-users")).to_be_visible()
	live.clock.run_for(60_000)
	assert watches(live) == [WATCH]
	live.evaluate("frappe.realtime.change_status('connected')")
	assert watches(live) == [WATCH, WATCH]
	expect(card(live, "notice")).to_be_hidden()


def test_leaving_without_a_connection_sends_nothing(live: Page) -> None:
	live.evaluate("frappe.realtime.change_status('lost')")
	set_visibility(live, "hidden")
	live.evaluate("frappe.realtime.change_status('connected')")
	assert watches(live) == [WATCH]


def test_it_asks_again_when_snapshots_are_missing(live: Page) -> None:
	answer(live, MONITOR, {"error": {"code": "not_permitted", "message": ""}})
	live.clock.run_for(5900)
	assert watches(live) == [WATCH]
	live.clock.run_for(200)
	assert watches(live) == [WATCH, WATCH]
	expect(card(live, "notice")).to_contain_text("You may not see this page.")
	expect(card(live, "tile-users")).to_be_hidden()


def test_the_numbers_stay_while_the_sidecar_cannot_answer(live: Page) -> None:
	answer(live, MONITOR, {"error": {"code": "unavailable", "message": "The web process does not answer."}})
	live.clock.run_for(6000)
	expect(card(live, "notice")).to_contain_text("The web process does not answer.")
	expect(card(live, "tile-users")).to_be_visible()
	answer(live, MONITOR, acknowledgement())
	live.clock.run_for(10_000)
	expect(card(live, "notice")).to_be_hidden()


def test_a_server_without_monitoring_is_named_and_asked_again(monitor: Page) -> None:
	open_page(monitor)
	expect(card(monitor, "notice")).to_contain_text("Waiting for the realtime server")
	monitor.clock.run_for(4000)
	expect(card(monitor, "notice")).to_contain_text("does not answer this page")
	monitor.clock.run_for(16_000)
	answer(monitor, MONITOR, acknowledgement())
	monitor.clock.run_for(10_000)
	assert watches(monitor) == [WATCH, WATCH]
	receive(monitor, SNAPSHOT, snapshot())
	expect(card(monitor, "notice")).to_be_hidden()
	expect(card(monitor, "tile-users")).to_be_visible()


def test_a_user_who_may_not_see_it_reads_why(monitor: Page) -> None:
	answer(monitor, MONITOR, {"error": {"code": "not_permitted", "message": "no"}})
	open_page(monitor)
	expect(card(monitor, "notice")).to_contain_text("System Manager")
	expect(card(monitor, "tile-users")).to_be_hidden()


def test_a_site_without_realtime_is_named(monitor: Page) -> None:
	monitor.evaluate("frappe.realtime.socket = undefined")
	open_page(monitor)
	expect(card(monitor, "notice")).to_contain_text("Realtime is turned off on this site.")
	set_visibility(monitor, "hidden")
	assert watches(monitor) == []


def test_a_users_sockets_and_a_rooms_members(live: Page) -> None:
	socket = {
		"id": "s1",
		"since": time.time() - 125,
		"address": "::ffff:203.0.113.7",
		"transport": "websocket",
		"client": "A Browser/1.0",
		"rooms": ["all", "doc:ToDo/1"],
		"unsent": 2048,
		"process": "p1",
	}
	answer(live, QUERY, {"sockets": [socket]})
	card(live, "users").get_by_role("button", name="ann@example.com").click()
	dialog = live.locator("dialog").first
	for text in ("1 socket", "203.0.113.7", "websocket", "2 min", "A Browser/1.0", "2.0 KB", "server : 123"):
		expect(dialog).to_contain_text(text)
	answer(live, QUERY, {"members": [{"user": "bob@example.com", "sockets": 2}]})
	dialog.get_by_role("button", name="doc:ToDo/1").click()
	expect(live.locator("dialog").nth(1)).to_contain_text("Pages that follow ToDo 1")
	expect(live.locator("dialog").nth(1)).to_contain_text("bob@example.com")
	expect(dialog).not_to_contain_text("::ffff")
	assert [QUERY, {"kind": "user", "user": "ann@example.com"}] in seen(live)
	assert [QUERY, {"kind": "room", "room": "doc:ToDo/1"}] in seen(live)


def test_disconnecting_a_user_asks_first(live: Page) -> None:
	answer(live, QUERY, {"sockets": []})
	card(live, "users").get_by_role("button", name="ann@example.com").click()
	answer(live, QUERY, {"sockets": 2})
	live.get_by_role("button", name="Disconnect").click()
	wait_to_see(live, ["alert", "Disconnected: 2 sockets", "green"])
	noted = seen(live)
	question = next(one for one in noted if one[0] == "confirm")
	assert "ann@example.com" in question[1]
	assert noted.index(question) < noted.index([QUERY, {"kind": "disconnect", "user": "ann@example.com"}])


def test_the_sockets_of_any_user_can_be_looked_up(live: Page) -> None:
	answer(live, QUERY, {"sockets": []})
	live.evaluate("window.answer_to_prompt = 'dev@example.com'")
	live.evaluate("frappe.container.page.page.actions['Find User']()")
	wait_to_see(live, [QUERY, {"kind": "user", "user": "dev@example.com"}])
	expect(live.locator("dialog")).to_contain_text("0 sockets")


def test_the_round_trip_of_a_test_event(live: Page) -> None:
	live.clock.run_for(1500)
	expect(card(live, "tile-trip").locator(".realtime-value")).to_contain_text("ms")
	send = "frappe.container.page.page.actions['Send Test Event']()"
	live.evaluate(f"window.sending = {send}; 0")
	wait_to_see(live, ["frappe_realtime.monitor.send_test_event", {"id": "random"}])
	receive(live, TEST_EVENT, {"id": "of another page"})
	live.clock.run_for(48)
	receive(live, TEST_EVENT, {"id": "random"})
	wait_to_see(live, ["alert", "The test event came back after 48 ms.", "green"])
	expect(card(live, "tile-trip").locator(".realtime-detail")).to_have_text("Test event: 48 ms")
	live.evaluate(f"window.sending = {send}; 0")
	live.clock.run_for(10_000)
	wait_until(live, "seen.some(([what, title]) => what === 'msgprint' && title.includes('did not arrive'))")


def watches(page: Page) -> list[Any]:
	"""Return how the page has started and ended to watch."""
	return [one for one in seen(page) if one[0] == MONITOR]


def set_visibility(page: Page, state: str) -> None:
	"""Show or hide the browser's tab."""
	page.evaluate(
		"""state => {
			Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
			document.dispatchEvent(new Event("visibilitychange"));
		}""",
		state,
	)
