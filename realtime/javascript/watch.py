"""Notices that a developer has changed a handlers.js, or a file that one requires."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable

INTERVAL = 0.5
"""Seconds between two looks."""


class Watch:
	"""Calls `changed` when one of `places`, or of the files that were added, is written, made or removed."""

	def __init__(self, places: Callable[[], Iterable[str]], changed: Callable[[], None]) -> None:
		self._places = places
		self._changed = changed
		self._written = {path: _written(path) for path in places()}

	def add(self, files: Iterable[str]) -> None:
		"""Watch `files` too, which have just been read."""
		self._written.update({path: _written(path) for path in files})

	async def run(self) -> None:
		"""Look, again and again."""
		while True:
			await asyncio.sleep(INTERVAL)
			now = {path: _written(path) for path in {*self._written, *self._places()}}
			before, self._written = self._written, now
			if any(now[path] != before.get(path, 0) for path in now):
				self._changed()


def _written(path: str) -> int:
	try:
		return os.stat(path).st_mtime_ns
	except OSError:
		return 0
