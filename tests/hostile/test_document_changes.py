"""Access that ends because a document was saved: the app announces the document, and the sidecar checks its rooms."""

from __future__ import annotations

import json
import time

from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.test_access import follow, hears, tell

READERS = "frappe.realtime.readers"
QUESTIONS = "frappe.realtime.has_permissions"


def test_the_rooms_of_a_document_are_withdrawn(bench: Bench, connect: Connect) -> None:
	name, hidden_from = bench.document(), bench.user()
	leaver, viewer, stayer = (
		connect(bench, hidden_from),
		connect(bench, hidden_from),
		connect(bench, bench.user()),
	)
	room, open_room = f"doc:ToDo/{name}", f"open_doc:ToDo/{name}"
	for client in (leaver, stayer):
		follow(bench, client, name)
	bench.join(viewer, open_room, "doc_open", "ToDo", name)
	bench.site().forbid(hidden_from.name, "ToDo", name)
	tell(bench, "changed", doctype="ToDo", name=name)
	until(
		lambda: not hears(bench, leaver, room) and not hears(bench, viewer, open_room),
		"the rooms of the document are withdrawn",
	)
	assert hears(bench, stayer, room)
	assert hears(bench, leaver, f"user:{hidden_from.name}")


def test_the_list_update_of_the_same_transaction_does_not_name_the_document(
	bench: Bench, connect: Connect
) -> None:
	name, hidden_from = bench.document(), bench.user()
	client = connect(bench, hidden_from)
	bench.join(client, "doctype:ToDo", "doctype_subscribe", "ToDo")

	def save() -> list[dict[str, str]]:
		heard = len(client.all("list_update"))
		messages = {
			"frappe_realtime:access": {"site": APP_SITE, "kind": "changed", "doctype": "ToDo", "name": name},
			"events": {
				"event": "list_update",
				"message": {"doctype": "ToDo", "name": name},
				"room": "doctype:ToDo",
				"namespace": APP_SITE,
			},
		}
		with bench.valkey.client.pipeline() as pipeline:
			for channel, message in messages.items():
				pipeline.publish(channel, json.dumps(message))
			pipeline.execute()
		until(lambda: len(client.all("list_update")) > heard, "the list_update")
		return [args[0] for args in client.all("list_update")[heard:]]

	assert save() == [{"doctype": "ToDo", "name": name}]
	bench.site().forbid(hidden_from.name, "ToDo", name)
	assert save() == [{"doctype": "ToDo"}]


def test_one_request_for_all_viewers_of_a_document(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	clients = [connect(bench, bench.user()) for _ in range(6)]
	for client in clients:
		follow(bench, client, name)
	readers, questions = bench.web.counts[READERS], bench.web.counts[QUESTIONS]
	message = json.dumps({"site": APP_SITE, "kind": "changed", "doctype": "ToDo", "name": name})
	with bench.valkey.client.pipeline() as pipeline:
		# Together: the sidecar collects messages for 0.05 seconds only.
		for _ in range(3):
			pipeline.publish("frappe_realtime:access", message)
		pipeline.execute()
	until(lambda: bench.web.counts[READERS] > readers, "the readers are asked for")
	bench.settle(*clients)
	assert bench.web.counts[READERS] == readers + 1
	assert bench.web.counts[QUESTIONS] == questions
	assert all(hears(bench, client, f"doc:ToDo/{name}") for client in clients)


def test_a_document_that_no_socket_follows_costs_no_request(bench: Bench, connect: Connect) -> None:
	client, followed = connect(bench, bench.user()), bench.document()
	follow(bench, client, followed)
	before, readers = bench.web.counts.total(), bench.web.counts[READERS]
	for _ in range(20):
		tell(bench, "changed", doctype="ToDo", name=bench.document())
	# The documents are checked in the order in which they are announced.
	tell(bench, "changed", doctype="ToDo", name=followed)
	until(lambda: bench.web.counts[READERS] > readers, "the question about the document that it follows")
	bench.settle(client)
	assert bench.web.counts.total() == before + 1


def test_a_change_while_the_web_process_is_away(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_web_patience": 1})
	name, hidden_from = bench.document(), bench.user()
	client: Client = connect(bench, hidden_from)
	room = follow(bench, client, name)
	bench.stop_web()
	bench.site().forbid(hidden_from.name, "ToDo", name)
	tell(bench, "changed", doctype="ToDo", name=name)
	time.sleep(1.5)
	assert hears(bench, client, room)
	bench.start_web()
	until(lambda: not hears(bench, client, room), "the room is withdrawn when there is an answer")
