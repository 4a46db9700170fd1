"""Which apps have handlers in JavaScript, and which of them the Node process has loaded."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from ..access.authentication import Session
from ..handlers.files import HandlerFiles
from .channel import Channel

logger = logging.getLogger("realtime.javascript")

MAX_CRASHES = 3
"""How often the process may end while it loads an app; after that, the app is left out until the next reload."""


class AppLoader:
	"""Lets the Node process load each app with a handlers.js once, when the first socket needs it.

	Args:
		bench: The folder of the bench.
		files: Finds the handlers files of the apps.
		channel: The channel to the process.
	"""

	def __init__(self, bench: Path, files: HandlerFiles, channel: Channel) -> None:
		self.problems: dict[str, str] = {}
		"""The reason for each app that is left out."""
		self._bench = bench
		self._files = files
		self._channel = channel
		self._handlers_js: dict[str, Path | None] = {}
		"""The handlers.js of each app that a session has named; None if it has none."""
		self._loading: list[str] = []
		"""Apps that the process loads now or next, in order."""
		self._loaded: set[str] = set()
		self._crashes: Counter[str] = Counter()

	def apps(self) -> list[str]:
		"""Return the apps with handlers in JavaScript that are installed on the site of a socket so far."""
		return sorted(app for app, file in self._handlers_js.items() if file)

	def apps_of(self, session: Session) -> list[str]:
		"""Return the apps with handlers in JavaScript on the site of a session, in the order of installation."""
		return [app for app in session.installed_apps or () if self._file(app) is not None]

	def paths(self) -> list[str]:
		"""Return the path of the handlers.js of every app of the bench, existing or not."""
		return [str(self._bench / "apps" / app / "realtime" / "handlers.js") for app in self._files.apps()]

	def _file(self, app: str) -> Path | None:
		if app not in self._handlers_js:
			self._handlers_js[app] = self._files.javascript(app)
		return self._handlers_js[app]

	def load(self, app: str) -> bool:
		"""Let the process load `app`, unless it has already; return False if the app is left out for its crashes."""
		if self._crashes[app] >= MAX_CRASHES:
			self.leave_out(app, f"the Node process ended {MAX_CRASHES} times while it loaded its handlers.js")
			return False
		if app not in self._loading and app not in self._loaded:
			self._loading.append(app)
			self._channel.send("load_app", app, str(self._file(app)))
		return True

	def leave_out(self, app: str, reason: str) -> None:
		"""Report that the handlers of `app` do not run; a reason is logged once."""
		if self.problems.get(app) != reason:
			logger.error("%s is left out: %s", app, reason)
		self.problems[app] = reason

	def reset(self) -> None:
		"""Look for the files again, and give apps that are left out another try."""
		self._handlers_js.clear()
		self.problems.clear()
		self._crashes.clear()

	# -- events of the process

	def on_process_started(self) -> None:
		"""Handle that a new process runs, which has loaded nothing."""
		self._loaded = set()
		self._loading = []

	def on_app_loaded(self, app: str, error: str | None) -> None:
		"""Handle that the process has loaded `app`, or failed to with `error`, and goes on."""
		if app in self._loading:
			self._loading.remove(app)
		self._loaded.add(app)
		self._crashes.pop(app, None)
		if error is None:
			self.problems.pop(app, None)
		else:
			self.leave_out(app, f"handlers.js cannot be loaded: {error}")

	def on_process_ended(self) -> None:
		"""Handle the end of the process; the app that it was loading is charged with it."""
		if self._loading:
			self._crashes[self._loading[0]] += 1
