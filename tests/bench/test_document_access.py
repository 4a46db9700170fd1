"""Access that ends because a document was saved, on a real site: the room is withdrawn within a second."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.bench.conftest import ConnectNode
from tests.bench.installation import Bench
from tests.bench.test_access import hears
from tests.wire.conditions import until
from tests.wire.nodejs import NodeClient

PROMISED_SECONDS = 1.0

CASES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
	"Note": ({"title": "A note", "public": 1}, {"public": 0}),
	"Event": ({"subject": "s", "starts_on": "2030-01-01", "event_type": "Public"}, {"event_type": "Private"}),
	"ToDo": ({"description": "d", "allocated_to": "USER"}, {"allocated_to": "Administrator"}),
	"File": ({"file_name": "FILE", "content": "FILE", "is_private": 0}, {"is_private": 1}),
}
"""For each DocType the fields of a document that the reader (USER) may read, and those that hide it from the reader."""


@pytest.mark.parametrize("doctype", CASES)
def test_a_save_that_hides_a_document(bench: Bench, connect_node: ConnectNode, doctype: str) -> None:
	reader = bench.person("reader")
	fields, change = CASES[doctype]
	values = {"USER": reader.name, "FILE": f"{bench.event()}.txt"}
	name = bench.inside(
		"make", doctype=doctype, fields={key: values.get(str(value), value) for key, value in fields.items()}
	)
	try:
		client = connect_node(reader)
		bench.join(client, f"doctype:{doctype}", bench.site, "doctype_subscribe", doctype)
		bench.join(client, f"doc:{doctype}/{name}", bench.site, "doc_subscribe", doctype, name)
		check_withdrawn(bench, client, doctype, name, change)
	finally:
		bench.inside("delete", doctype=doctype, name=name)


def test_a_link_that_a_user_permission_hides(bench: Bench, connect_node: ConnectNode) -> None:
	reader = bench.person("reader")
	name = bench.inside(
		"make", doctype="ToDo", fields={"description": "d", "allocated_to": reader.name, "role": "All"}
	)
	permission = bench.inside("restrict", user=reader.name, doctype="Role", name="All")
	try:
		client = connect_node(reader)
		bench.join(client, f"doc:ToDo/{name}", bench.site, "doc_subscribe", "ToDo", name)
		check_withdrawn(bench, client, "ToDo", name, {"role": "Guest"})
	finally:
		bench.inside("delete", doctype="User Permission", name=permission)
		bench.inside("delete", doctype="ToDo", name=name)


@pytest.fixture(scope="module")
def owned_doctype(bench: Bench) -> Iterator[str]:
	"""A DocType with one rule: everyone may read a document whose owner one is (`if_owner`)."""
	name = "Realtime Bench Owned"
	bench.inside("make_owned_doctype", name=name)
	yield name
	bench.inside("delete", doctype="DocType", name=name, force=True)


def test_another_owner_where_only_the_owner_may_read(
	bench: Bench, connect_node: ConnectNode, owned_doctype: str
) -> None:
	"""Frappe lets no one save another owner: code sets it by `db_set`."""
	reader = bench.person("reader")
	names = [bench.inside("make", doctype=owned_doctype, fields={"text": "t"}) for _ in range(2)]
	kept, lost = names
	for name in names:
		bench.inside("set_values", doctype=owned_doctype, name=name, fields={"owner": reader.name})
	client = connect_node(reader)
	bench.join(client, f"doctype:{owned_doctype}", bench.site, "doctype_subscribe", owned_doctype)
	for name in names:
		bench.join(client, f"doc:{owned_doctype}/{name}", bench.site, "doc_subscribe", owned_doctype, name)
	check_withdrawn(bench, client, owned_doctype, lost, {"owner": "Administrator"}, "set_values")
	assert hears(bench, client, f"doc:{owned_doctype}/{kept}")


def check_withdrawn(
	bench: Bench,
	client: NodeClient,
	doctype: str,
	name: str,
	change: dict[str, object],
	command: str = "change",
) -> None:
	"""Change a document, and check that its name reaches the client no more, and its events end within a second."""
	seen = len(client.all("list_update"))
	committed = bench.inside(command, doctype=doctype, name=name, fields=change)
	time.sleep(max(0.0, committed + PROMISED_SECONDS - time.time()))
	assert not hears(bench, client, f"doc:{doctype}/{name}")
	until(lambda: hears(bench, client, f"user:{bench.person('reader').name}"), "the client is connected")
	assert name not in json.dumps(client.all("list_update")[seen:])
