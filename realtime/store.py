"""Redis for everything but the subscription: the shared secret, publishing, and what later outlives a process."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from .bus import safe_url
from .web import WebAway

if TYPE_CHECKING:
	from redis.asyncio import Redis

logger = logging.getLogger("realtime.store")

SECRET_KEY = "socketio_auth_secret"
"""Where Frappe keeps the secret that it shares with its realtime server."""


class Store:
	"""Commands to redis_queue. The client library is imported with the first one."""

	def __init__(self, url: str) -> None:
		self.url = url
		self._redis: Redis | None = None
		self._secret = ""

	@property
	def redis(self) -> Redis:
		"""The client; its commands raise `redis.RedisError` and OSError."""
		if self._redis is None:
			from redis.asyncio import Redis

			self._redis = Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5)
		return self._redis

	async def secret(self, renew: bool = False) -> str:
		"""The shared secret, made when there is none yet; with `renew` read again. Raises `WebAway` without Redis."""
		if self._secret and not renew:
			return self._secret
		from redis.exceptions import RedisError

		try:
			# SET NX first: a secret that Frappe makes in its own first request refuses that very request.
			await self.redis.set(SECRET_KEY, secrets.token_hex(16), nx=True)
			value = await self.redis.get(SECRET_KEY)
		except (RedisError, OSError) as error:
			raise WebAway(
				f"the shared secret cannot be read from Redis at {safe_url(self.url)} (redis_queue): {error}"
			) from error
		self._secret = value.decode() if isinstance(value, bytes) else str(value)
		return self._secret

	async def answers(self) -> bool:
		"""Whether Redis answers, for `/health`."""
		from redis.exceptions import RedisError

		try:
			return bool(await self.redis.ping())
		except (RedisError, OSError):
			return False

	async def publish(self, channel: str, payload: str) -> None:
		"""Publish once; without Redis it is logged and lost."""
		from redis.exceptions import RedisError

		try:
			await self.redis.publish(channel, payload)
		except (RedisError, OSError) as error:
			logger.warning("could not publish on %r: %s", channel, error)

	async def close(self) -> None:
		"""Let go of the connections."""
		if self._redis is not None:
			# `close` became `aclose` in redis-py 5; Frappe v15 pins 4.5.
			await (self._redis.aclose() if hasattr(self._redis, "aclose") else self._redis.close())
