"""Callers of the outbox against a real Valkey: lost answers, forks, threads, and a Redis that hangs."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
import redis

from frappe_realtime.publishing.outbox import Outbox
from tests.unit.app.outbox.outboxes import PATIENCE, connect_callers, connector, event, published, recorded


def test_callers_do_not_wait_for_a_redis_that_hangs(server, client):
	reports: list[str] = []
	outbox = Outbox(connector(server), reports.append)
	connect_callers(outbox)
	waits: list[float | None] = []
	wait = outbox._progress.wait
	outbox._progress.wait = lambda timeout=None: (waits.append(timeout), wait(timeout))[1]  # type: ignore[method-assign]
	caller_client = outbox._writer.caller_client
	assert caller_client
	assert caller_client.connection_pool.connection_kwargs["socket_timeout"] == 0.005
	process = client.info()["process_id"]
	os.kill(process, signal.SIGSTOP)
	try:
		for number in range(100):
			outbox.send([event(number)])
	finally:
		os.kill(process, signal.SIGCONT)
	# One caller tried to write and gave up after 5 ms; the others saw that the outbox is stalled and did not wait.
	assert outbox._writer.caller_client is not caller_client
	assert waits == []
	assert outbox.flush(PATIENCE)
	assert recorded(client) == list(range(100))


@pytest.mark.parametrize("caller", [True, False], ids=["written by the caller", "written by the thread"])
def test_a_batch_whose_answer_was_lost_is_written_once(server, client, subscriber, caller):
	outbox = Outbox(connector(server), lambda line: None, wait=PATIENCE)
	if caller:
		connect_callers(outbox)
	append, attempts = outbox._writer.append, []

	def losing_the_first_answer(client: redis.Redis, batch: Any) -> None:
		append(client, batch)
		attempts.append(len(batch))
		if len(attempts) == 1:
			raise redis.TimeoutError("Timeout reading from socket")

	outbox._writer.append = losing_the_first_answer  # type: ignore[method-assign]
	outbox.send([event(2), event(3)])
	assert outbox.flush(PATIENCE)
	assert attempts == [2, 2]
	assert recorded(client) == [2, 3]
	assert [message["message"] for message in published(subscriber, 2)] == [2, 3]
	assert subscriber.get_message(ignore_subscribe_messages=True) is None


def test_a_forked_process_sends_its_own_messages_and_not_its_parents(server, client):
	outbox = Outbox(connector(server), lambda line: None)
	connect_callers(outbox)
	process = client.info()["process_id"]
	os.kill(process, signal.SIGSTOP)
	outbox.send([event(2)])
	assert outbox.pending == 1
	child = os.fork()
	if child == 0:
		outbox.send([event(3)])
		os._exit(0 if outbox.flush(PATIENCE) else 1)
	os.kill(process, signal.SIGCONT)
	_, status = os.waitpid(child, 0)
	assert os.waitstatus_to_exitcode(status) == 0
	assert outbox.flush(PATIENCE)
	assert sorted(recorded(client)) == [2, 3]


def test_many_threads_publish_at_once(server, client):
	outbox = Outbox(connector(server), lambda line: None, pending_count=10_000)
	threads = [
		threading.Thread(target=lambda t=t: [outbox.send([event(1000 * t + n)]) for n in range(100)])
		for t in range(8)
	]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	assert outbox.flush(PATIENCE)
	events = recorded(client)
	assert len(events) == 800
	for t in range(8):
		mine = [number for number in events if number // 1000 == t]
		assert mine == sorted(mine)


def test_a_publisher_in_a_loop_is_slowed_down_to_the_speed_of_redis(server, client):
	outbox = Outbox(connector(server), lambda line: None, pending_count=1000, wait=PATIENCE)
	for number in range(5000):
		outbox.send([event(number, history_count=10_000)])
	outbox.send([event(number, history_count=10_000) for number in range(5000, 10_000)])
	assert outbox.flush(PATIENCE)
	assert outbox.dropped == 0
	assert recorded(client) == list(range(10_000))


def test_a_job_timeout_reaches_the_job_and_no_event_is_lost(server, client):
	class JobTimeoutException(Exception):
		"""What RQ raises in a job from a signal handler, at any point of the code."""

	outbox = Outbox(connector(server), lambda line: None, wait=PATIENCE)
	connect_callers(outbox)
	append = outbox._writer.append

	def interrupted(client: redis.Redis, batch: Any) -> None:
		outbox._writer.append = append  # type: ignore[method-assign]
		raise JobTimeoutException

	outbox._writer.append = interrupted  # type: ignore[method-assign]
	with pytest.raises(JobTimeoutException):
		outbox.send([event(2)])
	assert outbox.flush(PATIENCE)
	assert recorded(client) == [2]
