"""A sidecar with the states of shared documents, and an app that stores them in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text

from frappe_realtime.contract.redis_keys import SHARED_DUE_KEY
from realtime.access.authentication import Session
from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.store import RedisStore
from realtime.config import Config
from realtime.shared_editing.documents import SharedDocument
from realtime.shared_editing.states import SharedStates, StateUnavailable
from realtime.shared_editing.storage import SharedStorage
from realtime.web.frappe_client import Credential

SITE = "one.test"
NOTE = SharedDocument("Note", "N-1", "")
SESSION = Session(SITE, Credential(sid="sid"), "ann", "System User", "Ann", ("frappe", "frappe_realtime"))


def changes(*texts: str) -> list[bytes]:
	"""Return the changes by which a client appends texts."""
	doc: Doc[Any] = Doc()
	made: list[bytes] = []
	doc.observe(lambda event: made.append(event.update))
	for text in texts:
		doc.get("text", type=Text).insert(len(str(doc.get("text", type=Text))), text)
	return made


def text_of(state: bytes) -> str:
	"""Return the text of a state."""
	doc: Doc[Any] = Doc()
	doc.apply_update(state)
	return str(doc.get("text", type=Text))


class App:
	"""An app that stores states in memory."""

	def __init__(self) -> None:
		self.stored: dict[SharedDocument, bytes] = {}
		self.loads = 0
		self.fails = self.unavailable = False

	def is_unavailable(self, site: str) -> bool:
		return self.unavailable

	async def load(self, site: str, document: SharedDocument) -> bytes:
		self.loads += 1
		await asyncio.sleep(0)
		if self.fails:
			raise StateUnavailable("the app fails")
		return self.stored.get(document, b"")

	async def store(self, site: str, document: SharedDocument, state: bytes) -> None:
		if self.fails:
			raise StateUnavailable("the app fails")
		self.stored[document] = state


class Process:
	"""One sidecar with its states."""

	def __init__(self, url: str, app: App, **keys: Any) -> None:
		config = Config(bench=Path(), redis_queue=url, **keys)
		self.limits: list[str] = []
		self.store = RedisStore(RedisEndpoint(config))
		api: Any = app
		self.states = SharedStates(config, self.store, app.load, self.limits.append)
		self.storage = SharedStorage(config, self.store, self.states, api)

	async def close(self) -> None:
		self.states.stop()
		await self.store.close()


def make_due(valkey: Any) -> None:
	"""Make everything due that is to be stored later."""
	for member in valkey.client.zrange(SHARED_DUE_KEY, 0, -1):
		valkey.client.zadd(SHARED_DUE_KEY, {member: 0})


def run(test: Coroutine[Any, Any, None]) -> None:
	"""Run a test, for 30 seconds at most."""
	asyncio.run(asyncio.wait_for(test, 30))
