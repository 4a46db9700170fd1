"""The log of the app: `logs/frappe_realtime.log` in the bench."""

from __future__ import annotations

from typing import Any

import frappe


def logger() -> Any:
	"""Return the logger of the app. Outside of developer mode, Frappe writes only errors to it."""
	return frappe.logger("frappe_realtime", allow_site=False)
