"""An event loop in a thread, for the stand-in of the web process and the Python clients. Tests themselves are synchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.wire.conditions import PATIENCE

Result = TypeVar("Result")


class Background:
	"""Runs coroutines on the loop for synchronous callers."""

	def __init__(self) -> None:
		self.loop = asyncio.new_event_loop()
		self._thread = threading.Thread(target=self.loop.run_forever, name="background", daemon=True)
		self._thread.start()

	def run(self, coroutine: Coroutine[Any, Any, Result], patience: float = PATIENCE) -> Result:
		"""Run a coroutine to its end and return its result."""
		return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(patience)

	def close(self) -> None:
		"""Cancel the tasks that still run, and stop the loop."""
		self.run(_cancel_other_tasks())
		self.loop.call_soon_threadsafe(self.loop.stop)
		self._thread.join(PATIENCE)
		self.loop.close()


async def _cancel_other_tasks() -> None:
	tasks = asyncio.all_tasks() - {asyncio.current_task()}
	for task in tasks:
		task.cancel()
	await asyncio.gather(*tasks, return_exceptions=True)
