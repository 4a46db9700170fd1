"""An event loop with a virtual clock: timers expire as soon as the loop is idle, so that no test waits."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import pytest

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
	"""Advances the clock by the time that a real selector would wait."""

	def __init__(self) -> None:
		super().__init__()
		self.now = 1000.0

	def select(self, timeout: float | None = None) -> Any:
		if timeout is None:
			raise RuntimeError("the test waits for something that never happens")
		self.now += timeout
		return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
	"""An event loop whose time passes only while it is idle. It is for tests without real sockets and threads."""

	def __init__(self) -> None:
		self._virtual = _Selector()
		super().__init__(self._virtual)

	def time(self) -> float:
		return self._virtual.now


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
	"""Run a coroutine function as a test in a `VirtualLoop`."""

	@functools.wraps(test)
	def run(*args: P.args, **kwargs: P.kwargs) -> None:
		loop = VirtualLoop()
		try:
			loop.run_until_complete(test(*args, **kwargs))
			loop.run_until_complete(_cancel_tasks())
		finally:
			loop.close()

	return run


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
	"""Let so many seconds pass at once for the timers of the running event loop, whose time goes on in real time."""
	loop = asyncio.get_running_loop()
	now = loop.time
	monkeypatch.setattr(loop, "time", lambda: now() + seconds)


async def _cancel_tasks() -> None:
	tasks = asyncio.all_tasks() - {asyncio.current_task()}
	for task in tasks:
		task.cancel()
	await asyncio.gather(*tasks, return_exceptions=True)


async def turns(count: int = 10) -> None:
	"""Let the loop run `count` iterations; no time passes."""
	for _ in range(count):
		await asyncio.sleep(0)
