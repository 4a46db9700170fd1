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
		# All are kept equally long, so they expire in the order in which they came.
		self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
		self.asking: dict[K, asyncio.Task[V]] = {}
		"""The questions that are out."""
		self._doubted: set[K] = set()

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
		now = asyncio.get_running_loop().time()
		self._known.pop(key, None)
		self._known[key] = (now + self.seconds, answer)
		while self._known:
			oldest = next(iter(self._known))
			if self._known[oldest][0] >= now and len(self._known) <= self.size:
				break
			del self._known[oldest]

	async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
		"""The answer to `key`, from `ask` when it is not known. What `ask` raises goes to all who wait, and is not kept."""
		answer = self.known(key)
		if answer is not None:
			return answer
		task = self.asking.get(key)
		if task is None:
			task = self.asking[key] = asyncio.get_running_loop().create_task(self._ask(key, ask))
		# One who stops waiting does not take the answer from the others.
		return await asyncio.shield(task)

	async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
		try:
			while True:
				self.asked += 1
				self._doubted.discard(key)
				try:
					answer = await ask()
				except Exception:
					if key in self._doubted:
						continue
					raise
				if key not in self._doubted:
					self.remember(key, answer)
					return answer
		finally:
			self._doubted.discard(key)
			del self.asking[key]

	def forget(self, concerned: Callable[[K, V | None], bool]) -> None:
		"""Drop the answers that are `concerned`.

		What is being asked at this moment is asked again before anybody gets the answer: it may have been given before
		the change that makes us forget.
		"""
		for key, (_, answer) in list(self._known.items()):
			if concerned(key, answer):
				del self._known[key]
		for key in self.asking:
			if concerned(key, None):
				self._doubted.add(key)
