"""Publishing on a real bench: from commands and jobs, in transactions, and when documents are saved."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.parametrize("way", ["execute", "console"])
def test_publishing_from_the_command_line(bench, channel, way):
	for site in (bench.site, bench.other):
		if way == "execute":
			bench.command(
				"execute",
				"frappe.publish_realtime",
				"--kwargs",
				"{'event': 'told', 'message': {'n': 1}}",
				site=site,
			)
		else:
			bench.command("console", site=site, stdin="frappe.publish_realtime('told', {'n': 1})\nexit()\n")
	ours, stock = channel.events("told")
	assert (ours["namespace"], ours["room"], ours["message"]) == (bench.site, "all", {"n": 1})
	assert (stock["namespace"], stock["room"], stock["message"]) == (bench.other, "all", {"n": 1})
	assert "offset" not in stock
	((_, entry),) = bench.redis.xrange(f"frappe_realtime:{bench.site}:events", ours["offset"], ours["offset"])
	assert json.loads(entry["e"]) == {key: value for key, value in ours.items() if key != "offset"}
	assert not bench.redis.exists(f"frappe_realtime:{bench.other}:events")


def test_transactions(bench, channel):
	bench.python_on(
		bench.site,
		"""
		from frappe.realtime import emit_via_redis
		frappe.publish_realtime("held", {"n": 1}, after_commit=True)
		frappe.publish_realtime("held", {"n": 1}, after_commit=True)
		frappe.publish_realtime("held", data={"n": 2}, user=["a", "b"], after_commit=True)
		emit_via_redis("held", {"n": 0}, "r")
		frappe.db.commit()
		frappe.publish_realtime("held", {"n": 3}, after_commit=True)
		frappe.db.rollback()
		frappe.publish_realtime("held", {"n": 4}, after_commit=True)
		frappe.db.commit()
		""",
	)
	events = channel.events("held")
	assert [(event["message"]["n"], event["room"]) for event in events] == [
		(0, "r"),
		(1, "all"),
		(2, "user:a"),
		(2, "user:b"),
		(4, "all"),
	]
	places = [tuple(map(int, event["offset"].split("-"))) for event in events]
	assert places == sorted(places)


def test_what_a_module_imported_before_us_is_still_written_by_us(bench, channel):
	bench.run(
		bench.python,
		"-c",
		"import sys, frappe, frappe.realtime\n"
		"early = frappe.realtime.publish_realtime\n"
		"frappe.init(sys.argv[1]); frappe.connect()\n"
		"from frappe_realtime.overrides import install_overrides; install_overrides()\n"
		"early('early', {'n': 1}, user='u')\n"
		"early('early', {'n': 2}, after_commit=True)\n"
		"frappe.publish_realtime('early', {'n': 3}, after_commit=True)\n"
		"early('early', {'n': 3}, after_commit=True)\n"
		"frappe.db.commit()\n",
		bench.site,
	)
	events = channel.events("early")
	assert [event["message"]["n"] for event in events] == [1, 2, 3]
	assert all(event["offset"] for event in events)


def test_saving_a_document_tells_its_list(bench, channel):
	name = bench.python_on(
		bench.site,
		"""
		doc = frappe.get_doc(dict(doctype="ToDo", description="realtime test")).insert()
		frappe.db.commit()
		doc.delete()
		frappe.db.commit()
		answer(doc.name)
		""",
	)
	messages = channel.read()
	lists = [message for message in messages if message.get("room") == "doctype:ToDo"]
	assert lists
	assert all(message["offset"] for message in lists)
	about = [message for message in messages if name in json.dumps(message)]
	assert about[-1] == {"site": bench.site, "kind": "doc", "doctype": "ToDo", "name": name}


def test_a_job(bench, channel):
	"""The process of a job ends without exit handlers; nothing may stay behind in it."""
	for site in (bench.site, bench.other):
		bench.run(
			bench.python,
			"-c",
			"import sys, frappe; frappe.init(sys.argv[1]); frappe.connect();"
			"frappe.enqueue('frappe.publish_progress', queue='short', percent=30, title='job');"
			"frappe.db.commit()",
			site,
		)
		# A worker of the bench itself may be quicker.
		bench.command("worker", "--queue", "short", "--burst")
		event = channel.wait_for("progress", site)
		assert event["message"] == {"percent": 30, "title": "job", "description": None}
		assert event["room"] == "user:Administrator"
		assert ("offset" in event) == (site == bench.site)


def test_a_rollback_to_a_savepoint_drops_no_event(bench, channel):
	bench.python_on(
		bench.site,
		"""
		frappe.db.savepoint("begun")
		frappe.publish_realtime("saved", after_commit=True)
		frappe.db.rollback(save_point="begun")
		frappe.db.commit()
		""",
	)
	assert len(channel.events("saved")) == 1


def test_a_save_announces_the_document_once_and_before_its_list_update(bench, channel):
	name = bench.python_on(
		bench.site,
		"""
		doc = frappe.get_doc(dict(doctype="ToDo", description="realtime test")).insert()
		frappe.db.commit()
		frappe.publish_realtime("inserted")
		doc.description = "changed"
		doc.save()
		doc.description = "changed again"
		doc.save()
		doc.db_set("description", "changed once more")
		frappe.db.commit()
		frappe.publish_realtime("saved")
		doc.db_set("description", "and more")
		frappe.db.commit()
		frappe.publish_realtime("set")
		doc.delete()
		frappe.db.commit()
		answer(doc.name)
		""",
	)
	steps: list[list[dict[str, Any]]] = [[]]
	for message in channel.read():
		if message.get("event") in ("inserted", "saved", "set"):
			steps.append([])
		elif message.get("doctype") == "ToDo" or message.get("room") == "doctype:ToDo":
			steps[-1].append(message)
	inserted, saved, set_by_db_set, _ = steps
	change = {"site": bench.site, "kind": "changed", "doctype": "ToDo", "name": name}
	assert [message for message in inserted if "kind" in message] == []
	assert [message.get("kind") or message["event"] for message in saved] == ["changed", "list_update"]
	assert saved[0] == change
	assert set_by_db_set == [change]
