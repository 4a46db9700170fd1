"""The publishing functions of a web process, with a minimal `frappe`: the one of this project's app, and Frappe's own.

The web process of a bench runs much besides; here only the call itself is measured.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import redis

Publish = Callable[[str, Any, str], None]
"""Publishes an event to a user: `(event, message, user)`."""


class Frappe(ModuleType):
	"""The names of `frappe` that `publish_realtime` uses.

	Args:
		site: The site of the request.
		redis_url: The URL of redis_queue.
	"""

	def __init__(self, site: str, redis_url: str) -> None:
		super().__init__("frappe")
		self.local = SimpleNamespace(site=site, db=None, task_id=None)
		self.session = SimpleNamespace(user="user0@example.com")
		self.flags = SimpleNamespace(in_install_db=False)
		self.conf = {"redis_queue": redis_url}

	def as_json(self, value: Any, indent: int | None = 1, separators: tuple[str, str] | None = None) -> str:
		"""Return `value` as JSON, as `frappe.as_json` does."""
		return json.dumps(value, indent=indent, sort_keys=True, separators=separators)

	def logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
		"""Return a logger."""
		return logging.getLogger("frappe")


@cache
def app_publish(site: str, redis_url: str) -> Publish:
	"""Return a function that publishes with `publish_realtime` of the app; for one site and Redis in a process."""
	# The modules of the app keep the `frappe` that they are imported with.
	sys.modules["frappe"] = Frappe(site, redis_url)
	from frappe_realtime.publishing.publish import publish_realtime

	return lambda event, message, user: publish_realtime(event, message, user=user)


def frappe_publish(site: str, redis_url: str) -> Publish:
	"""Return a function with the steps of `publish_realtime` of Frappe v16."""
	frappe = Frappe(site, redis_url)
	client = redis.Redis.from_url(redis_url)

	def publish(event: str, message: Any, user: str) -> None:
		data = {"event": event, "message": message, "room": f"user:{user}", "namespace": frappe.local.site}
		client.publish("events", frappe.as_json(data))

	return publish
