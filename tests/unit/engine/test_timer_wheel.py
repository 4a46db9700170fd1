"""The timer wheel calls each item once, not early, and not after it was cancelled."""

from __future__ import annotations

import asyncio

from realtime.engine.timer_wheel import TimerWheel
from tests.unit.virtual_time import in_virtual_time

TICK = 2.0**-10
"""Seconds. Sums and multiples of it are exact."""


class Item:
	def __init__(self, called: list[Item]) -> None:
		self.timer_slot: int | None = None
		self.called = called

	def on_timer(self) -> None:
		self.called.append(self)


@in_virtual_time
async def test_items_are_called_once_and_in_order() -> None:
	loop = asyncio.get_running_loop()
	timers = TimerWheel(TICK)
	called: list[Item] = []
	late, early, cancelled, moved = (Item(called) for _ in range(4))
	begun = loop.time()
	timers.schedule(late, 30 * TICK)
	timers.schedule(early, 10 * TICK)
	timers.schedule(cancelled, 10 * TICK)
	timers.schedule(moved, 10 * TICK)
	timers.schedule(moved, 20 * TICK)
	timers.cancel(cancelled)
	timers.cancel(cancelled)
	while late not in called:
		await asyncio.sleep(TICK)
	assert loop.time() - begun >= 30 * TICK
	assert called == [early, moved, late]
	assert all(item.timer_slot is None for item in (early, moved, late, cancelled))


def test_item_cancels_others_of_its_slot() -> None:
	async def run() -> None:
		timers = TimerWheel(0.001)
		called: list[Item] = []
		first, second = Item(called), Item(called)

		class Canceller(Item):
			def on_timer(self) -> None:
				called.append(self)
				for item in (first, second):
					timers.cancel(item)

		canceller = Canceller(called)
		for item in (first, canceller, second):
			timers.schedule(item, 0.01)
		while canceller not in called:
			await asyncio.sleep(0)
		assert called.count(canceller) == 1
		assert called[-1] is canceller

	asyncio.run(asyncio.wait_for(run(), 10))


def test_item_that_reschedules_itself_does_not_delay_others() -> None:
	async def run() -> None:
		timers = TimerWheel(0.001)
		called: list[Item] = []
		waiting = Item(called)

		class Rescheduled(Item):
			def on_timer(self) -> None:
				timers.schedule(self, 60)

		timers.schedule(Rescheduled(called), 0.01)
		timers.schedule(waiting, 0.02)
		while not called:
			await asyncio.sleep(0)
		timers.stop()

	asyncio.run(asyncio.wait_for(run(), 10))


def test_item_that_fails_does_not_keep_others_from_being_called() -> None:
	async def run() -> None:
		failures: list[BaseException] = []
		asyncio.get_running_loop().set_exception_handler(
			lambda loop, context: failures.append(context["exception"])
		)
		timers = TimerWheel(0.001)
		called: list[Item] = []

		class Failing(Item):
			def on_timer(self) -> None:
				raise ValueError

		for item in (Failing(called), Item(called), Failing(called), Item(called)):
			timers.schedule(item, 0.01)
		timers.schedule(Item(called), 0.02)
		while len(called) < 3:
			await asyncio.sleep(0)
		assert [type(error) for error in failures] == [ValueError, ValueError]

	asyncio.run(asyncio.wait_for(run(), 10))
