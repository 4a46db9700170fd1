"""A history with a store in memory, for the tests of the event history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from realtime.bus.events import PublishedEvent
from realtime.bus.kept_events import KeptEvent
from realtime.recovery import history, history_reader
from realtime.recovery.history import History
from realtime.socketio.namespace import Namespaces
from tests.unit.recovery.fakes import FakeStore
from tests.unit.socketio.fakes import SITE
from tests.unit.virtual_time import in_virtual_time


class Setting:
	"""A history with a fake store; records the delivered messages and the sites that have lost events."""

	def __init__(self) -> None:
		self.store = FakeStore()
		self.delivered: list[Any] = []
		self.empty_batches = 0
		self.lost: list[str] = []
		self.namespaces = namespaces = Namespaces()
		namespaces.open(f"/{SITE}")
		self.history = History(
			self.store,  # type: ignore[arg-type]
			self._deliver,
			namespaces,
			120,
		)
		self.history.lost.connect(self.lost.append)

	def _deliver(self, events: Sequence[PublishedEvent]) -> None:
		self.empty_batches += not events
		self.delivered += [event.message for event in events]

	def live(self, number: int) -> None:
		"""Publish while the sidecar is subscribed."""
		self.history.take([self.store.append(number)])

	async def caught_up(self) -> None:
		"""Wait until the stream has been read."""
		for _ in range(1000):
			await asyncio.sleep(0)


def memory(size: int, room: str = "website") -> int:
	"""Return the bytes that an event of `size` bytes takes in the window."""
	return KeptEvent("step", room, (1, 0), size).memory


ONE = memory(50)
"""Bytes that a live event of these tests takes."""


def run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	"""Run a test with a new setting. Time passes only while the test waits: a pause after a failure does not end in `caught_up`."""
	_run(test)


@in_virtual_time
async def _run(test: Callable[[Setting], Coroutine[Any, Any, None]]) -> None:
	setting = Setting()
	await test(setting)
	assert setting.empty_batches == 0


def read_pages_of(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
	"""Let so many events be read from Redis in one command."""
	for module in (history, history_reader):
		monkeypatch.setattr(module, "PAGE", count)
