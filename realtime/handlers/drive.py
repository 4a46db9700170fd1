"""Runs coroutines that seldom wait: the first step at once, and a task only for what is left of it.

Most handlers join a room or send an event and are done. A task for each of them would cost more than they do. The
first step runs as the step of a task that stands ready; when the coroutine ends in it, the task stands ready for the
next one, and when it waits, the task goes on with it. So `asyncio.current_task()` is right from the beginning, and
`asyncio.timeout` and its like work.
"""

from __future__ import annotations

import asyncio
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any

Work = Coroutine[Any, Any, None]


class _Ready:
	"""A task that waits for work of which the first step is done."""

	__slots__ = ("context", "task", "waiting", "wake", "work")

	def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
		self.work: Work | None = None
		self.context: Context
		self.waiting: Any = None
		"""What the first step waits for: a future, or None for the next turn of the loop."""
		self.wake: asyncio.Future[None] = loop.create_future()
		self.task: asyncio.Task[None] = loop.create_task(_go_on(self))

	def take(self, work: Work, context: Context, waiting: Any) -> asyncio.Task[None]:
		self.work, self.context, self.waiting = work, context, waiting
		self.wake.set_result(None)
		return self.task


async def _go_on(ready: _Ready) -> None:
	await _rest(ready)


@types.coroutine
def _rest(ready: _Ready) -> Generator[Any, Any, None]:
	cancelled: BaseException | None = None
	try:
		yield from ready.wake
	except asyncio.CancelledError as error:
		if ready.work is None:
			raise
		cancelled = error
	work, run, waiting = ready.work, ready.context.run, ready.waiting
	assert work is not None
	try:
		if cancelled is not None:
			waiting = run(work.throw, cancelled)
		while True:
			try:
				value = yield waiting
			except BaseException as error:
				waiting = run(work.throw, error)
			else:
				waiting = run(work.send, value)
	except StopIteration:
		return


class Driver:
	"""Drives coroutines on the running loop."""

	def __init__(self) -> None:
		self._loop = asyncio.get_running_loop()
		self._ready: _Ready | None = None

	def start(self, work: Work, context: Context) -> asyncio.Task[None] | None:
		"""Run the first step of `work` in `context`; returns the task that does the rest, None when there is none."""
		loop = self._loop
		if asyncio.current_task(loop) is not None:
			return context.run(loop.create_task, work)
		ready = self._ready or _Ready(loop)
		self._ready = None
		task = ready.task
		_enter_task(loop, task)
		try:
			waiting = context.run(work.send, None)
		except StopIteration:
			self._ready = ready
			return None
		finally:
			_leave_task(loop, task)
		return ready.take(work, context, waiting)

	def stop(self) -> None:
		"""Let go of the task that stands ready."""
		if self._ready is not None:
			self._ready.task.cancel()
			self._ready = None
