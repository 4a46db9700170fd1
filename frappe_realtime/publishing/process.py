"""The outbox of this process, made and updated from the configuration of the bench."""

from __future__ import annotations

import threading

import frappe

from ..contract.settings import APP_DEFAULTS
from .connection import queue_connector
from .log import logger
from .outbox import Outbox

_outbox: Outbox | None = None
_outbox_lock = threading.Lock()


def outbox() -> Outbox:
	"""Return the outbox of this process.

	A process has one outbox for all sites, as a bench has one redis_queue. If `redis_queue` has changed since the last
	call, the outbox connects to the new one.
	"""
	global _outbox
	connect = queue_connector(frappe.conf)
	if _outbox is None or _outbox.connect != connect:
		with _outbox_lock:
			if _outbox is None:
				_outbox = Outbox(
					connect,
					lambda line: logger().error(line),
					log_success=lambda line: logger().info(line),
					pending_count=int_setting("realtime_pending_count"),
					pending_seconds=int_setting("realtime_pending_seconds"),
				)
			elif _outbox.connect != connect:
				_outbox.connect_with(connect)
	return _outbox


def int_setting(key: str) -> int:
	"""Return a whole number from the site's configuration; the default if it is missing, invalid or negative.

	Args:
		key: One of `APP_DEFAULTS`.
	"""
	default = APP_DEFAULTS[key]
	try:
		value = int(frappe.conf.get(key, default))
	except (TypeError, ValueError):
		return default
	return value if value >= 0 else default
