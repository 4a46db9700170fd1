"""The hooks that announce changes of access to the sidecars."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime import hooks as app_hooks

OAUTH_REVOKE = "/api/method/frappe.integrations.oauth2.revoke_token"


def document(**values: Any) -> Any:
	"""Return a document that was not saved before, and in which no field has changed."""
	return SimpleNamespace(
		**{
			"flags": SimpleNamespace(in_insert=False),
			"get_doc_before_save": lambda: None,
			"has_value_changed": lambda field: False,
			**values,
		}
	)


def changed(*fields: str) -> Callable[[str], bool]:
	"""Return the `has_value_changed` of a document in which `fields` have changed."""
	return lambda field: field in fields


def user(name: str) -> dict[str, str]:
	return {"kind": "user", "user": name}


def doctype(name: str) -> dict[str, str]:
	return {"kind": "doctype", "doctype": name}


SITE = {"kind": "site"}
NOTE = document(doctype="Note", name=5)
ANNOUNCED: list[tuple[str, tuple[Any, ...], list[dict[str, Any]]]] = [
	("on_clear_doctype_cache", (None, "Note"), [doctype("Note")]),
	("on_clear_cache", (), [SITE]),
	("after_app_uninstall", ("crm",), [SITE]),
	("on_change", (NOTE, "on_change"), [{"kind": "changed", "doctype": "Note", "name": "5"}]),
	("on_delete", (NOTE, "after_delete"), [{"kind": "doc", "doctype": "Note", "name": "5"}]),
	(
		"on_rename",
		(NOTE, "after_rename", 5, 6),
		[{"kind": "renamed", "doctype": "Note", "old": "5", "new": "6"}],
	),
	(
		"on_rename",
		(NOTE, "after_rename", 5, 6, True),
		[{"kind": "renamed", "doctype": "Note", "old": "5", "new": "6", "merge": True}],
	),
	("on_user_change", (document(name="ann"), "on_change"), [user("ann")]),
	("on_user_rename", (document(name="bea"), "after_rename", "ann", "bea"), [user("ann"), user("bea")]),
	("on_user_permission_change", (document(user="ann"), "on_change"), [user("ann")]),
	("on_share_change", (document(user="ann", everyone=0, share_doctype="Note"), "on_change"), [user("ann")]),
	(
		"on_share_change",
		(document(user="ann", everyone=1, share_doctype="Note"), "on_change"),
		[user("ann"), doctype("Note")],
	),
	(
		"on_share_change",
		(document(user=None, everyone=1, share_doctype="Note"), "on_trash"),
		[doctype("Note")],
	),
	(
		"on_share_change",
		(document(user=None, everyone=0, share_doctype="Note"), "on_trash"),
		[doctype("Note")],
	),
	("on_token_change", (document(user="ann", status="Revoked"), "on_change"), [user("ann")]),
	("on_token_change", (document(user="ann", status="Active"), "on_trash"), [user("ann")]),
	("on_token_change", (document(user="ann", status="Active"), "on_change"), []),
	("on_token_change", (document(user=None, status="Revoked"), "on_change"), []),
	("on_role_change", (document(), "on_trash"), [SITE]),
	("on_role_change", (document(has_value_changed=changed("disabled")), "on_change"), [SITE]),
	("on_role_change", (document(has_value_changed=changed("desk_access")), "on_change"), [SITE]),
	("on_role_change", (document(has_value_changed=changed("two_factor_auth")), "on_change"), []),
	*(
		(
			"on_system_settings_change",
			(document(has_value_changed=changed(setting)), "on_change"),
			[SITE],
		)
		for setting in (
			"apply_strict_user_permissions",
			"enable_two_factor_auth",
			"bypass_restrict_ip_check_if_2fa_enabled",
		)
	),
	("on_system_settings_change", (document(has_value_changed=changed("language")), "on_change"), []),
	("on_permission_rule_change", (document(parent="Note"), "on_change"), [doctype("Note")]),
	("on_session_end", ("sid",), [{"kind": "session"}]),
	("after_request", (SimpleNamespace(path=OAUTH_REVOKE),), [user("ann")]),
]
"""Hooks with their arguments, and what they announce."""
HOOKS = {name: arguments for name, arguments, announced in ANNOUNCED if announced}


def test_a_value_that_is_set_without_a_save_is_announced_too():
	"""Frappe runs no `on_update` after `db_set`."""
	for doctype, events in app_hooks.doc_events.items():
		assert "on_change" in events, doctype
		assert "on_update" not in events, doctype


def test_frappe_finds_the_hooks_without_a_document(hooks):
	for name in ("after_request", "clear_cache", "website_clear_cache", "after_app_uninstall"):
		(path,) = getattr(app_hooks, name)
		module, _, function = path.rpartition(".")
		assert module == hooks.__name__
		assert callable(getattr(hooks, function))


@pytest.fixture
def hooks(frappe: Any, sent: Any) -> Any:
	"""The module with the hooks; the OAuth token of a request is ann's."""
	frappe.form_dict = {"token": "t"}
	frappe.db.get_value = lambda doctype, filters, field: "ann"
	return importlib.import_module("frappe_realtime.permissions.access_events")


@pytest.fixture
def announced(frappe: Any, sent: Any) -> Callable[[], list[dict[str, str]]]:
	"""A function that commits, and returns the access events without their site."""

	def commit() -> list[dict[str, str]]:
		frappe.db.commit()
		messages = [json.loads(message.payload) for message in sent.messages]
		assert {message.channel for message in sent.messages} <= {"frappe_realtime:access"}
		assert {message.pop("site") for message in messages} <= {"one"}
		return messages

	return commit


@pytest.mark.parametrize(
	("name", "arguments", "expected"),
	ANNOUNCED,
	ids=[f"{number}-{row[0]}" for number, row in enumerate(ANNOUNCED)],
)
def test_each_change_of_access_is_announced(hooks, announced, name, arguments, expected):
	getattr(hooks, name)(*arguments)
	messages = announced()
	for message in messages:
		message.pop("sid_hash", None)
	assert messages == expected


def test_equal_changes_of_a_transaction_are_announced_once(hooks, announced):
	for _ in range(2):
		hooks.on_user_change(document(name="ann"), "on_change")
		hooks.on_delete(NOTE, "after_delete")
	assert announced() == [user("ann"), {"kind": "doc", "doctype": "Note", "name": "5"}]


def test_a_user_permission_that_changes_its_user_is_announced_for_both(hooks, announced):
	doc = document(user="ann", get_doc_before_save=lambda: document(user="bea"))
	hooks.on_user_permission_change(doc, "on_change")
	assert sorted(message["user"] for message in announced()) == ["ann", "bea"]


def test_a_share_that_is_changed_to_another_one_is_announced_for_both(hooks, announced):
	before = document(user=None, everyone=1, share_doctype="Note")
	doc = document(user="ann", everyone=0, share_doctype="Event", get_doc_before_save=lambda: before)
	hooks.on_share_change(doc, "on_change")
	assert announced() == [user("ann"), doctype("Note")]


def test_an_access_event_does_not_expire_while_redis_is_away(frappe, sent, hooks):
	"""Unlike the announcement of a changed document."""
	hooks.on_user_change(document(name="ann"), "on_change")
	frappe.db.commit()
	assert [message.expires for message in sent.messages] == [False]


@pytest.mark.parametrize("flag", ["in_install", "in_migrate", "in_uninstall"])
@pytest.mark.parametrize("name", ["on_clear_doctype_cache", "on_change", "on_delete"])
def test_operations_on_the_whole_site_announce_no_single_change(frappe, hooks, announced, name, flag):
	setattr(frappe.flags, flag, True)
	getattr(hooks, name)(*HOOKS[name])
	assert announced() == []


@pytest.mark.parametrize("name", ["on_clear_doctype_cache", "on_change", "on_delete"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_what_an_app_changes_after_it_is_listed_as_installed_is_announced(
	frappe, hooks, announced, name, is_listed
):
	"""Frappe clears all caches when it lists an app, and sets it up and synchronises its fixtures after that."""
	frappe.flags.in_install = "crm"
	if is_listed:
		frappe.installed["one"].append("crm")
	getattr(hooks, name)(*HOOKS[name])
	assert len(announced()) == is_listed


@pytest.mark.parametrize("name", ["on_clear_doctype_cache", "on_change", "on_delete"])
def test_a_patch_that_runs_without_a_migration_announces_its_changes(frappe, hooks, announced, name):
	"""`bench run-patch` clears no caches at its end."""
	frappe.flags.in_patch = True
	getattr(hooks, name)(*HOOKS[name])
	assert len(announced()) == 1


@pytest.mark.parametrize("writes", [0, 1])
def test_a_migration_is_announced_when_it_ends(frappe, sent, hooks, writes):
	"""Frappe clears the website cache then, also after a failure, and does not commit any more."""
	frappe.db.transaction_writes = writes
	hooks.on_clear_website_cache()
	frappe.flags.in_migrate = True
	hooks.on_clear_website_cache("about")
	assert sent.messages == [], "another part of the cache was cleared, or it was no migration"
	hooks.on_clear_website_cache()
	assert [json.loads(message.payload) for message in sent.messages] == [{"site": "one", **SITE}]


def test_the_end_of_this_app_is_not_announced_here(hooks, announced):
	"""Frappe may have its hooks in the cache still, and install.py has deleted the stream of the site."""
	hooks.after_app_uninstall("frappe_realtime")
	assert announced() == []


def test_a_rule_that_a_fixture_changes_is_announced(frappe, hooks, announced):
	"""Frappe synchronises fixtures after the schema, and clears no caches after that."""
	frappe.flags.in_migrate = True
	hooks.on_permission_rule_change(*HOOKS["on_permission_rule_change"])
	assert announced() == [doctype("Note")]


@pytest.mark.parametrize("connected", [True, False])
def test_clearing_all_caches_is_announced_at_once_if_nothing_was_written(frappe, sent, hooks, connected):
	"""`bench clear-cache` does not commit."""
	if connected:
		frappe.db.transaction_writes = 0
	else:
		frappe.local.db = None
	hooks.on_clear_cache()
	assert [json.loads(message.payload)["kind"] for message in sent.messages] == ["site"]


def test_clearing_all_caches_is_announced_unless_the_transaction_has_renamed_a_document(hooks, announced):
	hooks.on_delete(NOTE, "after_delete")
	hooks.on_clear_cache()
	assert [message["kind"] for message in announced()] == ["doc", "site"]


@pytest.mark.parametrize("merge", [False, True])
def test_clearing_all_caches_after_a_merge_is_announced(hooks, announced, merge):
	"""It has given links in other documents another value, without an event of these documents."""
	hooks.on_rename(NOTE, "after_rename", "old", "new", merge)
	hooks.on_clear_cache()
	assert [message["kind"] for message in announced()] == (["renamed", "site"] if merge else ["renamed"])


def break_outbox(hooks: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
	"""Let everything fail by which the hooks announce a change."""

	def fail(*args: Any, **kwargs: Any) -> None:
		raise error

	for name in ("announce", "announce_change", "_held_events", "_send"):
		monkeypatch.setattr(hooks, name, fail)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_fails_is_logged_and_does_not_fail_the_request(frappe, hooks, monkeypatch, name):
	break_outbox(hooks, monkeypatch, RuntimeError("no outbox"))
	getattr(hooks, name)(*HOOKS[name])
	((line, hook),) = frappe.logged
	assert (line, hook) == ("A change of access was not announced to the realtime server (%s)", name)


@pytest.mark.parametrize("name", HOOKS)
def test_the_timeout_of_a_job_passes_through_a_hook(frappe, hooks, monkeypatch, name):
	timeout = type("JobTimeoutException", (Exception,), {"__module__": "rq.timeouts"})
	break_outbox(hooks, monkeypatch, timeout())
	with pytest.raises(timeout):
		getattr(hooks, name)(*HOOKS[name])
	assert frappe.logged == []


# -- the end of a session


@pytest.fixture
def delete_session(frappe: Any, hooks: Any) -> Any:
	"""`delete_session` as the app wraps it; the wrapped one returns its arguments."""
	return hooks.wrap_delete_session(lambda sid=None, *args, **kwargs: (sid, args, kwargs))


def test_wrapped_functions_keep_their_names(hooks):
	def delete_session() -> None:
		pass

	assert hooks.wrap_delete_session(delete_session).__name__ == "delete_session"
	assert hooks.on_change.__name__ == "on_change"


def test_the_result_of_delete_session_is_returned(frappe, delete_session, announced):
	frappe.sids.add("a")
	assert delete_session("a", 1, reason="Logged out") == ("a", (1,), {"reason": "Logged out"})
	assert [message["kind"] for message in announced()] == ["session"]


@pytest.mark.parametrize("sid", [None, "", "Guest"])
def test_the_end_of_no_session_is_not_announced(frappe, delete_session, announced, sid):
	"""All Guests share the session id `Guest`, which Frappe caches. Without an id, nothing is looked up."""
	frappe.cached_sids.add("Guest")
	frappe.sids.add("Guest")
	frappe.cache.hexists = lambda name, key: (
		pytest.fail("looked up") if not key else key in frappe.cached_sids
	)
	assert delete_session(sid) == (sid, (), {})
	assert announced() == []


def test_the_end_of_a_session_on_a_site_without_the_app_is_not_announced(frappe, delete_session, announced):
	frappe.local.site = "two"
	frappe.sids.add("a")
	delete_session("a")
	assert announced() == []


# -- a token that is revoked at the endpoint of OAuth


@pytest.mark.parametrize(
	"lookup", ["t", {"refresh_token": "t"}], ids=["by its access token", "by its refresh token"]
)
def test_the_user_of_a_revoked_token_is_looked_up(frappe, hooks, announced, lookup):
	lookups = []

	def get_value(doctype: str, filters: Any, field: str) -> str | None:
		lookups.append((doctype, filters, field))
		return "ann" if filters == lookup else None

	frappe.db.get_value = get_value
	hooks.after_request(SimpleNamespace(path=OAUTH_REVOKE))
	assert announced() == [user("ann")]
	tokens: list[Any] = ["t", {"refresh_token": "t"}]
	assert lookups == [("OAuth Bearer Token", token, "user") for token in tokens[: tokens.index(lookup) + 1]]


@pytest.mark.parametrize(
	("path", "form"),
	[
		(OAUTH_REVOKE, {}),
		(OAUTH_REVOKE, {"token": "unknown"}),
		("/api/method/ping", {"token": "t"}),
		(None, {}),
	],
)
def test_other_requests_announce_nothing(frappe, hooks, announced, path, form):
	frappe.form_dict = form

	def get_value(doctype: str, filters: Any, field: str) -> str | None:
		# bea has a token without a refresh token.
		return {"t": "ann", "{'refresh_token': None}": "bea"}.get(str(filters))

	frappe.db.get_value = get_value
	hooks.after_request(path and SimpleNamespace(path=path))
	assert announced() == []
	assert frappe.logged == []
