"""A timer wheel: one asyncio timer for the timeouts of all connections.

`loop.call_later` for every ping of every connection costs a heap entry and a handle each. Here a ping costs a move from
one set to another, and one timer fires for all items of a slot. (G. Varghese, A. Lauck: Hashed and Hierarchical Timing
Wheels, 1987.)
"""

import asyncio
from math import ceil, inf
from typing import Protocol

MAX_LAG_TICKS = 5
"""The largest delay of the event loop, in ticks, that is subtracted from the next timeout of an item."""


class Timed(Protocol):
	"""An item that can be scheduled on the wheel."""

	timer_slot: int | None
	"""The slot in which the item waits. The wheel writes it; None while the item is not scheduled."""

	def on_timer(self) -> None:
		"""Handle the timeout."""


class TimerWheel:
	"""Calls `on_timer` of each scheduled item when its delay has passed, at most one tick late.

	Args:
		tick: The time that one slot covers, in seconds.
	"""

	def __init__(self, tick: float) -> None:
		self.tick = tick
		self._slots: dict[int, set[Timed]] = {}
		self._timer: asyncio.TimerHandle | None = None
		self._next_slot = 0
		"""The slot for which `_timer` is set."""
		self._slot_time = inf
		"""When the slot that is being processed was due; infinite outside of `_on_timer`."""

	def schedule(self, item: Timed, delay: float) -> None:
		"""Call `item.on_timer` in `delay` seconds; replaces an earlier schedule of the item."""
		self.cancel(item)
		loop = asyncio.get_running_loop()
		# An item that is rescheduled by a timeout counts from the time when that timeout was due, so that small delays of the
		# event loop do not add up. Large ones are not subtracted: a client must not have less time to respond because this
		# process was busy.
		now = loop.time()
		if self._slot_time < now:
			now = max(self._slot_time, now - MAX_LAG_TICKS * self.tick)
		slot = ceil((now + delay) / self.tick)
		items = self._slots.get(slot)
		if items is None:
			items = self._slots[slot] = set()
		items.add(item)
		item.timer_slot = slot
		if self._timer is None or slot < self._next_slot:
			self._set_timer(slot)

	def cancel(self, item: Timed) -> None:
		"""Cancel the schedule of `item`, if it has one."""
		if item.timer_slot is None:
			return
		items = self._slots.get(item.timer_slot)
		if items is not None:
			items.discard(item)
			if not items:
				del self._slots[item.timer_slot]
		item.timer_slot = None

	def stop(self) -> None:
		"""Cancel every schedule."""
		if self._timer is not None:
			self._timer.cancel()
			self._timer = None
		self._slots.clear()

	def _set_timer(self, slot: int) -> None:
		if self._timer is not None:
			self._timer.cancel()
		self._next_slot = slot
		self._timer = asyncio.get_running_loop().call_at(slot * self.tick, self._on_timer)

	def _on_timer(self) -> None:
		self._timer = None
		loop = asyncio.get_running_loop()
		now = loop.time() / self.tick
		for slot in sorted(slot for slot in self._slots if slot <= now):
			self._slot_time = slot * self.tick
			for item in self._slots.pop(slot, ()):
				# An item of this slot may have rescheduled or cancelled this one.
				if item.timer_slot == slot:
					item.timer_slot = None
					try:
						item.on_timer()
					except Exception as error:
						# As with a timer for each item, the others are called all the same.
						loop.call_exception_handler({"message": "a timeout has failed", "exception": error})
		self._slot_time = inf
		# An item that was scheduled meanwhile may have set the timer for a later slot than the first one.
		if self._slots and (self._timer is None or min(self._slots) < self._next_slot):
			self._set_timer(min(self._slots))
