"""The overrides of Frappe's functions, in force on the sites with the app only; and the access events."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.handlers.frappe_context import frappe_context


@pytest.fixture
def overrides(frappe, sent) -> Any:
	module = importlib.import_module("frappe_realtime.overrides")
	module.install_overrides()
	return module


def use_site(frappe: Any, site: str) -> None:
	frappe.local.site = site


def test_each_call_decides_by_its_site(overrides, frappe, sent):
	frappe.publish_realtime("ours")
	use_site(frappe, "two")
	frappe.publish_realtime("stock", user="u")
	frappe.publish_progress(10)
	use_site(frappe, "one")
	frappe.publish_progress(20)
	frappe.realtime.emit_via_redis("emitted", {}, "r")
	assert [event for event, _, _ in sent.events()] == ["ours", "progress", "emitted"]
	assert frappe.stock_calls == [
		("publish_realtime", ("stock",), {"user": "u"}),
		("publish_progress", (10,), {}),
	]


def test_a_handler_with_frappe_context_publishes_as_a_request_does(frappe, sent):
	for name in ("init", "connect", "set_user", "destroy"):
		setattr(frappe, name, lambda *args, **kwargs: None)
	with frappe_context("one", "ann@example.com", "/sites"):
		frappe.publish_realtime("now", room="r")
		frappe.publish_realtime("later", room="r", after_commit=True)
	assert [event for event, _, _ in sent.events()] == ["now", "later"]
	assert all(message.stream for message in sent.messages), "they are in the history"
	assert frappe.stock_calls == []


def test_the_overrides_are_installed_once(overrides, frappe):
	before = frappe.publish_realtime, frappe.realtime.emit_via_redis
	overrides.install_overrides()
	assert (frappe.publish_realtime, frappe.realtime.emit_via_redis) == before


def test_a_different_function_of_the_same_name_is_left_alone(frappe, sent):
	"""On v15 `frappe.publish_realtime` is a wrapper that looks up `frappe.realtime.publish_realtime` at each call."""
	frappe.publish_realtime = wrapper = lambda *args, **kwargs: frappe.realtime.publish_realtime(
		*args, **kwargs
	)
	importlib.import_module("frappe_realtime.overrides").install_overrides()
	assert frappe.publish_realtime is wrapper
	frappe.publish_realtime("e")
	assert len(sent.events()) == 1


def test_the_functions_of_v17_are_added_on_sites_with_the_app(overrides, frappe, sent):
	frappe.realtime.publish_to_user("u", "e")
	assert sent.events() == [("e", {}, "user:u")]
	use_site(frappe, "two")
	with pytest.raises(AttributeError, match="not installed on two"):
		frappe.realtime.publish_to_user("u", "e")


def test_a_function_that_frappe_has_is_not_replaced(frappe, sent):
	frappe.realtime.publish_to_user = own = lambda *args, **kwargs: None
	importlib.import_module("frappe_realtime.overrides").install_overrides()
	assert frappe.realtime.publish_to_user is own


def test_the_override_can_be_pickled_by_name(overrides, frappe):
	assert pickle.loads(pickle.dumps(frappe.publish_realtime)) is frappe.realtime.publish_realtime


def test_installed_apps_are_read_once_in_a_request(overrides, frappe, sent):
	reads = []
	apps = frappe.get_installed_apps
	frappe.get_installed_apps = lambda: reads.append(1) or apps()
	for _ in range(3):
		frappe.publish_realtime("e")
	assert len(reads) == 1


@pytest.mark.parametrize("away", ["no database", "database fails"])
def test_without_a_database_the_last_answer_counts(overrides, frappe, sent, away):
	def fail() -> None:
		raise OSError("the database is away")

	frappe.publish_realtime("known")
	del frappe.local.frappe_realtime_installed
	if away == "no database":
		frappe.local.db = None
	else:
		frappe.get_installed_apps = fail
	frappe.publish_realtime("still known")
	use_site(frappe, "never seen")
	frappe.publish_realtime("stock")
	assert [event for event, _, _ in sent.events()] == ["known", "still known"]
	assert [call[1] for call in frappe.stock_calls] == [("stock",)]


def access_events(sent: Any) -> list[dict[str, str]]:
	assert {message.channel for message in sent.messages} <= {"frappe_realtime:access"}
	return [json.loads(message.payload) for message in sent.messages]


def test_the_end_of_a_session_is_announced_with_its_hash_only(overrides, frappe, sent):
	frappe.sids.add("secret")
	frappe.sessions.delete_session("secret", reason="Logged out")
	frappe.sessions.delete_session(sid="Guest")
	assert frappe.stock_calls[0] == ("delete_session", ("secret",), {"reason": "Logged out"})
	sid_hash = hashlib.sha256(b"secret").hexdigest()
	assert access_events(sent) == [{"site": "one", "kind": "session", "sid_hash": sid_hash}]
	use_site(frappe, "two")
	frappe.sessions.delete_session("secret")
	assert len(access_events(sent)) == 1


@pytest.mark.parametrize("resume", [False, True, None])
@pytest.mark.parametrize("site", ["one", "two"])
def test_a_login_in_the_first_request_of_a_process_is_announced(frappe, sent, resume, site):
	"""Frappe deletes other sessions of the user, if they are denied, before it runs the hook that wraps `delete_session`."""
	use_site(frappe, site)
	frappe.local.login_manager = SimpleNamespace(user="ann")
	if resume is not None:
		frappe.local.login_manager.resume = resume
	overrides = importlib.import_module("frappe_realtime.overrides")
	overrides.install_overrides()
	overrides.install_overrides()
	is_announced = resume is False and site == "one"
	assert access_events(sent) == [{"site": "one", "kind": "user", "user": "ann"}][:is_announced]


@pytest.mark.parametrize("kept_in", ["cache", "database"])
def test_only_the_end_of_a_session_that_existed_is_announced(overrides, frappe, sent, kept_in):
	"""Frappe deletes the session of every invalid cookie, also when the sidecar sends the cookie."""
	frappe.sessions.delete_session("never")
	frappe.sessions.delete_session(None)
	assert access_events(sent) == []
	(frappe.cached_sids if kept_in == "cache" else frappe.sids).add("once")
	frappe.sessions.delete_session("once")
	frappe.sessions.delete_session("once")
	assert len(access_events(sent)) == 1
	frappe.sids.add("kept")
	frappe.flags.read_only = True
	frappe.sessions.delete_session("kept")
	assert len(access_events(sent)) == 1


def test_clearing_the_cache_of_a_doctype_is_announced(overrides, frappe, sent):
	frappe.clear_cache(doctype="Note")
	frappe.clear_cache(user="alice@example.com")
	frappe.clear_cache(doctype="Note")
	assert access_events(sent) == []
	frappe.db.commit()
	assert access_events(sent) == [{"site": "one", "kind": "doctype", "doctype": "Note"}]


def document(**values: Any) -> Any:
	return SimpleNamespace(
		**{"get_doc_before_save": lambda: None, "has_value_changed": lambda field: False, **values}
	)


def test_nothing_is_announced_after_a_rollback(overrides, frappe, sent):
	importlib.import_module("frappe_realtime.permissions.access_events").on_user_change(
		document(name="u"), "on_change"
	)
	frappe.db.rollback()
	frappe.db.commit()
	assert access_events(sent) == []


def test_the_events_of_a_transaction_come_before_its_access_events(overrides, frappe, sent):
	hooks = importlib.import_module("frappe_realtime.permissions.access_events")
	hooks.on_delete(document(doctype="Note", name="n"), "after_delete")
	frappe.publish_realtime("doc_update", {}, doctype="Note", docname="n", after_commit=True)
	frappe.db.commit()
	assert [message.channel for message in sent.messages] == ["events", "frappe_realtime:access"]


def test_a_migration_is_announced_as_one_change_of_the_site(overrides, frappe, sent):
	hooks = importlib.import_module("frappe_realtime.permissions.access_events")
	frappe.flags.in_migrate = True
	hooks.on_delete(document(doctype="Note", name="n"), "after_delete")
	hooks.on_clear_cache()
	hooks.on_clear_cache()
	frappe.db.commit()
	assert access_events(sent) == [{"site": "one", "kind": "site"}]


def test_a_job_flushes_at_its_end_and_a_request_does_not(overrides, frappe, sent):
	jobs = importlib.import_module("frappe_realtime.publishing.jobs")
	flushed = []
	sent.flush_at_end = lambda *arguments: flushed.append(arguments)
	frappe.local.request = object()
	jobs.flush_after_job()
	assert flushed == []
	frappe.local.request = None
	jobs.flush_after_job()
	assert flushed == [(2.0, "a job")]
