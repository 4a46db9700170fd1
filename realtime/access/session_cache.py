"""Frappe's own cache of sessions, in redis_cache.

Frappe (v15 to v17, `frappe/sessions.py`) keeps each session that is in use in the hash `<db_name>|session`, under its session id:
from the login on, or from the first request that had to read it from the database. A page has made such a request before it
connects. So a session id in the cache is very likely valid, and an invented one is never there.
"""

from __future__ import annotations

import asyncio
import logging

import hiredis

from ..bus.endpoint import CacheEndpoint
from ..bus.pipeline import RedisPipeline
from ..config import Config
from ..log_budget import LogBudget
from .sites import Sites

logger = logging.getLogger("realtime.auth")

REPLY_TIMEOUT = 1.0
"""Seconds that a client waits for a reply. Then its login attempt waits for a token of its address (failed_logins.py)."""


class SessionCache:
	"""Tells which session ids Frappe has in its cache.

	Args:
		config: The address of redis_cache.
		sites: The names of the sites' databases.
	"""

	def __init__(self, config: Config, sites: Sites) -> None:
		self._endpoint = CacheEndpoint(config)
		self._redis = RedisPipeline(self._endpoint)
		self._sites = sites
		self._log_budget = LogBudget()

	async def has(self, site: str, sid: str) -> bool:
		"""Return True if Frappe has the session `sid` of `site` in its cache; False too if redis_cache gives no answer."""
		database = self._sites.database(site)
		if not sid or database is None:
			return False
		try:
			replies = await asyncio.wait_for(
				self._redis.execute([("HEXISTS", f"{database}|session", sid)]), REPLY_TIMEOUT
			)
		except (OSError, asyncio.TimeoutError, hiredis.ReplyError, ValueError) as error:
			self._log_budget.write(
				logger.warning,
				"sessions cannot be looked up in Frappe's cache, so new logins may have to wait: %s: %s",
				self._endpoint,
				str(error) or type(error).__name__,
			)
			return False
		return bool(replies[0])

	def close(self) -> None:
		"""Close the connection to redis_cache."""
		self._redis.close()
