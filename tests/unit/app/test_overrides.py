"""Ours in the place of Frappe's functions: on the sites with the app, and on no other."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def takeover(frappe, sent) -> Any:
	module = importlib.import_module("frappe_realtime.publishing.overrides")
	module.take_over()
	return module


def on(frappe: Any, site: str) -> None:
	frappe.local.site = site


def test_each_call_decides_by_its_site(takeover, frappe, sent):
	frappe.publish_realtime("ours")
	on(frappe, "two")
	frappe.publish_realtime("stock", user="u")
	frappe.publish_progress(10)
	on(frappe, "one")
	frappe.publish_progress(20)
	frappe.realtime.emit_via_redis("written by us", {}, "r")
	assert [event for event, _, _ in sent.events()] == ["ours", "progress", "written by us"]
	assert frappe.stock_calls == [
		("publish_realtime", ("stock",), {"user": "u"}),
		("publish_progress", (10,), {}),
	]


def test_it_happens_once(takeover, frappe):
	before = frappe.publish_realtime, frappe.realtime.emit_via_redis
	takeover.take_over()
	assert (frappe.publish_realtime, frappe.realtime.emit_via_redis) == before


def test_a_function_of_frappes_own_in_the_same_place_is_left_alone(frappe, sent):
	"""On v15 `frappe.publish_realtime` is another function, which looks up ours when it is called."""
	frappe.publish_realtime = wrapper = lambda *args, **kwargs: frappe.realtime.publish_realtime(
		*args, **kwargs
	)
	importlib.import_module("frappe_realtime.publishing.overrides").take_over()
	assert frappe.publish_realtime is wrapper
	frappe.publish_realtime("e")
	assert len(sent.events()) == 1


def test_the_newer_helpers_are_there_on_every_version_and_only_with_the_app(takeover, frappe, sent):
	frappe.realtime.publish_to_user("u", "e")
	assert sent.events() == [("e", {}, "user:u")]
	on(frappe, "two")
	with pytest.raises(AttributeError, match="not installed on two"):
		frappe.realtime.publish_to_user("u", "e")


def test_a_version_that_has_a_helper_keeps_its_own(frappe, sent):
	frappe.realtime.publish_to_user = own = lambda *args, **kwargs: None
	importlib.import_module("frappe_realtime.publishing.overrides").take_over()
	assert frappe.realtime.publish_to_user is own


def test_a_job_can_name_the_function(takeover, frappe):
	assert pickle.loads(pickle.dumps(frappe.publish_realtime)) is frappe.realtime.publish_realtime


def test_the_question_is_asked_once_in_a_request(takeover, frappe, sent):
	asked = []
	apps = frappe.get_installed_apps
	frappe.get_installed_apps = lambda: asked.append(1) or apps()
	for _ in range(3):
		frappe.publish_realtime("e")
	assert len(asked) == 1


@pytest.mark.parametrize("away", ["no database", "database fails"])
def test_without_an_answer_the_last_one_counts(takeover, frappe, sent, away):
	def fail() -> None:
		raise OSError("the database is away")

	frappe.publish_realtime("known")
	del frappe.local.frappe_realtime_installed
	if away == "no database":
		frappe.local.db = None
	else:
		frappe.get_installed_apps = fail
	frappe.publish_realtime("still known")
	on(frappe, "never seen")
	frappe.publish_realtime("stock")
	assert [event for event, _, _ in sent.events()] == ["known", "still known"]
	assert [call[1] for call in frappe.stock_calls] == [("stock",)]


def access(sent: Any) -> list[dict[str, str]]:
	assert {message.channel for message in sent.messages} <= {"frappe_realtime:access"}
	return [json.loads(message.payload) for message in sent.messages]


def test_the_end_of_a_session_names_no_session(takeover, frappe, sent):
	frappe.sids.add("secret")
	frappe.sessions.delete_session("secret", reason="Logged out")
	frappe.sessions.delete_session(sid="Guest")
	assert frappe.stock_calls[0] == ("delete_session", ("secret",), {"reason": "Logged out"})
	sid_hash = hashlib.sha256(b"secret").hexdigest()
	assert access(sent) == [{"site": "one", "kind": "session", "sid_hash": sid_hash}]
	on(frappe, "two")
	frappe.sessions.delete_session("secret")
	assert len(access(sent)) == 1


@pytest.mark.parametrize("kept_in", ["cache", "database"])
def test_only_a_session_that_existed_has_an_end(takeover, frappe, sent, kept_in):
	"""Frappe deletes the session of every cookie that is none, also when it is the sidecar that asks about it."""
	frappe.sessions.delete_session("never")
	frappe.sessions.delete_session(None)
	assert access(sent) == []
	(frappe.cached_sids if kept_in == "cache" else frappe.sids).add("once")
	frappe.sessions.delete_session("once")
	frappe.sessions.delete_session("once")
	assert len(access(sent)) == 1
	frappe.sids.add("kept")
	frappe.flags.read_only = True
	frappe.sessions.delete_session("kept")
	assert len(access(sent)) == 1


def test_permission_rules_that_change_without_a_document(takeover, frappe, sent):
	frappe.clear_cache(doctype="Note")
	frappe.clear_cache(user="alice@example.com")
	frappe.clear_cache(doctype="Note")
	assert access(sent) == []
	frappe.db.commit()
	assert access(sent) == [{"site": "one", "kind": "doctype", "doctype": "Note"}]


def document(**values: Any) -> Any:
	return SimpleNamespace(
		**{"get_doc_before_save": lambda: None, "has_value_changed": lambda field: False, **values}
	)


def test_what_the_sidecar_is_told_of_documents(takeover, frappe, sent):
	told = importlib.import_module("frappe_realtime.permissions.access_events")
	old = document(user="bob")
	told.on_delete(document(doctype="Note", name=5), "after_delete")
	told.on_rename(document(doctype="Note", name="new"), "after_rename", "old", "new", False)
	told.on_clear_cache()  # as renaming does
	told.on_user_change(document(name="u"), "on_update")
	told.on_user_permission_change(document(user="u", get_doc_before_save=lambda: old), "on_update")
	told.on_share_change(document(user="v", everyone=0, share_doctype="Note"), "on_trash")
	told.on_share_change(document(user=None, everyone=1, share_doctype="Note"), "on_update")
	told.on_token_change(document(user="w", status="Active"), "on_update")
	told.on_token_change(document(user="x", status="Revoked"), "on_update")
	told.on_role_change(document(), "on_update")
	frappe.db.commit()
	said = [{key: value for key, value in message.items() if key != "site"} for message in access(sent)]
	assert said[:3] == [
		{"kind": "doc", "doctype": "Note", "name": "5"},
		{"kind": "renamed", "doctype": "Note", "old": "old", "new": "new"},
		{"kind": "user", "user": "u"},
	]
	assert sorted(map(str, said[3:])) == sorted(
		map(
			str,
			[
				{"kind": "user", "user": "bob"},
				{"kind": "user", "user": "v"},
				{"kind": "doctype", "doctype": "Note"},
				{"kind": "user", "user": "x"},
			],
		)
	)


def test_a_rollback_withdraws_nothing(takeover, frappe, sent):
	importlib.import_module("frappe_realtime.permissions.access_events").on_user_change(
		document(name="u"), "on_update"
	)
	frappe.db.rollback()
	frappe.db.commit()
	assert access(sent) == []


def test_the_last_event_of_a_deleted_document_comes_before_its_rooms_are_emptied(takeover, frappe, sent):
	told = importlib.import_module("frappe_realtime.permissions.access_events")
	told.on_delete(document(doctype="Note", name="n"), "after_delete")
	frappe.publish_realtime("doc_update", {}, doctype="Note", docname="n", after_commit=True)
	frappe.db.commit()
	assert [message.channel for message in sent.messages] == ["events", "frappe_realtime:access"]


def test_a_migration_does_not_tell_of_each_document(takeover, frappe, sent):
	told = importlib.import_module("frappe_realtime.permissions.access_events")
	frappe.flags.in_migrate = True
	told.on_delete(document(doctype="Note", name="n"), "after_delete")
	told.on_clear_cache()
	told.on_clear_cache()
	frappe.db.commit()
	assert access(sent) == [{"site": "one", "kind": "site"}]


def test_a_failure_to_tell_does_not_fail_the_caller(takeover, frappe, sent, monkeypatch):
	told = importlib.import_module("frappe_realtime.permissions.access_events")
	told.on_user_change(SimpleNamespace(), "on_update")
	assert len(frappe.logged) == 1


def test_a_job_waits_for_what_is_pending_and_a_request_does_not(takeover, frappe, sent):
	waited = []
	sent.flush = waited.append
	takeover.flush_after_job()
	sent.pending = 1
	takeover.flush_after_job()
	frappe.local.request = ModuleType("request")
	takeover.flush_after_job()
	assert waited == [2.0]


@pytest.mark.parametrize("named_by", ["access token", "refresh token"])
def test_a_token_revoked_at_oauths_endpoint(takeover, frappe, sent, named_by):
	told = importlib.import_module("frappe_realtime.permissions.access_events")
	token: Any = "t" if named_by == "access token" else {"refresh_token": "t"}
	frappe.form_dict = {"token": "t"}
	frappe.db.get_value = lambda doctype, name, field: "alice" if name == token else None
	told.after_request(SimpleNamespace(path="/api/method/frappe.integrations.oauth2.get_token"))
	assert access(sent) == []
	told.after_request(SimpleNamespace(path="/api/method/frappe.integrations.oauth2.revoke_token"))
	assert access(sent) == [{"site": "one", "kind": "user", "user": "alice"}]
