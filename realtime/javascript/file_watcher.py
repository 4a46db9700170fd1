"""Notices changes of handlers.js files, and of the files that they require, in developer mode."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable

INTERVAL = 0.5
"""Seconds between two polls of the modification times."""


class FileWatcher:
	"""Polls files, and reports that some were written, created or removed.

	Args:
		paths: Returns the files to watch, existing or not; called before every poll.
		on_change: Called once after each poll that found a change.
	"""

	def __init__(self, paths: Callable[[], Iterable[str]], on_change: Callable[[], None]) -> None:
		self._paths = paths
		self._on_change = on_change
		self._modified = {path: _modification_time(path) for path in paths()}

	def add(self, files: Iterable[str]) -> None:
		"""Watch `files`, which the process has loaded.

		One that was watched before stays as it was: it may have changed since the process has read it.
		"""
		for path in files:
			self._modified.setdefault(path, _modification_time(path))

	async def run(self) -> None:
		"""Poll until the task is cancelled."""
		while True:
			await asyncio.sleep(INTERVAL)
			now = {path: _modification_time(path) for path in {*self._modified, *self._paths()}}
			before, self._modified = self._modified, now
			if any(now[path] != before.get(path, 0) for path in now):
				self._on_change()


def _modification_time(path: str) -> int:
	"""Return the time in nanoseconds; 0 if there is no such file."""
	try:
		return os.stat(path).st_mtime_ns
	except OSError:
		return 0
