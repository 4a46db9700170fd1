"""An outbox with a writer in memory, whose thread does not run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
import redis

from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing.backlog import Message
from frappe_realtime.publishing.outages import Outage
from frappe_realtime.publishing.outbox import Outbox


class FakeWriter:
	"""A writer that records what it writes; `failures` are raised first, one by each write or report."""

	def __init__(self) -> None:
		self.caller_client: Any = None
		self.by_caller: list[int] = []
		self.by_thread: list[int] = []
		self.dropped: list[int] = []
		self.reports: list[Outage] = []
		self.failures: list[BaseException] = []
		self.closed = self.discarded = 0
		self.connect: Callable[[float], redis.Redis] = never_connect

	def _fail(self) -> None:
		if self.failures:
			raise self.failures.pop(0)

	def append(self, client: Any, batch: Collection[Message]) -> None:
		assert client is self.caller_client
		self._fail()
		self.by_caller += [message.number for message in batch]

	def write(self, batch: Sequence[Message]) -> None:
		self._fail()
		self.by_thread += [message.number for message in batch]

	def write_report(self, outage: Outage) -> None:
		self._fail()
		self.reports.append(outage)

	def note_dropped(self, messages: Iterable[Message]) -> None:
		self.dropped += [message.number for message in messages]

	def discard_caller_client(self) -> None:
		self.discarded += 1
		self.caller_client = None

	def close(self) -> None:
		self.closed += 1

	def connect_with(self, connect: Callable[[float], redis.Redis]) -> None:
		self.connect = connect


def never_connect(timeout: float) -> redis.Redis:
	"""Fail: no test connects this outbox."""
	raise AssertionError("connected")


class Setting:
	"""An outbox whose thread does not run.

	Attributes:
		waits: How often a caller waited.
		on_wait: Called in each wait, without the lock. By default, nothing happens until the wait is over.
	"""

	def __init__(self, monkeypatch: pytest.MonkeyPatch, **bounds: Any) -> None:
		self.lines: list[str] = []
		self.outbox = Outbox(never_connect, self.lines.append, **bounds)
		self.writer = self.outbox._writer = FakeWriter()  # type: ignore[assignment]
		self.starts = self.notified = self.waits = 0
		self._now = self._until = 0.0
		self.can_start = True
		self.on_wait: Callable[[], object] = self._expire
		monkeypatch.setattr(outbox_module, "monotonic", lambda: self._now)
		monkeypatch.setattr(self.outbox, "_start_thread", self._start)
		monkeypatch.setattr(self.outbox._work, "notify", self._notify)
		monkeypatch.setattr(self.outbox._progress, "wait", self._wait)
		outbox_module._outboxes.discard(self.outbox)

	def _start(self) -> bool:
		self.starts += 1
		return self.can_start

	def _notify(self) -> None:
		self.notified += 1

	def _wait(self, timeout: float) -> None:
		assert timeout > 0
		self.waits += 1
		self._until = self._now + timeout
		self.outbox._lock.release()
		try:
			self.on_wait()
		finally:
			self.outbox._lock.acquire()

	def _expire(self) -> None:
		self._now = self._until

	def send(self, count: int = 1, payload: str = "{}") -> None:
		"""Send messages, as a caller does."""
		self.outbox.send([Message("events", payload) for _ in range(count)])
