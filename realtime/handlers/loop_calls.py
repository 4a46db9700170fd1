"""Calls functions on the event loop for threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class LoopCalls:
	"""Calls functions on the event loop in the order in which threads ask for it, many in one turn.

	To wake the event loop costs a system call, as in `loop.call_soon_threadsafe`; here the calls of one turn share it.

	Args:
		loop: The event loop.
	"""

	def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
		self._loop = loop
		self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
		self._is_woken = False

	def add(self, function: Callable[..., None], *arguments: Any) -> None:
		"""Call `function` when the event loop is woken next. If it raises, the event loop logs that, and later calls are made all the same."""
		self._calls.append((function, arguments))

	@property
	def waiting(self) -> int:
		"""The number of calls that wait."""
		return len(self._calls)

	def wake(self) -> None:
		"""Wake the event loop, unless it will run the calls already."""
		if not self._is_woken:
			self._is_woken = True
			# The loop is closed when the process ends; threads may run until then.
			with suppress(RuntimeError):
				self._loop.call_soon_threadsafe(self.run)

	def run(self) -> None:
		"""Make the calls. For the event loop."""
		self._is_woken = False
		# Not those that are added meanwhile: a thread that adds many must not keep the event loop from other work.
		try:
			for _ in range(len(self._calls)):
				function, arguments = self._calls.popleft()
				function(*arguments)
		finally:
			if self._calls:
				self.wake()
