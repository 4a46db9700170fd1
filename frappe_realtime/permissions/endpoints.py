"""Endpoints for the sidecar: who a client is, which documents its user may read, and whether it may monitor the site.

All are reached under `/api/method/frappe.realtime.` (hooks.py). If another app overrides one of Frappe's endpoints there,
its override is called, and this app only adds to its answer. The shared secret (header `X-Frappe-Socket-Secret`) is
required wherever the installed version of Frappe requires it, and always by `readers`, which answers for other users
than the caller, and by `publish_probe`, which publishes.

A permission check that raises means "no" for its one question. The other questions of the request are answered, and at most
one failure in a minute is logged. Only if the database fails is there no answer at all: the request then fails, and the
sidecar keeps the access that it has granted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from traceback import extract_tb
from typing import Any, NamedTuple

import frappe
import frappe.realtime
from frappe.utils import get_fullname

from .. import online_hooks
from ..contract.events import DOCTOR_EVENT
from ..contract.http import ALLOWED_ADDRESSES, MAX_USERS, ONLINE_HOOKS
from ..contract.users import ADMINISTRATOR, SYSTEM_MANAGER
from ..publishing.jobs import is_job_timeout
from ..publishing.log import logger
from ..publishing.publish import publish_realtime
from ..publishing.rate_limited_log import RateLimitedLog
from .arguments import parse_list, parse_question, raise_malformed
from .secret import secret_matches

_log = RateLimitedLog(lambda line: logger().error(line))


@frappe.whitelist(allow_guest=True, xss_safe=True)
def get_user_info() -> dict[str, Any]:
	"""Return the user of the credential that came with the request.

	Returns:
		`{user, user_type, full_name, installed_apps}`, and what another app's override adds; `allowed_addresses` if the
		user has an IP restriction, which the sidecar then applies to each connection. `{}` if the shared secret is
		missing or wrong, and Frappe requires it (v16 from 2026-02, v17) or the user has an IP restriction.

	Raises:
		frappe.AuthenticationError: The user is disabled.
	"""
	_do_not_extend_session()
	if hasattr(frappe.realtime, "get_socketio_secret") and not secret_matches():
		return {}
	addresses = _allowed_addresses(frappe.session.user)
	if addresses and not secret_matches():
		return {}
	# Frappe accepts tokens of disabled users (v15; v16 those of OAuth), and sessions if the user was disabled outside of a request (v16, v17).
	if frappe.get_cached_value("User", frappe.session.user, "enabled") == 0:
		raise frappe.AuthenticationError
	override = _override_of("get_user_info")
	if override:
		frappe.is_whitelisted(override)
	answer = (override or frappe.realtime.get_user_info)()
	if not answer:
		return {}
	user = answer.get("user") or frappe.session.user
	return {
		**answer,
		# On v15 the session of a request with an Authorization header has no user_type.
		"user_type": answer.get("user_type") or frappe.get_cached_value("User", user, "user_type"),
		"full_name": get_fullname(user),
		"installed_apps": frappe.get_installed_apps(),
		**({ALLOWED_ADDRESSES: addresses} if addresses else {}),
		**({ONLINE_HOOKS: True} if online_hooks.has_hooks() else {}),
	}


@frappe.whitelist(allow_guest=True, xss_safe=True)
def has_permission(doctype: Any = None, name: Any = "", ptype: Any = "read") -> bool:
	"""Return True if the session user has a permission on a document.

	Args:
		doctype: The DocType.
		name: The document; empty for the DocType as a whole.
		ptype: The permission type.

	Raises:
		frappe.AuthenticationError: The user may not use the site from this address.
		frappe.PermissionError: The user has no permission, or the document does not exist.
		frappe.ValidationError: The arguments are malformed.
	"""
	_do_not_extend_session()
	_check_address()
	if not _is_permitted(_permission_overrides(), *parse_question([doctype, name, ptype])):
		raise frappe.PermissionError
	return True


@frappe.whitelist(allow_guest=True, xss_safe=True)
def has_permissions(questions: Any = None) -> list[bool]:
	"""Return for each of many questions whether the session user has the permission.

	Equal questions are decided once, and a document about which several are asked is loaded once: repetitions would otherwise
	show by the time that they take whether a hidden document exists.

	Args:
		questions: `[[doctype, name, ptype], …]`, as a list or as JSON. `name` may be empty (the DocType as a whole) or
			left out, `ptype` may be left out (`read`).

	Returns:
		The answers in the order of the questions.

	Raises:
		frappe.AuthenticationError: The user may not use the site from this address.
		frappe.ValidationError: A question is malformed, or there are more than `MAX_QUESTIONS`.
	"""
	_do_not_extend_session()
	_check_address()
	parsed = [parse_question(question) for question in parse_list(questions, "questions")]
	overrides = _permission_overrides()
	unique = dict.fromkeys(parsed)
	repeated = Counter((doctype, name) for doctype, name, _ in unique if name and not overrides.document)
	documents = {document: _load(*document) for document, count in repeated.items() if count > 1}
	answers: dict[tuple[str, str, str], bool] = {}
	for question in unique:
		document = documents.get(question[:2])
		exists = document is not None or question[:2] not in documents
		answers[question] = exists and _is_permitted(overrides, *question, document=document)
	return [answers[question] for question in parsed]


@frappe.whitelist(allow_guest=True, xss_safe=True)
def publish_probe(room: Any = None, worker: Any = 0) -> bool:
	"""Publish an event to one socket, for `frappe-realtime doctor`: from this process, or from a worker.

	Args:
		room: The id of the socket.
		worker: 1 for a background job of the queue `short` that publishes.

	Returns:
		True when the event is published, or the job is enqueued.

	Raises:
		frappe.PermissionError: The shared secret is missing or wrong.
		frappe.ValidationError: `room` is missing or no text.
	"""
	_do_not_extend_session()
	if not secret_matches():
		raise frappe.PermissionError
	if not isinstance(room, str) or not room:
		raise_malformed("room: the id of a socket is expected")
	if str(worker) == "1":
		frappe.enqueue(f"{__name__}.publish_to_doctor", queue="short", room=room)
	else:
		publish_to_doctor(room)
	return True


def publish_to_doctor(room: str) -> None:
	"""Publish the event that `frappe-realtime doctor` waits for; a background job."""
	publish_realtime(DOCTOR_EVENT, room=room)


@frappe.whitelist(allow_guest=True, xss_safe=True)
def readers(doctype: Any = None, name: Any = "", users: Any = None) -> list[str]:
	"""Return those of `users` who are enabled and may read a document.

	Args:
		doctype: The DocType.
		name: The document; empty for the DocType as a whole.
		users: Names of users, as a list or as JSON.

	Returns:
		The users in the order given.

	Raises:
		frappe.PermissionError: The shared secret is missing or wrong.
		frappe.ValidationError: The arguments are malformed, or there are more than `MAX_QUESTIONS` users.
	"""
	if not secret_matches():
		raise frappe.PermissionError
	doctype, name, _ = parse_question([doctype, name])
	users = parse_list(users, "users")
	if not all(isinstance(user, str) for user in users):
		raise_malformed("users: names of users are expected")
	enabled = set(frappe.get_all("User", filters={"name": ["in", users], "enabled": 1}, pluck="name"))
	overrides = _permission_overrides()
	document = None
	if name and not overrides.document and (document := _load(doctype, name)) is None:
		return []
	return [
		user
		for user in users
		if user in enabled and _is_permitted(overrides, doctype, name, "read", user, document)
	]


@frappe.whitelist(allow_guest=True, xss_safe=True)
def can_monitor() -> bool:
	"""Return whether the session user may monitor the site: the role System Manager is required.

	Raises:
		frappe.AuthenticationError: The user may not use the site from this address.
	"""
	_do_not_extend_session()
	_check_address()
	return SYSTEM_MANAGER in frappe.get_roles()


@frappe.whitelist(allow_guest=True, xss_safe=True)
def users_changed(online: Any = None, offline: Any = None) -> None:
	"""Let the hooks of apps be called for users who have come and gone.

	Args:
		online: Names of users, as a list or as JSON.
		offline: The same.

	Raises:
		frappe.PermissionError: The shared secret is missing or wrong.
		frappe.ValidationError: The arguments are malformed.
	"""
	_do_not_extend_session()
	if not secret_matches():
		raise frappe.PermissionError
	changes = {
		"online": parse_list(online, "online", MAX_USERS),
		"offline": parse_list(offline, "offline", MAX_USERS),
	}
	for name, users in changes.items():
		if not all(isinstance(user, str) for user in users):
			raise_malformed(f"{name}: names of users are expected")
	online_hooks.enqueue(**changes)


def _do_not_extend_session() -> None:
	"""Keep this request from extending the session: the sidecar sends it while a tab is open, used or not."""
	frappe.flags.read_only = True


# -- IP restriction


def _allowed_addresses(user: str) -> list[str]:
	"""Return the beginnings of the addresses from which a user may use the site; an empty list allows all.

	The rules are those of `frappe.auth.validate_ip_address`, which Frappe does not apply to these endpoints.
	"""
	restriction = frappe.get_cached_value("User", user, "restrict_ip")
	if not restriction:
		return []
	settings = frappe.get_cached_doc("System Settings")
	bypass = settings.bypass_restrict_ip_check_if_2fa_enabled
	if settings.enable_two_factor_auth and not bypass:
		bypass = frappe.get_cached_value("User", user, "bypass_restrict_ip_check_if_2fa_enabled")
	addresses = [address.strip() for address in restriction.strip().split(",")]
	return [] if bypass or "" in addresses else addresses


def _check_address() -> None:
	"""Apply the IP restriction of the session user to the request, unless the sidecar sent it.

	The sidecar applies the restriction itself: only the sidecar knows the address of its client.
	"""
	addresses = _allowed_addresses(frappe.session.user)
	if not addresses or (frappe.local.request_ip or "").startswith(tuple(addresses)) or secret_matches():
		return
	raise frappe.AuthenticationError


# -- permissions


class _PermissionOverrides(NamedTuple):
	"""Other apps' overrides of the permission endpoints; v15 has one for documents and one for DocTypes."""

	document: Callable[..., Any] | None
	doctype: Callable[..., Any] | None


def _permission_overrides() -> _PermissionOverrides:
	if hasattr(frappe.realtime, "can_subscribe_doc"):
		return _PermissionOverrides(_override_of("can_subscribe_doc"), _override_of("can_subscribe_doctype"))
	override = _override_of("has_permission")
	return _PermissionOverrides(override, override)


def _override_of(method: str) -> Callable[..., Any] | None:
	"""Return another app's override of `frappe.realtime.<method>`: the last one, which is the one that Frappe calls."""
	overrides = frappe.get_hooks("override_whitelisted_methods", {}).get(f"frappe.realtime.{method}", [])
	others = [path for path in overrides if not path.startswith("frappe_realtime.")]
	return frappe.get_attr(others[-1]) if others else None


def _is_permitted(
	overrides: _PermissionOverrides,
	doctype: str,
	name: str,
	ptype: str,
	user: str | None = None,
	document: Any = None,
) -> bool:
	"""Return whether `user`, or the session user, has the permission; `document` is the document if it is loaded."""
	messages = len(frappe.local.message_log)
	override = overrides.document if name else overrides.doctype
	try:
		meta = frappe.get_meta(doctype)
		if name and meta.issingle and name != doctype:
			return False
		# For other users Frappe loads the document and fails; Administrator has every permission, unchecked.
		if (override or (user or frappe.session.user) == ADMINISTRATOR) and not _exists(meta, name):
			return False
		if not override:
			return bool(frappe.has_permission(doctype, ptype, doc=document or name or None, user=user))
		if user is None:
			return _call_override(override, doctype, name, ptype)
		with _acting_as(user):
			return _call_override(override, doctype, name, ptype)
	except (frappe.DoesNotExistError, frappe.PermissionError, frappe.ValidationError, ImportError):
		# ImportError is a DocType whose module is gone; a permission hook may raise instead of returning False.
		return False
	except Exception as error:
		_on_failed_check(error, doctype, name)
		return False
	finally:
		# The answer is only yes or no: the reasons that Frappe collects for a dialog would name the document.
		del frappe.local.message_log[messages:]
		frappe.flags.pop("has_permission_check_logs", None)
		frappe.flags.pop("error_message", None)


def _exists(meta: Any, name: str) -> bool:
	if not name or meta.issingle:
		return True
	if meta.get("is_virtual"):
		return bool(frappe.get_doc(meta.name, name))
	return bool(frappe.db.exists(meta.name, {"name": name}))


def _load(doctype: str, name: str) -> Any:
	"""Return the document, loaded once for all users; None if it does not exist."""
	messages = len(frappe.local.message_log)
	try:
		return frappe.get_doc(doctype, name)
	except (frappe.DoesNotExistError, frappe.PermissionError, frappe.ValidationError, ImportError):
		return None
	except Exception as error:
		_on_failed_check(error, doctype, name)
		return None
	finally:
		del frappe.local.message_log[messages:]


def _on_failed_check(error: Exception, doctype: str, name: str) -> None:
	"""Log an exception of the code that decides on a document: of a virtual DocType or a permission hook.

	Raises:
		Exception: `error`, or another one, if the database failed: then there is no answer.
	"""
	if isinstance(error, frappe.QueryDeadlockError | frappe.QueryTimeoutError) or is_job_timeout(error):
		raise error
	# After a failed query PostgreSQL refuses all others of the transaction. Without a connection this raises.
	frappe.db.rollback()
	frame = extract_tb(error.__traceback__)[-1]
	_log.write(
		"failed check",
		f"{frappe.local.site}: checking a permission on {doctype} {name!r:.140} failed, so it is refused: "
		f"{type(error).__name__}: {error!s:.300} ({frame.filename}:{frame.lineno}, {frame.name}). "
		"Further failures are logged once a minute.",
	)


def _call_override(override: Callable[..., Any], doctype: str, name: str, ptype: str) -> bool:
	frappe.is_whitelisted(override)
	answer = frappe.call(override, doctype=doctype, name=name, docname=name, ptype=ptype)
	if ptype != "read" and "ptype" not in signature(override).parameters:
		# The override has answered for reading only.
		return bool(answer and frappe.has_permission(doctype, ptype, doc=name or None))
	return bool(answer)


@contextmanager
def _acting_as(user: str) -> Iterator[None]:
	"""Set the session user for one question, and restore the session and the form that `frappe.set_user` replaces."""
	session, form_dict = frappe.local.session, frappe.local.form_dict
	before = session.user, session.sid, session.data
	frappe.set_user(user)
	try:
		yield
	finally:
		frappe.set_user(before[0])
		session.user, session.sid, session.data = before
		frappe.local.form_dict = form_dict
