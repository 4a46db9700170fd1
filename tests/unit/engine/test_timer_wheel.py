"""The wheel: everything that waits is called once, not before its time, and not when it was cancelled."""

from __future__ import annotations

import asyncio

from realtime.engine.timer_wheel import TimerWheel


class Item:
	def __init__(self, called: list[Item]) -> None:
		self.slot: int | None = None
		self.called = called

	def on_timer(self) -> None:
		self.called.append(self)


def test_what_waits_is_called_once_and_in_time() -> None:
	async def run() -> None:
		loop = asyncio.get_running_loop()
		wheel = TimerWheel(0.001)
		called: list[Item] = []
		late, early, cancelled, moved = (Item(called) for _ in range(4))
		begun = loop.time()
		wheel.schedule(late, 0.03)
		wheel.schedule(early, 0.01)
		wheel.schedule(cancelled, 0.01)
		wheel.schedule(moved, 0.01)
		wheel.schedule(moved, 0.02)
		wheel.cancel(cancelled)
		wheel.cancel(cancelled)
		while late not in called:
			await asyncio.sleep(0)
		assert loop.time() - begun >= 0.03
		assert called == [early, moved, late]
		assert all(item.slot is None for item in (early, moved, late, cancelled))

	asyncio.run(asyncio.wait_for(run(), 10))


def test_one_of_a_slot_may_cancel_another() -> None:
	async def run() -> None:
		wheel = TimerWheel(0.001)
		called: list[Item] = []
		first, second = Item(called), Item(called)

		class Canceller(Item):
			def on_timer(self) -> None:
				called.append(self)
				for item in (first, second):
					wheel.cancel(item)

		canceller = Canceller(called)
		for item in (first, canceller, second):
			wheel.schedule(item, 0.01)
		while canceller not in called:
			await asyncio.sleep(0)
		assert called.count(canceller) == 1
		assert called[-1] is canceller

	asyncio.run(asyncio.wait_for(run(), 10))


def test_one_that_is_scheduled_by_another_does_not_delay_those_that_wait() -> None:
	async def run() -> None:
		wheel = TimerWheel(0.001)
		called: list[Item] = []
		waiting = Item(called)

		class Again(Item):
			def on_timer(self) -> None:
				wheel.schedule(self, 60)

		wheel.schedule(Again(called), 0.01)
		wheel.schedule(waiting, 0.02)
		while not called:
			await asyncio.sleep(0)
		wheel.stop()

	asyncio.run(asyncio.wait_for(run(), 10))
