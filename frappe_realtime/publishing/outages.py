"""Outages: the times in which this process could not write to Redis, as reports in Redis."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from socket import gethostname
from time import time

import redis

from ..contract.redis_keys import OUTAGES_KEY

REPORTS_KEPT = 1000
"""Reports that the stream keeps."""

REPORTS_SECONDS = 7 * 24 * 60 * 60
"""Seconds for which the stream exists after the last report."""


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
