"""Names the handler that keeps the event loop from everybody else."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType

logger = logging.getLogger("realtime.handlers")


class Watchdog:
	"""A thread that asks the loop for a sign of life once a second, and looks at its stack when none comes.

	`guards` is the code of the functions around each handler, `describe` says from its frame which handler it is. In the
	loop, `on_beat` is called each time.
	"""

	def __init__(
		self,
		limit: float,
		guards: frozenset[CodeType],
		describe: Callable[[FrameType], str],
		on_beat: Callable[[], None],
	) -> None:
		self.blocked = 0
		"""How often the loop was blocked for longer than the limit."""
		self._limit = limit
		self._guards = guards
		self._describe = describe
		self._on_beat = on_beat
		self._loop = asyncio.get_running_loop()
		self._loop_thread = threading.get_ident()
		self._stopped = threading.Event()
		self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
		self._thread.start()

	def stop(self) -> None:
		"""End the thread."""
		self._stopped.set()

	def _watch(self) -> None:
		while not self._stopped.wait(1.0):
			alive = threading.Event()
			asked = time.monotonic()
			try:
				self._loop.call_soon_threadsafe(self._beat, alive)
			except RuntimeError:
				return
			if alive.wait(self._limit):
				continue
			culprit = self._look()
			alive.wait()
			if culprit is not None:
				logger.warning("%s; it took %.1f s in all", culprit, time.monotonic() - asked)

	def _beat(self, alive: threading.Event) -> None:
		alive.set()
		self._on_beat()

	def _look(self) -> str | None:
		"""Report what the loop is doing; returns the handler that does it."""
		top = sys._current_frames().get(self._loop_thread)
		frame = top
		while frame is not None and frame.f_code not in self._guards:
			frame = frame.f_back
		self.blocked += 1
		where = "".join(traceback.format_stack(top, limit=12)) if top is not None else ""
		if frame is None:
			logger.warning(
				"the event loop has been blocked for %g s, by no handler, at\n%s", self._limit, where
			)
			return None
		culprit = f"{self._describe(frame)} blocks the event loop"
		logger.warning(
			"%s for %g s already, and with it all clients. Make it a plain def, which runs in a thread. It is at\n%s",
			culprit,
			self._limit,
			where,
		)
		return culprit
