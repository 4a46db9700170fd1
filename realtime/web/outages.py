"""The outages of the web process, as a whole or for one site. In each, one probe waits for the end, and all calls for the probe."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from frappe_realtime.errors import WebUnavailable

from ..log_format import log_fields
from ..signals import Signal

logger = logging.getLogger("realtime.web")

ALL_SITES = ""
"""The key of an outage of the whole web process."""

MAINTENANCE = "maintenance mode"
"""The reason of an outage of a site that Frappe itself has taken out of service."""

UNAVAILABLE = frozenset({502, 503, 504})
"""Statuses of a web process that starts, restarts or is in maintenance, sent by a proxy or by Frappe itself."""

FIRST_PAUSE, MAX_PAUSE, GROWTH = 0.2, 5.0, 1.6
"""Seconds between two attempts or two probes, at first and at most, and the factor from one to the next."""

PAUSE_MEMORY = 60.0
"""Seconds for which a probe goes on with the pause of the one before, so that an alternating state is not probed faster."""


@dataclass(slots=True)
class _Outage:
	"""One outage, and what waits for its end."""

	over: asyncio.Event
	probe: asyncio.Task[None]
	reason: str


class Outages:
	"""The outages of one web process.

	Args:
		url: Its address, for logs and errors.
		ping: Sends a ping for a site, and returns the HTTP status; None without an answer.
	"""

	def __init__(self, url: str, ping: Callable[[str], Awaitable[int | None]]) -> None:
		self.began: Signal[[str, str]] = Signal()
		"""Sent with the site (empty for all sites) and the reason when an outage begins."""
		self._url = url
		self._ping = ping
		self._outages: dict[str, _Outage] = {}
		"""By site; under `ALL_SITES` if the web process cannot be reached at all."""
		self._pauses: dict[str, tuple[float, float]] = {}
		"""When the last outage of each of these has ended, and the pause between the probes at its end."""
		self._closed = False

	def __len__(self) -> int:
		return len(self._outages)

	def affect(self, site: str) -> bool:
		"""Return True while the web process does not serve `site`."""
		return self._of(site) is not None

	def reason(self, site: str) -> str:
		"""Return why the web process does not serve `site`; empty while it does."""
		outage = self._of(site)
		return "" if outage is None else outage.reason

	def any_reason(self) -> str:
		"""Return why the web process does not serve some site, or all; empty while there is no outage."""
		return next((outage.reason for outage in self._outages.values()), "")

	def _of(self, site: str) -> _Outage | None:
		return self._outages.get(ALL_SITES) or self._outages.get(site)

	async def wait(self, site: str, deadline: float) -> None:
		"""Wait while the web process does not serve `site`.

		Raises:
			WebUnavailable: It does not until `deadline` (loop time).
		"""
		loop = asyncio.get_running_loop()
		while (outage := self._of(site)) is not None:
			try:
				await asyncio.wait_for(outage.over.wait(), deadline - loop.time())
			except asyncio.TimeoutError:
				raise WebUnavailable(f"no answer from {self._url}") from None

	def begin(self, key: str, site: str, reason: str) -> None:
		"""Start a probe, for which all calls wait instead of retrying each by itself; does nothing in an outage.

		Args:
			key: The site, or `ALL_SITES`.
			site: The site that is asked for.
			reason: `MAINTENANCE`, or what else is wrong.
		"""
		if key in self._outages or self._closed:
			return
		if reason == MAINTENANCE:
			logger.warning(
				"the site %s is in maintenance mode (HTTP 503); its clients wait",
				site,
				extra=log_fields(site),
			)
		elif key:
			logger.warning(
				"the web process at %s does not serve %s (%s); its clients wait",
				self._url,
				site,
				reason,
				extra=log_fields(site),
			)
		else:
			logger.warning(
				"the web process at %s is unavailable (%s); clients wait. Set webserver_host and webserver_port if it is elsewhere",
				self._url,
				reason,
			)
		over = asyncio.Event()
		probe = asyncio.get_running_loop().create_task(self._probe(key, site, over))
		self._outages[key] = _Outage(over, probe, reason)
		self.began.send(key, reason)

	async def _probe(self, key: str, site: str, over: asyncio.Event) -> None:
		"""Wait until the web process answers, or serves `site` again, then release the calls that wait."""
		loop = asyncio.get_running_loop()
		ended, pause = self._pauses.get(key, (0.0, 0.0))
		if loop.time() - ended > PAUSE_MEMORY:
			pause = 0.0
		while True:
			await asyncio.sleep(pause * random.uniform(0.7, 1.3))
			pause = min(max(pause * GROWTH, FIRST_PAUSE), MAX_PAUSE)
			status = await self._ping(site)
			# For all sites any answer proves that the web process is there; a 404 does not say that it serves the site.
			if status is not None and (key == ALL_SITES or status not in UNAVAILABLE | {404}):
				break
		if key == ALL_SITES:
			logger.info("the web process at %s is back", self._url)
		else:
			logger.info("the web process at %s serves %s again", self._url, site, extra=log_fields(site))
		self._pauses[key] = (loop.time(), pause)
		del self._outages[key]
		over.set()

	def close(self) -> None:
		"""End all outages without their probes, and begin no more."""
		self._closed = True
		outages, self._outages = self._outages, {}
		for outage in outages.values():
			outage.probe.cancel()
			outage.over.set()
