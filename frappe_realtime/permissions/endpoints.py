"""What the sidecar asks the web process: who is this, may they read this, and which of these may.

All lie under `/api/method/frappe.realtime.` (hooks.py). Another app's override of one of Frappe's endpoints stays in
force: it is asked, and what we add is added to its answer. The shared secret (`X-Frappe-Socket-Secret`) is demanded
where the version of Frappe demands it, and always by `readers`, which answers for other users than the caller.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple, NoReturn

import frappe
import frappe.realtime
from frappe.utils import get_fullname

from ..contract import ADMINISTRATOR, MAX_QUESTIONS, SECRET_HEADER, SECRET_KEY
from ..publishing.connection import queue_connector


@frappe.whitelist(allow_guest=True, xss_safe=True)
def get_user_info() -> dict[str, Any]:
	"""Who the credential of this request belongs to: user, user_type, full_name, installed_apps.

	Where Frappe demands the shared secret (v16 from 2026-02, v17), a wrong one gets `{}`, as from Frappe.
	"""
	_is_no_activity()
	if hasattr(frappe.realtime, "get_socketio_secret") and not _secret_matches():
		return {}
	override = _foreign("get_user_info")
	if override:
		frappe.is_whitelisted(override)
	answer = (override or frappe.realtime.get_user_info)()
	if not answer:
		return {}
	user = answer.get("user") or frappe.session.user
	return {
		**answer,
		# A request with an Authorization header has no user_type in its session on v15.
		"user_type": answer.get("user_type") or frappe.get_cached_value("User", user, "user_type"),
		"full_name": get_fullname(user),
		"installed_apps": frappe.get_installed_apps(),
	}


@frappe.whitelist(allow_guest=True, xss_safe=True)
def has_permission(doctype: Any = None, name: Any = "", ptype: Any = "read") -> bool:
	"""Whether the session's user may read one document, or a DocType where `name` is empty.

	:raises frappe.PermissionError: no; also for what does not exist
	:raises frappe.ValidationError: the question is malformed
	"""
	_is_no_activity()
	if not _may(_foreign_permission(), *_question([doctype, name, ptype])):
		raise frappe.PermissionError
	return True


@frappe.whitelist(allow_guest=True, xss_safe=True)
def has_permissions(questions: Any = None) -> list[bool]:
	"""Many questions in one request: `[[doctype, name or "", ptype or "read"], …]`, answered in the same order.

	:raises frappe.ValidationError: the questions are malformed, or more than 200
	"""
	_is_no_activity()
	asked = [_question(entry) for entry in _list(questions, "questions")]
	foreign = _foreign_permission()
	return [_may(foreign, *question) for question in asked]


@frappe.whitelist(allow_guest=True, xss_safe=True)
def readers(doctype: Any = None, name: Any = "", users: Any = None) -> list[str]:
	"""Those of `users` who are enabled and may read the document, in the order given.

	:raises frappe.PermissionError: the shared secret is missing or wrong
	:raises frappe.ValidationError: the question is malformed, or about more than 200 users
	"""
	if not _secret_matches():
		raise frappe.PermissionError
	doctype, name, _ = _question([doctype, name])
	users = _list(users, "users")
	if not all(isinstance(user, str) for user in users):
		_malformed("users: names of users are expected")
	enabled = set(frappe.get_all("User", filters={"name": ["in", users], "enabled": 1}, pluck="name"))
	foreign = _foreign_permission()
	document = None
	if name and not foreign.document and (document := _load(doctype, name)) is None:
		return []
	return [
		user for user in users if user in enabled and _may(foreign, doctype, name, "read", user, document)
	]


def _is_no_activity() -> None:
	"""Keep this request from extending the session: the sidecar asks for as long as a tab is open, used or not."""
	frappe.flags.read_only = True


def _may(
	foreign: _Foreign, doctype: str, name: str, ptype: str, user: str | None = None, document: Any = None
) -> bool:
	"""Whether `user`, or the session's, may. `document` is the one meant, where it is loaded already."""
	said = len(frappe.local.message_log)
	override = foreign.document if name else foreign.doctype
	try:
		meta = frappe.get_meta(doctype)
		if name and meta.issingle and name != doctype:
			return False
		# Others are refused when the document is loaded; Administrator may everything, also what is not there.
		if (override or (user or frappe.session.user) == ADMINISTRATOR) and not _exists(meta, name):
			return False
		if not override:
			return bool(frappe.has_permission(doctype, ptype, doc=document or name or None, user=user))
		if user is None:
			return _ask_foreign(override, doctype, name, ptype)
		with _acting_as(user):
			return _ask_foreign(override, doctype, name, ptype)
	except (frappe.DoesNotExistError, frappe.PermissionError):
		return False
	except (ImportError, frappe.ValidationError):
		# A DocType whose module is gone, or a permission hook that refuses in its own way.
		return False
	finally:
		# Yes or no is the whole answer; the reasons that Frappe collects for a dialog would name the document.
		del frappe.local.message_log[said:]
		frappe.flags.pop("has_permission_check_logs", None)
		frappe.flags.pop("error_message", None)


def _exists(meta: Any, name: str) -> bool:
	if not name or meta.issingle:
		return True
	if meta.get("is_virtual"):
		return bool(frappe.get_doc(meta.name, name))
	return bool(frappe.db.exists(meta.name, {"name": name}))


def _load(doctype: str, name: str) -> Any:
	"""The document, once for all users; None where it does not exist."""
	said = len(frappe.local.message_log)
	try:
		return frappe.get_doc(doctype, name)
	except (frappe.DoesNotExistError, ImportError):
		return None
	finally:
		del frappe.local.message_log[said:]


def _foreign(method: str) -> Callable[..., Any] | None:
	"""Another app's override of `frappe.realtime.<method>`: the last one, as Frappe decides."""
	overrides = frappe.get_hooks("override_whitelisted_methods", {}).get(f"frappe.realtime.{method}", [])
	others = [path for path in overrides if not path.startswith("frappe_realtime.")]
	return frappe.get_attr(others[-1]) if others else None


class _Foreign(NamedTuple):
	"""Other apps' overrides of the question whether one may read; v15 has two endpoints for it."""

	document: Callable[..., Any] | None
	doctype: Callable[..., Any] | None


def _foreign_permission() -> _Foreign:
	if hasattr(frappe.realtime, "can_subscribe_doc"):
		return _Foreign(_foreign("can_subscribe_doc"), _foreign("can_subscribe_doctype"))
	override = _foreign("has_permission")
	return _Foreign(override, override)


def _ask_foreign(override: Callable[..., Any], doctype: str, name: str, ptype: str) -> bool:
	frappe.is_whitelisted(override)
	answer = frappe.call(override, doctype=doctype, name=name, docname=name, ptype=ptype)
	if ptype != "read" and "ptype" not in signature(override).parameters:
		# It answered for reading only.
		return bool(answer and frappe.has_permission(doctype, ptype, doc=name or None))
	return bool(answer)


@contextmanager
def _acting_as(user: str) -> Iterator[None]:
	"""Another user for the length of one question; what `frappe.set_user` forgets of the request is given back."""
	session, form_dict = frappe.local.session, frappe.local.form_dict
	before = session.user, session.sid, session.data
	frappe.set_user(user)
	try:
		yield
	finally:
		frappe.set_user(before[0])
		session.user, session.sid, session.data = before
		frappe.local.form_dict = form_dict


def _question(entry: Any) -> tuple[str, str, str]:
	if not isinstance(entry, list | tuple) or not 1 <= len(entry) <= 3:
		_malformed("a question is [doctype, name, ptype], the last two may be left out")
	doctype, name, ptype = (*entry, "", "read") if len(entry) == 1 else (*entry, "read")[:3]
	if isinstance(name, int) and not isinstance(name, bool):
		name = str(name)
	if not (
		isinstance(doctype, str) and doctype and isinstance(name, str) and isinstance(ptype, str) and ptype
	):
		_malformed("doctype, name and ptype are texts, and only name may be empty")
	return doctype, name, ptype


def _list(value: Any, what: str) -> list[Any]:
	if isinstance(value, str):
		try:
			value = json.loads(value)
		except ValueError:
			value = None
	if not isinstance(value, list):
		_malformed(f"{what}: a list is expected")
	if len(value) > MAX_QUESTIONS:
		_malformed(f"{what}: {len(value)} are given, {MAX_QUESTIONS} are allowed in one request")
	return list(value)


def _malformed(why: str) -> NoReturn:
	frappe.throw(why, frappe.ValidationError)
	raise frappe.ValidationError(why)


def _secret_matches() -> bool:
	given = frappe.get_request_header(SECRET_HEADER) or ""
	client = queue_connector(frappe.conf)(1.0)
	try:
		# Created here as everywhere: by whoever comes first, so that nobody replaces another's.
		client.set(SECRET_KEY, frappe.generate_hash(length=32), nx=True)
		secret: Any = client.get(SECRET_KEY)
	finally:
		client.close()
	return bool(secret) and hmac.compare_digest(secret, given.encode())
