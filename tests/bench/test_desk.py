"""The Desk itself, in Chromium, of a site with the app and of one without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.bench.conftest import OpenWindow
from tests.bench.desk import (
	PATIENCE,
	listen,
	open_desk,
	origin,
	photograph,
	seen,
	wait_for_status,
	wait_to_see,
	wait_until,
)
from tests.bench.installation import Bench
from tests.wire.conditions import until

SIGN = ".realtime-status"

pytestmark = pytest.mark.usefixtures("web_with_assets")


@pytest.fixture(params=["with the app", "without the app"])
def site(request: pytest.FixtureRequest, bench: Bench) -> str:
	"""Each site in turn."""
	return bench.site if request.param == "with the app" else bench.other_site


def test_events_reach_the_desk_of_their_site(bench: Bench, site: str, open_window: OpenWindow) -> None:
	other = bench.other_site if site == bench.site else bench.site
	person, event = bench.person(site=site), bench.event()
	page = open_desk(bench, open_window(person), origin(bench, site))
	elsewhere = open_desk(bench, open_window(bench.person(site=other)), origin(bench, other))
	for one in (page, elsewhere):
		listen(one, event)
	arguments = json.dumps({"event": event, "message": {"a": 1}, "user": person.name})
	bench.bench("--site", site, "execute", "frappe.publish_realtime", "--kwargs", arguments)
	assert wait_to_see(page, event)[0] == {"a": 1}
	bench.publish(last := bench.event(), {}, "website", other)
	listen(elsewhere, last)
	until(lambda: bench.publish(last, {}, "website", other) or seen(elsewhere, last), "the other site's")
	assert seen(elsewhere, event) == []
	wait_until(page, "frappe.realtime.socket.io.engine.transport.name === 'websocket'")


def test_the_list_follows_an_insert(bench: Bench, site: str, open_window: OpenWindow) -> None:
	person = bench.person(site=site)
	title = f"Seen at once {bench.event()}"
	page = open_desk(bench, open_window(person), origin(bench, site), "note")
	page.wait_for_selector(".list-row-container, .no-result", timeout=PATIENCE, state="attached")
	wait_until(page, "cur_list?.doctype === 'Note' && cur_list.realtime_events_setup")
	# The subscription is on its way when the list is shown; an insert until it counts shows that it came.
	listen(page, "list_update")
	until(
		lambda: (
			bench.insert(person, "Note", title=f"{title} {bench.event()}", public=1)
			and seen(page, "list_update")
		),
		"list_update in the Desk",
	)
	expect(page.get_by_text(title).first).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize("message", [{}, {"more": True}], ids=["without a name", "more than are named"])
def test_the_list_follows_an_update_that_does_not_name_all(
	bench: Bench, message: dict[str, Any], open_window: OpenWindow
) -> None:
	"""Frappe's list raises a TypeError for an update without a name, and fetches nothing more for one with `more`."""
	person = bench.person()
	name = bench.insert(person, "Note", title=f"As it was {bench.event()}", public=1)
	named = bench.insert(person, "Note", title=f"Named {bench.event()}", public=1)
	page = open_desk(bench, open_window(person), origin(bench, bench.site), "note")
	errors: list[str] = []
	page.on("pageerror", lambda error: errors.append(str(error)))
	expect(page.get_by_text("As it was").first).to_be_visible(timeout=PATIENCE)
	wait_until(page, "cur_list?.doctype === 'Note' && cur_list.realtime_events_setup")
	title = f"Seen at last {bench.event()}"
	bench.inside("set_values", doctype="Note", name=name, fields={"title": title})
	update = {"doctype": "Note", **message, **({"name": named} if message else {})}
	listen(page, "list_update")
	until(
		lambda: bench.publish("list_update", update, "doctype:Note", bench.site) or seen(page, "list_update"),
		"list_update in the Desk",
	)
	expect(page.get_by_text(title).first).to_be_visible(timeout=PATIENCE)
	assert errors == []


def test_two_who_view_a_document_see_each_other(bench: Bench, site: str, open_window: OpenWindow) -> None:
	manager, reader = bench.person("manager", site), bench.person("reader", site)
	name = bench.insert(manager, "Note", title=f"Viewed {bench.event()}", public=1)
	page = open_desk(bench, open_window(manager), origin(bench, site), f"note/{name}")
	wait_until(page, "name => cur_frm?.docname === name", name)
	# Each render of the form makes a new cur_frm.viewers, which is what the page shows; listen beside it.
	listen(page, "doc_viewers")
	other = open_desk(bench, open_window(reader), origin(bench, site), f"note/{name}")
	wait_until(other, "name => cur_frm?.docname === name", name)
	both = sorted([manager.name, reader.name])
	until(
		lambda: any(sorted(args[0]["users"]) == both for args in seen(page, "doc_viewers")),
		"both are named as viewers",
	)
	photograph(bench, page, f"viewers-{'app' if site == bench.site else 'stock'}")
	other.close()
	until(lambda: seen(page, "doc_viewers")[-1][0]["users"] == [manager.name], "one is left")


def test_a_jobs_progress_shows_and_closes(bench: Bench, open_window: OpenWindow) -> None:
	"""A bulk update of the Desk, which Frappe gives to a worker from 20 documents on."""
	person = bench.person()
	names = [bench.insert(person, "ToDo", description="a test") for _ in range(25)]
	page = open_desk(bench, open_window(person), origin(bench, bench.site), "todo")
	listen(page, "progress")
	page.evaluate(
		"""names => {
			window.shown = [];
			const show = frappe.show_progress;
			frappe.show_progress = (...args) => { window.shown.push(args[1]); return show(...args); };
			frappe.xcall("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs", {
				doctype: "ToDo", docnames: names, action: "update", data: { priority: "High" },
			});
		}""",
		names,
	)
	# Asked in each frame, unlike `expect`, which asks once a second: the dialog may be open for little more than half of one.
	wait_until(page, "document.querySelector('.modal.show .progress-bar')?.checkVisibility()")
	photograph(bench, page, "progress")
	wait_until(page, "window.shown.at(-1) === 100")
	expect(page.locator(".modal.show .progress-bar")).to_have_count(0, timeout=PATIENCE)
	assert [args[0]["description"] for args in seen(page, "progress")] == names


def test_the_system_health_report_is_green(bench: Bench, site: str, open_window: OpenWindow) -> None:
	window = open_window(bench.person(site=site))
	page = open_desk(bench, window, origin(bench, site), "system-health-report")
	wait_until(page, "cur_frm?.doc.socketio_ping_check === 'Pass'")
	wait_until(page, "frappe.realtime.socket.io.engine.transport.name === 'websocket'")
	page.evaluate("frappe.realtime.emit('ping')")
	wait_until(page, "(cur_frm.doc.socketio_transport_mode ?? '').toLowerCase() === 'websocket'")
	wait_until(
		page,
		"""['socketio_ping_check', 'socketio_transport_mode'].every(
			(field) => !cur_frm.fields_dict[field].disp_area.classList.contains('health-check-failed'))""",
	)
	page.evaluate("cur_frm.fields_dict.socketio_ping_check.wrapper.scrollIntoView({block: 'center'})")
	photograph(bench, page, f"health-{'app' if site == bench.site else 'stock'}")


def test_the_sign_shows_while_the_sidecar_is_away(own_processes: Bench, open_window: OpenWindow) -> None:
	bench = own_processes
	person, event = bench.person(), bench.event()
	page = open_desk(bench, open_window(person), origin(bench, bench.site))
	listen(page, event)
	bench.sidecar.stop()
	try:
		expect(page.locator(SIGN)).to_be_visible(timeout=PATIENCE)
		photograph(bench, page, "lost")
	finally:
		bench.start_sidecar()
	wait_for_status(page, "connected")
	expect(page.locator(SIGN)).to_be_hidden(timeout=PATIENCE)
	photograph(bench, page, "back")
	bench.publish(event, {}, f"user:{person.name}", bench.site)
	wait_to_see(page, event)
