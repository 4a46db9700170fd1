"""Work with Redis that is done once a second, whether Redis answers or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..log_budget import LogBudget
from .store import RedisStore, StoreDenied, StoreUnavailable

INTERVAL = 1.0
"""Seconds from the end of one call to the next one."""


class PeriodicStoreTask:
	"""Calls a function once a second. An error ends one call, never the calls after it.

	Args:
		store: redis_queue, which the function uses.
		function: The function. It may raise `StoreUnavailable`, which is not logged, because the subscription logs outages.
		purpose: What it is for, to continue "to keep …" in the log.
		logger: The logger of its errors.
	"""

	def __init__(
		self,
		store: RedisStore,
		function: Callable[[], Awaitable[None]],
		purpose: str,
		logger: logging.Logger,
	) -> None:
		self._store = store
		self._function = function
		self._purpose = purpose
		self._logger = logger
		self._task: asyncio.Task[None] | None = None
		self._log_budget = LogBudget()

	def start(self) -> None:
		"""Start to call the function, at first after one interval."""
		self._task = asyncio.get_running_loop().create_task(self._run())

	def stop(self) -> None:
		"""Cancel a call that is under way, and call no more."""
		if self._task is not None:
			self._task.cancel()

	async def _run(self) -> None:
		while True:
			await asyncio.sleep(INTERVAL)
			try:
				await self._function()
			except StoreUnavailable:
				pass
			except StoreDenied as error:
				self._log_budget.write(
					self._logger.error,
					"%s does not let this sidecar keep %s: %s. %s",
					self._store.endpoint,
					self._purpose,
					error,
					error.advice,
				)
			except Exception:
				self._logger.exception("could not keep %s; the next attempt follows", self._purpose)
