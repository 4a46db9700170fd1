"""Events of the web process, the console and the workers, at socket.io-client of two versions and over all transports."""

from __future__ import annotations

import base64
import json

import pytest

from tests.bench.conftest import WAYS, ConnectNode
from tests.bench.installation import AnyClient, Bench
from tests.wire.nodejs import NodeClient


@pytest.fixture(params=["with the app", "without the app"])
def site(request: pytest.FixtureRequest, bench: Bench) -> str:
	"""Each site in turn."""
	return bench.site if request.param == "with the app" else bench.other_site


@pytest.fixture
def stranger(bench: Bench, site: str, connect_node: ConnectNode) -> NodeClient:
	"""The same person at the other site, where nothing may arrive."""
	return connect_node(bench.person(site=bench.other_site if site == bench.site else bench.site))


@pytest.fixture
def everywhere(bench: Bench, site: str, connect_node: ConnectNode) -> list[NodeClient]:
	"""One person at a site, connected in all ways."""
	person = bench.person(site=site)
	return [connect_node(person, version, transports) for version, transports in WAYS]


def nothing_at(bench: Bench, client: AnyClient, site: str, event: str) -> bool:
	"""Tell whether an event that others have got did not reach a client."""
	bench.settle(client, site)
	return not client.all(event)


def test_publish_realtime_from_bench_execute(
	bench: Bench, site: str, everywhere: list[NodeClient], stranger: NodeClient
) -> None:
	event, user = bench.event(), bench.person(site=site).name
	arguments = json.dumps({"event": event, "message": {"from": "execute"}, "user": user})
	bench.bench("--site", site, "execute", "frappe.publish_realtime", "--kwargs", arguments)
	for client in everywhere:
		assert client.next(event)[0] == {"from": "execute"}
	other = bench.other_site if site == bench.site else bench.site
	assert nothing_at(bench, stranger, other, event)


def test_publish_realtime_from_bench_console(
	bench: Bench, site: str, everywhere: list[NodeClient], stranger: NodeClient
) -> None:
	event = bench.event()
	line = f"frappe.publish_realtime({event!r}, {{'from': 'console'}})\n"
	bench.bench("--site", site, "console", given=line)
	for client in everywhere:
		assert client.next(event)[0] == {"from": "console"}
	other = bench.other_site if site == bench.site else bench.site
	assert nothing_at(bench, stranger, other, event)


def test_list_update_of_a_rest_insert(
	bench: Bench, site: str, everywhere: list[NodeClient], stranger: NodeClient
) -> None:
	other = bench.other_site if site == bench.site else bench.site
	for client in everywhere:
		bench.join(client, "doctype:ToDo", site, "doctype_subscribe", "ToDo")
	bench.join(stranger, "doctype:ToDo", other, "doctype_subscribe", "ToDo")
	name = bench.insert(bench.person(site=site), "ToDo", description="a test")
	for client in everywhere:
		message = client.next("list_update")[0]
		assert (message["doctype"], message["name"]) == ("ToDo", name)
	assert nothing_at(bench, stranger, other, "list_update")


def test_doc_update_of_a_rest_change(bench: Bench, site: str, connect_node: ConnectNode) -> None:
	person = bench.person(site=site)
	name = bench.insert(person, "ToDo", description="a test")
	client = connect_node(person)
	bench.join(client, f"doc:ToDo/{name}", site, "doc_subscribe", "ToDo", name)
	bench.request(person, f"/api/resource/ToDo/{name}", {"description": "changed"}, "PUT")
	message = client.next("doc_update")[0]
	assert (message["doctype"], message["name"]) == ("ToDo", name)


def test_progress_of_a_workers_job(
	bench: Bench, site: str, everywhere: list[NodeClient], stranger: NodeClient
) -> None:
	other = bench.other_site if site == bench.site else bench.site
	arguments = {"percent": 40, "title": "A test", "description": "by a worker"}
	user = bench.person(site=site).name
	bench.inside("enqueue", site=site, user=user, method="frappe.publish_progress", arguments=arguments)
	for client in everywhere:
		message = client.next("progress")[0]
		assert {key: message[key] for key in arguments} == arguments
	assert nothing_at(bench, stranger, other, "progress")


def test_who_is_told_what(bench: Bench, site: str, connect_node: ConnectNode) -> None:
	"""The rooms that everybody is in: `all` for System Users, `website` for Guests too, and one's own."""
	people = {role: connect_node(bench.person(role, site)) for role in ("manager", "reader", "visitor")}
	people["guest"] = connect_node(site)
	to_all, to_website, to_visitor, to_guests = (bench.event() for _ in range(4))
	bench.publish(to_all, {}, "all", site)
	bench.publish(to_visitor, {}, f"user:{bench.person('visitor', site).name}", site)
	bench.publish(to_guests, {}, "user:Guest", site)
	bench.publish(to_website, {}, "website", site)
	for client in people.values():
		client.next(to_website)
	got = {
		event: {role for role, client in people.items() if client.all(event)}
		for event in (to_all, to_visitor, to_guests)
	}
	assert got == {to_all: {"manager", "reader"}, to_visitor: {"visitor"}, to_guests: {"guest"}}


def test_a_document_is_followed_by_those_who_may_read_it(
	bench: Bench, site: str, connect_node: ConnectNode
) -> None:
	manager, reader = bench.person("manager", site), bench.person("reader", site)
	private = bench.insert(manager, "Note", title=f"private {bench.event()}", public=0)
	public = bench.insert(manager, "Note", title=f"public {bench.event()}", public=1)
	client, guest = connect_node(reader), connect_node(site)
	for one in (client, guest):
		one.emit("doc_subscribe", "Note", private)
	guest.emit("doc_subscribe", "Note", public)
	bench.join(client, f"doc:Note/{public}", site, "doc_subscribe", "Note", public)
	event = bench.event()
	for name in (private, public):
		bench.publish(event, {"name": name}, f"doc:Note/{name}", site)
	bench.settle(client, site)
	bench.settle(guest, site)
	assert [args[0] for args in client.all(event)] == [{"name": public}]
	assert guest.all(event) == []


@pytest.mark.parametrize("scheme", ["token", "Basic", "Bearer", "auth.token"])
def test_an_api_key_and_a_bearer_token_log_in(
	bench: Bench, site: str, scheme: str, connect_node: ConnectNode
) -> None:
	person, event = bench.person(site=site), bench.event()
	if scheme == "auth.token":
		client = connect_node(site, options={"auth": {"token": person.token}})
	else:
		basic = base64.b64encode(person.token.encode()).decode()
		secret = {"token": person.token, "Basic": basic, "Bearer": person.bearer}[scheme]
		client = connect_node(person, credential=f"{scheme} {secret}")
	bench.publish(event, {}, f"user:{person.name}", site)
	client.next(event)
	if bench.version > 15 or site == bench.site:
		# v15 by itself does not tell the type of a user without a session.
		bench.publish(event, {}, "all", site)
		client.next(event)


def test_the_command_line_publishes(bench: Bench, site: str, connect_node: ConnectNode) -> None:
	person, event = bench.person(site=site), bench.event()
	client = connect_node(person)
	command = [str(bench.root / "env/bin/frappe-realtime"), "publish", "--bench", str(bench.root)]
	bench.run([*command, event, '{"a": 1}', "--site", site, "--user", person.name], bench.root)
	assert client.next(event)[0] == {"a": 1}
