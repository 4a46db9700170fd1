"""Which apps a site has, where its Frappe does not say so with the user: on v15 without our app."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from frappe_realtime.contract import GUEST
from frappe_realtime.errors import WebUnavailable

from ..json_codec import loads
from ..signals import Signal
from ..web.cache import SingleFlightCache
from ..web.frappe_client import Credential, FrappeClient
from .files import HandlerFiles

logger = logging.getLogger("realtime.auth")

VERSIONS = "/api/method/frappe.utils.change_log.get_versions"
"""Open to every user who has logged in. It asks git about each app, and so is asked seldom."""

SECONDS = 600.0

PAUSES = (0.1, 0.5, 2.0)
"""Seconds between attempts: a client waits for them, and without an answer no handler runs for it."""


class InstalledApps:
	"""Asks once for each site, and only on a bench in which some app has handlers."""

	def __init__(self, web: FrappeClient, files: HandlerFiles, sites: Path) -> None:
		self._web = web
		self._files = files
		self._sites = sites
		self.learned: Signal[[str]] = Signal()
		"""Sent with a site whose apps are known from now on."""
		self._known: SingleFlightCache[str, tuple[str, ...]] = SingleFlightCache(SECONDS, 10_000)

	async def ask(self, site: str, credential: Credential, user: str) -> tuple[str, ...] | None:
		"""The apps of `site`, in the order of the bench's `apps.txt`; None while nobody but Guests has asked."""
		known = self._known.peek(site)
		if known is not None or user == GUEST:
			return known
		if not any(self._files.python(app) or self._files.javascript(app) for app in self._files.apps()):
			return None
		try:
			return await self._known.get(site, lambda: self._ask(site, credential))
		except WebUnavailable as error:
			logger.warning("no app's handlers run for %s on %s yet: %s", user, site, error)
			return None

	async def _ask(self, site: str, credential: Credential) -> tuple[str, ...]:
		for pause in PAUSES:
			try:
				status, _, body = await self._web.request(
					site, VERSIONS, credential.headers, measured_as=VERSIONS
				)
				break
			except WebUnavailable:
				await asyncio.sleep(pause)
		else:
			status, _, body = await self._web.request(
				site, VERSIONS, credential.headers, measured_as=VERSIONS
			)
		try:
			versions = loads(body)["message"]
			names = {str(name) for name in versions}
		except (ValueError, KeyError, TypeError):
			raise WebUnavailable(f"{VERSIONS} answered HTTP {status}, and no apps") from None
		self.learned.send(site)
		ordered = [name for name in self._bench_order() if name in names]
		return (*ordered, *sorted(names.difference(ordered)))

	def _bench_order(self) -> list[str]:
		try:
			return (self._sites / "apps.txt").read_text().split()
		except OSError:
			return []
