"""A thread pool for plain `def` handlers."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from .loop_calls import LoopCalls

CHECK_SECONDS = 0.001
"""Seconds in which no waiting job was started, after which further threads take jobs."""


class ThreadPool:
	"""Runs jobs in up to `max_threads` daemon threads.

	One thread takes the jobs one after the other while they are short. Threads that share them would mostly wait for each other's
	global interpreter lock, at the price of two context switches for each job. Further threads take jobs when those that run
	take longer than `CHECK_SECONDS`, or wait for the event loop.

	`concurrent.futures.ThreadPoolExecutor` is not used because the interpreter joins its threads on exit: a handler that
	never returns would keep the process from ending.

	Args:
		max_threads: The number of threads that may run at a time.
		loop: The event loop.
		calls: Sets the results on the event loop.
	"""

	def __init__(self, max_threads: int, loop: asyncio.AbstractEventLoop, calls: LoopCalls) -> None:
		self._max_threads = max_threads
		self._loop = loop
		self._calls = calls
		self._jobs: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
		self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
		self._lock = threading.Lock()
		self._started = 0
		self._threads: set[int | None] = set()
		self._asleep = 0
		"""Threads that wait for `_wake`."""
		self._active = 0
		"""Threads that take jobs, and do not wait for the event loop."""
		self._taken = 0
		"""Jobs that were started so far."""
		self._taken_before = 0
		"""Their number at the last check."""
		self._check_timer: asyncio.TimerHandle | None = None

	def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
		"""Run `job` in a thread, and return a future of what it returns or raises. For the event loop."""
		future: asyncio.Future[Any] = self._loop.create_future()
		with self._lock:
			self._jobs.append((future, job))
			if not self._active:
				self._activate()
			elif self._check_timer is None:
				self._check_soon()
		return future

	def wake_loop(self) -> None:
		"""Wake the event loop for calls that do not have to wait, unless a check will make them soon.

		While jobs wait, each switch between a thread and the event loop costs more than a short job.
		"""
		if not self._jobs or self._check_timer is None:
			self._calls.wake()

	def leave(self) -> None:
		"""Let another thread take jobs: this one, if it is one of the pool, waits for the event loop."""
		if threading.get_ident() in self._threads:
			with self._lock:
				self._active -= 1
				if self._jobs and not self._active:
					self._activate()

	def enter(self) -> None:
		"""Take jobs again after `leave`."""
		if threading.get_ident() in self._threads:
			with self._lock:
				self._active += 1

	def _activate(self) -> None:
		"""Let one more thread take jobs, if there may be one; the lock is held."""
		if self._asleep:
			self._asleep -= 1
		elif self._started < self._max_threads:
			name = f"handlers-{self._started + 1}"
			threading.Thread(target=self._work, name=name, daemon=True).start()
			self._started += 1
		else:
			return
		self._active += 1
		self._wake.put(None)

	def _check_soon(self) -> None:
		self._taken_before = self._taken
		self._check_timer = self._loop.call_later(CHECK_SECONDS, self._check)

	def _check(self) -> None:
		# In this order: a thread that adds a call after `run` finds no check, and wakes the event loop itself.
		self._check_timer = None
		self._calls.run()
		with self._lock:
			if not self._jobs:
				return
			if self._taken == self._taken_before:
				for _ in range(len(self._jobs)):
					self._activate()
			self._check_soon()

	def _work(self) -> None:
		self._threads.add(threading.get_ident())
		while True:
			self._wake.get()
			while True:
				with self._lock:
					if not self._jobs:
						self._active -= 1
						self._asleep += 1
						break
					future, job = self._jobs.popleft()
					self._taken += 1
				if future.cancelled():
					continue
				try:
					result = job()
				except BaseException as error:
					self._calls.add(_set_exception, future, error)
				else:
					self._calls.add(_set_result, future, result)
				self.wake_loop()
				# Keep nothing of this job while waiting for the next one.
				del future, job
				result = None


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
	if not future.done():
		future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
	if not future.done():
		# A future cannot raise StopIteration: it would end the coroutine that awaits it.
		future.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
