"""What the Node process prints, as entries of the sidecar's log with the app's name."""

from __future__ import annotations

import logging
from collections import Counter

from ..socketio import packets

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
	"""Logs the lines of the process and counts the failures of each app."""

	def __init__(self) -> None:
		self.failures: Counter[str] = Counter()

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
		elif line.strip():
			logger.info("node: %.*s", MAX_LINE, line.decode(errors="replace"))
