"""Endpoints for the sidecar: the state of a document that several users edit at once, from and to the app that it belongs to.

An app names its functions in its hooks.py, by DocType: `realtime_shared_editing = {"Note": {"load": "…", "store": "…"}}`. The shared
secret is required. The functions run as Guest: the sidecar has checked the permissions of the users who have made the changes.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import frappe

from ..contract.http import SHARED_HOOK
from .arguments import parse_question, raise_malformed
from .secret import secret_matches


@frappe.whitelist(allow_guest=True, xss_safe=True)
def shared_load(doctype: Any = None, name: Any = "", field: Any = "") -> str | None:
	"""Return what the app has stored of a document, in base64; None if there is nothing, no function to load it, or no such document.

	Raises:
		frappe.PermissionError: The shared secret is missing or wrong.
		frappe.ValidationError: The arguments are malformed.
		TypeError: The app's function does not return bytes.
	"""
	document = _check(doctype, name, field)
	load = _function(document[0], "load")
	if load is None or not frappe.db.exists(*document[:2]):
		return None
	state = load(*document)
	if not state:
		return None
	if not isinstance(state, bytes):
		raise TypeError(f"{SHARED_HOOK}: load of {document[0]} returned {type(state).__name__}, not bytes")
	return b64encode(state).decode()


@frappe.whitelist(allow_guest=True, xss_safe=True)
def shared_store(doctype: Any = None, name: Any = "", field: Any = "", state: Any = "") -> bool:
	"""Hand the state of a document to the app.

	Args:
		doctype: The DocType.
		name: The document.
		field: The field; may be empty.
		state: The state in base64.

	Returns:
		True if it is stored; False if the app has no function for it, or the document does not exist any more.

	Raises:
		frappe.PermissionError: The shared secret is missing or wrong.
		frappe.ValidationError: The arguments are malformed.
	"""
	document = _check(doctype, name, field)
	if not isinstance(state, str):
		raise_malformed("state: text in base64 is expected")
	store = _function(document[0], "store")
	if store is None or not frappe.db.exists(*document[:2]):
		return False
	store(*document, b64decode(state))
	# The request is a GET, which Frappe would roll back.
	frappe.db.commit()
	return True


def _check(doctype: Any, name: Any, field: Any) -> tuple[str, str, str]:
	if not secret_matches():
		raise frappe.PermissionError
	doctype, name, _ = parse_question([doctype, name])
	if not name or not isinstance(field, str):
		raise_malformed("the name of a document and a field are expected")
	return doctype, name, field


def _function(doctype: str, task: str) -> Callable[..., Any] | None:
	"""Return the function of the last app that has one; Frappe merges the hooks of apps into lists."""
	paths = frappe.get_hooks(SHARED_HOOK, {}).get(doctype, {}).get(task, [])
	return frappe.get_attr(paths[-1]) if paths else None
