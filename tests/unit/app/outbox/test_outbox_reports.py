"""What the outbox reports and logs, with a writer in memory: outages, and what was dropped or refused."""

from __future__ import annotations

import time
from itertools import count

import pytest

from frappe_realtime.publishing import backlog as backlog_module
from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing import rate_limited_log
from frappe_realtime.publishing.backlog import Message
from frappe_realtime.publishing.outages import Outage
from frappe_realtime.publishing.outbox import Outbox
from frappe_realtime.publishing.redis_writer import RedisUnavailable
from tests.unit.app.outbox.in_memory import Setting

# -- outages


def test_an_outage_has_the_most_that_waited_all_that_was_dropped_and_the_last_reason(it: Setting) -> None:
	it.outbox._stalled = True
	it.send(4)
	before = time.time()
	it.writer.failures = [RedisUnavailable("first"), RedisUnavailable("second")]
	assert not it.outbox._write_next()
	it.send(8)
	assert not it.outbox._write_next()
	assert (it.writer.closed, it.writer.dropped) == (2, [1, 2])
	assert (it.outbox.pending, it.outbox.dropped) == (10, 2)
	assert it.outbox._write_next()
	(outage,) = it.writer.reports
	assert (outage.held, outage.dropped, outage.reason) == (10, 2, "second")
	assert before <= outage.since <= time.time()
	assert it.outbox._outage is None
	assert it.outbox._write_next()
	assert len(it.writer.reports) == 1
	assert [line.partition(" ")[0] for line in it.lines] == ["Redis", "Redis"]
	assert it.lines[0].startswith(
		"Redis (redis_queue in common_site_config.json) does not take realtime events: first. 4 "
	)
	assert it.lines[1] == "Redis takes realtime events again; 2 were dropped so far."


def test_a_report_that_fails_is_written_later_without_the_messages(it: Setting) -> None:
	it.outbox._outage = outage = Outage(0)
	it.outbox._stalled = True
	it.send()
	write_report = it.writer.write_report

	it.outbox._failing = True

	def away(outage: Outage) -> None:
		assert not it.outbox._failing
		raise RedisUnavailable("away")

	it.writer.write_report = away  # type: ignore[method-assign]
	assert not it.outbox._write_next()
	assert (it.writer.by_thread, it.outbox.pending) == ([1], 0)
	assert it.outbox._failing
	it.writer.write_report = write_report  # type: ignore[method-assign]
	assert it.outbox._write_next()
	assert it.writer.reports == [outage]
	assert it.outbox._outage is None
	assert not it.outbox._failing


def test_an_outage_that_begins_while_another_one_is_reported_is_kept(it: Setting) -> None:
	it.outbox._outage = Outage(0)
	later = Outage(1)

	def begin(outage: Outage) -> None:
		it.outbox._outage = later

	it.writer.write_report = begin  # type: ignore[method-assign]
	assert it.outbox._write_next()
	assert it.outbox._outage is later


def test_what_is_dropped_while_a_report_is_written_is_in_the_next_one(it: Setting) -> None:
	it.outbox._stalled = True
	it.send(10)
	it.writer.failures = [RedisUnavailable("away")]
	assert not it.outbox._write_next()
	it.outbox.send([Message("events", "{}") for _ in range(5)])
	write_report = it.writer.write_report

	def written(outage: Outage) -> None:
		write_report(outage)
		if len(it.writer.reports) == 1:
			it.outbox._stalled = True
			it.send(13)

	it.writer.write_report = written  # type: ignore[method-assign]
	assert it.outbox._write_next()
	assert (it.outbox.pending, it.outbox.dropped) == (10, 5 + 3)
	assert it.outbox._has_work()
	assert it.outbox._write_next()
	first, second = it.writer.reports
	assert (first.dropped, second.dropped) == (5, 3)
	assert (second.held, second.reason) == (10, "away")
	assert first.since <= second.since
	assert it.outbox._outage is None


def test_an_outage_without_a_log_line_does_not_log_its_end(it: Setting) -> None:
	"""Messages were dropped, but Redis has answered all the time."""
	it.outbox._outage = Outage(0)
	assert it.outbox._write_next()
	assert it.lines == []


def test_the_end_of_an_outage_is_logged_once(it: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(rate_limited_log, "LOG_INTERVAL", 0.0)
	it.writer.failures = [RedisUnavailable("away")]
	it.outbox._backlog.add([Message("events", "{}")])
	assert not it.outbox._write_next()
	for _ in range(2):
		assert it.outbox._write_next()
		it.outbox._backlog.add([Message("events", "{}")])
	assert sum("takes realtime events again" in line for line in it.lines) == 1


# -- the log


def test_events_that_are_dropped_while_redis_answers_are_logged(it: Setting) -> None:
	it.outbox._stalled = True
	it.send(10)
	assert it.lines == []
	it.send()
	(line,) = it.lines
	assert "since Redis takes them too slowly: 1 so far" in line


def test_events_that_are_dropped_in_a_known_outage_get_no_line(it: Setting) -> None:
	it.outbox._failing = True
	it.send(11)
	assert it.outbox.dropped == 1
	assert it.lines == []


def test_no_messages_are_sent_while_another_thread_drops_some(
	it: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""As by `publish_realtime` with an empty list of users."""
	numbers = count()
	monkeypatch.setattr(Outbox, "dropped", property(lambda outbox: next(numbers)))
	it.outbox.send([])
	assert it.lines == []


@pytest.fixture
def five_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
	"""The bound of the bytes is five."""
	for module in (backlog_module, outbox_module):
		monkeypatch.setattr(module, "PENDING_BYTES", 5)


@pytest.mark.usefixtures("five_bytes")
def test_the_largest_payload_is_named_if_it_is_refused(it: Setting) -> None:
	it.outbox.send([Message("events", "x" * 6), Message("events", "x" * 7), Message("events", "x" * 5)])
	assert (it.outbox.pending, it.outbox.dropped) == (1, 2)
	assert it.writer.dropped == [0, 0]
	assert it.outbox._outage is not None
	assert it.outbox._outage.dropped == 2
	(line,) = it.lines
	assert "event of 7 bytes was refused: at most 5 are allowed. 2 were" in line


@pytest.mark.usefixtures("five_bytes")
def test_a_payload_of_the_bound_is_not_refused_but_takes_the_place_of_others(it: Setting) -> None:
	it.outbox._stalled = True
	it.send(2)
	it.send(payload="x" * 5)
	assert (it.outbox.pending, it.outbox.dropped) == (1, 2)
	(line,) = it.lines
	assert "Realtime events were dropped" in line


@pytest.mark.usefixtures("five_bytes")
def test_nothing_waits_for_a_payload_that_is_refused(it: Setting) -> None:
	it.send(payload="x" * 6)
	assert (it.waits, it.outbox._stalled) == (0, False)


@pytest.mark.usefixtures("five_bytes")
def test_a_caller_does_not_write_if_a_payload_is_refused(it: Setting) -> None:
	"""The thread writes the rest, and reports what was refused."""
	it.writer.caller_client = object()
	it.outbox.send([Message("events", "{}"), Message("events", "x" * 6)])
	assert it.writer.by_caller == []
	assert it.outbox._write_next()
	assert it.writer.by_thread == [1]
	assert [outage.dropped for outage in it.writer.reports] == [1]


def test_the_end_of_a_process_flushes_and_logs_what_is_left(it: Setting) -> None:
	it.outbox.flush_at_end(0.001, "a process")
	assert it.lines == []
	it.outbox._stalled = True
	it.send()
	it.outbox.flush_at_end(0.001, "a process")
	(line,) = it.lines
	assert "At the end of a process, 1 realtime events wait" in line
	assert "it has not taken them in 0.001 s. 0 were dropped" in line
	assert it.waits == 1
