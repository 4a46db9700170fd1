"""The timer wheel calls each item once, not early, and not after it was cancelled."""

from __future__ import annotations

import asyncio

from realtime.engine.timer_wheel import TimerWheel


class Item:
	def __init__(self, called: list[Item]) -> None:
		self.timer_slot: int | None = None
		self.called = called

	def on_timer(self) -> None:
		self.called.append(self)


def test_items_are_called_once_and_in_order() -> None:
	async def run() -> None:
		loop = asyncio.get_running_loop()
		timers = TimerWheel(0.001)
		called: list[Item] = []
		late, early, cancelled, moved = (Item(called) for _ in range(4))
		begun = loop.time()
		timers.schedule(late, 0.03)
		timers.schedule(early, 0.01)
		timers.schedule(cancelled, 0.01)
		timers.schedule(moved, 0.01)
		timers.schedule(moved, 0.02)
		timers.cancel(cancelled)
		timers.cancel(cancelled)
		while late not in called:
			await asyncio.sleep(0)
		assert loop.time() - begun >= 0.03
		assert called == [early, moved, late]
		assert all(item.timer_slot is None for item in (early, moved, late, cancelled))

	asyncio.run(asyncio.wait_for(run(), 10))


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
