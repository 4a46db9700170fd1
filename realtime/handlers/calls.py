"""Calls of handlers that run in another process, reported for the sites that somebody watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..signals import Signal


class HandlerCalls(NamedTuple):
	"""Calls of the handlers of one app for one event, since the last report.

	Attributes:
		site: The site of the sockets.
		app: The app.
		event: The event.
		calls: How many there were.
		seconds: The sum of the seconds that they took.
		errors: How many have failed.
		last_error: The last failure: its type and its text; empty if there was none.
	"""

	site: str
	app: str
	event: str
	calls: int
	seconds: float
	errors: int
	last_error: str


class CallReports:
	"""Connects the process that reports calls with the component that needs them, and says for which sites."""

	def __init__(self) -> None:
		self.sites: frozenset[str] = frozenset()
		"""The sites whose calls are reported."""
		self.sites_changed: Signal[[]] = Signal()
		"""Sent when `sites` has changed."""
		self.reported: Signal[[HandlerCalls]] = Signal()
		"""Sent with each report."""

	def watch(self, sites: Iterable[str]) -> None:
		"""Report the calls of these sites from now on, and of no others."""
		watched = frozenset(sites)
		if watched != self.sites:
			self.sites = watched
			self.sites_changed.send()
