"""What everything here sends with: the outbox of this process, what waits for a commit, and the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import frappe

from ..contract import APP_DEFAULTS
from .connection import queue_connector
from .outbox import Outbox


class _Held(list[Any]):
	"""What waits for the commit of one connection to the database."""

	db: Any = None


def held_for_commit(attribute: str, send: Callable[[list[Any]], None]) -> list[Any]:
	"""The list, kept as `frappe.local.<attribute>`, that `send` is given when the transaction commits.

	A rollback empties it; so does a new connection to the database, which the old one's transaction did not survive.
	"""
	held = getattr(frappe.local, attribute, None)
	if held is not None and (not isinstance(held, _Held) or held.db is frappe.local.db):
		return held
	held = _Held()
	held.db = frappe.local.db
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


def number(key: str) -> int:
	"""Return a whole number from the site's configuration; an invalid or negative value counts as not set."""
	default = APP_DEFAULTS[key]
	try:
		value = int(frappe.conf.get(key, default))
	except (TypeError, ValueError):
		return default
	return value if value >= 0 else default


def ends_job(error: Exception) -> bool:
	"""Whether this is rq ending a job whose time is over; that can surface anywhere, and is nobody's to swallow."""
	return type(error).__module__ == "rq.timeouts"


_outbox: Outbox | None = None
_outbox_lock = threading.Lock()


def outbox() -> Outbox:
	"""The outbox of this process; a process has one, whatever the number of its sites, as it has one redis_queue.

	A process outlives its configuration: when redis_queue is another than at the last call, the outbox connects anew.
	"""
	global _outbox
	connect = queue_connector(frappe.conf)
	if _outbox is None or _outbox.connect != connect:
		with _outbox_lock:
			if _outbox is None:
				_outbox = Outbox(
					connect,
					lambda line: logger().error(line),
					pending_count=number("realtime_pending_count"),
					pending_seconds=number("realtime_pending_seconds"),
				)
			elif _outbox.connect != connect:
				_outbox.connect_with(connect)
	return _outbox


def logger() -> Any:
	"""The bench's log `logs/frappe_realtime.log`. Below ERROR nothing is written to it outside of development."""
	return frappe.logger("frappe_realtime", allow_site=False)
