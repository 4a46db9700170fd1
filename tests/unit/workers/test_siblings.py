"""Questions between workers, over real Unix sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.workers import siblings
from realtime.workers.siblings import Siblings


async def answer() -> Any:
	return {"connections": 3}


async def no_answer() -> Any:
	await asyncio.Event().wait()


def run(folder: Path, scenario: Callable[[Siblings], Awaitable[None]]) -> None:
	"""Run a scenario with the worker `one`, which has the siblings `two` and `three`."""

	async def main() -> None:
		workers = [
			Siblings(folder, name, {"health": answer, "hang": no_answer}) for name in ("one", "two", "three")
		]
		for worker in workers:
			await worker.start()
		await scenario(workers[0])
		for worker in workers:
			await worker.stop()

	asyncio.run(main())


def test_all_others_are_asked(tmp_path: Path) -> None:
	async def scenario(one: Siblings) -> None:
		assert one.names() == {"two", "three"}
		assert await one.ask("health") == {"two": {"connections": 3}, "three": {"connections": 3}}

	run(tmp_path, scenario)


def test_one_that_does_not_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(siblings, "ANSWER_SECONDS", 0.05)

	async def scenario(one: Siblings) -> None:
		assert await one.ask("hang") == {"two": None, "three": None}

	run(tmp_path, scenario)


def test_one_that_was_killed_is_left_out(tmp_path: Path) -> None:
	"""Its socket is still in the folder."""
	with socket.socket(socket.AF_UNIX) as killed:
		killed.bind(str(tmp_path / "killed.ask"))

	async def scenario(one: Siblings) -> None:
		assert (await one.ask("health")).keys() == {"two", "three"}

	run(tmp_path, scenario)


def test_one_that_ends_without_an_answer_is_left_out(tmp_path: Path) -> None:
	async def scenario(one: Siblings) -> None:
		assert await one.ask("a question of a later version") == {}

	run(tmp_path, scenario)


@pytest.mark.parametrize("text", [b"", b"many\n", b"12\n{", b"999999999999\n", b"2\n{{", b"\xff\n"])
def test_an_answer_that_is_not_valid(tmp_path: Path, text: bytes) -> None:
	async def scenario(one: Siblings) -> None:
		def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
			writer.write(text)
			writer.close()

		server = await asyncio.start_unix_server(broken, tmp_path / "broken.ask")
		answers = await one.ask("health")
		assert answers.get("broken") is None
		assert answers["two"] == {"connections": 3}
		server.close()

	run(tmp_path, scenario)
