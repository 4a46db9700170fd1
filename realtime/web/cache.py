"""A cache of answers that are expensive to get: each key is asked for once, however many callers want it at the same time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from frappe_realtime.errors import WebUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_ATTEMPTS = 8
"""Attempts of one load. Each further attempt is made because the value was invalidated while it was being loaded."""

FIRST_PAUSE = 0.05
"""Seconds before the third attempt; each later pause is twice as long, which makes about 3 s in all."""


class Unsettled(WebUnavailable):
	"""The value was invalidated during each of `MAX_ATTEMPTS` attempts to load it, so none of them can be trusted."""


class Loaded(NamedTuple):
	"""A value, and how old it is.

	Args:
		value: The value.
		began: When the attempt to load it began (`time.monotonic`, which is the same clock in all processes of a host).
		expires: Until when it is kept, by the clock of the event loop.
	"""

	value: Any
	began: float
	expires: float


@dataclass(slots=True)
class _Load:
	"""One load under way, for all callers that wait for it."""

	task: asyncio.Task[Loaded]
	waiters: int = 0
	began: float = 0.0
	"""When the current attempt began (`time.monotonic`)."""
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
		"""Attempts to load a value in this process."""
		self.hits = 0
		"""Values that were returned from the cache."""
		self._is_final = is_final
		self._group_of = group_of
		# The oldest first. Those that were loaded here expire in this order too.
		self._entries: OrderedDict[K, Loaded] = OrderedDict()
		self._groups: dict[Hashable, set[K]] = {}
		self._loads: dict[K, _Load] = {}

	def __len__(self) -> int:
		return len(self._entries)

	@property
	def loading(self) -> int:
		"""The number of keys that are being loaded."""
		return len(self._loads)

	def peek(self, key: K) -> V | None:
		"""Return the value of `key` if it is in the cache and has not expired, else None."""
		entry = self._entry(key)
		if entry is None:
			return None
		self.hits += 1
		value: V = entry.value
		return value

	def _entry(self, key: K) -> Loaded | None:
		"""Return what is kept for `key` if it has not expired."""
		entry = self._entries.get(key)
		if entry is not None and entry.expires < asyncio.get_running_loop().time():
			self._remove(key)
			return None
		return entry

	def put(self, key: K, value: V) -> None:
		"""Keep `value` for `ttl` seconds from now; it counts as older than any change."""
		self.keep(key, Loaded(value, 0.0, asyncio.get_running_loop().time() + self.ttl))

	def keep(self, key: K, loaded: Loaded) -> None:
		"""Keep a value until it expires."""
		now = asyncio.get_running_loop().time()
		self._entries.pop(key, None)
		self._entries[key] = loaded
		if self._group_of is not None:
			self._groups.setdefault(self._group_of(key), set()).add(key)
		while self._entries:
			oldest = next(iter(self._entries))
			if self._entries[oldest].expires >= now and len(self._entries) <= self.max_entries:
				break
			self._remove(oldest)

	async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
		"""Return the value of `key`, from `load` if it is not in the cache.

		Raises:
			Unsettled: The value was invalidated again and again while it was being loaded.
			Exception: What `load` raises is raised to every caller that waits, and is not kept.
		"""
		value = self.peek(key)
		if value is None:
			value = (await self._join(key, lambda: self._loaded(load))).value
		return value

	async def _loaded(self, load: Callable[[], Awaitable[V]]) -> Loaded:
		"""Load a value in this process."""
		self.misses += 1
		began = time.monotonic()
		value = await load()
		return Loaded(value, began, asyncio.get_running_loop().time() + self.ttl)

	async def _join(self, key: K, attempt: Callable[[], Awaitable[Loaded]]) -> Loaded:
		"""Return the result of the load of `key` that is under way, or of one that begins with `attempt`."""
		current = self._loads.get(key)
		if current is None:
			task = asyncio.get_running_loop().create_task(self._load(key, attempt))
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

	async def _load(self, key: K, attempt: Callable[[], Awaitable[Loaded]]) -> Loaded:
		current = self._loads[key]
		try:
			for number in range(MAX_ATTEMPTS):
				if number > 1:
					await asyncio.sleep(FIRST_PAUSE * 2 ** (number - 2))
				current.began, current.stale = time.monotonic(), False
				try:
					loaded = await attempt()
				except Exception:
					if not current.stale:
						raise
					continue
				if not current.stale or self._is_final(loaded.value):
					if self._loads.get(key) is current:
						# Otherwise its last caller has left, but it goes on: no change marks it as stale any more.
						self.keep(key, loaded)
					return loaded
			raise Unsettled(f"access changed during each of {MAX_ATTEMPTS} attempts to ask about {key!r}")
		finally:
			if self._loads.get(key) is current:
				del self._loads[key]

	def invalidate(self, concerned: Callable[[K, V | None], bool]) -> None:
		"""Drop the values for which `concerned` returns True, and mark loads under way as stale.

		Args:
			concerned: Called with each key and its value; the value is None for a load that is under way.
		"""
		for key, entry in list(self._entries.items()):
			if concerned(key, entry.value):
				self._remove(key)
		for key, current in self._loads.items():
			if concerned(key, None):
				current.stale = True

	def invalidate_group(self, group: Hashable) -> None:
		"""Drop the values of all keys of a group, and mark loads of them as stale; reads no other values."""
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
