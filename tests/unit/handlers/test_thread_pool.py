"""The threads of plain handlers, and what they ask the event loop for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from realtime.handlers import thread_pool
from realtime.handlers.loop_bridge import MAX_WAITING, LoopBridge
from realtime.handlers.loop_calls import LoopCalls
from realtime.handlers.thread_pool import ThreadPool

PATIENCE = 20.0
"""Seconds after which a thread or the event loop has waited in vain."""


class Threads:
	"""The threads of one event loop."""

	def __init__(self, most: int) -> None:
		loop = asyncio.get_running_loop()
		self.calls = LoopCalls(loop)
		self.pool = ThreadPool(most, loop, self.calls)
		self.bridge = LoopBridge(self.calls, self.pool)


def run(scenario: Callable[[Threads], Awaitable[None]], most: int = 4) -> None:
	"""Run a scenario with threads."""

	async def main() -> None:
		await asyncio.wait_for(scenario(Threads(most)), PATIENCE)

	asyncio.run(main())


@pytest.fixture
def no_check(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Let no further thread take jobs because those that run take long."""
	monkeypatch.setattr(thread_pool, "CHECK_SECONDS", 3600)


def test_results_and_exceptions() -> None:
	async def scenario(it: Threads) -> None:
		assert await it.pool.run(lambda: 1) == 1
		with pytest.raises(ZeroDivisionError):
			await it.pool.run(lambda: 1 // 0)
		with pytest.raises(SystemExit):
			await it.pool.run(lambda: exec("raise SystemExit"))
		with pytest.raises(RuntimeError, match="StopIteration"):
			await it.pool.run(lambda: next(iter(())))
		assert await it.pool.run(lambda: 2) == 2

	run(scenario)


@pytest.mark.usefixtures("no_check")
def test_short_jobs_share_one_thread_and_run_in_order() -> None:
	async def scenario(it: Threads) -> None:
		started: list[int] = []

		def job(number: int) -> int:
			started.append(number)
			return threading.get_ident()

		jobs = [it.pool.run(lambda number=number: job(number)) for number in range(100)]  # type: ignore[misc]
		assert len(set(await asyncio.gather(*jobs))) == 1
		assert started == list(range(100))

	run(scenario)


def test_a_job_that_takes_long_does_not_keep_others_waiting() -> None:
	async def scenario(it: Threads) -> None:
		first, second = threading.Event(), threading.Event()
		jobs = [it.pool.run(lambda one=one: one.wait(PATIENCE)) for one in (first, second)]  # type: ignore[misc]
		assert await it.pool.run(lambda: 3) == 3
		first.set()
		second.set()
		assert await asyncio.gather(*jobs) == [True, True]

	run(scenario)


def test_no_more_threads_than_allowed() -> None:
	async def scenario(it: Threads) -> None:
		goes_on, running = threading.Event(), threading.Semaphore(0)

		def job() -> int:
			running.release()
			goes_on.wait(PATIENCE)
			return threading.get_ident()

		jobs = [it.pool.run(job) for _ in range(9)]
		for _ in range(3):
			await asyncio.to_thread(running.acquire, timeout=PATIENCE)
		goes_on.set()
		assert len(set(await asyncio.gather(*jobs))) == 3

	run(scenario, most=3)


@pytest.mark.usefixtures("no_check")
def test_a_cancelled_job_does_not_start() -> None:
	async def scenario(it: Threads) -> None:
		goes_on = threading.Event()
		started: list[int] = []
		before = it.pool.run(lambda: goes_on.wait(PATIENCE))
		it.pool.run(lambda: started.append(1)).cancel()
		after = it.pool.run(lambda: started.append(2))
		goes_on.set()
		assert await before
		await after
		assert started == [2]

	run(scenario)


def test_the_result_of_a_job_whose_future_was_cancelled_meanwhile_is_dropped() -> None:
	async def scenario(it: Threads) -> None:
		running, goes_on = threading.Event(), threading.Event()

		def job() -> None:
			running.set()
			goes_on.wait(PATIENCE)

		future = it.pool.run(job)
		await asyncio.to_thread(running.wait, PATIENCE)
		future.cancel()
		goes_on.set()
		assert await it.pool.run(lambda: "next") == "next"

	run(scenario, most=1)


# -- what threads ask the event loop for


@pytest.mark.usefixtures("no_check")
def test_a_thread_that_waits_for_the_event_loop_lets_another_one_take_jobs() -> None:
	async def scenario(it: Threads) -> None:
		answered = asyncio.get_running_loop().create_future()
		first = it.pool.run(lambda: it.bridge.run(lambda: answered))
		second = it.pool.run(lambda: it.bridge.run(lambda: answered.set_result("answer")))
		assert list(await asyncio.gather(first, second)) == ["answer", None]
		while it.pool._active:
			await asyncio.sleep(0.001)
		queued = threading.Event()

		def job() -> int:
			# A thread that has no job left lets the other one take those that are queued later.
			queued.wait(PATIENCE)
			return threading.get_ident()

		jobs = [it.pool.run(job) for _ in range(20)]
		queued.set()
		assert len(set(await asyncio.gather(*jobs))) == 1

	run(scenario)


def test_what_is_posted_comes_before_later_calls_and_before_the_result() -> None:
	async def scenario(it: Threads) -> None:
		order: list[str] = []

		def job() -> None:
			for number in range(3):
				assert it.bridge.post(lambda number=number: order.append(f"posted {number}")) is None  # type: ignore[misc]
			it.bridge.run(lambda: order.append("asked"))
			it.bridge.post(lambda: order.append("last"))

		await it.pool.run(job)
		assert order == ["posted 0", "posted 1", "posted 2", "asked", "last"]

	run(scenario)


def test_a_thread_that_posts_much_waits_for_the_event_loop() -> None:
	async def scenario(it: Threads) -> None:
		most, count = 0, 0

		def action() -> None:
			nonlocal most, count
			most, count = max(most, it.calls.waiting), count + 1

		def job() -> None:
			for _ in range(20 * MAX_WAITING):
				it.bridge.post(action)

		await it.pool.run(job)
		assert count == 20 * MAX_WAITING
		assert most <= MAX_WAITING

	run(scenario)


def test_threads_that_are_not_of_the_pool_may_use_the_event_loop() -> None:
	async def scenario(it: Threads) -> None:
		assert await asyncio.to_thread(it.bridge.run, lambda: 1) == 1
		assert await asyncio.gather(*[it.pool.run(lambda: 2) for _ in range(5)]) == [2] * 5

	run(scenario)


def test_a_call_runs_in_the_context_of_its_thread_whoever_has_woken_the_event_loop() -> None:
	"""By the context, `socket.on` knows the app."""
	app: ContextVar[str] = ContextVar("app", default="another")

	async def scenario(it: Threads) -> None:
		found: list[str] = []

		def ask() -> None:
			app.set("of the thread")
			found.append(it.bridge.run(app.get))

		it.calls.wake()
		thread = threading.Thread(target=ask)
		thread.start()
		# The event loop is busy here, so the call waits.
		while not it.calls.waiting:
			pass
		await asyncio.to_thread(thread.join, PATIENCE)
		assert found == ["of the thread"]

	run(scenario)


def test_on_the_event_loop_everything_runs_at_once() -> None:
	async def scenario(it: Threads) -> None:
		order: list[int] = []
		awaitable = it.bridge.post(lambda: order.append(1))
		assert order == [1]
		assert awaitable is not None
		await awaitable
		assert it.bridge.run(lambda: 2) == 2

	run(scenario)


def test_a_call_that_raises_does_not_hold_up_later_ones() -> None:
	async def scenario(it: Threads) -> None:
		loop = asyncio.get_running_loop()
		raised: list[BaseException] = []
		loop.set_exception_handler(lambda loop, context: raised.append(context["exception"]))
		made = loop.create_future()

		def fail() -> None:
			raise ZeroDivisionError

		it.calls.add(fail)
		it.calls.add(made.set_result, "made")
		it.calls.wake()
		assert await made == "made"
		assert [type(one) for one in raised] == [ZeroDivisionError]

	run(scenario)


def test_a_call_that_waits_when_the_server_stops_is_not_made() -> None:
	async def scenario(it: Threads) -> None:
		made: list[int] = []
		raised: list[BaseException] = []

		def wait() -> None:
			try:
				it.bridge.run(lambda: made.append(1))
			except BaseException as error:
				raised.append(error)

		thread = threading.Thread(target=wait)
		thread.start()
		# The event loop is busy here, so the call waits.
		while not it.calls.waiting:
			pass
		it.bridge.stop()
		thread.join(PATIENCE)
		assert [type(one) for one in raised] == [concurrent.futures.CancelledError]
		assert await it.pool.run(lambda: it.bridge.run(lambda: 2)) == 2
		assert made == []

	run(scenario)
