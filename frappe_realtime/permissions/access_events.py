"""Access that ends: what the sidecar is told when somebody may see less than before.

Each message is one JSON object on the Redis channel `frappe_realtime:access`, published when the transaction has
committed. All have `site` and `kind`:

| kind | more | what happened | what follows |
| --- | --- | --- | --- |
| `session` | `sid_hash` | a session ended: logged out, expired, or replaced by a newer login | its sockets end |
| `user` | `user` | user saved, renamed or deleted; a User Permission, a share or an OAuth token of theirs changed | \
who is behind each socket of that user is asked again, then every room it is in |
| `doctype` | `doctype` | permission rules of a DocType changed, or something is shared with everyone | \
every room of the DocType and of its documents is asked again |
| `doc` | `doctype`, `name` | the document was deleted | its rooms are emptied |
| `renamed` | `doctype`, `old`, `new` | the document was renamed | the rooms of the old name are emptied |
| `task` | `task_id`, `user` | the user has started a background task (tasks.py) | they may follow it |
| `site` | | a role changed, or all caches were cleared | every socket of the site is asked again |

`sid_hash` is the SHA-256 of the session id in hexadecimal: session ids are secrets, and Redis has many readers.
A message may also stand for somebody who may see *more*: it says that answers given before count no more.

Changes that bypass documents (`frappe.db.set_value`, `frappe.db.delete`) are not seen, except where noted below; there
the sidecar's own cache time decides. Nothing here makes a caller fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial, wraps
from hashlib import sha256
from typing import Any, TypeVar

import frappe

from ..contract import (
	ACCESS_CHANNEL,
	DOC_DELETED,
	DOC_RENAMED,
	DOCTYPE_RULES_CHANGED,
	GUEST,
	SESSION_ENDED,
	SITE_CHANGED,
	USER_CHANGED,
)
from ..install import is_installed
from ..publishing.outbox import Message
from ..publishing.process import ends_job, held_for_commit, logger, outbox

_Handler = TypeVar("_Handler", bound=Callable[..., None])


def _never_fails(handler: _Handler) -> _Handler:
	@wraps(handler)
	def guarded(*args: Any, **kwargs: Any) -> None:
		try:
			handler(*args, **kwargs)
		except Exception as error:
			if ends_job(error):
				raise
			logger().exception(
				"The realtime server was not told of a change of access (%s)", handler.__name__
			)

	return guarded  # type: ignore[return-value]


def announce(kind: str, **what: str) -> None:
	"""Tell the sidecars when the transaction commits, each thing once."""
	message = {"site": frappe.local.site, "kind": kind, **what}
	held = held_for_commit("frappe_realtime_access", _send_last)
	if message not in held:
		held.append(message)


def _send_last(messages: list[dict[str, str]]) -> None:
	"""After the events of the same transaction: who had a deleted document open is still told so."""
	frappe.db.after_commit.add(partial(_send, messages))


def _send(messages: list[dict[str, str]]) -> None:
	outbox().send([Message(ACCESS_CHANNEL, json.dumps(message), ages=False) for message in messages])


def announcing_session_end(delete_session: Callable[..., Any]) -> Callable[..., Any]:
	"""Wrap `frappe.sessions.delete_session`, so that the end of a session that existed is announced.

	Frappe calls it for every request whose cookie is no session (any more), also for the sidecar's own question about
	such a cookie: to announce that too would make the sidecar ask again.
	"""

	@wraps(delete_session)
	def deleting(sid: str | None = None, *args: Any, **kwargs: Any) -> Any:
		existed = is_installed() and _is_session(sid)
		result = delete_session(sid, *args, **kwargs)
		if existed:
			on_session_end(str(sid))
		return result

	return deleting


def _is_session(sid: str | None) -> bool:
	"""Whether Frappe has a session of this id, which may have expired."""
	if not sid or sid == GUEST or frappe.flags.read_only:
		return False
	if frappe.cache.hexists("session", sid):
		return True
	sessions = frappe.qb.DocType("Sessions")
	return bool(frappe.qb.from_(sessions).select(sessions.sid).where(sessions.sid == sid).limit(1).run())


@_never_fails
def on_session_end(sid: str) -> None:
	"""A session has ended, and that is committed."""
	sid_hash = sha256(sid.encode()).hexdigest()
	_send([{"site": frappe.local.site, "kind": SESSION_ENDED, "sid_hash": sid_hash}])


@_never_fails
def on_clear_doctype_cache(user: str | None = None, doctype: str | None = None) -> None:
	"""Follows `frappe.clear_cache`: every change of a DocType's permission rules ends there, on v15 nothing else shows it."""
	if doctype and not _in_bulk():
		announce(DOCTYPE_RULES_CHANGED, doctype=doctype)


@_never_fails
def on_clear_cache() -> None:
	"""All caches of the site are cleared, as Frappe does after deleting User Permissions without their documents."""
	held = held_for_commit("frappe_realtime_access", _send_last)
	# Renaming clears everything too, and has said more exactly what changed.
	if not any(message["kind"] == DOC_RENAMED for message in held):
		announce(SITE_CHANGED)


@_never_fails
def on_delete(doc: Any, method: str) -> None:
	if not _in_bulk():
		announce(DOC_DELETED, doctype=doc.doctype, name=str(doc.name))


@_never_fails
def on_rename(doc: Any, method: str, old: str, new: str, merge: bool = False) -> None:
	announce(DOC_RENAMED, doctype=doc.doctype, old=str(old), new=str(new))


@_never_fails
def on_user_change(doc: Any, method: str) -> None:
	"""Covers roles, `enabled`, `user_type`, and API keys, whose change a saved document does not show any more."""
	announce(USER_CHANGED, user=doc.name)


@_never_fails
def on_user_rename(doc: Any, method: str, old: str, new: str, merge: bool = False) -> None:
	announce(USER_CHANGED, user=old)
	announce(USER_CHANGED, user=new)


@_never_fails
def on_user_permission_change(doc: Any, method: str) -> None:
	before = doc.get_doc_before_save()
	for user in {doc.user, before.user if before else doc.user}:
		announce(USER_CHANGED, user=user)


@_never_fails
def on_share_change(doc: Any, method: str) -> None:
	if doc.user:
		announce(USER_CHANGED, user=doc.user)
	if doc.everyone or not doc.user:
		announce(DOCTYPE_RULES_CHANGED, doctype=doc.share_doctype)


@_never_fails
def on_token_change(doc: Any, method: str) -> None:
	if doc.user and (method == "on_trash" or doc.status == "Revoked"):
		announce(USER_CHANGED, user=doc.user)


@_never_fails
def on_role_change(doc: Any, method: str) -> None:
	if method == "on_trash" or doc.has_value_changed("disabled") or doc.has_value_changed("desk_access"):
		announce(SITE_CHANGED)


@_never_fails
def on_permission_rule_change(doc: Any, method: str) -> None:
	if not _in_bulk():
		announce(DOCTYPE_RULES_CHANGED, doctype=doc.parent)


@_never_fails
def after_request(request: Any = None) -> None:
	"""OAuth's revocation endpoint changes the token without its document."""
	if request is None or not request.path.endswith("frappe.integrations.oauth2.revoke_token"):
		return
	token = frappe.form_dict.get("token")
	user = token and (
		frappe.db.get_value("OAuth Bearer Token", token, "user")
		or frappe.db.get_value("OAuth Bearer Token", {"refresh_token": token}, "user")
	)
	if user:
		_send([{"site": frappe.local.site, "kind": USER_CHANGED, "user": user}])


def _in_bulk() -> bool:
	"""Installing, migrating and uninstalling touch everything, and end with all caches cleared."""
	flags = frappe.flags
	return bool(flags.in_install or flags.in_migrate or flags.in_uninstall or flags.in_patch)
