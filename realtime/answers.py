"""Answers that are kept for a while, each asked for once however many want it at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Answers(Generic[K, V]):
	"""Keeps at most `size` answers, each for `seconds`; the oldest goes first."""

	def __init__(self, seconds: float, size: int) -> None:
		self.seconds = seconds
		self.size = size
		self.asked = 0
		self.found = 0
		self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
		self._asking: dict[K, asyncio.Task[V]] = {}

	def __len__(self) -> int:
		return len(self._known)

	def known(self, key: K) -> V | None:
		"""The answer, when it is known and young enough."""
		entry = self._known.get(key)
		if entry is None:
			return None
		if entry[0] < asyncio.get_running_loop().time():
			del self._known[key]
			return None
		self.found += 1
		return entry[1]

	def remember(self, key: K, answer: V) -> None:
		"""Keep `answer` from now on."""
		self._known.pop(key, None)
		self._known[key] = (asyncio.get_running_loop().time() + self.seconds, answer)
		if len(self._known) > self.size:
			self._known.popitem(last=False)

	async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
		"""The answer to `key`, from `ask` when it is not known. What `ask` raises goes to all who wait, and is not kept."""
		answer = self.known(key)
		if answer is not None:
			return answer
		task = self._asking.get(key)
		if task is None:
			task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key, ask))
		# One who stops waiting does not take the answer from the others.
		return await asyncio.shield(task)

	async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
		self.asked += 1
		task = asyncio.current_task()
		try:
			answer = await ask()
			# Forgotten meanwhile: what it was asked on may not hold any more.
			if self._asking.get(key) is task:
				self.remember(key, answer)
			return answer
		finally:
			if self._asking.get(key) is task:
				del self._asking[key]

	def forget(self, concerned: Callable[[K, V | None], bool]) -> None:
		"""Drop the answers that are `concerned`; a question under way is asked again by the next who needs it."""
		for key, (_, answer) in list(self._known.items()):
			if concerned(key, answer):
				del self._known[key]
		for key in [key for key in self._asking if concerned(key, None)]:
			del self._asking[key]
