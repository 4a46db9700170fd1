"""A log with a bounded rate, for failures that can repeat with each event or request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

LOG_INTERVAL = 60.0
"""Seconds between two log lines on the same subject."""


class RateLimitedLog:
	"""Writes at most one line in `LOG_INTERVAL` seconds on each subject, and never raises.

	Args:
		write_line: Writes one line to the log.
	"""

	def __init__(self, write_line: Callable[[str], None]) -> None:
		self._write_line = write_line
		self._written_at: dict[str, float] = {}

	def write(self, subject: str, line: str, write_line: Callable[[str], None] | None = None) -> None:
		"""Write `line`, unless a line on the same subject was written less than `LOG_INTERVAL` seconds ago.

		Args:
			subject: What the line is about.
			line: The line.
			write_line: Writes the line, if another function than that of the constructor does.
		"""
		now = monotonic()
		if now - self._written_at.get(subject, -LOG_INTERVAL) < LOG_INTERVAL:
			return
		self._written_at[subject] = now
		with suppress(Exception):
			(write_line or self._write_line)(line)
