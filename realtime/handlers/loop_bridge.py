"""Runs functions on the event loop for handlers in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Callable
from typing import Any

from frappe_realtime.handlers.broadcast import COMPLETED


class LoopBridge:
	"""Lets threads call functions on the event loop and wait for their results.

	Must be made in the thread of the event loop.

	Args:
		loop: The event loop.
	"""

	def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
		self._loop = loop
		self._loop_thread = threading.get_ident()
		self._waiting: set[concurrent.futures.Future[Any]] = set()

	def run(self, action: Callable[[], Any]) -> Any:
		"""Run `action` on the event loop. From a thread, wait for its result, and await what it returns.

		Raises:
			CancelledError: The server stops.
			ConnectionError: The server stops, or the client has disconnected, while the result is awaited.
		"""
		if threading.get_ident() == self._loop_thread:
			return action()
		future: concurrent.futures.Future[Any] = concurrent.futures.Future()
		self._waiting.add(future)
		try:
			self._loop.call_soon_threadsafe(_run_for_thread, action, future)
			return future.result()
		finally:
			self._waiting.discard(future)

	def stop(self) -> None:
		"""Release the threads that wait."""
		for future in list(self._waiting):
			future.cancel()


def _run_for_thread(action: Callable[[], Any], future: concurrent.futures.Future[Any]) -> None:
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
