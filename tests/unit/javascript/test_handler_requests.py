"""What handlers in the Node process ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from realtime.javascript.background import BackgroundTasks
from realtime.javascript.handler_requests import HandlerRequests
from realtime.json_codec import loads
from tests.unit.javascript.fakes import JavaScriptBench


def requests_of(bench: JavaScriptBench) -> HandlerRequests:
	unused: Any = None
	return HandlerRequests(
		bench.channel,
		bench.sockets,
		bench.table,
		unused,
		unused,
		unused,
		unused,
		BackgroundTasks(),
		unused,
		unused,
		unused,
		unused,
	)


def test_the_acknowledgement_of_a_client(tmp_path: Path) -> None:
	"""Also one that is nested too deeply to be written on some Pythons."""

	async def run() -> None:
		bench = JavaScriptBench(tmp_path, "chat")
		bench.start_process()
		socket = bench.connect("one", "chat")
		requests = requests_of(bench)
		failures: list[Any] = []
		asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
		requests.execute([["emit", "one", token, '["question"]', 0] for token in (7, 8)], [])
		await bench.process.operations()
		socket.acknowledged(1, loads("[" * 1000 + "]" * 1000))
		socket.acknowledged(2, ["yes"])
		await asyncio.sleep(0)
		assert (await bench.process.operations())[-1] == ["ack", "one", 8, 0, ["yes"]]
		assert failures == []

	asyncio.run(run())
