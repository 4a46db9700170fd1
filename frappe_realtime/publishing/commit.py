"""Commit hooks: lists that are sent when the database transaction commits, and dropped when it is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import frappe


class _HeldList(list[Any]):
	"""A list that waits for a commit on one database connection."""

	def __init__(self, db: Any) -> None:
		super().__init__()
		self.db = db


def held_for_commit(attribute: str, send: Callable[[list[Any]], None]) -> list[Any]:
	"""Return the list that `send` gets when the transaction commits.

	A rollback drops the list. So does a new database connection, whose transaction is another one.

	Args:
		attribute: The list is kept as `frappe.local.<attribute>`. A plain list there is Frappe's own, which Frappe
			sends itself; it is returned as it is.
		send: Called after the commit with the list.
	"""
	held = getattr(frappe.local, attribute, None)
	if held is not None and (not isinstance(held, _HeldList) or held.db is frappe.local.db):
		return held
	held = _HeldList(frappe.local.db)
	setattr(frappe.local, attribute, held)

	def forget() -> None:
		if getattr(frappe.local, attribute, None) is held:
			delattr(frappe.local, attribute)

	def commit() -> None:
		forget()
		send(held)

	frappe.db.after_commit.add(commit)
	frappe.db.after_rollback.add(forget)
	return held


def take_held(attribute: str) -> list[Any]:
	"""Empty a list of `held_for_commit` after the commit, before its own `send` gets it; return what was in it."""
	held = getattr(frappe.local, attribute, None)
	if not isinstance(held, _HeldList) or held.db is not frappe.local.db:
		return []
	taken = [*held]
	held.clear()
	return taken
