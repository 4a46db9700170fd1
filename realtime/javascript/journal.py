"""What the Node process prints, as entries of the sidecar's log with the app's name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from .. import packets

logger = logging.getLogger("realtime.javascript")

MARK = b"\x1e"
"""Begins a line of our own part of the process; all others are somebody else's."""

LEVELS = {
	"debug": logging.DEBUG,
	"info": logging.INFO,
	"warning": logging.WARNING,
	"error": logging.ERROR,
	"failed": logging.ERROR,
}
MAX_LINE = 64 * 1024
"""Characters of one entry; the rest is cut off."""


class Journal:
	"""Logs the lines of the process and counts the failures of each app. `app_of` finds the app in a stack."""

	def __init__(self, app_of: Callable[[str], str | None]) -> None:
		self.failures: Counter[str] = Counter()
		self._app_of = app_of

	def take(self, line: bytes) -> None:
		"""Log one line."""
		if line.startswith(MARK):
			try:
				level, app, text = packets.loads(line[1:])
			except ValueError:
				return
			if level == "failed":
				self.failures[app or ""] += 1
			logger.log(LEVELS[level], "%s: %.*s", app or "an app", MAX_LINE, text)
		elif line.startswith(b'{"header":{"reportVersion"'):
			self._report(line)
		elif line.strip() and not line.startswith((b"Writing Node.js report", b"Node.js report completed")):
			logger.info("node: %.*s", MAX_LINE, line.decode(errors="replace"))

	def _report(self, line: bytes) -> None:
		"""Node's diagnostic report, asked for because the process has not answered: its stack names who blocks it."""
		try:
			report: Any = packets.loads(line)
			stack = "\n".join(report["javascriptStack"].get("stack", []))
		except (ValueError, KeyError, AttributeError):
			return
		app = self._app_of(stack)
		if app is not None:
			self.failures[app] += 1
		logger.error("%s: a handler does not return and blocks all others:\n%s", app or "an app", stack)
