"""Lists that are sent when the database transaction commits, and dropped when it is rolled back.

They are sent before the other callbacks of the commit: Frappe does not run those behind one that raises, such as an `enqueue`
for which Redis has no memory, and a change of access that was committed must be announced.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import frappe

EVENTS = "_realtime_log"
"""The realtime events. The name is Frappe's own: a plain list there is one that Frappe sends itself."""

CHANGES = "frappe_realtime_changes"
"""The changed documents."""

ACCESS = "frappe_realtime_access"
"""The changes of access."""

_ORDER = (EVENTS, CHANGES, ACCESS)
"""The lists in the order in which they are sent. The events take the changes with them. A change of access comes last: the viewers of a
deleted document still get its last event."""


class _Commit:
	"""The next commit of one database connection, and the lists that wait for it."""

	def __init__(self, db: Any) -> None:
		self.db = db
		self.lists: dict[str, _HeldList] = {}
		callbacks = getattr(db.after_commit, "_functions", None)
		if callbacks is None:
			db.after_commit.add(self.send)
		else:
			callbacks.appendleft(self.send)
		db.after_rollback.add(self.forget)

	@property
	def is_pending(self) -> bool:
		"""False on another connection, and after a commit that failed: Frappe drops its callbacks without calling them."""
		return self.db is frappe.local.db and self.send in getattr(
			self.db.after_commit, "_functions", (self.send,)
		)

	def send(self) -> None:
		# Each one, also if the timeout of a job ends the one before.
		with ExitStack() as stack:
			for attribute in reversed(_ORDER):
				stack.callback(self._send_list, attribute)

	def _send_list(self, attribute: str) -> None:
		held = self.lists.get(attribute)
		if held is None:
			return
		_forget(attribute, held)
		if attribute == ACCESS and getattr(frappe.local, EVENTS, None):
			# Frappe's own list, which a later callback sends.
			self.db.after_commit.add(partial(held.send, held))
		elif held:
			held.send(held)

	def forget(self) -> None:
		for attribute, held in self.lists.items():
			_forget(attribute, held)


class _HeldList(list[Any]):
	"""A list that waits for a commit."""

	def __init__(self, commit: _Commit, send: Callable[[list[Any]], None]) -> None:
		super().__init__()
		self.commit = commit
		self.send = send


def held_for_commit(attribute: str, send: Callable[[list[Any]], None]) -> list[Any]:
	"""Return the list that `send` gets when the transaction commits.

	A rollback drops the list, also one after a commit that failed. A new database connection, whose transaction is another one, has
	another list.

	Args:
		attribute: `EVENTS`, `CHANGES` or `ACCESS`. The list is kept as `frappe.local.<attribute>`.
		send: Called after the commit with the list, if it is not empty.
	"""
	held = getattr(frappe.local, attribute, None)
	if held is not None and (not isinstance(held, _HeldList) or held.commit.is_pending):
		return held
	commit = _commit_of_connection()
	# There is one already, if another connection was used in between.
	held = commit.lists.setdefault(attribute, _HeldList(commit, send))
	setattr(frappe.local, attribute, held)
	return held


def take_held(attribute: str) -> list[Any]:
	"""Empty a list of `held_for_commit` after the commit, before its own `send` gets it; return what was in it."""
	held = getattr(frappe.local, attribute, None)
	if not isinstance(held, _HeldList) or held.commit.db is not frappe.local.db:
		return []
	taken = [*held]
	held.clear()
	return taken


def _commit_of_connection() -> _Commit:
	"""Return the next commit of the current connection, without what is left of one that has failed."""
	for attribute in _ORDER:
		held = getattr(frappe.local, attribute, None)
		if isinstance(held, _HeldList) and held.commit.db is frappe.local.db:
			if held.commit.is_pending:
				return held.commit
			_forget(attribute, held)
	return _Commit(frappe.local.db)


def _forget(attribute: str, held: _HeldList) -> None:
	if getattr(frappe.local, attribute, None) is held:
		delattr(frappe.local, attribute)
