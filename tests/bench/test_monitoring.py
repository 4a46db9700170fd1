"""Monitoring on a real site: the permission follows the role, and the test event reaches its caller."""

from __future__ import annotations

import pytest

from tests.bench.conftest import ConnectNode
from tests.bench.installation import Bench
from tests.wire.conditions import until
from tests.wire.nodejs import NodeClient

MONITOR = "frappe_realtime:monitor"
SNAPSHOT = "frappe_realtime:monitor_snapshot"
QUERY = "frappe_realtime:monitor_query"
TEST = "frappe_realtime:test"


def code(client: NodeClient) -> str:
	"""Return the code of the error with which a query is answered; empty if it is answered."""
	(answer,) = client.call(QUERY, {"kind": "ping"})
	return str(answer.get("error", {}).get("code", ""))


def test_a_user_watches_as_long_as_the_user_is_a_system_manager(
	bench: Bench, connect_node: ConnectNode
) -> None:
	reader = bench.person("reader")
	client = connect_node(reader)
	assert code(client) == "not_permitted"
	bench.inside("set_role", user=reader.name, role="System Manager", has=True)
	try:
		until(lambda: not code(client), "the reader may ask")
		(answer,) = client.call(MONITOR, {"watch": True})
		assert answer["interval"] == 2
		snapshot = client.next(SNAPSHOT)[0]
		assert snapshot["site"] == bench.site
		assert reader.name in [one["user"] for one in snapshot["users"]]
	finally:
		bench.inside("set_role", user=reader.name, role="System Manager", has=False)
	until(lambda: code(client) == "not_permitted", "the reader may not ask any more")


def test_a_user_of_a_site_without_the_app_does_not_watch(bench: Bench, connect_node: ConnectNode) -> None:
	assert code(connect_node(bench.person(site=bench.other_site))) == "not_permitted"


def test_the_test_event_reaches_its_caller(bench: Bench, connect_node: ConnectNode) -> None:
	reader = bench.person("reader")
	client = connect_node(reader)
	method = "/api/method/frappe_realtime.monitor.send_test_event"
	with pytest.raises(AssertionError, match="HTTP 403"):
		bench.request(reader, method, {"id": "1"})
	bench.inside("set_role", user=reader.name, role="System Manager", has=True)
	try:
		bench.request(reader, method, {"id": "2"})
	finally:
		bench.inside("set_role", user=reader.name, role="System Manager", has=False)
	assert client.next(TEST)[0] == {"id": "2"}
