"""The installed apps of sites on Frappe v15 without `frappe_realtime`, where `get_user_info` does not return them."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..json_codec import loads
from ..log_budget import LogBudget
from ..signals import Signal
from ..web.cache import SingleFlightCache
from ..web.frappe_client import Credential, FrappeClient
from ..web.http_client import HTTPResponse
from .files import HandlerFiles

logger = logging.getLogger("realtime.auth")

GET_VERSIONS = "/api/method/frappe.utils.change_log.get_versions"
"""Every user who has logged in may call it. It runs git for each app, so it is called rarely."""

CACHE_SECONDS = 600.0

RETRY_PAUSES = (0.1, 0.5, 2.0)
"""Seconds between attempts. The client that connects waits for them; without the apps, no handler runs for it."""


class InstalledApps:
	"""Requests the installed apps of a site once, with the credential of the first user who has logged in.

	It sends no request on a bench in which no app has handlers.

	Args:
		web: The HTTP client.
		files: The handlers files of the bench.
		sites: The folder of sites.
	"""

	def __init__(self, web: FrappeClient, files: HandlerFiles, sites: Path) -> None:
		self._web = web
		self._files = files
		self._sites = sites
		self.learned: Signal[[str]] = Signal()
		"""Sent with the name of a site when its apps have become known."""
		self._log_budget = LogBudget()
		self._known: SingleFlightCache[str, tuple[str, ...]] = SingleFlightCache(CACHE_SECONDS, 10_000)

	async def ask(self, site: str, credential: Credential, user: str) -> tuple[str, ...] | None:
		"""Return the installed apps of a site in the order of the bench's `apps.txt`.

		Args:
			site: The name of the site.
			credential: The credential of the user, for the request.
			user: The user who connects; Guests may not send the request.

		Returns:
			The apps; None while they are unknown, and on a bench in which no app has handlers.
		"""
		known = self._known.peek(site)
		if known is not None or user == GUEST:
			return known
		if not any(self._files.python(app) or self._files.javascript(app) for app in self._files.apps()):
			return None
		try:
			return await self._known.get(site, lambda: self._request(site, credential))
		except WebUnavailable as error:
			self._log_budget.write(
				logger.warning,
				"the installed apps of %s are unknown, so no handlers run for %s: %s",
				site,
				user,
				error,
			)
			return None

	async def _request(self, site: str, credential: Credential) -> tuple[str, ...]:
		response = await self._response(site, credential)
		try:
			versions = loads(response.body)["message"]
			names = {str(name) for name in versions}
		except (ValueError, KeyError, TypeError):
			raise WebUnavailable(f"{GET_VERSIONS} answered HTTP {response.status} without apps") from None
		self.learned.send(site)
		ordered = [name for name in self._bench_order() if name in names]
		return (*ordered, *sorted(names.difference(ordered)))

	async def _response(self, site: str, credential: Credential) -> HTTPResponse:
		request = partial(self._web.request, site, GET_VERSIONS, credential.headers, measured_as=GET_VERSIONS)
		for pause in RETRY_PAUSES:
			try:
				return await request()
			except WebUnavailable:
				await asyncio.sleep(pause)
		return await request()

	def _bench_order(self) -> list[str]:
		try:
			return (self._sites / "apps.txt").read_text().split()
		except OSError:
			return []
