"""A warning in developer mode: an event without a recipient goes to the Desk of every System User.

Written once for each event name in each process, to the app's log and, in a request, by `frappe.log`: Frappe returns the latter
with the response, and the Desk prints it to the console of the browser. Elsewhere it is written to the standard error.
"""

from __future__ import annotations

import sys
from types import FrameType

import frappe

from .log import logger

MAX_EVENT_NAMES = 1000
"""Event names that are remembered; no warning is written about further ones. A name may contain the id of a task."""

_PUBLISHERS = ("frappe_realtime.publishing", "frappe_realtime.overrides")
"""Modules between the caller and this one."""

_warned: set[str] = set()


def warn_of_broadcast(event: str) -> None:
	"""Warn that `event` was published to all System Users by default; does nothing outside of developer mode.

	Frappe publishes such events itself (`version-update`, `data_import_refresh`, `doctype_update` and others, by version).
	A call from a module of Frappe gives no warning.
	"""
	if not frappe.conf.get("developer_mode") or event in _warned or len(_warned) >= MAX_EVENT_NAMES:
		return
	caller = _caller()
	if caller is None or str(caller.f_globals.get("__name__", "")).partition(".")[0] == "frappe":
		return
	_warned.add(event)
	line = (
		f"{caller.f_code.co_filename}:{caller.f_lineno} publishes {event} without a recipient: the event goes to the "
		"Desk of every System User. Give user, room, or doctype with docname; if everyone is meant, use publish_to_all."
	)
	logger().warning(line)
	if getattr(frappe.local, "request", None):
		frappe.log(line)
	else:
		# `frappe.log` of v15 would write to the standard output, which others may parse.
		print(line, file=sys.stderr)


def _caller() -> FrameType | None:
	"""Return the frame that has called `publish_realtime`, without the wrappers of this app and of Frappe."""
	frame: FrameType | None = sys._getframe(1)
	while frame is not None:
		module = str(frame.f_globals.get("__name__", ""))
		is_wrapper = module in ("frappe", "frappe.realtime") and frame.f_code.co_name == "publish_realtime"
		if not is_wrapper and not module.startswith(_PUBLISHERS):
			return frame
		frame = frame.f_back
	return None
