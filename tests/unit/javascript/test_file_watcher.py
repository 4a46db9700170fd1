"""The file watcher of developer mode."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from realtime.javascript import file_watcher
from realtime.javascript.file_watcher import FileWatcher


@pytest.mark.parametrize(
	"change", ["written", "created", "removed", "added and written", "written and added"]
)
def test_change_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
	monkeypatch.setattr(file_watcher, "INTERVAL", 0.001)
	file, required = tmp_path / "handlers.js", tmp_path / "required.js"
	required.touch()
	if change != "created":
		file.touch()

	async def run() -> None:
		changed = asyncio.Event()
		watcher = FileWatcher(lambda: [str(file)], changed.set)
		if change == "written and added":
			# While the process loads it.
			os.utime(file, ns=(0, 1))
		watcher.add([str(required), str(file)])
		task = asyncio.create_task(watcher.run())
		if change == "created":
			file.touch()
		elif change == "removed":
			file.unlink()
		elif change != "written and added":
			path = required if change.startswith("added") else file
			os.utime(path, ns=(0, 1))
		await asyncio.wait_for(changed.wait(), 30)
		task.cancel()

	asyncio.run(run())


def test_nothing_is_reported_without_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(file_watcher, "INTERVAL", 0)
	file = tmp_path / "handlers.js"
	file.touch()
	polls = 0

	def paths() -> list[str]:
		nonlocal polls
		polls += 1
		return [str(file)]

	async def run() -> None:
		changes: list[None] = []
		task = asyncio.create_task(FileWatcher(paths, lambda: changes.append(None)).run())
		while polls < 10:
			await asyncio.sleep(0)
		task.cancel()
		assert changes == []

	asyncio.run(run())
