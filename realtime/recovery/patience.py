"""How long a client that connects waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ..bus.store import StoreUnavailable

T = TypeVar("T")


class RedisPatience:
	"""Bounds the time that one client waits for Redis, in all its attempts together.

	The time in which it waits for an answer of the web process does not count: that has a limit of its own,
	`realtime_web_patience`.

	Args:
		seconds: The time.
	"""

	def __init__(self, seconds: float) -> None:
		self._loop = asyncio.get_running_loop()
		self._deadline = self._loop.time() + seconds

	@property
	def left(self) -> float:
		"""The seconds that are left; negative when the time is over."""
		return self._deadline - self._loop.time()

	async def for_redis(self, reply: Awaitable[T]) -> T:
		"""Return what Redis replies.

		Raises:
			asyncio.TimeoutError: There is no reply in the time that is left.
		"""
		return await asyncio.wait_for(reply, self.left)

	async def for_web_process(self, answer: Awaitable[T]) -> T:
		"""Return what the web process answers; the time for Redis goes on afterwards."""
		began = self._loop.time()
		try:
			return await answer
		except StoreUnavailable:
			# It was Redis that did not answer.
			began = self._loop.time()
			raise
		finally:
			self._deadline += self._loop.time() - began
