"""Work with Redis that goes on whatever fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from realtime.bus.periodic import PeriodicStoreTask
from realtime.bus.store import StoreDenied, StoreUnavailable
from tests.unit.virtual_time import in_virtual_time


class Work:
	"""Ends each call with the next of `errors`, and counts the calls."""

	endpoint = "redis://one"

	def __init__(self, *errors: Exception) -> None:
		self.errors = list(errors)
		self.calls = 0

	async def __call__(self) -> None:
		self.calls += 1
		if self.errors:
			raise self.errors.pop(0)


def test_it_goes_on_after_each_error(caplog: pytest.LogCaptureFixture) -> None:
	@in_virtual_time
	async def test() -> None:
		denied = StoreDenied("NOPERM this user has no permissions to run the 'zadd' command")
		work: Any = Work(StoreUnavailable(), denied, ValueError("a defect"))
		task = PeriodicStoreTask(work, work, "the things", logging.getLogger("realtime.things"))
		task.stop()
		task.start()
		await asyncio.sleep(4.5)
		assert work.calls == 4
		task.stop()
		await asyncio.sleep(3)
		assert work.calls == 4

	test()
	assert [record.message for record in caplog.records] == [
		"redis://one does not let this sidecar keep the things: NOPERM this user has no permissions to run the 'zadd' command. "
		"Let the user of redis_queue run ZADD.",
		"could not keep the things; the next attempt follows",
	]
