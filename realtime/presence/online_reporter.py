"""Tells the apps of a site which users come and go, through the web process, which calls their hooks in background jobs.

One sidecar of the bench does this: the one that holds a key of Redis, which expires when it is gone. It compares the users who are online
with those whose coming was reported last, a set in Redis that outlives every sidecar. So each change is reported once, and one that
happens while no sidecar runs is reported afterwards. The users of a report are kept in Redis before it is sent, until it is confirmed:
if the sidecar or the web process ends in between, what is true then is reported again, so that no change is missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import islice

from frappe_realtime.contract.http import MAX_USERS, METHOD_PREFIX, USERS_CHANGED
from frappe_realtime.contract.redis_keys import (
	ONLINE_REPORTER_KEY,
	ONLINE_SITES_KEY,
	online_key,
	unconfirmed_key,
)
from frappe_realtime.errors import WebUnavailable

from ..access.sites import Sites
from ..bus.periodic import PeriodicStoreTask
from ..bus.store import RedisStore, StoreUnavailable
from ..log_budget import LogBudget
from ..web.frappe_client import GUEST_CREDENTIAL, FrappeClient, is_forbidden
from .online import OnlineUsers

logger = logging.getLogger("realtime.presence")

HOLD_SECONDS = 30
"""Seconds after which another sidecar reports, if this one is gone."""

RENEW_SECONDS = 1.0
"""Seconds for which this sidecar relies on that it is the one that reports, before it asks Redis again."""

TIMEOUT = 10.0
"""Seconds that the web process has for one report."""


class OnlineReporter:
	"""Reports who comes and goes, for the sites whose apps have a hook for it.

	Args:
		id: The id of this sidecar.
		store: redis_queue.
		web: The web process.
		online: The users with a socket, on all sidecars.
		sites: The sites of the bench.
		is_ready: Returns True if this process knows the clients of all sidecars.
	"""

	def __init__(
		self,
		id: str,
		store: RedisStore,
		web: FrappeClient,
		online: OnlineUsers,
		sites: Sites,
		is_ready: Callable[[], bool],
	) -> None:
		self.reported = 0
		"""Users whose coming or going was reported since the start."""
		self._id = id
		self._store = store
		self._web = web
		self._online = online
		self._sites = sites
		self._is_ready = is_ready
		self._announced: set[str] = set()
		"""The sites with hooks of this sidecar's clients that it has written to Redis."""
		self._known: dict[str, set[str]] = {}
		"""By site, the users who were reported as online, as in Redis; without the sites for which they have to be read there."""
		self._held_at = float("-inf")
		"""When this sidecar was the one that reports, for `HOLD_SECONDS` from then on (loop time)."""
		self._task = PeriodicStoreTask(store, self.report, "who is online", logger)
		self._log_budget = LogBudget()

	def start(self) -> None:
		"""Start to report, once a second."""
		self._task.start()

	def stop(self) -> None:
		"""Report nothing any more."""
		self._task.stop()

	def on_subscribed(self) -> None:
		"""Write the sites with hooks again, and read who was reported: Redis may have lost both while it was unavailable."""
		# Not cleared: sites that are being written may be lost too.
		self._announced = set()
		self._known.clear()

	async def report(self) -> None:
		"""Report all changes since the last call, if this sidecar is the one that does.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command.
		"""
		try:
			await self._report()
		except StoreUnavailable:
			# Another one may report meanwhile.
			self._known.clear()
			raise

	async def _report(self) -> None:
		with_hooks = {site for site, has_hooks in self._online.hooks.items() if has_hooks}
		announced = self._announced
		announced &= with_hooks
		if new := with_hooks - announced:
			await self._store.change_members(ONLINE_SITES_KEY, sorted(new))
			announced |= new
		if not self._is_ready():
			return
		# Read each time: all clients of a site may be connected to other sidecars, and uninstalling the app removes its site.
		sites = await self._store.members(ONLINE_SITES_KEY)
		for site in self._announced - sites:
			# What the sessions of its clients said is no longer true. A later session shows that the app is installed again.
			self._announced.discard(site)
			self._online.hooks.pop(site, None)
		self._known = {site: known for site, known in self._known.items() if site in sites}
		for site in sorted(sites):
			# Again for each site: the web process may take longer for all of them than `HOLD_SECONDS`.
			if not await self._hold():
				return
			if not self._sites.exists(site):
				await self._store.change_members(ONLINE_SITES_KEY, (), [site])
			elif not self._web.is_unavailable(site):
				await self._report_site(site)

	async def _hold(self) -> bool:
		"""Be the sidecar that reports, for `HOLD_SECONDS` from now on; return False if another one is."""
		now = asyncio.get_running_loop().time()
		if now - self._held_at < RENEW_SECONDS:
			return True
		if not self._is_held():
			# Another one may have reported since, and changed what is in Redis.
			self._known.clear()
		held = await self._store.hold(ONLINE_REPORTER_KEY, self._id, HOLD_SECONDS)
		self._held_at = now if held else float("-inf")
		return held

	def _is_held(self) -> bool:
		"""Return True if no other sidecar can have reported since this one was the one that reports."""
		return asyncio.get_running_loop().time() - self._held_at < HOLD_SECONDS

	async def _report_site(self, site: str) -> None:
		users = set(self._online.users(f"/{site}"))
		# Until this report is confirmed, only Redis has what is known.
		known = self._known.pop(site, None)
		if known is None:
			known = await self._read_known(site, users)
		came, gone = _first(users - known), _first(known - users)
		if not (came or gone):
			self._known[site] = known
			return
		await self._store.change_members(unconfirmed_key(site), [*came, *gone])
		try:
			accepted = await asyncio.wait_for(self._send(site, came, gone), TIMEOUT)
		except (WebUnavailable, asyncio.TimeoutError) as error:
			self._log_budget.write(
				logger.warning,
				"%d users of %s who have come or gone are reported later: %s",
				len(came) + len(gone),
				site,
				error or "the web process did not answer",
			)
			return
		# Otherwise another one reports these users again, whom it has read as unconfirmed. It is not enough that the key can be held again:
		# others may have held it while this process did not run.
		if accepted and self._is_held() and await self._hold():
			await self._store.change_members(online_key(site), came, gone)
			await self._store.change_members(unconfirmed_key(site), (), [*came, *gone])
			self._known[site] = known.union(came).difference(gone)
			self.reported += len(came) + len(gone)

	async def _read_known(self, site: str, users: set[str]) -> set[str]:
		"""Return the users who were reported as online, such that those of an unconfirmed report are reported again."""
		known = await self._store.members(online_key(site))
		unconfirmed = await self._store.members(unconfirmed_key(site))
		return known.union(unconfirmed - users).difference(unconfirmed & users)

	async def _send(self, site: str, came: list[str], gone: list[str]) -> bool:
		"""Call the endpoint; return True if it has accepted the report."""
		path = METHOD_PREFIX + USERS_CHANGED
		body = {"online": came, "offline": gone}
		response = await self._web.call(
			site, path, GUEST_CREDENTIAL, json=body, secret_rejected=is_forbidden, max_failures=1
		)
		if response.status != 200:
			self._log_budget.write(logger.warning, "%s on %s answered HTTP %s", path, site, response.status)
		return response.status == 200


def _first(users: Iterable[str]) -> list[str]:
	return list(islice(sorted(users), MAX_USERS))
