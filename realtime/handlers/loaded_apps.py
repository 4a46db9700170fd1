"""The apps whose handlers files have been imported."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path
from typing import Any

from ..histogram import Histogram
from .app import App
from .files import HandlerFiles
from .loader import load
from .queue import HANDLER_ERRORS

logger = logging.getLogger("realtime.handlers")

FileStates = tuple[tuple[str, int, int], ...]
"""The path, modification time in nanoseconds and size of each Python file in a folder."""


class LoadedApps:
	"""Imports handlers files, and keeps the apps that they belong to.

	Args:
		files: The handlers files of the bench.
		sites: The folder of sites.
	"""

	def __init__(self, files: HandlerFiles, sites: Path) -> None:
		self.errors: dict[str, dict[str, str]] = {}
		"""By app, the error of a file that could not be imported: `{app, file, error, traceback}`."""
		self._files = files
		self._sites = sites
		self._apps: dict[str, App] = {}
		self._states: dict[str, FileStates] = {}
		"""By app, the files as they were when the app was imported."""
		self._by_installed: dict[tuple[str, ...] | None, tuple[App, ...]] = {}

	def __bool__(self) -> bool:
		return bool(self._apps)

	def get(self, name: str) -> App | None:
		"""Return the app of that name; None if it has no handlers in Python."""
		return self._apps.get(name)

	def installed(self, names: tuple[str, ...] | None) -> tuple[App, ...]:
		"""Return the apps with handlers among `names`, in the same order."""
		apps = self._by_installed.get(names)
		if apps is None:
			apps = tuple(self._apps[name] for name in names or () if name in self._apps)
			self._by_installed[names] = apps
		return apps

	def load_all(self) -> None:
		"""Import the handlers of all apps of the bench. A file that cannot be imported is logged, and left out."""
		for name in self._files.apps():
			path = self._files.python(name)
			if path is not None:
				self.load(name, path)

	def changed(self) -> list[tuple[str, Path]]:
		"""Return the name and handlers file of each app whose files have changed since it was imported."""
		found = []
		for name in self._files.apps():
			path = self._files.python(name)
			if path is not None and _state_of(path) != self._states.get(name):
				found.append((name, path))
		return found

	def deleted(self) -> list[str]:
		"""Return the names of the apps whose handlers file does not exist any more."""
		return [name for name in self._states if self._files.python(name) is None]

	def unload(self, name: str) -> None:
		"""Forget the handlers of an app, and the error of its file."""
		del self._states[name]
		self._apps.pop(name, None)
		self.errors.pop(name, None)
		self._by_installed.clear()
		logger.info("the handlers of %s are unloaded: the file does not exist any more", name)

	def load(self, name: str, path: Path) -> App | None:
		"""Import the handlers of an app, again if they have been imported before.

		If that fails, the error is logged and put into `errors`, and handlers that were imported earlier stay.

		The folder of sites becomes the working directory of the process before the first file is imported, as in all
		processes of Frappe: Frappe opens its logs by a path that is relative to it. A handler may import Frappe at any
		time, also inside of its function.

		Returns:
			The app; None if its handlers could not be imported.
		"""
		os.chdir(self._sites)
		self._states[name] = _state_of(path)
		app = self._apps.get(name) or App.named(name)
		try:
			handlers, setup = load(name, path, app.context.copy())
		except HANDLER_ERRORS as error:
			text = f"{type(error).__name__}: {error}"
			logger.error("the handlers of %s are not loaded: %s: %s", name, path, text, exc_info=error)
			self.errors[name] = {
				"app": name,
				"file": str(path),
				"error": text,
				"traceback": "".join(traceback.format_exception(error)),
			}
			return None
		self.errors.pop(name, None)
		app.replace_handlers(handlers, setup)
		self._apps[name] = app
		self._by_installed.clear()
		logger.info("loaded the handlers of %s from %s", name, path)
		return app

	def latencies(self) -> dict[str, Histogram]:
		"""Return how long the apps took for one event, by app."""
		return {name: app.latency for name, app in self._apps.items()}

	def health(self) -> dict[str, Any]:
		"""Return what `/health` reports: `{"apps": {app: {events, set_up}}, "errors": {app: {file, error}}}`."""
		return {
			"apps": {
				name: {"events": sorted(app.handlers), "set_up": app.setup is not None}
				for name, app in sorted(self._apps.items())
			},
			"errors": {
				name: {key: error[key] for key in ("file", "error")} for name, error in self.errors.items()
			},
		}


def _state_of(path: Path) -> FileStates:
	"""Return the state of all Python files in the folder of `path`."""
	found = []
	for file in sorted(path.parent.glob("*.py")):
		try:
			stat = file.stat()
		except OSError:
			continue
		found.append((str(file), stat.st_mtime_ns, stat.st_size))
	return tuple(found)
