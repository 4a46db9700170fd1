"""Calls the hooks `realtime_user_online` and `realtime_user_offline` of apps, in a background job."""

from __future__ import annotations

from collections.abc import Sequence

import frappe

from .contract.http import OFFLINE_HOOK, ONLINE_HOOK
from .publishing.jobs import is_job_timeout


def has_hooks() -> bool:
	"""Return whether an app of the site has one of the hooks."""
	return bool(frappe.get_hooks(ONLINE_HOOK, []) or frappe.get_hooks(OFFLINE_HOOK, []))


def enqueue(online: Sequence[str], offline: Sequence[str]) -> None:
	"""Enqueue the calls for users who have come and gone, in the queue `short`."""
	frappe.enqueue(
		"frappe_realtime.online_hooks.call_hooks", queue="short", online=list(online), offline=list(offline)
	)


def call_hooks(online: Sequence[str], offline: Sequence[str]) -> None:
	"""Call all hooks for all users. One that fails is written to the Error Log, and the others are called.

	Args:
		online: The users who have come.
		offline: The users who have gone.
	"""
	for hook, users in ((ONLINE_HOOK, online), (OFFLINE_HOOK, offline)):
		for path in frappe.get_hooks(hook, []):
			for user in users:
				try:
					frappe.get_attr(path)(user)
					frappe.db.commit()
				except Exception as error:
					if is_job_timeout(error):
						raise
					frappe.db.rollback()
					# v15 refuses a longer title. The traceback has the user too.
					frappe.log_error(f"{hook}: {path} failed for {user}"[:140])
					# The rollback for the next one that fails would remove it.
					frappe.db.commit()
