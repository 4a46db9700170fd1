"""Subscriptions in a page: parts of it that hold one together, and those that ask for earlier events of a room."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.driving import (
	connect,
	listen,
	lose_connection,
	seen,
	settle,
	wait_for_room,
	wait_for_status,
	wait_to_see,
	wait_until,
	wait_until_back,
	wait_until_handled,
	watch_connection,
)
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher

CLIENT = "(window.realtime ?? frappe.realtime)"


@pytest.fixture(params=["portal", "desk"])
def page(request: pytest.FixtureRequest, bench: Bench, open_portal: OpenPage, open_desk: OpenPage) -> Page:
	"""Return a connected page, with each of the two clients."""
	if request.param == "portal":
		page = open_portal(bench, bench.user())
		connect(page)
	else:
		page = open_desk(bench, bench.user())
		wait_for_status(page, "connected")
	return page


def hears(bench: Bench, page: Page, room: str) -> bool:
	"""Return whether the page gets what is published to a room, after all that it has emitted."""
	wait_until_handled(page)
	listen(page, "heard")
	before = len([one for one in seen(page) if one[0] == "heard"])
	bench.publish("heard", {}, room)
	settle(bench, page)
	return len([one for one in seen(page) if one[0] == "heard"]) > before


@pytest.mark.parametrize(
	("subscribe", "unsubscribe", "arguments", "room"),
	[
		("doc_subscribe", "doc_unsubscribe", ["ToDo", "held"], "doc:ToDo/held"),
		("doctype_subscribe", "doctype_unsubscribe", ["ToDo"], "doctype:ToDo"),
		("task_subscribe", "task_unsubscribe", ["held"], "task_progress:held"),
	],
	ids=["document", "list", "task"],
)
def test_a_subscription_ends_with_the_last_part_that_holds_it(
	bench: Bench, page: Page, subscribe: str, unsubscribe: str, arguments: list[str], room: str
) -> None:
	call = f"([method, args]) => {{ {CLIENT}[method](...args); }}"
	page.evaluate(call, [subscribe, arguments])
	page.evaluate(f"([event, args]) => {{ {CLIENT}.emit(event, ...args); }}", [subscribe, arguments])
	wait_for_room(bench, page, room)
	page.evaluate(call, [unsubscribe, arguments])
	assert hears(bench, page, room)
	page.evaluate(call, [unsubscribe, arguments])
	assert not hears(bench, page, room)
	page.evaluate(call, [unsubscribe, arguments])
	page.evaluate(call, [subscribe, arguments])
	wait_for_room(bench, page, room)


def test_a_form_and_a_part_of_the_page_follow_one_document(bench: Bench, open_desk: OpenPage) -> None:
	"""Forms subscribe with each refresh, and never end it (frappe#41733)."""
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	page.evaluate(
		"""() => {
			for (let refresh = 0; refresh < 3; refresh++) frappe.realtime.doc_subscribe("ToDo", "form");
			frappe.realtime.doc_subscribe("ToDo", "form");
		}"""
	)
	wait_for_room(bench, page, "doc:ToDo/form")
	assert page.evaluate("frappe.realtime.doc_unsubscribe('ToDo', 'form')") is False
	assert hears(bench, page, "doc:ToDo/form")
	assert page.evaluate("frappe.realtime.open_docs.has('ToDo:form')")


@pytest.mark.parametrize("kind", ["renamed", "doc", "user"])
def test_a_form_follows_its_document_again_after_the_server_has_emptied_the_room(
	bench: Bench, open_desk: OpenPage, kind: str
) -> None:
	"""The document was renamed and renamed back, or deleted and made again, or the user could not read it for a while."""
	user, name = bench.user(), bench.document()
	changes = {
		"renamed": {"doctype": "ToDo", "old": name, "new": "another"},
		"doc": {"doctype": "ToDo", "name": name},
		"user": {"user": user.name},
	}

	def tell() -> None:
		"""Say what the app says when access has changed."""
		message = {"site": APP_SITE, "kind": kind, **changes[kind]}
		bench.valkey.client.publish("frappe_realtime:access", json.dumps(message))

	room = f"doc:ToDo/{name}"
	page = open_desk(bench, user)
	page.evaluate("name => frappe.realtime.doc_subscribe('ToDo', name)", name)
	wait_for_room(bench, page, room)
	if kind == "user":
		bench.site().forbid(user.name, "ToDo", name)
	tell()
	until(lambda: not hears(bench, page, room), "the page is out of the room")
	if kind == "user":
		bench.site().allow(user.name, "ToDo", name)
		tell()
		settle(bench, page)
	page.evaluate("name => frappe.realtime.doc_subscribe('ToDo', name)", name)
	wait_for_room(bench, page, room)
	page.evaluate("name => frappe.realtime.doc_unsubscribe('ToDo', name)", name)
	assert hears(bench, page, room), "the first subscription goes on"
	page.evaluate("name => frappe.realtime.doc_unsubscribe('ToDo', name)", name)
	assert not hears(bench, page, room)


# What Frappe's list does (list_view.js of v15 to v17), as far as subscriptions are concerned.
LIST = """
	frappe.views = { ListView: class {
		doctype = "ToDo";
		setup_realtime_updates() {
			if (this.realtime_events_setup) return;
			frappe.realtime.doctype_subscribe(this.doctype);
			this.realtime_events_setup = true;
		}
		disable_realtime_updates() {
			frappe.realtime.doctype_unsubscribe(this.doctype);
			this.realtime_events_setup = false;
		}
	} };
	window.list = new frappe.views.ListView();
"""


def test_a_list_that_is_left_ends_its_own_subscription_only(bench: Bench, open_desk: OpenPage) -> None:
	"""It does so with each update that it still receives (frappe#42998)."""
	page = open_desk(bench, bench.user())
	wait_for_status(page, "connected")
	page.evaluate(
		f"""() => {{
			{LIST}
			list.setup_realtime_updates();
			frappe.realtime.doctype_subscribe("ToDo");
			for (let update = 0; update < 3; update++) list.disable_realtime_updates();
		}}"""
	)
	wait_for_room(bench, page, "doctype:ToDo")
	page.evaluate("() => { list.setup_realtime_updates(); frappe.realtime.doctype_unsubscribe('ToDo'); }")
	assert hears(bench, page, "doctype:ToDo")
	page.evaluate("list.disable_realtime_updates()")
	assert not hears(bench, page, "doctype:ToDo")


def test_a_late_part_gets_the_newest_values(bench: Bench, page: Page) -> None:
	publisher = Publisher(bench.valkey.url)
	publisher.publish_latest("percent", 10, "doc:ToDo/late")
	publisher.publish_latest("percent", 20, "doc:ToDo/late")
	publisher.publish_latest("image", b"\x01\x02", "doc:ToDo/late")
	publisher.flush()
	settle(bench, page)
	listen(page, "percent")
	page.evaluate(f"{CLIENT}.on('image', (image) => seen.push(['image', ...new Uint8Array(image)]))")
	rewound = page.evaluate(f"{CLIENT}.doc_subscribe('ToDo', 'late', {{ rewind: 'latest' }})")
	assert rewound == 2
	publisher.publish_latest("percent", 30, "doc:ToDo/late")
	wait_to_see(page, ["percent", 30])
	assert seen(page) == [["percent", 20], ["image", 1, 2], ["percent", 30]]


def test_the_last_events_come_once_for_a_page(bench: Bench, page: Page) -> None:
	"""Also after a reconnect to the same session."""
	publisher = Publisher(bench.valkey.url)
	for number in range(5):
		publisher.publish("step", number, "task_progress:steps")
	publisher.flush()
	settle(bench, page)
	listen(page, "step")
	assert page.evaluate(f"{CLIENT}.task_subscribe('steps', {{ rewind: 3 }})") == 3
	watch_connection(page)
	page.evaluate(f"{CLIENT}.socket.io.engine.close()")
	wait_until(page, "window.was_lost")
	publisher.publish("step", 5, "task_progress:steps")
	publisher.flush()
	wait_until_back(page)
	wait_to_see(page, ["step", 5])
	settle(bench, page)
	assert seen(page) == [["step", number] for number in (2, 3, 4, 5)]


def test_values_come_again_after_a_reconnect_without_recovery(
	make_bench: MakeBench, open_portal: OpenPage
) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	page = open_portal(bench, bench.user())
	connect(page)
	listen(page, "percent")
	page.evaluate("realtime.doc_subscribe('ToDo', 'again', { rewind: 'latest' })")
	lose_connection(bench, page)
	publisher.publish_latest("percent", 1, "doc:ToDo/again")
	publisher.flush()
	for key in bench.valkey.client.scan_iter("frappe_realtime:*:session:*"):
		bench.valkey.client.delete(key)
	bench.sidecar.start()
	wait_for_status(page, "connected")
	wait_to_see(page, ["percent", 1])


def test_a_listener_gets_a_counter_that_was_published_before(
	bench: Bench, open_portal: OpenPage, open_desk: OpenPage
) -> None:
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	publisher.publish_latest("unread", 3, f"user:{user.name}")
	publisher.flush()
	for open_page in (open_portal, open_desk):
		page = open_page(bench, user)
		if open_page is open_portal:
			connect(page)
			# The sidecar has read it, so that it comes to neither page by itself.
			settle(bench, page)
		page.evaluate(
			f"{CLIENT}.on('unread', (count) => seen.push(['unread', count]), {{ rewind: 'latest' }})"
		)
		wait_to_see(page, ["unread", 3])


def test_a_refusal_is_an_error(make_bench: MakeBench, open_portal: OpenPage) -> None:
	bench = make_bench()
	user = bench.user()
	bench.site().forbid(user.name, "ToDo", "secret")
	page = open_portal(bench, user)
	connect(page)
	message = page.evaluate(
		"realtime.doc_subscribe('ToDo', 'secret', { rewind: 5 }).catch((error) => error.message)"
	)
	assert "(not_permitted)" in message
