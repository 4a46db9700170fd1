"""Loads the states of shared documents from the app, and hands them to the app to store, through the web process.

A document that has changed is due `realtime_shared_store_seconds` later; what is due stands in Redis, so that a state is stored also if the
sidecar that has taken the change ends before. It stays due until the app has stored it.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from time import time

from frappe_realtime.contract.http import METHOD_PREFIX, SHARED_LOAD, SHARED_STORE
from frappe_realtime.contract.redis_keys import SHARED_DUE_KEY
from frappe_realtime.errors import WebUnavailable

from ..bus.periodic import PeriodicStoreTask
from ..bus.store import RedisStore
from ..config import Config
from ..json_codec import loads
from ..log_budget import LogBudget
from ..web.frappe_client import GUEST_CREDENTIAL, FrappeClient, FrappeResponse, is_forbidden
from .documents import SharedDocument
from .states import SharedStates, StateUnavailable

logger = logging.getLogger("realtime.shared")

BATCH = 40
"""Documents that are stored after one look."""

CONCURRENT = 4
"""Requests for them at a time."""

TIMEOUT = 10.0
"""Seconds that the web process has to load or to store one document."""

RETRY_SECONDS = 30.0
"""Seconds until a state is handed to the app again that it has not stored."""


class AppStates:
	"""Calls the endpoints by which the app loads and stores.

	Args:
		web: The web process.
	"""

	def __init__(self, web: FrappeClient) -> None:
		self._web = web

	def is_unavailable(self, site: str) -> bool:
		"""Return True while the web process does not answer for `site`."""
		return self._web.is_unavailable(site)

	async def load(self, site: str, document: SharedDocument) -> bytes:
		"""Return what the app has stored; empty if there is nothing, or no app of the site has the hook.

		Raises:
			StateUnavailable: The web process does not answer, or the hook fails.
		"""
		response = await self._call(site, SHARED_LOAD, document)
		if response.status != 200:
			raise StateUnavailable(f"{SHARED_LOAD} on {site} answered HTTP {response.status}")
		return b64decode(response.message) if isinstance(response.message, str) else b""

	async def store(self, site: str, document: SharedDocument, state: bytes) -> None:
		"""Hand a state to the app, which may have no hook for it.

		Raises:
			StateUnavailable: The web process does not answer, or the hook fails.
		"""
		response = await self._call(site, SHARED_STORE, document, state=b64encode(state).decode())
		# Frappe answers 404 without JSON for a site that does not exist any more, and with JSON when the hook has not found a document.
		is_gone = response.status == 404 and response.data is None
		if response.status != 200 and not is_gone:
			raise StateUnavailable(f"{SHARED_STORE} on {site} answered HTTP {response.status}")

	async def _call(self, site: str, method: str, document: SharedDocument, **more: str) -> FrappeResponse:
		call = self._web.call(
			site,
			METHOD_PREFIX + method,
			GUEST_CREDENTIAL,
			json={**document._asdict(), **more},
			secret_rejected=is_forbidden,
			max_failures=1,
		)
		try:
			return await asyncio.wait_for(call, TIMEOUT)
		except (WebUnavailable, asyncio.TimeoutError) as error:
			raise StateUnavailable(str(error) or "the web process did not answer") from error


class SharedStorage:
	"""Stores what is due.

	Args:
		config: `realtime_shared_store_seconds`.
		store: redis_queue.
		states: The states.
		app: The app's endpoints.
	"""

	def __init__(self, config: Config, store: RedisStore, states: SharedStates, app: AppStates) -> None:
		self.stored = 0
		"""States that were handed to the app since the start."""
		self.failed = 0
		"""Times that the app did not take one."""
		self._seconds: float = config.realtime_shared_store_seconds
		self._store = store
		self._states = states
		self._app = app
		self._task = PeriodicStoreTask(store, self.store_due, "shared documents", logger)
		self._log_budget = LogBudget()

	def start(self) -> None:
		"""Start to store what is due, once a second."""
		self._task.start()

	def stop(self) -> None:
		"""Store nothing any more: another sidecar does, or this one after its restart."""
		self._task.stop()

	async def store_due(self) -> None:
		"""Store what is due now.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command.
		"""
		now = round(time() * 1000)
		(members,) = await self._store.execute(
			[("ZRANGEBYSCORE", SHARED_DUE_KEY, "-inf", now, "LIMIT", 0, BATCH)]
		)
		for start in range(0, len(members), CONCURRENT):
			await asyncio.gather(*[self._take(member) for member in members[start : start + CONCURRENT]])

	async def _take(self, member: bytes) -> None:
		"""Store a document, unless another sidecar does."""
		site, *names = loads(member)
		document = SharedDocument(*names)
		if not await self._states.lock(site, document):
			return
		try:
			if self._app.is_unavailable(site):
				# Documents of other sites come first.
				await self._postpone(site, document, member, RETRY_SECONDS)
			else:
				await self._store_one(site, document, member)
		finally:
			await self._states.unlock(site, document)

	async def _store_one(self, site: str, document: SharedDocument, member: bytes) -> None:
		entries = await self._states.entries(site, document)
		if not entries:
			await self._store.execute([("ZREM", SHARED_DUE_KEY, member)])
			return
		try:
			if not any(entry.is_loaded for entry in entries):
				# Redis has lost what was loaded: the app would replace what it has by these changes alone.
				stored = await self._app.load(site, document)
				entries = await self._states.add_loaded(site, document, stored)
			merged = await self._states.merge(entries)
			await self._app.store(site, document, merged.state)
		except StateUnavailable as error:
			self.failed += 1
			self._log_budget.write(logger.warning, "%s of %s is stored later: %s", document.text, site, error)
			await self._postpone(site, document, member, RETRY_SECONDS)
			return
		self.stored += 1
		id = await self._states.replace(site, document, entries, merged.state)
		# First: a change that comes after it makes the document due again.
		await self._store.execute([("ZREM", SHARED_DUE_KEY, member)])
		if [entry.id for entry in await self._states.entries(site, document)] != [id]:
			await self._postpone(site, document, member, self._seconds)

	async def _postpone(self, site: str, document: SharedDocument, member: bytes, seconds: float) -> None:
		due = round((time() + seconds) * 1000)
		# What is not stored yet does not expire.
		keep = self._states.keep_commands(site, document)
		await self._store.execute([("ZADD", SHARED_DUE_KEY, due, member), *keep])
