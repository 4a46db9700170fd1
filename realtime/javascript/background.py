"""Tasks that run beside the handlers until the sidecar stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
	"""Keeps a reference to each running task, as asyncio asks for, and cancels them all at the end."""

	def __init__(self) -> None:
		self._tasks: set[asyncio.Task[None]] = set()

	def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
		"""Run `coroutine` in a task."""
		task = asyncio.get_running_loop().create_task(coroutine)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)

	def cancel(self) -> None:
		"""Cancel all tasks."""
		for task in self._tasks:
			task.cancel()
