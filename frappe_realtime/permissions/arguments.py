"""Arguments of the endpoints: what the sidecar sends, checked."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import frappe

from ..contract.http import MAX_QUESTIONS


def parse_question(question: Any) -> tuple[str, str, str]:
	"""Return doctype, name and ptype of a question, with the defaults of what is left out."""
	if not isinstance(question, list | tuple) or not 1 <= len(question) <= 3:
		raise_malformed("a question is [doctype, name, ptype]; name and ptype may be left out")
	doctype, name, ptype = (*question, "", "read") if len(question) == 1 else (*question, "read")[:3]
	if isinstance(name, int) and not isinstance(name, bool):
		name = str(name)
	if not (
		isinstance(doctype, str) and doctype and isinstance(name, str) and isinstance(ptype, str) and ptype
	):
		raise_malformed("doctype, name and ptype are strings, and only name may be empty")
	return doctype, name, ptype


def parse_list(value: Any, argument: str, most: int = MAX_QUESTIONS) -> list[Any]:
	"""Return a list, from itself or from JSON.

	Args:
		value: The list.
		argument: The name of the argument, for the error.
		most: Values that it may have.

	Raises:
		frappe.ValidationError: It is no list, or has too many values.
	"""
	if isinstance(value, str):
		try:
			value = json.loads(value)
		except ValueError:
			value = None
	if not isinstance(value, list):
		raise_malformed(f"{argument}: a list is expected")
	if len(value) > most:
		raise_malformed(f"{argument}: {len(value)} were given, {most} are allowed in one request")
	return list(value)


def raise_malformed(reason: str) -> NoReturn:
	"""Raise `frappe.ValidationError`."""
	frappe.throw(reason, frappe.ValidationError)
	raise frappe.ValidationError(reason)
