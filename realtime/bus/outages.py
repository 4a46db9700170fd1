"""The reports of Frappe processes that could not publish for a time."""

from __future__ import annotations

import json
from typing import NamedTuple

OUTAGE_SECONDS = 24 * 60 * 60.0
"""Seconds for which outage reports are read."""

OUTAGE_COUNT = 1000
"""Outage reports that are read at most."""


class OutageReport(NamedTuple):
	"""The report of a Frappe process that could not publish for a time (`OUTAGES_KEY` in the contract has the fields)."""

	host: str
	pid: int
	since: float
	until: float
	held: int
	dropped: int
	reason: str

	@classmethod
	def read(cls, report: bytes) -> OutageReport | None:
		"""Return the report in an entry of the stream; None if it is invalid."""
		try:
			values = json.loads(report)
			return cls(
				host=str(values["host"]),
				pid=int(values["pid"]),
				since=float(values["since"]),
				until=float(values["until"]),
				held=int(values["held"]),
				dropped=int(values["dropped"]),
				reason=str(values["reason"]),
			)
		except (ValueError, KeyError, TypeError):
			return None
