"""The event queue of a socket: the order of events, and the bounds of those that wait."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from frappe_realtime.handlers.registry import current_app
from realtime.memory import memory_of
from tests.unit.handlers.fakes import settle
from tests.unit.handlers.queues import EAGER, AppOfOneSocket, run


def test_a_handler_that_does_not_wait_runs_at_once() -> None:
	"""From Python 3.12 on, in the call that queues the event; before that, in the next iteration of the loop."""

	async def scenario() -> None:
		one = AppOfOneSocket()

		async def handler(socket: Any, number: int) -> None:
			one.ran.append((number, current_app.get(), asyncio.current_task() is not None))

		one.on("go", handler)
		one.push("go", 1)
		assert one.ran == ([(1, "app", True)] if EAGER else [])
		assert bool(one.executor.tasks()) is not EAGER
		await settle()
		assert one.ran == [(1, "app", True)]
		assert one.executor.tasks() == []
		assert one.queue.worker is None

	run(scenario)


def test_an_eager_handler_does_not_become_the_current_task_of_its_caller() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()
		caller = asyncio.current_task()
		tasks: list[Any] = []

		async def handler(socket: Any) -> None:
			tasks.append(asyncio.current_task())
			await asyncio.sleep(0)
			tasks.append(asyncio.current_task())

		one.on("go", handler)
		one.push("go")
		assert asyncio.current_task() is caller
		await one.finish()
		assert tasks[0] is tasks[1] is not caller

	run(scenario)


def test_events_are_handled_in_order_one_at_a_time() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket()

		async def slow(socket: Any, number: int) -> None:
			one.ran.append(f"{number} starts")
			await asyncio.sleep(0.001 * (3 - number))
			one.ran.append(f"{number} ends")

		def plain(socket: Any, number: int) -> None:
			one.ran.append(
				f"{number} in a thread: {threading.current_thread() is not threading.main_thread()}"
			)

		one.on("slow", slow)
		one.on("plain", plain)
		one.push("slow", 1)
		one.push("plain", 2)
		one.push("slow", 3)
		await one.finish()
		assert one.ran == ["1 starts", "1 ends", "2 in a thread: True", "3 starts", "3 ends"]

	run(scenario)


def test_a_full_queue_drops_events_except_disconnect(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue=2)
		gate = asyncio.Event()

		async def handler(socket: Any, number: Any) -> None:
			await gate.wait()
			one.ran.append(number)

		one.on("go", handler)
		one.on("disconnect", handler)
		one.push("go", 0)
		await settle()
		for number in range(1, 5):
			one.push("go", number)
		one.queue.push_lifecycle("disconnect", "reason")
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, "reason"]
		assert one.executor.counters.dropped == {"realtime_handler_queue": 2}

	run(scenario)
	assert caplog.text.count("2 events wait already (realtime_handler_queue)") == 1


def test_queued_events_are_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue_bytes=10_000)
		gate = asyncio.Event()

		async def handler(socket: Any, number: int, text: str = "") -> None:
			await gate.wait()
			one.ran.append(number)

		one.on("go", handler)
		# The first event does not wait.
		one.push("go", 0, "x" * 100_000)
		await settle()
		for number, size in enumerate((4000, 4000, 4000, 1000, 1000), 1):
			one.push("go", number, "x" * size)
		one.push("go", 6, [[]] * 200)
		assert one.executor.counters.dropped == {"realtime_handler_queue_bytes": 3}
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, 4]
		# There is space again.
		gate.clear()
		one.push("go", 7)
		await settle()
		one.push("go", 8, "x" * 9000)
		gate.set()
		await one.finish()
		assert one.ran == [0, 1, 2, 4, 7, 8]

	run(scenario)
	assert "would take more than 10000 bytes (realtime_handler_queue_bytes)" in caplog.text


@pytest.mark.parametrize(
	("value", "least", "most"),
	[
		([], 56, 200),
		(["x" * 1000], 1000, 1200),
		([b"x" * 1000], 1000, 1200),
		([{"key" * 100: {"a": ["x" * 1000]}}], 1300, 2500),
		([[[]] * 1000], 64_000, 80_000),
		([None, True, 1, 1.5], 80, 300),
	],
)
def test_memory_of_arguments(value: list[Any], least: int, most: int) -> None:
	assert least <= memory_of(value, 1_000_000) <= most


def test_counting_memory_stops_at_the_limit() -> None:
	assert 1000 < memory_of([["x" * 100] * 1_000_000, "y"], 1000) < 9_000_000


def test_queued_events_of_a_disconnected_client_are_dropped() -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(queue_bytes=10_000)
		gate = asyncio.Event()

		async def handler(socket: Any, what: Any = "connect") -> None:
			await gate.wait()
			one.ran.append(what)

		for event in ("go", "connect", "disconnect"):
			one.on(event, handler)
		# Also before Python 3.12, where the first handler starts in the next iteration of the loop.
		one.push("go", 0)
		one.push("go", 1, "x" * 5000)
		one.queue.push_lifecycle("connect")
		one.queue.drop_client_events()
		one.queue.push_lifecycle("disconnect", "reason")
		gate.set()
		await one.finish()
		assert one.ran == [0, "connect", "reason"]
		assert one.executor.counters.dropped == {}

	run(scenario)


def test_the_next_event_does_not_wait_for_a_slow_handler(caplog: pytest.LogCaptureFixture) -> None:
	async def scenario() -> None:
		one = AppOfOneSocket(seconds=0.01)
		gate = asyncio.Event()

		async def slow(socket: Any) -> None:
			await gate.wait()
			one.ran.append("slow")

		async def fast(socket: Any) -> None:
			one.ran.append("fast")

		one.on("slow", slow)
		one.on("fast", fast)
		one.push("slow")
		one.push("fast")
		# The time of a handler counts from its first step, which is in the next turn before Python 3.12.
		await settle()
		await asyncio.sleep(0.02)
		one.executor.report_slow_handlers()
		await settle()
		assert one.ran == ["fast"]
		# It is reported once, and events that come later are handled at once.
		one.executor.report_slow_handlers()
		one.push("fast")
		await settle()
		assert one.ran == ["fast", "fast"]
		gate.set()
		await one.finish()
		assert one.ran == ["fast", "fast", "slow"]
		assert one.executor.counters.slow == 1

	run(scenario)
	assert "a handler of 'slow' runs for more than 0.01 s" in caplog.text


def test_a_handler_is_not_slow_before_its_first_step() -> None:
	"""Before Python 3.12 it is taken in the next iteration of the loop, and slow handlers may be looked for before."""

	async def scenario() -> None:
		one = AppOfOneSocket()

		async def handler(socket: Any) -> None:
			await asyncio.sleep(0)

		one.on("go", handler)
		one.push("go")
		one.executor.report_slow_handlers()
		assert one.executor.counters.slow == 0
		await one.finish()

	run(scenario)
