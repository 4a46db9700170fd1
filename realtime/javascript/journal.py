"""What the Node process prints, as entries of the sidecar's log with the app's name."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ..json_codec import loads

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

MAX_BYTES = 8 * MAX_LINE
"""Bytes of one line as it comes; our own part of the process keeps below it, whatever it has to escape."""

LINES_PER_SECOND = 100
BURST = 2000
"""Entries that the process may make a second, and at once; the rest is left out, and how much that was is said."""


class Lines:
	"""Cuts a stream of bytes into lines, each of `MAX_BYTES` at most."""

	def __init__(self) -> None:
		self._rest = b""
		self._skipping = False

	def feed(self, data: bytes) -> Iterator[bytes]:
		"""The lines that `data` completes; of one that is too long the beginning, as soon as it is."""
		*lines, rest = (self._rest + data).split(b"\n")
		if lines and self._skipping:
			self._skipping = False
			del lines[0]
		for line in lines:
			yield line[:MAX_BYTES]
		if self._skipping:
			rest = b""
		elif len(rest) > MAX_BYTES:
			self._skipping = True
			yield rest[:MAX_BYTES]
			rest = b""
		self._rest = rest

	def end(self) -> bytes:
		"""What is left when nothing follows."""
		return self._rest


class Journal:
	"""Logs the lines of the process and counts the failures of each app."""

	def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
		self.failures: Counter[str] = Counter()
		self._clock = clock
		self._credit = float(BURST)
		self._seen = clock()
		self._left_out = 0

	def take(self, line: bytes) -> bool:
		"""Log one line; False when it was left out."""
		now = self._clock()
		self._credit = min(self._credit + (now - self._seen) * LINES_PER_SECOND, BURST)
		self._seen = now
		if self._credit < 1:
			self._left_out += 1
			return False
		self._credit -= 1
		if self._left_out:
			logger.warning(
				"%d lines that the Node process has printed were left out: more than %d a second",
				self._left_out,
				LINES_PER_SECOND,
			)
			self._left_out = 0
		self._log(line)
		return True

	def _log(self, line: bytes) -> None:
		if line.startswith(MARK):
			try:
				level, app, text = loads(line[1:])
			except ValueError:
				return
			if level == "failed":
				self.failures[app or ""] += 1
			logger.log(LEVELS[level], "%s: %.*s", app or "an app", MAX_LINE, text)
		elif line.strip():
			logger.info("node: %.*s", MAX_LINE, line.decode(errors="replace"))
