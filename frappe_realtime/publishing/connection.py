"""Connections to redis_queue: to the server that Frappe uses, with timeouts that Frappe does not set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..contract.settings import REDIS_QUEUE_KEYS


@dataclass(frozen=True)
class QueueConnector:
	"""Makes clients of redis_queue, without a site, so also in a thread. Connectors with equal settings are equal.

	Attributes:
		settings: The keys of `REDIS_QUEUE_KEYS` and their values.
	"""

	settings: Mapping[str, Any]

	def __call__(self, timeout: float) -> redis.Redis:
		"""Return a new client.

		Args:
			timeout: Seconds that connecting, and each answer, may take.
		"""
		settings = self.settings
		# No retries here: only the caller knows what a second attempt would repeat.
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
	"""Return a connector with the present settings of `conf`, a site's configuration (`frappe.conf`).

	The Redis user is the one in the URL, as for Frappe's own realtime events, and not the one of `use_rq_auth`, which
	has rights only on the job queues.
	"""
	return QueueConnector({key: conf.get(key) for key in REDIS_QUEUE_KEYS})
