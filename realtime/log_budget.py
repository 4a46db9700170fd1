"""A bound for log lines that clients can cause."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any


class LogBudget:
	"""Allows a burst of log lines and then a steady rate, and counts the lines that are left out.

	Args:
		burst: Lines that may be written at once.
		seconds: Seconds per further line.
	"""

	def __init__(self, burst: int = 10, seconds: float = 6.0) -> None:
		self.left_out = 0
		"""Lines that were left out since the last one that was allowed."""
		self._burst = burst
		self._seconds = seconds
		self._lines = float(burst)
		self._updated = monotonic()

	def take(self) -> str | None:
		"""Return what to append to a line: how many lines were left out before it. None if it must not be written."""
		now = monotonic()
		self._lines = min(self._burst, self._lines + (now - self._updated) / self._seconds)
		self._updated = now
		if self._lines < 1:
			self.left_out += 1
			return None
		self._lines -= 1
		left_out, self.left_out = self.left_out, 0
		return f" ({left_out} more like this were left out)" if left_out else ""

	def write(
		self, log: Callable[..., None], message: str, *arguments: Any, extra: dict[str, str] | None = None
	) -> None:
		"""Write a line, unless the rate does not allow it.

		Args:
			log: A method of a logger, such as `logger.warning`.
			message: The message.
			arguments: Its arguments.
			extra: Further fields of the record, as `log_fields` returns them.
		"""
		if (note := self.take()) is not None:
			log(message + "%s", *arguments, note, extra=extra)
