"""What the outbox decides, with a writer in memory: who writes, who waits, and what its thread does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing.backlog import Message
from frappe_realtime.publishing.outages import Outage
from frappe_realtime.publishing.outbox import Outbox
from frappe_realtime.publishing.redis_writer import RedisUnavailable
from tests.unit.app.outbox.in_memory import Setting, never_connect


def test_a_caller_with_a_connection_writes_itself(it: Setting) -> None:
	it.writer.caller_client = object()
	it.send(2)
	it.send()
	assert it.writer.by_caller == [1, 2, 3]
	assert (it.outbox.pending, it.outbox._written, it.starts, it.waits) == (0, 3, 0, 0)


def test_a_caller_does_not_write_what_others_left(it: Setting) -> None:
	it.send()
	it.writer.caller_client = object()
	it.send()
	assert it.writer.by_caller == []
	assert it.outbox.pending == 2


def test_a_caller_does_not_write_before_an_outage_is_reported(it: Setting) -> None:
	it.writer.caller_client = object()
	it.outbox._outage = Outage(0)
	it.send()
	assert it.writer.by_caller == []


def test_after_a_failure_of_the_caller_the_thread_writes(it: Setting) -> None:
	it.writer.caller_client = object()
	it.writer.failures = [redis.TimeoutError("no answer")]
	it.send()
	assert (it.writer.discarded, it.outbox.pending) == (1, 1)
	assert it.starts > 0
	assert it.notified > 0
	assert it.waits == 0
	assert it.outbox._write_next()
	assert it.writer.by_thread == [1]


def test_an_exception_from_a_signal_handler_reaches_the_caller(it: Setting) -> None:
	it.writer.caller_client = object()
	it.writer.failures = [KeyboardInterrupt()]
	with pytest.raises(KeyboardInterrupt):
		it.send()
	assert (it.writer.discarded, it.outbox.pending, it.starts, it.notified) == (1, 1, 1, 1)
	it.send()
	assert it.waits == 0


def test_a_caller_waits_for_the_thread_until_it_has_written(it: Setting) -> None:
	it.on_wait = it.outbox._write_next
	it.send()
	assert it.waits == 1
	assert (it.outbox.pending, it.outbox._stalled) == (0, False)


def test_callers_wait_once_while_nothing_is_written(it: Setting) -> None:
	it.send()
	assert (it.waits, it.outbox._stalled, it.notified) == (1, True, 1)
	it.send()
	assert (it.waits, it.notified) == (1, 2)
	# Five of ten are no reason to wait, six are.
	it.send(3)
	assert it.waits == 1
	it.send()
	assert it.waits == 2
	assert it.outbox._write_next()
	assert not it.outbox._stalled
	it.send()
	assert it.waits == 3


def test_a_caller_does_not_wait_once_redis_is_known_to_be_away(it: Setting) -> None:
	it.writer.failures = [RedisUnavailable("away")]
	it.on_wait = it.outbox._write_next
	it.send()
	assert it.waits == 1
	notified = it.notified
	it.send(8)
	assert (it.waits, it.notified) == (1, notified)


def test_without_a_thread_the_caller_writes_as_the_thread_does(it: Setting) -> None:
	it.can_start = False
	it.send(3)
	assert it.writer.by_thread == [1, 2, 3]
	assert it.waits == 0
	assert it.outbox.pending == 0


def test_large_batches_are_written_in_parts(it: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(outbox_module, "BATCH", 2)
	batches: list[int] = []
	monkeypatch.setattr(it.writer, "write", lambda batch: batches.append(len(batch)))
	it.outbox._stalled = True
	it.send(5)
	assert it.outbox.pending == 5
	while it.outbox.pending:
		assert it.outbox._write_next()
	assert batches == [2, 2, 1]


def test_those_who_wait_are_woken_by_each_progress(it: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
	woken: list[int] = []
	monkeypatch.setattr(it.outbox._progress, "notify_all", lambda: woken.append(it.outbox.pending))
	it.outbox._stalled = True
	it.send(11)
	assert woken == [10]  # one message was dropped
	it.writer.failures = [RedisUnavailable("away")]
	assert not it.outbox._write_next()
	assert woken == [10, 10]
	assert it.outbox._write_next()
	assert woken == [10, 10, 0, 0]  # the messages are written, then the report


# -- flush


def test_flush_waits_for_the_messages_and_for_the_report(it: Setting) -> None:
	it.outbox._stalled = True
	it.send()
	it.outbox._outage = Outage(0)
	steps = [lambda: it.outbox._mark_written(1), lambda: setattr(it.outbox, "_outage", None)]

	def progress() -> None:
		with it.outbox._lock:
			steps.pop(0)()

	it.on_wait = progress
	assert it.outbox.flush(60)
	assert (steps, it.waits) == ([], 2)


def test_flush_does_not_wait_for_the_report_while_redis_is_away(it: Setting) -> None:
	it.outbox._outage, it.outbox._failing = Outage(0), True
	notified = it.notified
	assert it.outbox.flush(60)
	assert (it.waits, it.notified) == (0, notified + 1)


@pytest.mark.parametrize("can_start", [True, False])
def test_flush_says_whether_all_was_taken(it: Setting, can_start: bool) -> None:
	assert it.outbox.flush(60)
	assert it.starts == 0
	it.outbox._stalled = True
	it.send()
	it.can_start = can_start
	assert not it.outbox.flush(0.001)
	assert it.waits == can_start


def test_each_outbox_is_flushed_at_the_end_of_the_process_and_reset_after_a_fork(it: Setting) -> None:
	outbox = Outbox(never_connect, it.lines.append)
	assert outbox in outbox_module._outboxes
	ended: list[tuple[float, str]] = []
	outbox.flush_at_end = lambda timeout, of: ended.append((timeout, of))  # type: ignore[method-assign]
	outbox_module._at_exit()
	assert ended == [(2.0, "a process")]
	outbox_module._outboxes.discard(outbox)


def test_another_redis_is_tried_at_once(it: Setting) -> None:
	it.outbox.connect_with(connect := lambda timeout: redis.Redis())  # type: ignore[arg-type]
	assert it.outbox.connect is connect
	assert it.notified == 1


def test_a_forked_process_begins_with_an_empty_outbox(it: Setting) -> None:
	it.outbox._stalled = it.outbox._failing = True
	it.send(3)
	outbox_module._outboxes.add(it.outbox)
	outbox_module._after_fork()
	outbox_module._outboxes.discard(it.outbox)
	outbox = it.outbox
	assert (outbox.pending, outbox.dropped, outbox._written, outbox._failing, outbox._stalled) == (
		0,
		0,
		0,
		False,
		False,
	)
	assert (outbox._outage, outbox._thread, outbox.connect) == (None, None, never_connect)


# -- the thread


class Stopped(Exception):
	"""Ends the loop of the thread in a test."""


def test_the_thread_tries_again_with_growing_pauses(it: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
	"""After a success it begins with the first pause, and without work it waits without a limit."""
	pauses: list[float | None] = []

	def wait(timeout: float | None = None) -> None:
		pauses.append(timeout)
		if pauses.count(None) == 2:
			raise Stopped
		if timeout is None:
			it.outbox._backlog.add([Message("events", "{}")])
			it.writer.failures = [RedisUnavailable("away")]

	monkeypatch.setattr(it.outbox._work, "wait", wait)
	it.outbox._backlog.add([Message("events", "{}")])
	it.writer.failures = [RedisUnavailable("away")] * 7
	with pytest.raises(Stopped):
		it.outbox._run()
	assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, None, 0.05, None]
	assert it.writer.by_thread == [1, 2]
	assert [outage.held for outage in it.writer.reports] == [1, 1]


def test_the_thread_applies_the_bounds_while_redis_is_away(
	it: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
	def wait(timeout: float | None = None) -> None:
		if timeout is None:
			raise Stopped
		it.outbox._backlog.add([Message("events", "{}") for _ in range(11)])

	monkeypatch.setattr(it.outbox._work, "wait", wait)
	it.outbox._backlog.add([Message("events", "{}")])
	it.writer.failures = [RedisUnavailable("away")]
	with pytest.raises(Stopped):
		it.outbox._run()
	assert it.writer.dropped == [1, 2]
	assert it.writer.by_thread == list(range(3, 13))


def test_one_thread_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
	"""One that has ended is replaced; while the interpreter shuts down, none can be started."""
	threads: list[Any] = []

	class FakeThread:
		alive = can_start = True

		def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
			self.arguments = (target, name, daemon)
			threads.append(self)

		def start(self) -> None:
			if not FakeThread.can_start:
				raise RuntimeError("can't create new thread at interpreter shutdown")

		def is_alive(self) -> bool:
			return FakeThread.alive

	monkeypatch.setattr(outbox_module.threading, "Thread", FakeThread)
	outbox = Outbox(never_connect, lambda line: None)
	outbox_module._outboxes.discard(outbox)
	assert outbox._start_thread()
	assert outbox._start_thread()
	assert [thread.arguments for thread in threads] == [(outbox._run, "frappe_realtime outbox", True)]
	FakeThread.alive = False
	assert outbox._start_thread()
	FakeThread.can_start = False
	assert not outbox._start_thread()
	assert not outbox._start_thread()
	assert len(threads) == 4
