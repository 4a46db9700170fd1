"""Checks of access that ask the web process: each waits for its turn, so that connects are not delayed by many of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from ..log_budget import LogBudget

logger = logging.getLogger("realtime.recheck")

SLOW_SECONDS = 1.0
"""Seconds after which a check does not count any more, except for its site: other sites must not wait for one that gives no answers."""

Check = Callable[[], Coroutine[Any, Any, None]]


class CheckQueue:
	"""Runs checks in tasks, a few at a time. The sites take turns; the checks of one site run in the order in which they came.

	Args:
		most: Checks that run at a time, and those of one site.
	"""

	def __init__(self, most: int) -> None:
		self.idle = asyncio.Event()
		"""Set while no check waits that may run."""
		self._most = most
		self._urgent: dict[str, dict[Hashable, Check]] = {}
		self._others: dict[str, dict[Hashable, Check]] = {}
		"""The checks that wait, by site and name; the next site first."""
		self._running: Counter[str] = Counter()
		"""How many checks of each site are running."""
		self._places = most
		"""How many further tasks may run checks."""
		self._tasks: set[asyncio.Task[None]] = set()
		self._log_budget = LogBudget()

	def put(self, site: str, name: Hashable, check: Check, urgent: bool = False) -> bool:
		"""Add a check, unless one of this name waits already; return True if it was added.

		Args:
			site: The site whose web process it asks.
			name: What is checked.
			check: Does it. What it raises is logged.
			urgent: True to run it before all that are not urgent.
		"""
		checks = (self._urgent if urgent else self._others).setdefault(site, {})
		if name in checks:
			return False
		checks[name] = check
		self.idle.clear()
		self._start()
		return True

	def cancel(self) -> None:
		"""Cancel the checks that run; those that wait are dropped with the process."""
		for task in self._tasks:
			task.cancel()

	async def stop(self) -> None:
		"""Cancel the checks that run, and wait until they have ended."""
		self.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)

	def _start(self) -> None:
		"""Start a task that runs checks, if there may be one more."""
		if self._places:
			self._places -= 1
			self._start_task()

	def _start_task(self) -> None:
		task = asyncio.get_running_loop().create_task(self._run_checks())
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	async def _run_checks(self) -> None:
		"""Run checks until no other one may run, or until one was slow, so that another task has taken the place of this one."""
		is_replaced = False

		def replace() -> None:
			nonlocal is_replaced
			is_replaced = True
			self._start_task()

		try:
			while not is_replaced and (taken := self._take()) is not None:
				await self._run(*taken, replace)
		finally:
			if not is_replaced:
				self._places += 1
		if is_replaced:
			# For a check of the same site, which could not run meanwhile.
			self._start()

	def _take(self) -> tuple[str, Check] | None:
		"""Remove and return the next check whose site has not too many running, after its site; None if there is none."""
		taken: tuple[str, Check] | None = None
		for waiting in (self._urgent, self._others):
			site = next((one for one in waiting if self._running[one] < self._most), None)
			if site is not None:
				checks = waiting.pop(site)
				taken = site, checks.pop(next(iter(checks)))
				if checks:
					waiting[site] = checks
				break
		if taken is None or not (self._urgent or self._others):
			self.idle.set()
		return taken

	async def _run(self, site: str, check: Check, on_slow: Callable[[], None]) -> None:
		self._running[site] += 1
		timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, on_slow)
		try:
			await check()
		except Exception:
			self._log_budget.write(logger.exception, "a check of access failed")
		finally:
			timer.cancel()
			self._running[site] -= 1
			if not self._running[site]:
				del self._running[site]
