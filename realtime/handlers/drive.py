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
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from sys import getrefcount
from typing import Any

Work = Coroutine[Any, Any, None]
Step = Callable[[Any], Any]

BUSY = object()
"""No step can be taken now: another task's has not ended, or the one that stands ready has not begun yet."""


class _Ready:
	"""A task that waits for work of which the first step is done."""

	__slots__ = ("context", "started", "task", "waiting", "wake", "work")

	def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
		self.work: Work | None = None
		self.context: Context
		self.waiting: Any = None
		"""What the first step waits for: a future, or None for the next turn of the loop."""
		self.started = False
		"""A task that is cancelled before it has begun would never do its work."""
		self.wake: asyncio.Future[None] = loop.create_future()
		self.task: asyncio.Task[None] = loop.create_task(_go_on(self))

	def take(self, work: Work, context: Context, waiting: Any) -> asyncio.Task[None]:
		self.work, self.context, self.waiting = work, context, waiting
		self.let_go()
		return self.task

	def let_go(self) -> None:
		"""Wait no more, for there is work, or there will be none."""
		# A handler may have cancelled its own task in the first step: then the second one hears of it.
		if not self.wake.done():
			self.wake.set_result(None)


async def _go_on(ready: _Ready) -> None:
	await _rest(ready)


@types.coroutine
def _rest(ready: _Ready) -> Generator[Any, Any, None]:
	ready.started = True
	cancelled: BaseException | None = None
	try:
		yield from ready.wake
	except asyncio.CancelledError as error:
		cancelled = error
	work = ready.work
	if work is None:
		return
	run = ready.context.run

	def throw(error: BaseException) -> Any:
		return run(work.throw, error)

	try:
		waiting = ready.waiting if cancelled is None else throw(cancelled)
	except StopIteration:
		return
	yield from _steps(lambda value: run(work.send, value), throw, waiting)


@types.coroutine
def _steps(send: Step, throw: Step, waiting: Any) -> Generator[Any, Any, Any]:
	"""Take step after step of a coroutine that waits for something; gives what it returns in the end."""
	try:
		while True:
			try:
				value = yield waiting
			except BaseException as error:
				waiting = throw(error)
			else:
				waiting = send(value)
	except StopIteration as end:
		return end.value


def resumed(work: Coroutine[Any, Any, Any], waiting: Any) -> Awaitable[Any]:
	"""What is left of `work`, of which a step has been done that ended with `waiting`; gives what `work` returns."""
	return _steps(work.send, work.throw, waiting)


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
		if not ready.started:
			return BUSY
		task = ready.task
		owners = getrefcount(task)
		try:
			_enter_task(loop, task)
		except RuntimeError:
			return BUSY
		waits = False
		try:
			waiting = context.run(work.send, None)
			waits = True
			return waiting
		finally:
			_leave_task(loop, task)
			if not waits and (getrefcount(task) > owners or ready.wake.done()):
				# What somebody who has kept the task does to it later is not meant for the handlers that it runs then.
				self._ready = None
				ready.let_go()

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
			self._ready.let_go()
			self._ready = None
