"""The cache that the workers of a host share: one load for all of them, and never a value from before a change that one has seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.access import shared_cache as module
from realtime.access.shared_cache import Exchange, SharedCache
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.web.cache import Unsettled
from realtime.web.frappe_client import WebFailed
from tests.unit.access.fakes import FakeHost
from tests.unit.virtual_time import in_virtual_time, turns

TTL = 5.0


class Worker:
	"""A worker with its cache; each of its loads ends when the test says so."""

	def __init__(self, host: FakeHost, ttl: float = TTL) -> None:
		self.loads: list[asyncio.Future[Any]] = []
		self.workers = host.worker()
		exchange: Exchange[str, Any] = Exchange(self.workers, "value", str, self._load, list, self._read)
		self.cache: SharedCache[str, Any] = SharedCache(
			ttl, 10, exchange, is_final=lambda value: value == ["final"], group_of=lambda key: key[0]
		)

	def _load(self, question: Any) -> tuple[str, Callable[[], Awaitable[Any]]]:
		return question["key"], self.load

	async def _read(self, key: str, written: Any) -> Any:
		return list(written)

	def load(self) -> Awaitable[Any]:
		self.loads.append(asyncio.get_running_loop().create_future())
		return self.loads[-1]

	def get(self, key: str = "a") -> asyncio.Future[Any]:
		return asyncio.ensure_future(self.cache.get_shared(key, self.load, lambda: {"key": key}))

	def change(self, key: str = "a") -> None:
		self.cache.invalidate(lambda concerned, value: concerned == key)


def workers(count: int = 3, ttl: float = TTL) -> list[Worker]:
	host = FakeHost()
	return [Worker(host, ttl) for _ in range(count)]


@in_virtual_time
async def test_one_worker_loads_for_all() -> None:
	first, *others = workers()
	callers = [worker.get() for worker in (*others, first, *others)]
	await turns()
	first.loads[0].set_result(["x"])
	assert await asyncio.gather(*callers) == [["x"]] * 5
	assert [len(worker.loads) for worker in (first, *others)] == [1, 0, 0]
	assert [worker.cache.misses for worker in (first, *others)] == [1, 0, 0]
	assert [worker.cache.shared for worker in (first, *others)] == [0, 1, 1]
	assert await others[0].get() == ["x"]
	assert [worker.workers.asked for worker in others] == [1, 1]


@in_virtual_time
async def test_a_value_that_the_asked_worker_has_already() -> None:
	first, second, third = workers()
	caller = first.get()
	await turns()
	first.loads[0].set_result(["x"])
	await caller
	for worker in (second, third):
		assert await worker.get() == ["x"]
	assert first.cache.misses == 1
	assert first.cache.hits == 0


@in_virtual_time
async def test_a_value_is_kept_no_longer_than_by_the_worker_that_has_loaded_it() -> None:
	first, second = workers(2)
	caller = first.get()
	await turns()
	first.loads[0].set_result(["x"])
	await caller
	await asyncio.sleep(TTL - 0.5)
	assert await second.get() == ["x"]
	await asyncio.sleep(0.6)
	assert second.cache.peek("a") is None
	caller = second.get()
	await turns()
	first.loads[1].set_result(["y"])
	assert await caller == ["y"]


@in_virtual_time
async def test_a_load_is_shared_although_nothing_is_kept() -> None:
	first, *others = workers(ttl=0.0)
	callers = [worker.get() for worker in others]
	await turns()
	first.loads[0].set_result(["x"])
	assert await asyncio.gather(*callers) == [["x"]] * 2
	assert [len(worker.loads) for worker in (first, *others)] == [1, 0, 0]


# -- changes of access


@in_virtual_time
async def test_a_change_that_only_the_asking_worker_has_seen() -> None:
	"""The other one has a value from before the change, and its message is still on its way."""
	first, second = workers(2)
	caller = first.get()
	await turns()
	first.loads[0].set_result(["old"])
	await caller
	second.change()
	caller = second.get()
	await turns()
	first.loads[1].set_result(["new"])
	assert await caller == ["new"]
	assert first.cache.peek("a") == ["new"]


@in_virtual_time
async def test_a_change_that_only_the_asking_worker_has_seen_during_the_load() -> None:
	first, second = workers(2)
	callers = [first.get()]
	await turns()
	second.change()
	callers.append(second.get())
	await turns()
	first.loads[0].set_result(["old"])
	await turns()
	first.loads[1].set_result(["new"])
	assert await asyncio.gather(*callers) == [["new"], ["new"]]


@pytest.mark.parametrize("seen_by", [[0], [1], [0, 1]])
def test_a_change_while_the_question_is_on_its_way(seen_by: list[int]) -> None:
	@in_virtual_time
	async def test() -> None:
		both = workers(2)
		caller = both[1].get()
		await turns()
		for number in seen_by:
			both[number].change()
		both[0].loads[0].set_result(["old"])
		await turns(20)
		both[0].loads[1].set_result(["new"])
		assert await caller == ["new"]
		assert [worker.cache.peek("a") for worker in both] == [["new"], ["new"]]

	test()


@in_virtual_time
async def test_a_change_after_the_answer() -> None:
	first, second = workers(2)
	caller = second.get()
	await turns()
	first.loads[0].set_result(["old"])
	await caller
	second.change()
	assert second.cache.peek("a") is None


@in_virtual_time
async def test_a_value_from_a_third_worker_is_as_old_as_it_was_there() -> None:
	"""While the workers do not agree on the one that asks, as at its start."""
	first, second, third = workers()
	third.workers.asks = 1
	caller = first.get()
	await turns()
	first.loads[0].set_result(["old"])
	await caller
	third.change()
	assert await second.get() == ["old"], "it has not seen the change yet"
	caller = third.get()
	await turns()
	second.loads[0].set_result(["new"])
	assert await caller == ["new"]


@in_virtual_time
async def test_a_value_that_a_third_worker_is_about_to_give() -> None:
	first, second, third = workers()
	third.workers.asks = 1
	callers = [first.get()]
	await turns()
	third.change()
	callers += [second.get(), third.get()]
	await turns()
	first.loads[0].set_result(["old"])
	await turns(20)
	third.loads[0].set_result(["new"])
	assert await asyncio.gather(*callers) == [["old"], ["old"], ["new"]]


@in_virtual_time
async def test_a_change_of_a_group() -> None:
	first, second = workers(2)
	for key in ("a1", "b1"):
		caller = first.get(key)
		await turns()
		first.loads[-1].set_result([key])
		await caller
	second.cache.invalidate_group("a")
	callers = [second.get("a1"), second.get("b1")]
	await turns()
	first.loads[2].set_result(["new"])
	assert await asyncio.gather(*callers) == [["new"], ["b1"]]
	assert len(first.loads) == 3


@in_virtual_time
async def test_a_change_of_something_else_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(module, "MAX_CHANGES", 2)
	first, second = workers(2)
	caller = first.get()
	await turns()
	first.loads[0].set_result(["x"])
	await caller
	second.change("b")
	second.change("c")
	assert await second.get() == ["x"]
	second.cache.invalidate(lambda key, value: value is not None)
	second.change("c")
	caller = second.get()
	await turns()
	assert len(first.loads) == 2, "what the forgotten change has concerned is not known any more"
	first.loads[1].set_result(["y"])
	assert await caller == ["y"]


@in_virtual_time
async def test_a_final_value_stands_although_a_change_came_meanwhile() -> None:
	first, second = workers(2)
	callers = [first.get()]
	await turns()
	for worker in (first, second):
		worker.change()
	callers.append(second.get())
	await turns()
	first.loads[0].set_result(["final"])
	assert await asyncio.gather(*callers) == [["final"]] * 2
	assert (len(first.loads), len(second.loads)) == (1, 0)


# -- failures

REFUSED = ConnectRefused(
	"Unauthorized: HTTP 403", "login_rejected", "it ended", counted_as="Unauthorized", status=403
)


@pytest.mark.parametrize(
	"failure",
	[REFUSED, ConnectPostponed(), WebUnavailable("away"), WebFailed("HTTP 500"), Unsettled("changes")],
)
def test_a_failure_is_one_for_all_and_not_kept(failure: Exception) -> None:
	@in_virtual_time
	async def test() -> None:
		first, *others = workers()
		callers = [worker.get() for worker in (first, *others)]
		await turns()
		first.loads[0].set_exception(failure)
		for caller in callers:
			with pytest.raises(type(failure)) as caught:
				await caller
			assert type(caught.value) is type(failure)
			assert vars(caught.value) == vars(failure)
			assert str(caught.value) == str(failure)
		assert [len(worker.loads) for worker in (first, *others)] == [1, 0, 0]
		caller = others[0].get()
		await turns()
		first.loads[1].set_result(["x"])
		assert await caller == ["x"]

	test()


@in_virtual_time
async def test_after_any_other_failure_the_worker_loads_itself() -> None:
	first, second = workers(2)
	caller = second.get()
	await turns()
	first.loads[0].set_exception(ZeroDivisionError())
	await turns()
	second.loads[0].set_result(["x"])
	assert await caller == ["x"]
	assert second.cache.shared == 0


@in_virtual_time
async def test_without_an_answer_the_worker_loads_itself() -> None:
	host = FakeHost()
	first, second = Worker(host), Worker(host)
	host.is_silent = True
	caller = second.get()
	await turns()
	second.loads[0].set_result(["x"])
	assert await caller == ["x"]
	assert (first.loads, second.cache.misses, second.cache.shared) == ([], 1, 0)


@pytest.mark.parametrize(
	"answer",
	[[], {}, {"value": ["x"]}, {"failure": "NewError", "message": ""}, {"value": 7, "began": 0}, "x"],
)
def test_an_answer_of_another_version(answer: Any) -> None:
	@in_virtual_time
	async def test() -> None:
		_, second = workers(2)

		async def ask(kind: str, subject: str, question: Any) -> Any:
			return answer

		second.workers.ask = ask  # type: ignore[method-assign]
		caller = second.get()
		await turns()
		second.loads[0].set_result(["x"])
		assert await caller == ["x"]
		assert second.cache.shared == 0

	test()


@in_virtual_time
async def test_a_single_process_writes_no_question() -> None:
	cache: SharedCache[str, int] = SharedCache(TTL, 10, None)
	load: asyncio.Future[int] = asyncio.get_running_loop().create_future()

	def question() -> Any:
		raise AssertionError

	caller = asyncio.ensure_future(cache.get_shared("a", lambda: load, question))
	await turns()
	cache.invalidate(lambda key, value: False)
	load.set_result(1)
	assert await caller == 1
	assert not cache._changes
