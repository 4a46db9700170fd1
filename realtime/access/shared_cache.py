"""A single-flight cache whose values are loaded once for all workers of a host.

Each value has one worker that loads it. The others ask that worker, and keep its answer for as long as it does. A worker whose
question gets no answer loads the value itself.

A change of access reaches each worker by its own connection to Redis, so a worker may know of it earlier than the one that it
asks. Therefore each question says when the newest change that concerns the value has come, and the answer is a value of which
the load began later.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from frappe_realtime.errors import WebUnavailable

from ..socketio.errors import ConnectPostponed, ConnectRefused
from ..web.cache import Loaded, SingleFlightCache, Unsettled
from ..web.frappe_client import WebFailed

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_CHANGES = 100
"""Changes for which it is kept which values they concern. An older change counts as if it concerned all of them."""

FAILURES: dict[str, type[Exception]] = {
	failure.__name__: failure for failure in (ConnectPostponed, Unsettled, WebFailed, WebUnavailable)
}
"""Exceptions that are an answer, besides `ConnectRefused`. After any other one, the worker that has asked loads the value itself."""


class Workers(Protocol):
	"""The workers of the host."""

	async def ask(self, kind: str, subject: str, question: Any) -> Any:
		"""Ask the worker that loads what `subject` names.

		Args:
			kind: The kind of the question.
			subject: Questions with the same one are asked by the same worker.
			question: The question, as JSON.

		Returns:
			The answer, as JSON; None if that worker is this one, or gives no answer.
		"""

	def on_question(self, kind: str, answer: Callable[[Any], Awaitable[Any]]) -> None:
		"""Call `answer` with each question of `kind` that another worker asks."""


@dataclass(frozen=True)
class Exchange(Generic[K, V]):
	"""How the workers ask each other about the values of one cache.

	Args:
		workers: The workers of the host.
		kind: The kind of the questions.
		subject: Returns the subject of a key, see `Workers.ask`.
		load: Returns the key that a question is about, and what loads its value.
		write: Returns a value as JSON.
		read: Returns the value that `write` has written.
	"""

	workers: Workers
	kind: str
	subject: Callable[[K], str]
	load: Callable[[Any], tuple[K, Callable[[], Awaitable[V]]]]
	write: Callable[[V], Any]
	read: Callable[[K, Any], Awaitable[V]]


class SharedCache(SingleFlightCache[K, V]):
	"""A single-flight cache whose loads are shared by the workers of the host.

	Args:
		ttl: As in `SingleFlightCache`.
		max_entries: As in `SingleFlightCache`.
		exchange: Asks the other workers; None if this process is the only one.
		is_final: As in `SingleFlightCache`.
		group_of: As in `SingleFlightCache`.
	"""

	def __init__(
		self,
		ttl: float,
		max_entries: int,
		exchange: Exchange[K, V] | None,
		is_final: Callable[[V], bool] = lambda value: False,
		group_of: Callable[[K], Hashable] | None = None,
	) -> None:
		super().__init__(ttl, max_entries, is_final, group_of)
		self.shared = 0
		"""Values that another worker has loaded."""
		self._exchange = exchange
		self._changes: deque[tuple[float, Callable[[K, V | None], bool]]] = deque()
		self._older_change = 0.0
		if exchange is not None:
			exchange.workers.on_question(exchange.kind, self._answer)

	async def get_shared(self, key: K, load: Callable[[], Awaitable[V]], question: Callable[[], Any]) -> V:
		"""Return the value of `key`: from the cache, from the worker that loads it, or from `load`.

		Args:
			key: The key.
			load: As in `get`.
			question: Returns what `Exchange.load` of another worker takes.

		Raises:
			Exception: As `get`, also if the other worker has failed.
		"""
		exchange = self._exchange
		if exchange is None:
			return await self.get(key, load)
		value = self.peek(key)
		if value is None:
			loaded = await self._join(key, lambda: self._loaded_for_all(exchange, key, question(), load))
			value = loaded.value
		return value

	# -- changes

	def invalidate(self, concerned: Callable[[K, V | None], bool]) -> None:
		"""Do as `SingleFlightCache.invalidate`, and accept no earlier value of another worker."""
		super().invalidate(concerned)
		self._remember(concerned)

	def invalidate_group(self, group: Hashable) -> None:
		"""Do as `SingleFlightCache.invalidate_group`, and accept no earlier value of another worker."""
		super().invalidate_group(group)
		group_of = self._group_of
		if group_of is not None:
			self._remember(lambda key, value: group_of(key) == group)

	def _remember(self, concerned: Callable[[K, V | None], bool]) -> None:
		if self._exchange is None:
			return
		if len(self._changes) == MAX_CHANGES:
			self._older_change = self._changes.popleft()[0]
		self._changes.append((time.monotonic(), concerned))

	def _changed_at(self, key: K) -> float:
		"""Return a time after which no change has come that concerns `key`."""
		for came, concerned in reversed(self._changes):
			if concerned(key, None):
				return came
		return self._older_change

	# -- questions to another worker

	async def _loaded_for_all(
		self, exchange: Exchange[K, V], key: K, question: Any, load: Callable[[], Awaitable[V]]
	) -> Loaded:
		found = await self._ask(exchange, key, question)
		if found is None:
			return await self._loaded(load)
		self.shared += 1
		if isinstance(found, Exception):
			raise found
		return found

	async def _ask(self, exchange: Exchange[K, V], key: K, question: Any) -> Loaded | Exception | None:
		"""Return the answer of the worker that loads the value of `key`; None if there is none."""
		answer = await exchange.workers.ask(
			exchange.kind, exchange.subject(key), [self._changed_at(key), question]
		)
		if answer is None:
			return None
		try:
			if "refused" in answer:
				return ConnectRefused.from_json(answer["refused"])
			if "failure" in answer:
				return FAILURES[answer["failure"]](answer["message"])
			value = await exchange.read(key, answer["value"])
			remaining = min(self.ttl, answer["expires"] - time.monotonic())
			return Loaded(value, answer["began"], asyncio.get_running_loop().time() + remaining)
		except (TypeError, ValueError, LookupError):
			# A worker of another version, as during a reload, may write it in another way.
			return None

	# -- questions of other workers

	async def _answer(self, message: Any) -> dict[str, Any] | None:
		"""Answer a question of another worker; None if that one has to load the value itself."""
		assert self._exchange is not None
		since, question = message
		key, load = self._exchange.load(question)
		self._forget_older(key, since)
		try:
			# Never from a third worker. The load that is joined may wait for one, but always for one of a higher weight.
			loaded = self._entry(key) or await self._join(key, lambda: self._loaded(load))
		except Exception as error:
			return _write_failure(error)
		if loaded.began < since and not self._is_final(loaded.value):
			return None
		remaining = loaded.expires - asyncio.get_running_loop().time()
		return {
			"value": self._exchange.write(loaded.value),
			"began": loaded.began,
			"expires": time.monotonic() + remaining,
		}

	def _forget_older(self, key: K, since: float) -> None:
		"""Do as if this worker had seen a change that concerns `key` at the time `since`."""
		entry, current = self._entries.get(key), self._loads.get(key)
		if entry is not None and entry.began < since:
			self._remove(key)
		if current is not None and current.began < since:
			current.stale = True


def _write_failure(error: Exception) -> dict[str, Any] | None:
	if isinstance(error, ConnectRefused):
		return {"refused": error.as_json()}
	name = type(error).__name__
	return {"failure": name, "message": str(error)} if name in FAILURES else None
