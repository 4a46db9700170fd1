"""Finds the handlers files of the apps of a bench."""

from __future__ import annotations

import re
from pathlib import Path

OWN_APPS = frozenset({"frappe", "frappe_realtime"})
"""Files of these names in these apps are parts of a realtime server, not handlers of an app."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class HandlerFiles:
	"""The handlers files of the apps of a bench. For an app that has both languages, only the Python file counts.

	Args:
		bench: The root of the bench.
	"""

	def __init__(self, bench: Path) -> None:
		self._folder = bench / "apps"

	def apps(self) -> list[str]:
		"""Return the names of all apps that may have handlers, sorted."""
		try:
			return sorted(entry.name for entry in self._folder.iterdir() if self._is_app(entry.name))
		except OSError:
			return []

	def python(self, app: str) -> Path | None:
		"""Return the Python file of `app`; None if there is none.

		This is `<app>/<app>/realtime/handlers.py`, or else `<app>/realtime/handlers.py`.
		"""
		if not self._is_app(app):
			return None
		for path in (
			self._folder / app / app / "realtime" / "handlers.py",
			self._folder / app / "realtime" / "handlers.py",
		):
			if path.is_file():
				return path
		return None

	def javascript(self, app: str) -> Path | None:
		"""Return `<app>/realtime/handlers.js`; None if there is none, or if `app` has handlers in Python."""
		if not self._is_app(app):
			return None
		path = self._folder / app / "realtime" / "handlers.js"
		return path if path.is_file() and self.python(app) is None else None

	@staticmethod
	def _is_app(name: str) -> bool:
		return name not in OWN_APPS and _NAME.match(name) is not None
