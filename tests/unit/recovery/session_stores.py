"""The session store with a Redis in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from frappe_realtime.contract.redis_keys import session_key
from realtime.bus.store import SessionWrite
from realtime.recovery.sessions import SessionStore
from realtime.socketio.namespace import Namespaces, ServerSocket
from tests.unit.socketio.fakes import SITE, add_socket

PID = "p" * 24
KEY = session_key(SITE, PID)
SECONDS = 100
LIVE_SECONDS = 155


class FakeRedis:
	"""Sessions in memory. A write waits for `gate`; `failures` are raised by the next commands."""

	endpoint = "a fake"

	def __init__(self) -> None:
		self.values: dict[str, tuple[str, int]] = {}
		self.batches: list[list[SessionWrite]] = []
		self.failures: list[Exception] = []
		self.gate = asyncio.Event()
		self.gate.set()

	def _fail(self) -> None:
		if self.failures:
			raise self.failures.pop(0)

	async def write_sessions(self, writes: Sequence[SessionWrite]) -> list[int]:
		await self.gate.wait()
		await asyncio.sleep(0)
		self._fail()
		self.batches.append(list(writes))
		outdated: list[int] = []
		for position, write in enumerate(writes):
			stored = self.saved(write.key)
			if stored is not None and stored.get("recoveries", 0) > write.recoveries:
				outdated.append(position)
			elif write.value is None:
				self.values.pop(write.key, None)
			else:
				self.values[write.key] = (write.value, write.seconds)
		return outdated

	async def prolong_sessions(self, keys: Sequence[str], seconds: int) -> list[bool]:
		await asyncio.sleep(0)
		self._fail()
		found = [key in self.values for key in keys]
		for key in keys:
			if key in self.values:
				self.values[key] = (self.values[key][0], seconds)
		return found

	async def session(self, key: str) -> str | None:
		await asyncio.sleep(0)
		self._fail()
		value = self.values.get(key)
		return None if value is None else value[0]

	def saved(self, key: str = KEY) -> dict[str, Any] | None:
		"""Return a stored session."""
		value = self.values.get(key)
		return None if value is None else json.loads(value[0])

	def rooms(self, key: str = KEY) -> set[str]:
		"""Return the rooms of a stored session."""
		saved = self.saved(key)
		assert saved is not None
		return set(saved["rooms"])

	def seconds(self, key: str = KEY) -> int:
		"""Return for how long a session is kept."""
		return self.values[key][1]


class Setting:
	"""A session store and its fake Redis."""

	def __init__(self) -> None:
		self.redis = FakeRedis()
		self.namespaces = Namespaces()
		self.store = SessionStore(self.redis, self.namespaces, SECONDS)  # type: ignore[arg-type]

	def socket(self, pid: str | None = PID, **more: Any) -> ServerSocket:
		"""Add a socket whose namespace observes rooms."""
		return add_socket(self.namespaces, pid=pid, **more)

	async def written(self) -> None:
		"""Let the store write as far as Redis lets it."""
		for _ in range(1000):
			await asyncio.sleep(0)


def run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	async def body() -> None:
		await test(Setting())

	asyncio.run(asyncio.wait_for(body(), 20))
