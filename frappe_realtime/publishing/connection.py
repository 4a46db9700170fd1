"""The connection to redis_queue: the server that Frappe would use, with time limits that Frappe does not set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..contract import REDIS_QUEUE_KEYS


@dataclass(frozen=True)
class QueueConnector:
	"""Makes clients of redis_queue; two with the same settings are equal. It may be called from a thread without a site."""

	settings: Mapping[str, Any]

	def __call__(self, timeout: float) -> redis.Redis:
		"""Return a new client; connecting and each answer may take `timeout` seconds."""
		settings = self.settings
		# What is to be tried again is the caller's decision, who knows what a second attempt may repeat.
		limits: dict[str, Any] = {
			"socket_timeout": timeout,
			"socket_connect_timeout": timeout,
			"retry": Retry(NoBackoff(), 0),
		}
		if not settings["redis_queue_sentinel_enabled"]:
			return redis.from_url(str(settings["redis_queue"]), **limits)
		from redis.sentinel import Sentinel

		sentinel = Sentinel(
			[tuple(node.rsplit(":", 1)) for node in settings["redis_queue_sentinels"] or ()],
			sentinel_kwargs={
				**limits,
				"username": settings["redis_queue_sentinel_username"],
				"password": settings["redis_queue_sentinel_password"],
			},
			username=settings["redis_queue_master_username"],
			password=settings["redis_queue_master_password"],
			**limits,
		)
		return sentinel.master_for(settings["redis_queue_master_service"])


def queue_connector(conf: Mapping[str, Any]) -> QueueConnector:
	"""The connector for what `conf`, a site's configuration (`frappe.conf`), says about redis_queue now.

	As with Frappe's own realtime events, the user is the one in the URL, not the one of `use_rq_auth`, whose rights end
	at the job queues.
	"""
	return QueueConnector({key: conf.get(key) for key in REDIS_QUEUE_KEYS})
