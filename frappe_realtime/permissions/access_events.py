"""Access events: messages that tell the sidecars that access may have changed.

Each message is a JSON object on the Redis channel `frappe_realtime:access`. It is published when the transaction commits,
and kept for ten minutes (publishing/access_messages.py).
All messages have `site` and `kind`:

| kind | other fields | published when | effect in the sidecar |
| --- | --- | --- | --- |
| `session` | `sid_hash` | a session ended: logout, expiry, or a newer login that replaces it | its sockets are closed |
| `user` | `user` | a user was saved, renamed or deleted, or one of the user's User Permissions, shares or OAuth tokens changed \
| the user's sockets are authenticated again, and the permission for each of their rooms is checked again |
| `doctype` | `doctype` | permission rules of a DocType changed, or a document of it was shared with everyone | the \
permissions for the rooms of the DocType and its documents are checked again |
| `changed` | `doctype`, `name` | a document was saved (publishing/document_changes.py) | the permissions for its rooms \
are checked again |
| `doc` | `doctype`, `name` | a document was deleted | its rooms are emptied |
| `renamed` | `doctype`, `old`, `new`, `merge` if so | a document was renamed, or merged into another | the rooms of the old name are \
emptied; the state of shared editing gets the new name, or is deleted after a merge |
| `task` | `task_id`, `user` | a background task began (publishing/tasks.py) | the user may follow the task |
| `site` | | a role or a setting on which access depends changed, two documents were merged, all caches were cleared, \
a migration has ended, or an app was uninstalled (this one: install.py) | all sockets of the site are checked again |

`sid_hash` is the SHA-256 of the session id in hexadecimal: session ids are secrets, and Redis has many readers. A message
may also mean *more* access: in every case the sidecar drops the answers that it has cached.

The functions here are hooks: they log their own failures, and never fail the request that calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, ParamSpec

import frappe

from ..contract.access import (
	DOC_DELETED,
	DOC_RENAMED,
	DOCTYPE_RULES_CHANGED,
	SESSION_ENDED,
	SITE_CHANGED,
	USER_CHANGED,
)
from ..contract.users import GUEST
from ..publishing.access_messages import access_message
from ..publishing.commit import ACCESS, held_for_commit
from ..publishing.document_changes import announce_change
from ..publishing.installed import APP, is_installed
from ..publishing.jobs import is_job_timeout
from ..publishing.log import logger
from ..publishing.process import outbox

ACCESS_SETTINGS = (
	"apply_strict_user_permissions",
	"enable_two_factor_auth",
	"bypass_restrict_ip_check_if_2fa_enabled",
)
"""Fields of System Settings: whether documents with empty links can be read by users with User Permissions, and the two on which it
depends whether the IP restriction of a user applies."""

P = ParamSpec("P")


def _logs_failures(hook: Callable[P, None]) -> Callable[P, None]:
	"""Decorate a hook so that it logs what it raises, except RQ's timeout."""

	@wraps(hook)
	def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
		try:
			hook(*args, **kwargs)
		except Exception as error:
			if is_job_timeout(error):
				raise
			logger().exception(
				"A change of access was not announced to the realtime server (%s)", hook.__name__
			)

	return guarded


def announce(kind: str, **fields: str | bool) -> None:
	"""Publish an access event when the transaction commits. Equal events of a transaction are published once.

	Args:
		kind: One of `ACCESS_KINDS`.
		fields: The other fields of the message.
	"""
	_held_events().append({"site": frappe.local.site, "kind": kind, **fields})


def _announce_now(kind: str, **fields: str | bool) -> None:
	"""Publish an access event that no commit follows."""
	_send([{"site": frappe.local.site, "kind": kind, **fields}])


def _held_events() -> list[dict[str, Any]]:
	return held_for_commit(ACCESS, _send_held)


def _send_held(messages: list[dict[str, Any]]) -> None:
	# By hash: a transaction may delete thousands of documents, and `announce` would compare each message with all before it.
	_send([*{tuple(message.items()): message for message in messages}.values()])


def _send(messages: list[dict[str, Any]]) -> None:
	outbox().send([access_message(message, expires=False) for message in messages])


# -- sessions


def wrap_delete_session(delete_session: Callable[..., Any]) -> Callable[..., Any]:
	"""Wrap `frappe.sessions.delete_session` so that the end of a session is announced.

	Frappe also calls it for every request whose cookie is not a valid session, including the sidecar's own request about
	such a cookie. So only the end of a session that existed is announced: otherwise the sidecar would ask again and again.
	"""

	@wraps(delete_session)
	def wrapped(sid: str | None = None, *args: Any, **kwargs: Any) -> Any:
		existed = is_installed() and _session_exists(sid)
		result = delete_session(sid, *args, **kwargs)
		if existed:
			on_session_end(str(sid))
		return result

	return wrapped


def _session_exists(sid: str | None) -> bool:
	"""Return whether Frappe has a session with this id, expired or not."""
	if not sid or sid == GUEST or frappe.flags.read_only:
		return False
	if frappe.cache.hexists("session", sid):
		return True
	sessions = frappe.qb.DocType("Sessions")
	return bool(frappe.qb.from_(sessions).select(sessions.sid).where(sessions.sid == sid).limit(1).run())


@_logs_failures
def on_first_request() -> None:
	"""Announce the login that the first request of a process was: its session may have replaced others.

	Frappe logs a user in before it runs the hook that wraps `delete_session`.
	"""
	login = getattr(frappe.local, "login_manager", None)
	# It is unset if the user has to enter a code first.
	if login is not None and getattr(login, "resume", None) is False and is_installed():
		_announce_now(USER_CHANGED, user=login.user)


@_logs_failures
def on_session_end(sid: str) -> None:
	"""Announce the end of a session at once: Frappe has committed its deletion."""
	sid_hash = sha256(sid.encode()).hexdigest()
	_announce_now(SESSION_ENDED, sid_hash=sid_hash)


# -- caches


@_logs_failures
def on_clear_doctype_cache(user: str | None = None, doctype: str | None = None) -> None:
	"""Announce changed permission rules of a DocType, after `frappe.clear_cache(doctype=…)`.

	Every change of the rules ends in that call. On v15 nothing else shows the changes of the Permission Manager.
	"""
	if doctype and not _is_bulk_operation():
		announce(DOCTYPE_RULES_CHANGED, doctype=doctype)


@_logs_failures
def on_clear_cache() -> None:
	"""Announce that all caches of the site were cleared, as after the deletion of User Permissions in bulk.

	At once if nothing was written: no commit may follow then, as in `bench clear-cache`, and in `bench restore` when the database is there.
	"""
	db = getattr(frappe.local, "db", None)
	if not (db and db.transaction_writes):
		_announce_now(SITE_CHANGED)
		return
	renames = [message for message in _held_events() if message["kind"] == DOC_RENAMED]
	# Renaming a document clears all caches too, and has announced its own event. After a merge, other documents have another link, by which
	# a User Permission on the group of a tree may hide them.
	if not renames or any("merge" in message for message in renames):
		announce(SITE_CHANGED)


@_logs_failures
def on_clear_website_cache(path: str | None = None) -> None:
	"""Announce at the end of a migration that it may have changed all rules.

	Frappe clears the website cache when a migration ends: behind the hooks `after_migrate` of all apps, and also if a patch has failed,
	while what came before is committed. At once, as no commit follows. Earlier calls of the same migration announce too much.
	"""
	if frappe.flags.in_migrate and path is None:
		_announce_now(SITE_CHANGED)


@_logs_failures
def after_app_uninstall(app: str) -> None:
	"""Announce that another app was uninstalled, with its documents, its rules and its handlers.

	At once: Frappe has committed it, and v15 and v16 do not clear all caches then. For this app see install.py.
	"""
	if app != APP:
		_announce_now(SITE_CHANGED)


# -- documents


@_logs_failures
def on_change(doc: Any, method: str) -> None:
	"""Announce a changed document. Frappe runs `on_change` after each save, submit, cancel and `db_set` of a document.

	For a row of a child table it runs after its own `db_set`, and then not for the document that the row belongs to. That one is announced too:
	User Permissions apply to the links in rows.
	"""
	if doc.flags.in_insert or _is_bulk_operation():
		return
	announce_change(doc.doctype, str(doc.name))
	if (doctype := getattr(doc, "parenttype", None)) and (name := getattr(doc, "parent", None)):
		announce_change(doctype, str(name))


@_logs_failures
def on_delete(doc: Any, method: str) -> None:
	"""Announce a deleted document."""
	if not _is_bulk_operation():
		announce(DOC_DELETED, doctype=doc.doctype, name=str(doc.name))


@_logs_failures
def on_rename(doc: Any, method: str, old: str, new: str, merge: bool = False) -> None:
	"""Announce a renamed document, or one that was merged into another."""
	merged = {"merge": True} if merge else {}
	announce(DOC_RENAMED, doctype=doc.doctype, old=str(old), new=str(new), **merged)


@_logs_failures
def on_user_change(doc: Any, method: str) -> None:
	"""Announce a saved or deleted User: roles, `enabled`, `user_type` or API keys may have changed.

	Every save is announced, because a saved document does not show whether the API secret has changed.
	"""
	announce(USER_CHANGED, user=doc.name)


@_logs_failures
def on_user_rename(doc: Any, method: str, old: str, new: str, merge: bool = False) -> None:
	"""Announce a renamed User under both names."""
	announce(USER_CHANGED, user=old)
	announce(USER_CHANGED, user=new)


@_logs_failures
def on_user_permission_change(doc: Any, method: str) -> None:
	"""Announce a changed User Permission: for its user, and for the user that it had before."""
	before = doc.get_doc_before_save()
	for user in {doc.user, before.user if before else doc.user}:
		announce(USER_CHANGED, user=user)


@_logs_failures
def on_share_change(doc: Any, method: str) -> None:
	"""Announce a changed share, as it is and as it was: for its user, or for the DocType if the document is shared with everyone."""
	for share in (doc, doc.get_doc_before_save() or doc):
		if share.user:
			announce(USER_CHANGED, user=share.user)
		if share.everyone or not share.user:
			announce(DOCTYPE_RULES_CHANGED, doctype=share.share_doctype)


@_logs_failures
def on_token_change(doc: Any, method: str) -> None:
	"""Announce a deleted or revoked OAuth token."""
	if doc.user and (method == "on_trash" or doc.status == "Revoked"):
		announce(USER_CHANGED, user=doc.user)


@_logs_failures
def on_role_change(doc: Any, method: str) -> None:
	"""Announce a role that was deleted, disabled or enabled, or whose Desk access changed."""
	if method == "on_trash" or doc.has_value_changed("disabled") or doc.has_value_changed("desk_access"):
		announce(SITE_CHANGED)


@_logs_failures
def on_system_settings_change(doc: Any, method: str) -> None:
	"""Announce a changed setting on which access depends: `ACCESS_SETTINGS`."""
	if any(doc.has_value_changed(field) for field in ACCESS_SETTINGS):
		announce(SITE_CHANGED)


@_logs_failures
def on_permission_rule_change(doc: Any, method: str) -> None:
	"""Announce a changed Custom DocPerm."""
	announce(DOCTYPE_RULES_CHANGED, doctype=doc.parent)


@_logs_failures
def after_request(request: Any = None) -> None:
	"""Announce a token revoked at OAuth's endpoint, which changes the token without a document event."""
	if request is None or not request.path.endswith("frappe.integrations.oauth2.revoke_token"):
		return
	token = frappe.form_dict.get("token")
	user = token and (
		frappe.db.get_value("OAuth Bearer Token", token, "user")
		or frappe.db.get_value("OAuth Bearer Token", {"refresh_token": token}, "user")
	)
	if user:
		_announce_now(USER_CHANGED, user=user)


def _is_bulk_operation() -> bool:
	"""Return whether Frappe installs, migrates or uninstalls: these change everything, and are announced as one change of the site.

	For a migration see `on_clear_website_cache`, for uninstalling `after_app_uninstall`. Installing clears all caches when the app is listed as
	installed, and v15 and v16 do not clear them again: what the hook `after_install`, fixtures and customizations change is announced singly.
	A patch is no such operation: `bench run-patch` runs one alone, and clears no caches after it.
	"""
	flags = frappe.flags
	if flags.in_migrate or flags.in_uninstall:
		return True
	return bool(flags.in_install) and flags.in_install not in frappe.get_installed_apps()
