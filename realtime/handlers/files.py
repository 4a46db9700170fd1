"""Where the apps of the bench keep their handlers."""

from __future__ import annotations

import re
from pathlib import Path

OWN_APPS = frozenset({"frappe", "frappe_realtime"})
"""What these ship under the names below are a realtime server's own parts, not handlers of an app."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class HandlerFiles:
	"""The handlers files below the folder `apps` of `bench`. An app that ships both languages gets the Python one only."""

	def __init__(self, bench: Path) -> None:
		self._folder = bench / "apps"

	def apps(self) -> list[str]:
		"""All apps of the bench that may have handlers, in alphabetical order."""
		try:
			return sorted(entry.name for entry in self._folder.iterdir() if self._is_app(entry.name))
		except OSError:
			return []

	def python(self, app: str) -> Path | None:
		"""The Python handlers of `app`: those of its package, else those beside the place of `handlers.js`."""
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
		"""`apps/<app>/realtime/handlers.js`, when `app` has no handlers in Python."""
		if not self._is_app(app):
			return None
		path = self._folder / app / "realtime" / "handlers.js"
		return path if path.is_file() and self.python(app) is None else None

	@staticmethod
	def _is_app(name: str) -> bool:
		return name not in OWN_APPS and _NAME.match(name) is not None
