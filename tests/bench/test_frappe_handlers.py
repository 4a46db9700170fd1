"""Handlers with `frappe_context=True` that import Frappe in the function, in an app that is installed on a real site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench.apps import installed, skip_unless_apps_can_be_installed, write_app
from tests.bench.conftest import ConnectNode
from tests.bench.installation import Bench
from tests.bench.test_access import hears
from tests.wire.conditions import until

APP = "realtime_bench_handlers"

HANDLERS = """
from frappe.realtime import realtime


@realtime.on("describe", frappe_context=True)
def describe(socket):
	import frappe

	frappe.logger("realtime_bench").info("describe")
	return [frappe.session.user, frappe.local.site, frappe.db.get_value("User", frappe.session.user, "first_name")]


@realtime.on("add", frappe_context=True)
def add(socket, description, fails):
	import frappe

	todo = frappe.get_doc({"doctype": "ToDo", "description": description}).insert()
	if fails:
		raise ValueError("after the insert")
	return todo.name


@realtime.on("publish", frappe_context=True)
def publish(socket, event):
	import frappe

	frappe.publish_realtime(event, {"by": frappe.session.user}, room="website", after_commit=True)


@realtime.on("chat_open")
async def chat_open(socket, doctype, name):
	from frappe_realtime import topic_room

	if not await socket.has_permission(doctype, name):
		return ""
	await socket.join(topic_room("chat", doctype, name))
	return topic_room("chat", doctype, name)
"""
"""No line outside a function imports Frappe: nothing has loaded it when the first of these events arrives."""


@pytest.fixture(scope="module")
def with_handlers(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
	"""The bench with the app, whose web processes and sidecar have been started since it was installed."""
	skip_unless_apps_can_be_installed(bench)
	source = tmp_path_factory.mktemp("app") / APP
	write_app(source, APP, {"realtime/handlers.py": HANDLERS})
	with installed(bench, source):
		yield bench


def test_frappe_is_connected_to_the_site_as_the_user(with_handlers: Bench, connect_node: ConnectNode) -> None:
	reader = with_handlers.person("reader")
	client = connect_node(reader)
	for _ in range(2):
		assert client.call("describe") == ([reader.name, reader.site, "Reader"],)


def test_what_a_handler_does_is_committed_unless_it_raises(
	with_handlers: Bench, connect_node: ConnectNode
) -> None:
	bench, manager = with_handlers, with_handlers.person()
	client = connect_node(manager)
	kept, lost = bench.event(), bench.event()
	client.emit("add", lost, True)
	(name,) = client.call("add", kept, False)
	todos = bench.request(manager, '/api/resource/ToDo?fields=["name","description"]&limit_page_length=0')[
		"data"
	]
	assert {"name": name, "description": kept} in todos
	assert lost not in {todo["description"] for todo in todos}


def test_what_a_handler_publishes_is_kept_for_clients_that_are_away(
	with_handlers: Bench, connect_node: ConnectNode
) -> None:
	bench, manager = with_handlers, with_handlers.person()
	client, event = connect_node(manager), bench.event()
	client.emit("publish", event)
	assert client.next(event) == ({"by": manager.name},)
	kept: Any = bench.events.xrange(f"frappe_realtime:{manager.site}:events")
	assert event in [json.loads(entry[b"e"])["event"] for _, entry in kept]


def test_a_topic_ends_with_the_permission_to_read_the_document(
	with_handlers: Bench, connect_node: ConnectNode
) -> None:
	bench, reader = with_handlers, with_handlers.person("reader")
	client = connect_node(reader)
	names = [
		bench.inside("make", doctype="ToDo", fields={"description": "d", "allocated_to": reader.name})
		for _ in range(2)
	]
	try:
		lost, kept = [str(client.call("chat_open", "ToDo", name)[0]) for name in names]
		assert hears(bench, client, lost)
		bench.inside("change", doctype="ToDo", name=names[0], fields={"allocated_to": "Administrator"})
		until(lambda: not hears(bench, client, lost), "the topic ends")
		assert hears(bench, client, kept)
		assert client.call("chat_open", "ToDo", names[0]) == ("",)
	finally:
		for name in names:
			bench.inside("delete", doctype="ToDo", name=name)
