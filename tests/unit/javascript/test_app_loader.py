"""Which apps the Node process loads, and which are left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from realtime.javascript.app_loader import MAX_CRASHES
from tests.unit.javascript.fakes import JavaScriptBench


def test_app_is_loaded_once_for_each_process(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		for _ in range(2):
			bench.start_process()
			assert bench.apps.load("chat")
			assert bench.apps.load("chat")
			bench.apps.on_app_loaded("chat", None)
			assert bench.apps.load("chat")
			assert [operation[:2] for operation in await bench.process.operations()] == [["load_app", "chat"]]

	asyncio.run(run())


def test_app_that_crashes_the_process_is_left_out(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "deadly", "chat")
		for _ in range(MAX_CRASHES):
			bench.start_process()
			assert bench.apps.load("deadly")
			assert bench.apps.load("chat")
			bench.apps.on_process_ended()
		bench.start_process()
		assert not bench.apps.load("deadly")
		assert bench.apps.load("chat"), "only the first app in the queue was being loaded"
		assert list(bench.apps.problems) == ["deadly"]
		bench.apps.reset()
		assert bench.apps.problems == {}
		assert bench.apps.load("deadly")

	asyncio.run(run())


def test_problem_ends_when_the_app_is_loaded(tmp_path: Path) -> None:
	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		bench.apps.load("chat")
		bench.apps.on_app_loaded("chat", "SyntaxError")
		assert bench.apps.problems == {"chat": "handlers.js cannot be loaded: SyntaxError"}
		bench.apps.on_app_loaded("chat", None)
		assert bench.apps.problems == {}

	asyncio.run(run())
