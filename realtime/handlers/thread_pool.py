"""A thread pool for plain `def` handlers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any


class ThreadPool:
	"""Starts up to `max_threads` daemon threads, each when a job finds no idle one.

	`concurrent.futures.ThreadPoolExecutor` is not used because the interpreter joins its threads on exit: a handler that
	never returns would keep the process from ending.

	Args:
		max_threads: The number of threads that may run at a time.
	"""

	def __init__(self, max_threads: int) -> None:
		self._max_threads = max_threads
		self._jobs: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]]] = (
			queue.SimpleQueue()
		)
		self._started = 0
		self._idle = 0
		self._lock = threading.Lock()

	def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
		"""Run `job` in a thread, and return a future of what it returns or raises."""
		future: concurrent.futures.Future[Any] = concurrent.futures.Future()
		with self._lock:
			start = self._idle <= self._jobs.qsize() and self._started < self._max_threads
			if start:
				self._started += 1
				self._idle += 1
		self._jobs.put((future, job))
		if start:
			threading.Thread(target=self._work, name=f"handlers-{self._started}", daemon=True).start()
		return asyncio.wrap_future(future)

	def _work(self) -> None:
		while True:
			future, job = self._jobs.get()
			if not future.set_running_or_notify_cancel():
				continue
			with self._lock:
				self._idle -= 1
			try:
				result = job()
			except BaseException as error:
				failure: BaseException | None = error
			else:
				failure = None
			with self._lock:
				self._idle += 1
			if failure is None:
				future.set_result(result)
			else:
				future.set_exception(failure)
			# Keep nothing of this job while waiting for the next one.
			del future, job, failure
			result = None
