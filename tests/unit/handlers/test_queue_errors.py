"""The event queue of a socket: handlers that raise, and the end of the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.handlers.fakes import settle
from tests.unit.handlers.queues import ERRORS, AppOfOneSocket, run


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "plain", "after waiting", "middleware", "listener"])
def test_an_exception_ends_only_its_own_handler(kind: str, error: BaseException) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def failing(*_: Any) -> None:
			if kind == "after waiting":
				await asyncio.sleep(0)
			raise error

		def failing_in_thread(*_: Any) -> None:
			raise error

		async def next_handler(socket: Any) -> None:
			one.ran.append("next handler")

		async def next_event(socket: Any) -> None:
			one.ran.append("next event")

		if kind == "middleware":
			one.queue.middleware.append(
				lambda event, arguments: failing_in_thread() if event == "go" else None
			)
		elif kind == "listener":
			one.listen("go", failing)
		else:
			one.on("go", failing_in_thread if kind == "plain" else failing)
		one.on("go", next_handler)
		one.on("later", next_event)
		one.push("go")
		one.push("later")
		await one.finish()
		assert one.ran == (["next event"] if kind == "middleware" else ["next handler", "next event"])
		assert [type(failure) for failure in one.failures] == [type(error)]
		assert one.executor.counters.failures == 1

	run(scenario)


def test_a_cancelled_future_does_not_stop_the_queue() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

		async def waiting(socket: Any) -> None:
			await future

		async def later(socket: Any) -> None:
			one.ran.append("later")

		one.on("wait", waiting)
		one.on("later", later)
		one.push("wait")
		one.push("later")
		await settle()
		future.cancel()
		await one.finish()
		assert one.ran == ["later"]

	run(scenario)


def test_a_stop_cancels_running_handlers_and_handles_no_more_events() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def waiting(socket: Any) -> None:
			try:
				await asyncio.Event().wait()
			finally:
				one.ran.append("cancelled")

		one.on("wait", waiting)
		one.push("wait")
		one.push("wait")
		await settle()
		one.executor.stop()
		await settle()
		assert one.ran == ["cancelled"]
		assert one.failures == []

	run(scenario)
