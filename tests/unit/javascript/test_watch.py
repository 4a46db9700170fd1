"""The watch over handlers files."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from realtime.javascript import watch
from realtime.javascript.watch import Watch


@pytest.mark.parametrize("what", ["written", "made", "removed", "added and written"])
def test_a_change_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
	monkeypatch.setattr(watch, "INTERVAL", 0.001)
	file, required = tmp_path / "handlers.js", tmp_path / "required.js"
	required.touch()
	if what != "made":
		file.touch()

	async def notice() -> None:
		changed = asyncio.Event()
		one = Watch(lambda: [str(file)], changed.set)
		one.add([str(required)])
		task = asyncio.create_task(one.run())
		if what == "made":
			file.touch()
		elif what == "removed":
			file.unlink()
		else:
			path = required if what.startswith("added") else file
			os.utime(path, ns=(0, 1))
		await asyncio.wait_for(changed.wait(), 30)
		task.cancel()

	asyncio.run(notice())


def test_nothing_is_noticed_when_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(watch, "INTERVAL", 0)
	file = tmp_path / "handlers.js"
	file.touch()
	looks = 0

	async def look() -> None:
		def places() -> list[str]:
			nonlocal looks
			looks += 1
			return [str(file)]

		changes: list[None] = []
		task = asyncio.create_task(Watch(places, lambda: changes.append(None)).run())
		while looks < 10:
			await asyncio.sleep(0)
		task.cancel()
		assert changes == []

	asyncio.run(look())
