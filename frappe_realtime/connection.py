"""The connection to redis_queue: the server that Frappe would use, with time limits that Frappe does not set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_KEYS = (
	"redis_queue",
	"redis_queue_sentinel_enabled",
	"redis_queue_sentinels",
	"redis_queue_sentinel_username",
	"redis_queue_sentinel_password",
	"redis_queue_master_username",
	"redis_queue_master_password",
	"redis_queue_master_service",
)


def queue_connector(conf: Mapping[str, Any]) -> Callable[[float], redis.Redis]:
	"""A function that returns a new client of redis_queue, given the seconds that connecting and each answer may take.

	`conf` is a site's configuration (`frappe.conf`); what is needed of it is copied, so that the function may be
	called from a thread without a site. As with Frappe's own realtime events, the user is the one in the URL, not
	the one of `use_rq_auth`, whose rights end at the job queues.
	"""
	settings = {key: conf.get(key) for key in _KEYS}

	def connect(timeout: float) -> redis.Redis:
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

	return connect
