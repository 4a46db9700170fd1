"""Access that ends on a real site: what a tab of the Desk, or a client, gets no more."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace

import pytest
from playwright.sync_api import Page, WebSocket

from tests.bench.conftest import ConnectNode, OpenWindow
from tests.bench.desk import open_desk, origin
from tests.bench.installation import Bench, Person
from tests.wire.conditions import until
from tests.wire.nodejs import NodeClient

STOCK_PATIENCE = 120.0
"""Seconds for what the sidecar has to find out by itself, where the app is not installed."""

SECRET_DOCTYPE = "Error Log"
"""Only a System Manager reads it."""


def log_out(bench: Bench, person: Person, sid: str, csrf_token: str = "") -> None:
	"""End a session as its own page would, but not from there."""
	headers = {"Host": person.site, "Cookie": f"sid={sid}", "X-Frappe-CSRF-Token": csrf_token}
	url = f"http://127.0.0.1:{bench.web_port}/api/method/logout"
	with urllib.request.urlopen(urllib.request.Request(url, b"", headers)) as answer:
		assert answer.status == 200


class Tab:
	"""A tab of the Desk of the site with the app, and what its connection brings: also when it goes to another page."""

	def __init__(self, bench: Bench, page: Page, sockets: list[WebSocket]) -> None:
		self.bench = bench
		self.page = page
		self.sockets = sockets
		self.frames: list[str] = []
		for socket in sockets:
			socket.on("framereceived", lambda frame: self.frames.append(str(frame)))

	def got(self, event: str) -> bool:
		"""Tell whether an event has come."""
		self.page.wait_for_timeout(0)  # lets Playwright tell what it has seen
		return any(f'"{event}"' in frame for frame in self.frames)

	def hears(self, room: str) -> bool:
		"""Tell whether an event for a room reaches the tab."""
		event, last = self.bench.event(), self.bench.event()
		self.bench.publish(event, {}, room, self.bench.site)
		self.bench.publish(last, {}, "website", self.bench.site)
		until(lambda: self.got(last), "the tab hears what every visitor hears")
		return self.got(event)

	def enters(self, room: str, call: str) -> None:
		"""Call a method of `frappe.realtime` and wait until it has brought the tab into a room."""
		self.page.evaluate(f"frappe.realtime.{call}")
		until(lambda: self.hears(room), f"{call} brings the tab into {room}")

	def leaves(self, room: str) -> None:
		"""Wait until the tab is in a room no more."""
		until(lambda: not self.hears(room), f"the tab leaves {room}")


@pytest.fixture
def tab(bench: Bench, open_window: OpenWindow) -> Tab:
	"""A tab of the reader, who has no role of his own."""
	if not bench.web.is_ours:
		pytest.skip("the web process ran before the tests: stop it, and the tests start one that has /assets")
	window = open_window(bench.person("reader"))
	sockets: list[WebSocket] = []
	window.on("page", lambda page: page.on("websocket", lambda socket: sockets.append(socket)))
	page = open_desk(bench, window, origin(bench, bench.site))
	return Tab(bench, page, [one for one in sockets if "/socket.io/" in one.url])


def test_a_logout_elsewhere(bench: Bench, tab: Tab, connect_node: ConnectNode) -> None:
	reader = bench.person("reader")
	other_device = connect_node(reader)
	assert tab.hears(f"user:{reader.name}")
	(cookie,) = [one for one in tab.page.context.cookies() if one["name"] == "sid"]
	log_out(bench, reader, cookie["value"], tab.page.evaluate("frappe.csrf_token"))

	def closed() -> bool:
		tab.page.wait_for_timeout(0)
		return all(one.is_closed() for one in tab.sockets)

	until(closed, "the tab's connection is closed")
	event = bench.event()
	bench.publish(event, {}, f"user:{reader.name}", bench.site)
	other_device.next(event)
	assert not tab.got(event)


def test_a_role_that_is_taken(bench: Bench, tab: Tab) -> None:
	reader, room = bench.person("reader"), f"doctype:{SECRET_DOCTYPE}"
	tab.page.evaluate(f"frappe.realtime.doctype_subscribe({SECRET_DOCTYPE!r})")
	assert not tab.hears(room)
	bench.inside("set_role", user=reader.name, role="System Manager", has=True)
	try:
		tab.page.evaluate(f"frappe.realtime.doctype_unsubscribe({SECRET_DOCTYPE!r})")
		tab.enters(room, f"doctype_subscribe({SECRET_DOCTYPE!r})")
	finally:
		bench.inside("set_role", user=reader.name, role="System Manager", has=False)
	tab.leaves(room)
	assert tab.hears(f"user:{reader.name}")


def test_a_share_that_is_withdrawn(bench: Bench, tab: Tab) -> None:
	reader = bench.person("reader")
	name = bench.insert(bench.person("manager"), "Note", title=f"Shared {bench.event()}", public=0)
	what = {"doctype": "Note", "name": name, "user": reader.name}
	bench.inside("set_share", **what, read=True)
	tab.enters(f"doc:Note/{name}", f"doc_subscribe('Note', {json.dumps(name)})")
	bench.inside("set_share", **what, read=False)
	tab.leaves(f"doc:Note/{name}")
	assert tab.hears(f"user:{reader.name}")


def test_a_share_that_is_changed_without_a_save(bench: Bench, connect_node: ConnectNode) -> None:
	reader = bench.person("reader")
	name = bench.insert(bench.person("manager"), "Note", title=f"Shared {bench.event()}", public=0)
	share = bench.inside("set_share", doctype="Note", name=name, user=reader.name, read=True)
	client, room = connect_node(reader), f"doc:Note/{name}"
	bench.join(client, room, bench.site, "doc_subscribe", "Note", name)
	bench.inside("set_values", doctype="DocShare", name=share, fields={"read": 0})
	until(lambda: not hears(bench, client, room), "the client leaves the document's room")
	assert hears(bench, client, f"user:{reader.name}")


def test_a_user_permission_that_comes(bench: Bench, tab: Tab) -> None:
	reader, manager = bench.person("reader"), bench.person("manager")
	kept, lost = (bench.insert(manager, "Note", title=f"Note {bench.event()}", public=1) for _ in range(2))
	for name in (kept, lost):
		tab.enters(f"doc:Note/{name}", f"doc_subscribe('Note', {json.dumps(name)})")
	permission = bench.inside("restrict", user=reader.name, doctype="Note", name=kept)
	tab.leaves(f"doc:Note/{lost}")
	assert tab.hears(f"doc:Note/{kept}")
	bench.inside("delete", doctype="User Permission", name=permission)


def test_a_deleted_document(bench: Bench, connect_node: ConnectNode) -> None:
	manager = bench.person("manager")
	name = bench.insert(manager, "Note", title=f"Deleted {bench.event()}", public=1)
	client = connect_node(manager)
	bench.join(client, f"doc:Note/{name}", bench.site, "doc_subscribe", "Note", name)
	bench.inside("delete", doctype="Note", name=name)
	until(lambda: not hears(bench, client, f"doc:Note/{name}"), "the client leaves the document's room")


def test_a_revoked_token(bench: Bench, connect_node: ConnectNode) -> None:
	visitor = bench.person("visitor")
	app = connect_node(visitor, credential=f"token {visitor.token}")
	tab = connect_node(visitor)
	assert hears(bench, app, f"user:{visitor.name}")
	token = bench.inside("renew_keys", user=visitor.name)
	bench.people[bench.site]["visitor"] = replace(visitor, token=token)
	until(lambda: app.refusal, "the client with the old token is sent away, and not let in again")
	assert hears(bench, tab, f"user:{visitor.name}")


def test_a_disabled_user(bench: Bench, connect_node: ConnectNode) -> None:
	"""Frappe ends the sessions of a user who is disabled in a request only, and v15 goes on to accept the API key."""
	visitor = bench.person("visitor")
	tab, app = connect_node(visitor), connect_node(visitor, credential=f"token {visitor.token}")
	assert hears(bench, tab, f"user:{visitor.name}")
	bench.inside("change", doctype="User", name=visitor.name, fields={"enabled": 0})
	try:
		until(lambda: tab.refusal and app.refusal, "both clients are sent away, and not let in again")
	finally:
		bench.inside("change", doctype="User", name=visitor.name, fields={"enabled": 1})


def test_a_list_tells_a_name_to_readers_only(bench: Bench, connect_node: ConnectNode) -> None:
	manager = bench.person("manager")
	reader, owner = connect_node(bench.person("reader")), connect_node(manager)
	for client in (reader, owner):
		bench.join(client, "doctype:Note", bench.site, "doctype_subscribe", "Note")
	secret = bench.insert(manager, "Note", title=f"Secret {bench.event()}", public=0)
	public = bench.insert(manager, "Note", title=f"Public {bench.event()}", public=1)

	def told(client: NodeClient) -> list[str | None]:
		return [args[0].get("name") for args in client.all("list_update")]

	until(lambda: {secret, public} <= set(told(owner)), "both names at their owner")
	until(lambda: public in told(reader), "the public one's name at the reader")
	assert None in told(reader)
	assert secret not in json.dumps(reader.all("list_update"))


def test_a_logout_where_the_app_is_not_installed(bench: Bench, connect_node: ConnectNode) -> None:
	person = bench.person(site=bench.other_site)
	sid = bench.log_in(person)
	client = connect_node(person, Cookie=f"sid={sid}")
	room = f"user:{person.name}"
	assert hears(bench, client, room, bench.other_site)
	log_out(bench, person, sid)
	until(lambda: not hears(bench, client, room, bench.other_site), "the client leaves", STOCK_PATIENCE)


def hears(bench: Bench, client: NodeClient, room: str, site: str = "") -> bool:
	"""Tell whether an event for a room reaches a client, which may be on its way back."""
	site = site or bench.site
	event, last = bench.event(), bench.event()
	bench.publish(event, {}, room, site)
	until(
		lambda: bench.publish(last, {}, "website", site) or client.all(last),
		"the client hears what every visitor hears",
	)
	return bool(client.all(event))
