"""One timer for all connections: each waits in the slot of the moment when something is due.

A `loop.call_later` for every ping of every connection costs a heap entry and a handle each; here a ping costs a
move from one set to another, and one timer wakes for a whole slot.
"""

import asyncio
from math import ceil, inf
from typing import Protocol

FORGIVEN = 5
"""Grains that the loop may be late with an item before what follows from it is late too."""


class Timed(Protocol):
	"""What can wait on the wheel: it has a place for its slot, and is called when its moment has come."""

	slot: int | None

	def on_timer(self) -> None: ...


class TimerWheel:
	"""Calls `on_timer` of each item at most `grain` seconds after its delay has passed."""

	def __init__(self, grain: float) -> None:
		self.grain = grain
		self._slots: dict[int, set[Timed]] = {}
		self._timer: asyncio.TimerHandle | None = None
		self._due = 0
		self._moment = inf
		"""When the items that are being called were due."""

	def schedule(self, item: Timed, delay: float) -> None:
		"""Let `item` wait for `delay` seconds; what it was waiting for before is forgotten."""
		self.cancel(item)
		loop = asyncio.get_running_loop()
		# What follows from another moment counts from that one, so that small delays of the loop do not add up. Large ones
		# do count: a client must not have less time to answer because this process was busy.
		now = loop.time()
		now = min(now, max(self._moment, now - FORGIVEN * self.grain))
		slot = ceil((now + delay) / self.grain)
		waiting = self._slots.get(slot)
		if waiting is None:
			waiting = self._slots[slot] = set()
		waiting.add(item)
		item.slot = slot
		if self._timer is None or slot < self._due:
			self._arm(slot)

	def cancel(self, item: Timed) -> None:
		"""Forget `item`; does nothing when it is not waiting."""
		if item.slot is None:
			return
		waiting = self._slots.get(item.slot)
		if waiting is not None:
			waiting.discard(item)
			if not waiting:
				del self._slots[item.slot]
		item.slot = None

	def stop(self) -> None:
		"""Forget every item."""
		if self._timer is not None:
			self._timer.cancel()
			self._timer = None
		self._slots.clear()

	def _arm(self, slot: int) -> None:
		if self._timer is not None:
			self._timer.cancel()
		self._due = slot
		self._timer = asyncio.get_running_loop().call_at(slot * self.grain, self._turn)

	def _turn(self) -> None:
		self._timer = None
		now = asyncio.get_running_loop().time() / self.grain
		for slot in sorted(slot for slot in self._slots if slot <= now):
			self._moment = slot * self.grain
			for item in self._slots.pop(slot, ()):
				# An item that an earlier one of this slot has moved or cancelled is not due any more.
				if item.slot == slot:
					item.slot = None
					item.on_timer()
		self._moment = inf
		# What was scheduled meanwhile may have armed the timer for a later slot than the first.
		if self._slots and (self._timer is None or min(self._slots) < self._due):
			self._arm(min(self._slots))
