"""Finds handlers that block the event loop."""

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

HEARTBEAT_SECONDS = 1.0


class Watchdog:
	"""A thread that sends a heartbeat to the event loop every second, and logs the loop's stack if it is late.

	Must be made in the thread of the event loop.

	Args:
		loop: The event loop.
		limit: Seconds that the loop may take to answer a heartbeat.
		worker_code: The code of the function that runs handlers; its frame tells which handler blocks the loop.
		describe: Returns the description of a handler from such a frame.
		on_heartbeat: Called in the event loop for each heartbeat.
	"""

	def __init__(
		self,
		loop: asyncio.AbstractEventLoop,
		limit: float,
		worker_code: CodeType,
		describe: Callable[[FrameType], str],
		on_heartbeat: Callable[[], None],
	) -> None:
		self.blocked = 0
		"""How often the loop was blocked for longer than the limit."""
		self._loop = loop
		self._loop_thread = threading.get_ident()
		self._limit = limit
		self._worker_code = worker_code
		self._describe = describe
		self._on_heartbeat = on_heartbeat
		self._stopped = threading.Event()
		self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

	def start(self) -> None:
		"""Start the thread, unless it has been started already."""
		if not self._thread.ident:
			self._thread.start()

	def stop(self) -> None:
		"""End the thread."""
		self._stopped.set()

	def _watch(self) -> None:
		while not self._stopped.wait(HEARTBEAT_SECONDS):
			answered = threading.Event()
			sent = time.monotonic()
			try:
				self._loop.call_soon_threadsafe(self._answer, answered)
			except RuntimeError:
				# The loop is closed.
				return
			if answered.wait(self._limit):
				continue
			blocking_handler = self._report()
			answered.wait()
			if blocking_handler:
				logger.warning(
					"%s blocked the event loop for %.1f s in all", blocking_handler, time.monotonic() - sent
				)

	def _answer(self, answered: threading.Event) -> None:
		answered.set()
		self._on_heartbeat()

	def _report(self) -> str:
		"""Log the stack of the loop, and return the description of the handler in it, empty if there is none."""
		self.blocked += 1
		top = sys._current_frames().get(self._loop_thread)
		frame = top
		while frame is not None and frame.f_code is not self._worker_code:
			frame = frame.f_back
		stack = "".join(traceback.format_stack(top, limit=12)) if top is not None else ""
		if frame is None:
			logger.warning(
				"the event loop has been blocked for %g s, but not by a handler; its stack:\n%s",
				self._limit,
				stack,
			)
			return ""
		handler = self._describe(frame)
		logger.warning(
			"%s blocks the event loop for %g s already, and with it all clients. "
			"Make it a plain def, which runs in a thread. Its stack:\n%s",
			handler,
			self._limit,
			stack,
		)
		return handler
