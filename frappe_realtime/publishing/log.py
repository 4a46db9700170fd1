"""The log of the app: `logs/frappe_realtime.log` in the bench."""

from __future__ import annotations

import logging
from typing import Any

import frappe


def logger() -> Any:
	"""Return the logger of the app.

	Outside of developer mode, Frappe's loggers write errors only, unless `log_level` is set. This one writes the level INFO
	too: a log with the begin of an outage has its end.
	"""
	log = frappe.logger("frappe_realtime", allow_site=False)
	if not frappe.log_level and log.level > logging.INFO:
		log.setLevel(logging.INFO)
	return log
