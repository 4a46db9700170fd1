"""Runs functions on the event loop for handlers in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from frappe_realtime.handlers.broadcast import COMPLETED, Completed

from .loop_calls import LoopCalls
from .thread_pool import ThreadPool

MAX_WAITING = 100
"""Calls that may wait for the event loop before a thread waits for its own."""


class LoopBridge:
	"""Lets threads call functions on the event loop and wait for their results.

	Must be made in the thread of the event loop.

	Args:
		calls: Calls functions on the event loop.
		threads: The threads that wait.
	"""

	def __init__(self, calls: LoopCalls, threads: ThreadPool) -> None:
		self._calls = calls
		self._threads = threads
		self._loop_thread = threading.get_ident()
		self._waiting: set[concurrent.futures.Future[Any]] = set()

	def run(self, action: Callable[[], Any]) -> Any:
		"""Run `action` on the event loop, in the caller's context. From a thread, wait for its result, and await what it returns.

		Raises:
			CancelledError: The server stops.
			ConnectionError: The server stops, or the client has disconnected, while the result is awaited.
		"""
		if threading.get_ident() == self._loop_thread:
			return action()
		future: concurrent.futures.Future[Any] = concurrent.futures.Future()
		self._waiting.add(future)
		self._threads.leave()
		try:
			# Many calls share one turn of the event loop, which runs in the context of the code that has woken it.
			self._calls.add(copy_context().run, _run_for_thread, action, future)
			self._calls.wake()
			return future.result()
		finally:
			self._threads.enter()
			self._waiting.discard(future)

	def post(self, action: Callable[[], None]) -> Completed | None:
		"""Run `action` on the event loop, after what threads have asked for before.

		Returns:
			On the event loop, where `action` has run already, `COMPLETED`, which can be awaited. None in a thread, which does not wait.
		"""
		if threading.get_ident() == self._loop_thread:
			action()
			return COMPLETED
		if self._calls.waiting >= MAX_WAITING:
			self.run(action)
		else:
			self._calls.add(action)
			self._threads.wake_loop()
		return None

	def stop(self) -> None:
		"""Release the threads that wait."""
		for future in list(self._waiting):
			future.cancel()


def _run_for_thread(action: Callable[[], Any], future: concurrent.futures.Future[Any]) -> None:
	if future.cancelled():
		# The server stops, and the thread does not wait any more.
		return
	try:
		result = action()
	except BaseException as error:
		future.set_exception(error)
		return
	if result is COMPLETED:
		future.set_result(None)
	elif inspect.isawaitable(result):
		task = asyncio.ensure_future(result)
		task.add_done_callback(lambda task: _copy_result(task, future))
	else:
		future.set_result(result)


def _copy_result(task: asyncio.Future[Any], future: concurrent.futures.Future[Any]) -> None:
	if future.done():
		return
	if task.cancelled():
		future.set_exception(ConnectionError("the server is stopping, or the client has disconnected"))
	elif (error := task.exception()) is not None:
		future.set_exception(error)
	else:
		future.set_result(task.result())
