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

BUSY = object()
"""A task runs, and its step has to end before another one's."""


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


@types.coroutine
def resumed(work: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
	"""Goes on with `work`, of which a step has been done that ended with `waiting`; gives what it returns."""
	try:
		while True:
			try:
				value = yield waiting
			except BaseException as error:
				waiting = work.throw(error)
			else:
				waiting = work.send(value)
	except StopIteration as end:
		return end.value


class Driver:
	"""Drives coroutines on the running loop."""

	def __init__(self) -> None:
		self._loop = asyncio.get_running_loop()
		self._ready: _Ready | None = None

	def step(self, work: Coroutine[Any, Any, Any], context: Context) -> Any:
		"""Run the first step of `work` in `context`; returns what it waits for, and `BUSY` when it was not begun.

		Raises what `work` raises, and StopIteration with what it returns when it has ended.
		"""
		loop = self._loop
		ready = self._ready
		if ready is None:
			ready = self._ready = _Ready(loop)
		try:
			_enter_task(loop, ready.task)
		except RuntimeError:
			return BUSY
		try:
			return context.run(work.send, None)
		finally:
			_leave_task(loop, ready.task)

	def go_on(self, work: Work, context: Context, waiting: Any) -> asyncio.Task[None]:
		"""The task whose step has ended with `waiting` does the rest of `work`."""
		ready, self._ready = self._ready, None
		assert ready is not None
		return ready.take(work, context, waiting)

	def start(self, work: Work, context: Context) -> asyncio.Task[None] | None:
		"""Run `work` in `context`, its first step at once; returns the task that does the rest, None when there is none."""
		try:
			waiting = self.step(work, context)
		except StopIteration:
			return None
		if waiting is BUSY:
			return context.run(self._loop.create_task, work)
		return self.go_on(work, context, waiting)

	def stop(self) -> None:
		"""Let go of the task that stands ready."""
		if self._ready is not None:
			self._ready.task.cancel()
			self._ready = None
