"""A cache of answers that are expensive to get: each key is asked for once, however many callers want it at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from frappe_realtime.errors import WebUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_ATTEMPTS = 8
"""Attempts of one load. Each further attempt is made because the value was invalidated while it was being loaded."""

FIRST_PAUSE = 0.05
"""Seconds before the third attempt; each later pause is twice as long, which makes about 3 s in all."""


class Unsettled(WebUnavailable):
	"""The value was invalidated during each of `MAX_ATTEMPTS` attempts to load it, so none of them can be trusted."""


@dataclass(slots=True)
class _Load(Generic[V]):
	"""One load under way, for all callers that wait for it."""

	task: asyncio.Task[V]
	waiters: int = 0
	stale: bool = False
	"""Invalidated since the current attempt began: what this attempt returns may be from before the change."""


class SingleFlightCache(Generic[K, V]):
	"""Keeps values for a time, and loads each missing one once for all callers that want it.

	A value that is invalidated while it is being loaded is loaded again, at most `MAX_ATTEMPTS` times and with growing
	pauses. A load that no caller waits for any more is cancelled.

	Args:
		ttl: Seconds for which a value is kept.
		max_entries: Values that are kept; the oldest is dropped first.
		is_final: Returns True for a value that no invalidation can make wrong, which is then not loaded again.
		group_of: Returns the group of a key, for `invalidate_group`; None if there are no groups.
	"""

	def __init__(
		self,
		ttl: float,
		max_entries: int,
		is_final: Callable[[V], bool] = lambda value: False,
		group_of: Callable[[K], Hashable] | None = None,
	) -> None:
		self.ttl = ttl
		self.max_entries = max_entries
		self.misses = 0
		"""Attempts to load a value."""
		self.hits = 0
		"""Values that were returned from the cache."""
		self._is_final = is_final
		self._group_of = group_of
		# All are kept equally long, so they expire in the order in which they came.
		self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
		self._groups: dict[Hashable, set[K]] = {}
		self._loads: dict[K, _Load[V]] = {}

	def __len__(self) -> int:
		return len(self._entries)

	@property
	def loading(self) -> int:
		"""The number of keys that are being loaded."""
		return len(self._loads)

	def peek(self, key: K) -> V | None:
		"""Return the value of `key` if it is in the cache and has not expired, else None."""
		entry = self._entries.get(key)
		if entry is None:
			return None
		if entry[0] < asyncio.get_running_loop().time():
			self._remove(key)
			return None
		self.hits += 1
		return entry[1]

	def put(self, key: K, value: V) -> None:
		"""Keep `value` for `ttl` seconds from now."""
		now = asyncio.get_running_loop().time()
		self._entries.pop(key, None)
		self._entries[key] = (now + self.ttl, value)
		if self._group_of is not None:
			self._groups.setdefault(self._group_of(key), set()).add(key)
		while self._entries:
			oldest = next(iter(self._entries))
			if self._entries[oldest][0] >= now and len(self._entries) <= self.max_entries:
				break
			self._remove(oldest)

	async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
		"""Return the value of `key`, from `load` if it is not in the cache.

		Raises:
			Unsettled: The value was invalidated again and again while it was being loaded.
			Exception: What `load` raises is raised to every caller that waits, and is not kept.
		"""
		value = self.peek(key)
		if value is not None:
			return value
		current = self._loads.get(key)
		if current is None:
			task = asyncio.get_running_loop().create_task(self._load(key, load))
			task.add_done_callback(_retrieve_exception)
			current = self._loads[key] = _Load(task)
		current.waiters += 1
		try:
			# One caller that is cancelled does not take the value from the others.
			return await asyncio.shield(current.task)
		finally:
			current.waiters -= 1
			if not current.waiters and not current.task.done():
				current.task.cancel()
				# The next caller must not join a load that is about to end.
				if self._loads.get(key) is current:
					del self._loads[key]

	async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
		current = self._loads[key]
		try:
			for attempt in range(MAX_ATTEMPTS):
				if attempt > 1:
					await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 2))
				self.misses += 1
				current.stale = False
				try:
					value = await load()
				except Exception:
					if not current.stale:
						raise
					continue
				if not current.stale or self._is_final(value):
					self.put(key, value)
					return value
			raise Unsettled(f"access changed during each of {MAX_ATTEMPTS} attempts to ask about {key!r}")
		finally:
			if self._loads.get(key) is current:
				del self._loads[key]

	def invalidate(self, concerned: Callable[[K, V | None], bool]) -> None:
		"""Drop the values for which `concerned` returns True, and mark loads under way as stale.

		Args:
			concerned: Called with each key and its value; the value is None for a load that is under way.
		"""
		for key, (_, value) in list(self._entries.items()):
			if concerned(key, value):
				self._remove(key)
		for key, current in self._loads.items():
			if concerned(key, None):
				current.stale = True

	def invalidate_group(self, group: Hashable) -> None:
		"""Do the same for all keys of a group, without a look at the other values."""
		for key in self._groups.pop(group, ()):
			del self._entries[key]
		for key, current in self._loads.items():
			if self._group_of is not None and self._group_of(key) == group:
				current.stale = True

	def _remove(self, key: K) -> None:
		del self._entries[key]
		if self._group_of is None:
			return
		group = self._group_of(key)
		keys = self._groups[group]
		keys.discard(key)
		if not keys:
			del self._groups[group]


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
	"""Take the exception of a load that nobody waits for any more; asyncio would log it.

	Up to Python 3.11, `wait_for` loses a cancellation that comes together with its result, so that such a load may go on.
	"""
	if not task.cancelled():
		task.exception()
