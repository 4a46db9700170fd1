"""Logs the output of the Node process under the names of the apps."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ..access.limit_source import UNKNOWN_SOURCE, Source
from ..json_codec import loads
from ..log_format import log_fields
from ..signals import Signal

logger = logging.getLogger("realtime.javascript")

RECORD_MARK = b"\x1e"
"""Begins each line that `node/log.js` writes: `[level, app or null, text, client]` as JSON; the client is
`{site, user, socket}`, or null if it is unknown. Other lines are written by Node or by apps directly."""

LEVELS = {
	"debug": logging.DEBUG,
	"info": logging.INFO,
	"warning": logging.WARNING,
	"error": logging.ERROR,
	"failed": logging.ERROR,
}
"""Level of the log by level of a record; `failed` is an error that a handler has not caught."""

MAX_TEXT = 64 * 1024
"""Most characters of one log record; the rest is cut off."""

MAX_LINE = 8 * MAX_TEXT
"""Most bytes of one line; the records of `node/log.js` are always shorter, whatever JSON has to escape in them."""

LINES_PER_SECOND = 100
BURST = 2000
"""The rate limit of log records: a token bucket with these values. The number of records above it is logged."""


class LineSplitter:
	"""Splits a stream of bytes into lines of at most `MAX_LINE` bytes; the rest of a longer line is discarded."""

	def __init__(self) -> None:
		self._rest = b""
		self._discarding = False

	def feed(self, data: bytes) -> Iterator[bytes]:
		"""Yield the lines that `data` completes, and the beginning of a line as soon as it is too long."""
		*lines, rest = (self._rest + data).split(b"\n")
		if lines and self._discarding:
			self._discarding = False
			del lines[0]
		for line in lines:
			yield line[:MAX_LINE]
		if self._discarding:
			rest = b""
		elif len(rest) > MAX_LINE:
			self._discarding = True
			yield rest[:MAX_LINE]
			rest = b""
		self._rest = rest

	def end(self) -> bytes:
		"""Return the last line if it is not terminated, else b""."""
		return self._rest


class ProcessLog:
	"""Logs the lines of the process and counts the uncaught errors of each app.

	Args:
		clock: Returns the time in seconds.
	"""

	def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
		self.failures: Counter[str] = Counter()
		"""Errors that handlers have not caught, by app; "" where the app is unknown."""
		self.handler_failed: Signal[[str, Source]] = Signal()
		"""Sent with the app (empty if it is unknown) and the client of each of these errors."""
		self._clock = clock
		self._tokens = float(BURST)
		self._refilled_at = clock()
		self._suppressed = 0

	def write(self, line: bytes) -> bool:
		"""Log one line; return False if the rate limit suppressed it."""
		now = self._clock()
		self._tokens = min(self._tokens + (now - self._refilled_at) * LINES_PER_SECOND, BURST)
		self._refilled_at = now
		if self._tokens < 1:
			self._suppressed += 1
			return False
		self._tokens -= 1
		if self._suppressed:
			logger.warning(
				"%d lines of the Node process were not logged: more than %d per second",
				self._suppressed,
				LINES_PER_SECOND,
			)
			self._suppressed = 0
		self._log(line)
		return True

	def _log(self, line: bytes) -> None:
		if line.startswith(RECORD_MARK):
			try:
				level, app, text, client = loads(line[1:])
				source = Source(**client) if client else UNKNOWN_SOURCE
			except (ValueError, TypeError):
				return
			if level == "failed":
				self.failures[app or ""] += 1
				self.handler_failed.send(app or "", source)
			logger.log(
				LEVELS[level],
				"%s: %.*s",
				app or "an app",
				MAX_TEXT,
				text,
				extra=log_fields(source.site, source.user, source.socket),
			)
		elif line.strip():
			logger.info("node: %.*s", MAX_TEXT, line.decode(errors="replace"))
