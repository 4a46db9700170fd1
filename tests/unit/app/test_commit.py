"""What is held for the commit of a transaction: when a callback of the commit raises, when the commit fails, and in which order it is sent."""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def access(frappe: Any, sent: Any) -> Any:
	return importlib.import_module("frappe_realtime.permissions.access_events")


def what(sent: Any) -> list[str]:
	"""Return the kind of each access message and the name of each event that were sent."""
	payloads = [json.loads(message.payload) for message in sent.messages]
	return [payload.get("kind") or payload["event"] for payload in payloads]


def test_a_callback_that_raises_does_not_hold_back_what_is_committed(frappe, sent, publish, access):
	def fails() -> None:
		raise ConnectionError("the queue has no memory")

	frappe.db.after_commit.add(fails)
	access.announce("user", user="ann")
	publish.publish_realtime("e", after_commit=True)
	access.announce_change("Note", "a")
	with pytest.raises(ConnectionError):
		frappe.db.commit()
	assert what(sent) == ["changed", "e", "user"]
	frappe.db.rollback()
	frappe.db.commit()
	assert len(sent.messages) == 3


def test_the_timeout_of_a_job_between_the_lists_does_not_hold_back_a_change_of_access(
	frappe, sent, publish, access
):
	"""RQ raises it from a signal handler, at any point of the code."""
	job_timeout = type("JobTimeoutException", (Exception,), {"__module__": "rq.timeouts"})
	send = sent.send

	def interrupted(messages: list[Any]) -> None:
		send(messages)
		sent.send = send
		raise job_timeout()

	sent.send = interrupted
	publish.publish_realtime("e", after_commit=True)
	access.announce("user", user="ann")
	with pytest.raises(job_timeout):
		frappe.db.commit()
	assert what(sent) == ["e", "user"]


def test_after_a_commit_that_failed_only_what_is_new_is_sent(frappe, sent, publish, access):
	publish.publish_realtime("old", after_commit=True)
	access.announce_change("Note", "old")
	with pytest.raises(TimeoutError):
		frappe.db.commit(TimeoutError("deadlock"))
	frappe.db.rollback()
	access.announce("user", user="ann")
	publish.publish_realtime("new", after_commit=True)
	frappe.db.commit()
	assert what(sent) == ["new", "user"]


def test_a_second_connection_does_not_send_what_waits_on_the_first_one(frappe, sent, access):
	first = frappe.local.db
	access.announce("user", user="ann")
	frappe.local.db = type(first)()
	access.announce("user", user="ben")
	frappe.local.db.commit()
	assert [json.loads(message.payload)["user"] for message in sent.messages] == ["ben"]
	frappe.local.db = first
	first.commit()
	assert [json.loads(message.payload)["user"] for message in sent.messages] == ["ben", "ann"]


def test_what_waits_is_sent_after_another_connection_was_used_in_between(frappe, sent, publish, access):
	"""As by a function that Frappe runs on a replica of the database (`frappe.read_only`)."""
	first = frappe.local.db
	publish.publish_realtime("before", after_commit=True)
	access.announce_change("Note", "n")
	frappe.local.db = type(first)()
	publish.publish_realtime("on the replica", after_commit=True)
	frappe.local.db = first
	publish.publish_realtime("after", after_commit=True)
	first.commit()
	assert what(sent) == ["changed", "before", "after"]


def test_what_a_callback_of_the_commit_publishes_is_sent_too(frappe, sent, publish):
	frappe.db.after_commit.add(lambda: publish.publish_realtime("late", after_commit=True))
	publish.publish_realtime("early", after_commit=True)
	frappe.db.commit()
	assert what(sent) == ["early", "late"]


def test_a_change_of_access_comes_behind_the_events_of_frappe_s_own_function(frappe, sent, access):
	order: list[str] = []
	sent.send = lambda messages: order.extend(json.loads(one.payload)["kind"] for one in messages)
	frappe.local._realtime_log = [["e", {}, "all"]]
	access.announce("user", user="ann")

	def flush() -> None:
		order.append("events")
		del frappe.local._realtime_log

	frappe.db.after_commit.add(flush)
	frappe.db.commit()
	assert order == ["events", "user"]


def test_a_frappe_without_the_known_callbacks(frappe, sent, publish, monkeypatch):
	class Callbacks:
		def __init__(self) -> None:
			self.added: list[Any] = []

		def add(self, function: Any) -> None:
			self.added.append(function)

	frappe.local.db = SimpleNamespace(after_commit=Callbacks(), after_rollback=Callbacks())
	publish.publish_realtime("e", after_commit=True)
	publish.publish_realtime("f", after_commit=True)
	(send,) = frappe.local.db.after_commit.added
	send()
	assert what(sent) == ["e", "f"]
