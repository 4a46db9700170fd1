"""What a process reports to its supervisor, or to systemd."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from realtime.server import READY_SECONDS, RealtimeServer
from tests.unit.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_process_says_that_it_runs_while_it_waits_for_redis() -> None:
	loop = asyncio.get_running_loop()
	began = loop.time()
	alive: list[float] = []
	ready: list[float] = []
	reporter: Any = SimpleNamespace(
		watchdog_seconds=3.0,
		alive=lambda: alive.append(loop.time() - began),
		ready=lambda: ready.append(loop.time() - began),
	)
	server: Any = SimpleNamespace(_subscribed=asyncio.Event())
	reports = loop.create_task(RealtimeServer._report(server, reporter))
	await asyncio.sleep(READY_SECONDS + 2.5)
	assert [round(time, 3) for time in ready] == [READY_SECONDS]
	assert [round(time) for time in alive] == list(range(8)), "three times in the seconds of the watchdog"
	reports.cancel()


@in_virtual_time
async def test_without_a_watchdog_it_says_that_it_serves_only() -> None:
	said: list[str] = []
	reporter: Any = SimpleNamespace(
		watchdog_seconds=0.0, alive=lambda: said.append("alive"), ready=lambda: said.append("ready")
	)
	server: Any = SimpleNamespace(_subscribed=asyncio.Event())
	server._subscribed.set()
	await RealtimeServer._report(server, reporter)
	assert said == ["ready"]
