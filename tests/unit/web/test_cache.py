"""The single-flight cache: each key is loaded once, never with a value from before a change, and never without end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from realtime.web import cache as module
from realtime.web.cache import MAX_ATTEMPTS, SingleFlightCache, Unsettled


class Loader:
	"""Counts its calls, and answers each when the test says so."""

	def __init__(self) -> None:
		self.calls: list[asyncio.Future[Any]] = []

	def __call__(self) -> Awaitable[Any]:
		self.calls.append(asyncio.get_running_loop().create_future())
		return self.calls[-1]


async def turns(count: int = 5) -> None:
	"""Let the loop turn."""
	for _ in range(count):
		await asyncio.sleep(0)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(module, "FIRST_PAUSE", 0)


def run(test: Callable[[], Any]) -> None:
	asyncio.run(test())


def test_concurrent_callers_share_one_load() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		callers = [asyncio.ensure_future(cache.get("key", load)) for _ in range(3)]
		await turns()
		assert len(load.calls) == cache.loading == 1
		load.calls[0].set_result(7)
		assert await asyncio.gather(*callers) == [7, 7, 7]
		assert await cache.get("key", load) == 7
		assert (cache.misses, cache.hits, len(cache), cache.loading) == (1, 1, 1, 0)

	run(test)


def test_an_exception_reaches_all_callers_and_is_not_kept() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		callers = [asyncio.ensure_future(cache.get("key", load)) for _ in range(2)]
		await turns()
		load.calls[0].set_exception(OSError("no"))
		assert [type(one) for one in await asyncio.gather(*callers, return_exceptions=True)] == [OSError] * 2
		assert cache.peek("key") is None
		assert cache.loading == 0

	run(test)


def test_a_value_from_before_a_change_is_neither_returned_nor_kept() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		caller = asyncio.ensure_future(cache.get("key", load))
		await turns()
		cache.invalidate(lambda key, value: key == "key" and value is None)
		load.calls[0].set_result(1)
		await turns()
		assert cache.peek("key") is None
		load.calls[1].set_result(2)
		assert await caller == 2
		assert cache.peek("key") == 2

	run(test)


def test_an_exception_from_before_a_change_is_tried_again() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		caller = asyncio.ensure_future(cache.get("key", load))
		await turns()
		cache.invalidate(lambda key, value: True)
		load.calls[0].set_exception(OSError("no"))
		await turns()
		load.calls[1].set_result(2)
		assert await caller == 2

	run(test)


def test_a_final_value_stands_although_a_change_came_meanwhile() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10, is_final=lambda value: value == 0)
		load = Loader()
		caller = asyncio.ensure_future(cache.get("key", load))
		await turns()
		cache.invalidate(lambda key, value: True)
		load.calls[0].set_result(0)
		assert await caller == 0
		assert len(load.calls) == 1

	run(test)


def test_a_value_that_never_settles_is_not_asked_for_without_end(no_pauses: None) -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		attempts = 0

		async def load() -> int:
			nonlocal attempts
			attempts += 1
			cache.invalidate(lambda key, value: True)
			return attempts

		with pytest.raises(Unsettled):
			await cache.get("key", load)
		assert attempts == cache.misses == MAX_ATTEMPTS
		assert cache.peek("key") is None
		assert cache.loading == 0

	run(test)


def test_a_load_ends_with_the_last_caller_that_waits() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		first, second = (asyncio.ensure_future(cache.get("key", load)) for _ in range(2))
		await turns()
		first.cancel()
		await turns()
		assert not load.calls[0].cancelled()
		second.cancel()
		await turns()
		assert load.calls[0].cancelled()
		assert cache.loading == 0
		third = asyncio.ensure_future(cache.get("key", load))
		await turns()
		load.calls[1].set_result(3)
		assert await third == 3

	run(test)


def test_a_caller_that_comes_as_the_last_one_leaves_gets_a_load_of_its_own() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)
		load = Loader()
		first = asyncio.ensure_future(cache.get("key", load))
		await turns()
		first.cancel()
		await asyncio.sleep(0)
		second = asyncio.ensure_future(cache.get("key", load))
		await turns()
		load.calls[-1].set_result(2)
		assert await second == 2
		assert cache.loading == 0

	run(test)


def test_values_expire_and_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
	async def test() -> None:
		loop = asyncio.get_running_loop()
		now = [100.0]
		monkeypatch.setattr(loop, "time", lambda: now[0])
		cache: SingleFlightCache[str, int] = SingleFlightCache(5, 2)
		for number, key in enumerate("abc"):
			cache.put(key, number)
		assert [cache.peek(key) for key in "abc"] == [None, 1, 2]
		now[0] += 5.1
		assert cache.peek("b") is None
		cache.put("d", 3)
		assert len(cache) == 1

	run(test)


def test_invalidating_a_group_drops_its_values_and_repeats_its_loads() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10, group_of=lambda key: key[0])
		for number, key in enumerate(("a1", "a2", "b1")):
			cache.put(key, number)
		load, other = Loader(), Loader()
		caller = asyncio.ensure_future(cache.get("a3", load))
		other_caller = asyncio.ensure_future(cache.get("b3", other))
		await turns()
		cache.invalidate_group("a")
		assert [cache.peek(key) for key in ("a1", "a2", "b1")] == [None, None, 2]
		load.calls[0].set_result(1)
		other.calls[0].set_result(7)
		await turns()
		load.calls[1].set_result(2)
		assert list(await asyncio.gather(caller, other_caller)) == [2, 7]
		assert len(other.calls) == 1

	run(test)


def test_groups_do_not_outlive_their_values() -> None:
	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 3, group_of=lambda key: key[0])
		for number in range(100):
			cache.put(f"{chr(97 + number % 26)}{number}", number)
		assert len(cache) == 3
		assert sum(map(len, cache._groups.values())) == 3
		cache.invalidate(lambda key, value: True)
		assert not cache._groups
		cache.ttl = -1
		cache.put("a", 1)
		cache.put("b", 1)
		cache.invalidate_group("a")
		assert cache.peek("b") is None
		assert not cache._groups

	run(test)


def test_a_load_that_goes_on_after_its_last_caller_keeps_nothing() -> None:
	"""Up to Python 3.11 `wait_for` loses a cancellation. A change that comes then cannot mark the load as stale."""

	async def test() -> None:
		cache: SingleFlightCache[str, int] = SingleFlightCache(60, 10)

		async def load() -> int:
			with suppress(asyncio.CancelledError):
				await asyncio.Event().wait()
			await asyncio.sleep(0)
			return 1

		caller = asyncio.ensure_future(cache.get("key", load))
		await turns()
		caller.cancel()
		await asyncio.sleep(0)
		cache.invalidate(lambda key, value: True)
		await turns()
		assert cache.peek("key") is None
		assert cache.loading == 0

	run(test)


def test_a_load_that_fails_after_its_last_caller_is_not_logged() -> None:
	"""Up to Python 3.11 `wait_for` loses a cancellation, so that a load may go on without a caller."""

	async def test() -> None:
		logged: list[dict[str, Any]] = []
		asyncio.get_running_loop().set_exception_handler(lambda loop, context: logged.append(context))
		cache: SingleFlightCache[str, int] = SingleFlightCache(5, 10)
		ended = asyncio.Event()

		async def load() -> int:
			try:
				await asyncio.sleep(10)
			except asyncio.CancelledError:
				ended.set()
			raise ValueError("nobody waits")

		caller = asyncio.get_running_loop().create_task(cache.get("a", load))
		await turns()
		caller.cancel()
		await ended.wait()
		await turns()
		del caller
		gc.collect()
		assert logged == []

	run(test)
