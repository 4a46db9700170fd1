"""Outages: the times in which this process could not write to Redis, in the log and as reports in Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from socket import gethostname
from time import monotonic, time

import redis

from ..contract import OUTAGES_KEY

REPORTS_KEPT = 1000
"""Reports that the stream keeps."""

REPORTS_SECONDS = 7 * 24 * 60 * 60
"""Seconds for which the stream exists after the last report."""

LOG_INTERVAL = 60.0
"""Seconds between two log lines on the same subject."""


@dataclass(slots=True)
class Outage:
	"""A time in which this process could not write to Redis, or dropped messages.

	Attributes:
		since: When it began, in seconds since 1970.
		held: The largest number of messages that waited at one time.
		dropped: Messages that were dropped.
		reason: The last error.
	"""

	since: float
	held: int = 0
	dropped: int = 0
	reason: str = ""

	def note(self, held: int, dropped: int = 0, reason: str = "") -> None:
		"""Count `held` and `dropped` messages in, and keep `reason` unless it is empty."""
		self.held = max(self.held, held)
		self.dropped += dropped
		self.reason = reason or self.reason

	def to_json(self) -> str:
		"""Return the report: the attributes, `until` (now), and the `host` and `pid` of the process."""
		return json.dumps({**asdict(self), "until": time(), "host": gethostname(), "pid": os.getpid()})


def append_report(client: redis.Redis, outage: Outage) -> None:
	"""Append the report of an outage to the stream `frappe_realtime:outages`.

	Raises:
		redis.RedisError, OSError: Redis did not take it.
	"""
	pipeline = client.pipeline(transaction=False)
	pipeline.xadd(OUTAGES_KEY, {"r": outage.to_json()}, maxlen=REPORTS_KEPT, approximate=True)
	pipeline.pexpire(OUTAGES_KEY, REPORTS_SECONDS * 1000)
	pipeline.execute()


class OutageLog:
	"""Writes at most one line in `LOG_INTERVAL` seconds on each subject, and never raises.

	Args:
		write_line: Writes one line to the log.
	"""

	def __init__(self, write_line: Callable[[str], None]) -> None:
		self._write_line = write_line
		self._written_at: dict[str, float] = {}

	def write(self, subject: str, line: str) -> None:
		"""Write `line`, unless a line on the same subject was written less than `LOG_INTERVAL` seconds ago."""
		now = monotonic()
		if now - self._written_at.get(subject, -LOG_INTERVAL) < LOG_INTERVAL:
			return
		self._written_at[subject] = now
		with suppress(Exception):
			self._write_line(line)

	def has_written(self, subject: str) -> bool:
		"""Return whether there was a line on the subject."""
		return subject in self._written_at
