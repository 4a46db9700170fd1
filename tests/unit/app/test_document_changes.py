"""Changed documents: announced once for each transaction, after its commit, and before its realtime events."""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def on_change(frappe, sent) -> Any:
	"""Run the hook for a document."""
	events = importlib.import_module("frappe_realtime.permissions.access_events")

	def run(doctype: str, name: str, in_insert: bool = False, **more: Any) -> None:
		doc = SimpleNamespace(doctype=doctype, name=name, flags=SimpleNamespace(in_insert=in_insert), **more)
		events.on_change(doc, "on_change")

	return run


def announced(sent: Any) -> list[tuple[str, str | None, str | None]]:
	"""Return (kind, DocType, name) of each access message."""
	messages = [
		json.loads(each.payload) for each in sent.messages if each.channel == "frappe_realtime:access"
	]
	assert all(message["site"] == "one" for message in messages)
	return [(message["kind"], message.get("doctype"), message.get("name")) for message in messages]


def test_a_change_is_announced_once_after_the_commit(frappe, sent, on_change):
	for _ in range(3):
		on_change("Note", "a")
	on_change("Note", 7)
	assert announced(sent) == []
	frappe.db.commit()
	assert announced(sent) == [("changed", "Note", "a"), ("changed", "Note", "7")]
	assert sent.writes == 1
	on_change("Note", "a")
	frappe.db.commit()
	assert announced(sent)[2:] == [("changed", "Note", "a")]


def test_a_row_that_is_changed_by_itself_is_announced_with_its_document(frappe, sent, on_change):
	"""Frappe runs no event of the document after `db_set` of a row."""
	on_change("Event Participants", "row", parenttype="Event", parent=3)
	on_change("Note", "a", parenttype=None, parent="b")
	on_change("Note", "c", parenttype="Event", parent=None)
	frappe.db.commit()
	assert announced(sent) == [
		("changed", "Event Participants", "row"),
		("changed", "Event", "3"),
		("changed", "Note", "a"),
		("changed", "Note", "c"),
	]


def test_a_rollback_drops_the_announcement(frappe, sent, on_change):
	on_change("Note", "a")
	frappe.db.rollback()
	frappe.db.commit()
	assert announced(sent) == []


def test_a_change_is_written_before_the_events_of_the_same_transaction(frappe, sent, publish, on_change):
	publish.publish_realtime("list_update", {"doctype": "Note", "name": "a"}, after_commit=True)
	on_change("Note", "a")
	frappe.db.commit()
	assert [message.channel for message in sent.messages] == ["frappe_realtime:access", "events"]
	assert sent.writes == 1


def test_a_change_on_a_former_database_connection_is_not_announced(frappe, sent, publish, on_change):
	on_change("Note", "a")
	frappe.local.db = type(frappe.local.db)()
	publish.publish_realtime("e", after_commit=True)
	frappe.db.commit()
	assert announced(sent) == []


def test_a_new_document_is_not_announced(frappe, sent, on_change):
	on_change("Note", "a", in_insert=True)
	frappe.db.commit()
	assert announced(sent) == []


@pytest.mark.parametrize("flag", ["in_install", "in_migrate", "in_uninstall"])
def test_operations_that_clear_all_caches_announce_no_document(frappe, sent, on_change, flag):
	setattr(frappe.flags, flag, True)
	on_change("Note", "a")
	frappe.db.commit()
	assert announced(sent) == []


def test_many_documents_of_a_transaction_are_announced_as_their_doctype(frappe, sent, on_change):
	on_change("ToDo", "first")
	for number in range(100):
		on_change("Note", f"n{number}")
	on_change("Note", "n0")
	on_change("Note", "one more")
	on_change("Note", "n0")
	on_change("Note", "and more")
	frappe.db.commit()
	assert announced(sent) == [("changed", "ToDo", "first"), ("doctype", "Note", None)]


def test_a_hundred_documents_are_announced_by_name(frappe, sent, on_change):
	for number in range(100):
		on_change("Note", f"n{number}")
	frappe.db.commit()
	assert announced(sent) == [("changed", "Note", f"n{number}") for number in range(100)]


def test_an_announcement_expires_as_the_events_behind_it(frappe, sent, on_change):
	on_change("Note", "a")
	frappe.db.commit()
	assert [message.expires for message in sent.messages] == [True]
