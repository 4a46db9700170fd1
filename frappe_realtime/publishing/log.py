"""The log of the app: `logs/frappe_realtime.log` in the bench."""

from __future__ import annotations

import logging
from typing import Any

import frappe


def logger() -> Any:
	"""Return the logger of the app; one that writes to the standard error if the file cannot be opened.

	Outside of developer mode, Frappe's loggers write errors only, unless `log_level` is set. This one writes the level INFO
	too: a log with the begin of an outage has its end.
	"""
	try:
		log = frappe.logger("frappe_realtime", allow_site=False)
	except OSError:
		# Frappe looks for the folder beside the current one, which is not that of the sites in every script. Who publishes must not fail.
		return logging.getLogger("frappe_realtime")
	if not frappe.log_level and log.level > logging.INFO:
		log.setLevel(logging.INFO)
	return log
