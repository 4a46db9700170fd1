"""Checks that wait for their turn: how many run, in which order, and what a slow one delays."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from realtime.access.check_queue import SLOW_SECONDS, CheckQueue
from tests.unit.virtual_time import in_virtual_time, turns

MOST = 2


class Setting:
	"""A queue whose checks end when the test lets those of their site end."""

	def __init__(self) -> None:
		self.queue = CheckQueue(MOST)
		self.began: list[str] = []
		self.served: dict[str, asyncio.Event] = {}

	def put(self, site: str, name: str, urgent: bool = False) -> bool:
		return self.queue.put(site, name, partial(self._check, site, name), urgent)

	async def _check(self, site: str, name: str) -> None:
		self.began.append(f"{site} {name}")
		await self.served.setdefault(site, asyncio.Event()).wait()

	def serve(self, *sites: str) -> None:
		"""Let the checks of these sites end, also those that have not begun."""
		for site in sites:
			self.served.setdefault(site, asyncio.Event()).set()


@in_virtual_time
async def test_a_few_run_at_a_time_and_each_waits_once() -> None:
	it = Setting()
	assert [it.put("a", name) for name in "12341"] == [True, True, True, True, False]
	await turns()
	assert it.began == ["a 1", "a 2"]
	assert it.put("a", "1"), "the one that runs may have its answer already"
	it.serve("a")
	await turns()
	assert it.began == ["a 1", "a 2", "a 3", "a 4", "a 1"]


@in_virtual_time
async def test_urgent_checks_come_first_and_sites_take_turns() -> None:
	it = Setting()
	it.serve("a", "b", "c")
	for site, name, urgent in (
		("a", "1", False),
		("a", "2", False),
		("a", "3", False),
		("b", "1", False),
		("c", "1", True),
	):
		it.put(site, name, urgent)
	await turns()
	assert it.began == ["c 1", "a 1", "b 1", "a 2", "a 3"]


@in_virtual_time
async def test_a_slow_check_counts_for_its_site_only() -> None:
	it = Setting()
	for name in "123":
		it.put("a", name)
	await turns()
	it.put("b", "1")
	await turns()
	assert it.began == ["a 1", "a 2"]
	await asyncio.sleep(SLOW_SECONDS * 1.1)
	assert it.began == ["a 1", "a 2", "b 1"]
	it.put("c", "1")
	await turns()
	assert it.began == ["a 1", "a 2", "b 1", "c 1"]
	it.serve("a")
	await turns()
	assert it.began == ["a 1", "a 2", "b 1", "c 1"], "those of b and c count"
	it.serve("b")
	await turns()
	assert it.began[4:] == ["a 3"]


@in_virtual_time
async def test_a_slow_check_that_ends_lets_the_next_one_of_its_site_begin() -> None:
	it = Setting()
	for name in "123":
		it.put("a", name)
	await asyncio.sleep(SLOW_SECONDS * 1.1)
	assert it.began == ["a 1", "a 2"]
	it.serve("a")
	await turns()
	assert it.began == ["a 1", "a 2", "a 3"]


@in_virtual_time
async def test_a_check_that_is_put_as_the_last_ones_end_begins() -> None:
	it = Setting()
	for name in "12":
		it.put("a", name)
	await turns()
	it.serve("a")
	for turn in range(5):
		await asyncio.sleep(0)
		it.put("a", f"turn {turn}")
	await turns()
	assert it.began[2:] == [f"a turn {turn}" for turn in range(5)]


@in_virtual_time
async def test_it_is_idle_while_no_check_waits_that_may_run() -> None:
	it = Setting()
	it.put("a", "1")
	assert not it.queue.idle.is_set()
	await turns()
	assert it.queue.idle.is_set()
	for name in "23":
		it.put("a", name)
	await turns()
	assert not it.queue.idle.is_set()
	await asyncio.sleep(SLOW_SECONDS * 1.1)
	assert it.queue.idle.is_set(), "the site gives no answers"
	it.serve("a")
	await turns()
	assert it.queue.idle.is_set()


@in_virtual_time
async def test_a_check_that_fails_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	it.serve("a")

	async def fail() -> None:
		raise RuntimeError("a defect")

	for number in range(MOST + 1):
		it.queue.put("a", number, fail)
	it.put("a", "1")
	await turns()
	assert it.began == ["a 1"]
	assert "a check of access failed" in caplog.text


@in_virtual_time
async def test_nothing_runs_after_the_stop() -> None:
	it = Setting()
	for name in "123":
		it.put("a", name)
	await asyncio.sleep(SLOW_SECONDS * 1.1)
	await it.queue.stop()
	it.serve("a")
	await turns()
	assert it.began == ["a 1", "a 2"]
