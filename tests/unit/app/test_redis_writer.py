"""The writer of the outbox, with a Redis that records commands: what is sent to the script, and what its answers change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from frappe_realtime.contract.redis_keys import OUTAGES_KEY, last_key, writer_key
from frappe_realtime.publishing import redis_writer as redis_writer_module
from frappe_realtime.publishing.backlog import Backlog, Message
from frappe_realtime.publishing.outages import Outage
from frappe_realtime.publishing.rate_limited_log import RateLimitedLog
from frappe_realtime.publishing.redis_writer import RedisUnavailable, RedisWriter

A, B = "frappe_realtime:a:events", "frappe_realtime:b:events"


class FakeRedis:
	"""A client that records commands. The script answers with the ids of the entries, or as `answers` says."""

	def __init__(self) -> None:
		self.scripts: list[tuple[list[str], int, list[tuple[Any, ...]]]] = []
		"""Of each call of the script: keys, expected number, and (number, channel, payload, count, age, latest) of the messages."""
		self.answers: list[Any] = []
		self.commands: list[tuple[Any, ...]] = []
		self._queued: list[tuple[Any, ...]] = []
		self.disconnects = 0
		self.connection_pool = self

	def evalsha(self, sha: str, key_count: int, *arguments: Any) -> Any:
		keys, (expected, *rest) = arguments[:key_count], arguments[key_count:]
		messages = [tuple(rest[at : at + 6]) for at in range(0, len(rest), 6)]
		self.scripts.append((list(keys), expected, messages))
		answer = self.answers.pop(0) if self.answers else None
		if isinstance(answer, Exception):
			raise answer
		if answer is not None:
			return answer
		return [
			part for number, _, _, count, *_ in messages if count for part in (str(number), f"{number}-0")
		]

	def pipeline(self, transaction: bool) -> FakeRedis:
		assert not transaction
		return self

	def publish(self, channel: str, payload: str) -> None:
		self._queued.append(("PUBLISH", channel, json.loads(payload)))

	def xadd(self, key: str, fields: dict[str, str], maxlen: int, approximate: bool) -> None:
		self._queued.append(("XADD", key))

	def pexpire(self, key: str, milliseconds: int) -> None:
		self._queued.append(("PEXPIRE", key))

	def execute(self) -> None:
		queued, self._queued = self._queued, []
		if self.answers:
			raise self.answers.pop(0)
		self.commands += queued

	def disconnect(self) -> None:
		self.disconnects += 1


class Setting:
	"""A writer with a fake Redis, and a backlog that numbers the messages."""

	def __init__(self) -> None:
		self.redis = FakeRedis()
		self.connects: list[float] = []
		self.lines: list[str] = []
		self.writer = RedisWriter(self.connect, 0.005, RateLimitedLog(self.lines.append))
		self._backlog = Backlog(10, 60)

	def connect(self, timeout: float) -> Any:
		self.connects.append(timeout)
		return self.redis

	def message(self, stream: str | None = A) -> Message:
		message = Message("events", '{"event":"e"}', stream, 100, 600.5)
		self._backlog.add([message])
		return message

	def append(self, *streams: str | None) -> list[dict[str, Any]]:
		"""Append a batch with a message for each stream; return what the script got as payloads."""
		self.writer.append(self.redis, [self.message(stream) for stream in streams])  # type: ignore[arg-type]
		return [json.loads(payload) for _, _, payload, *_ in self.redis.scripts[-1][2]]


@pytest.fixture
def it() -> Setting:
	return Setting()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
	"""The time of the writer's clock, which a test can change. The machine has just started."""
	now = [0.0]
	monkeypatch.setattr(redis_writer_module, "monotonic", lambda: now[0])
	return now


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
	"""The clients for callers that were made; `ping` calls the client's `on_ping`."""
	made: list[Any] = []

	class Client:
		on_ping: Callable[[], None] = staticmethod(lambda: None)

		def __init__(self, connection_pool: Any, single_connection_client: bool) -> None:
			assert single_connection_client
			made.append(self)

		def ping(self) -> None:
			Client.on_ping()

	monkeypatch.setattr(redis_writer_module.redis, "Redis", Client)
	return made


def test_the_script_gets_keys_and_messages(it: Setting) -> None:
	it.append(A, None, B)
	((keys, expected, messages),) = it.redis.scripts
	assert keys == [writer_key(it.writer._id), A, last_key(A), B, last_key(B)]
	assert expected == 0
	assert messages == [
		(1, "events", '{"event":"e"}', 100, 600_500, ""),
		(2, "events", '{"event":"e"}', 0, 600_500, ""),
		(3, "events", '{"event":"e"}', 100, 600_500, ""),
	]


def test_the_script_is_sent_once_if_redis_does_not_have_it(it: Setting) -> None:
	sent: list[tuple[str, int]] = []

	def eval_script(script: str, key_count: int, *arguments: Any) -> list[str]:
		sent.append((script, key_count))
		return []

	it.redis.eval = eval_script  # type: ignore[attr-defined]
	it.redis.answers = [redis.exceptions.NoScriptError("NOSCRIPT")]
	it.append(A)
	assert sent == [(redis_writer_module.SCRIPT, 3)]


def test_each_batch_expects_the_number_of_the_one_before_while_the_key_exists(
	it: Setting, now: list[float]
) -> None:
	it.append(A, A)
	now[0] += 109
	it.append(A)
	now[0] += 110
	it.append(A)
	it.append(A)
	assert [expected for _, expected, _ in it.redis.scripts] == [0, 2, 0, 4]


def test_only_streams_whose_last_message_was_lost_show_it(it: Setting) -> None:
	"""Redis has the messages up to 2 of 4."""
	it.append(A, B, None, A)
	it.redis.answers = [2]
	it.append(A, B)
	assert [expected for _, expected, _ in it.redis.scripts] == [0, 4, 0]
	first, second = [json.loads(payload) for _, _, payload, *_ in it.redis.scripts[-1][2]]
	assert first == {
		"offset": None,
		"unrecorded": "Redis has lost events before it",
		"lost": "4-0",
		"event": "e",
	}
	assert second == {"event": "e"}
	assert [count for *_, count, _, _ in it.redis.scripts[-1][2]] == [0, 100]
	assert len(it.lines) == 1
	assert it.append(A) == [{"event": "e"}]
	# What was lost before is not reported again.
	it.redis.answers = [1]
	assert [message.get("lost") for message in it.append(A, B)] == ["7-0", "6-0"]


def test_the_first_message_of_a_stream_after_dropped_ones_shows_the_gap(it: Setting) -> None:
	it.writer.note_dropped([it.message(A), it.message(None), it.message(B)])
	it.writer.note_dropped([it.message(A)])
	gap = {"offset": None, "event": "e"}
	assert it.append(A, None, A, B) == [
		{**gap, "unrecorded": "2 events before it were dropped"},
		{"event": "e"},
		{"event": "e"},
		{**gap, "unrecorded": "1 events before it were dropped"},
	]
	keys, _, messages = it.redis.scripts[-1]
	assert keys[1:] == [A, last_key(A)]
	assert [count for *_, count, _, _ in messages] == [0, 0, 100, 0]
	assert it.append(A, B) == [{"event": "e"}, {"event": "e"}]


def test_a_gap_is_shown_again_if_the_answer_was_lost(it: Setting) -> None:
	it.writer.note_dropped([it.message(A)])
	it.redis.answers = [redis.TimeoutError("no answer")]
	with pytest.raises(redis.TimeoutError):
		it.append(A)
	assert it.append(A)[0]["unrecorded"] == "1 events before it were dropped"


def test_what_is_dropped_while_a_gap_is_being_shown_is_a_gap_of_its_own(
	it: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""Callers drop messages that are behind the batch, while the thread waits for the answer of Redis."""
	it.writer.note_dropped([it.message(A), it.message(A)])
	behind = [it.message(A)]
	script = it.redis.evalsha

	def evalsha(*arguments: Any) -> Any:
		it.writer.note_dropped(behind)
		behind.clear()
		return script(*arguments)

	monkeypatch.setattr(it.redis, "evalsha", evalsha)
	assert it.append(A)[0]["unrecorded"] == "2 events before it were dropped"
	assert it.append(A)[0]["unrecorded"] == "1 events before it were dropped"
	assert it.append(A) == [{"event": "e"}]


def test_a_gap_is_shown_if_redis_has_lost_messages_too(it: Setting) -> None:
	it.append(B)
	it.writer.note_dropped([it.message(A)])
	it.redis.answers = [0]
	first, second = it.append(A, B)
	assert first["unrecorded"] == "1 events before it were dropped"
	assert second["lost"] == "1-0"


def test_the_last_ids_of_a_bounded_number_of_streams_are_remembered(
	it: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""Those of the streams that were written last."""
	monkeypatch.setattr(redis_writer_module, "MAX_STREAMS", 2)
	for stream in (A, B, A, "frappe_realtime:c:events"):
		it.append(stream)
	assert it.writer._appended == {A: (3, "3-0"), "frappe_realtime:c:events": (4, "4-0")}


def test_ids_may_be_bytes(it: Setting) -> None:
	it.redis.answers = [[b"1", b"7-0"]]
	it.append(A)
	assert it.writer._appended == {A: (1, "7-0")}


def test_another_redis_is_connected_to_and_has_lost_nothing(it: Setting, clients: list[Any]) -> None:
	it.writer.write([it.message(A), it.message(B)])
	former, it.redis = it.redis, FakeRedis()
	it.writer.caller_client = former  # type: ignore[assignment]
	it.writer.connect_with(it.connect)
	assert it.writer.caller_client is None
	for _ in range(2):
		it.writer.write([it.message(A)])
	assert former.disconnects == 1
	assert [expected for _, expected, _ in it.redis.scripts] == [0, 3]
	assert it.connects.count(redis_writer_module.THREAD_TIMEOUT) == 2
	it.redis.answers = [0]
	assert [message.get("lost") for message in it.append(A, B)] == ["4-0", None]


def test_the_connection_is_made_again_after_it_was_closed(it: Setting) -> None:
	it.writer.close()
	it.writer.write([it.message()])
	it.writer.close()
	it.writer.close()
	assert (len(it.connects), it.redis.disconnects) == (1, 1)
	it.writer.write_report(Outage(0))
	assert len(it.connects) == 2


def test_a_refused_script_is_left_out_for_a_minute(it: Setting, clients: list[Any], now: list[float]) -> None:
	it.redis.answers = [redis.ResponseError("NOPERM no rights")]
	it.writer.write([it.message(A), it.message(None)])
	now[0] += 59.9
	it.writer.write([it.message(A)])
	unrecorded = {"offset": None, "unrecorded": "NOPERM no rights", "event": "e"}
	assert it.redis.commands == [
		("PUBLISH", "events", unrecorded),
		("PUBLISH", "events", {"event": "e"}),
		("PUBLISH", "events", unrecorded),
	]
	assert len(it.redis.scripts) == 1
	now[0] += 0.1
	it.writer.write([it.message(A)])
	assert len(it.redis.scripts) == 2
	assert len(it.redis.commands) == 3
	assert len(it.lines) == 1


@pytest.mark.parametrize("error", [redis.ResponseError("LOADING"), redis.exceptions.ReadOnlyError("replica")])
def test_a_temporary_refusal_counts_as_an_outage(it: Setting, error: Exception) -> None:
	it.redis.answers = [error]
	with pytest.raises(RedisUnavailable, match=f"{type(error).__name__}: {error}"):
		it.writer.write([it.message()])
	assert it.redis.commands == []
	it.redis.answers = [error]
	with pytest.raises(RedisUnavailable, match=f"{type(error).__name__}: {error}"):
		it.writer.write_report(Outage(0))


def test_a_report_is_appended_and_not_tried_again_if_it_is_refused(it: Setting) -> None:
	it.writer.write_report(Outage(0))
	assert it.redis.commands == [("XADD", OUTAGES_KEY), ("PEXPIRE", OUTAGES_KEY)]
	it.redis.answers = [redis.ResponseError("NOPERM")]
	it.writer.write_report(Outage(0))
	it.redis.answers = [redis.ConnectionError("refused")]
	with pytest.raises(RedisUnavailable):
		it.writer.write_report(Outage(0))


# -- the connection of callers


def test_callers_get_a_connection_with_their_timeout_after_the_second_message(
	it: Setting, clients: list[Any], now: list[float]
) -> None:
	"""A process that publishes once needs no second connection."""
	it.writer.write([it.message()])
	assert it.writer.caller_client is None
	for _ in range(2):
		it.writer.write([it.message()])
		now[0] += 5
	assert clients == [it.writer.caller_client]
	assert it.connects == [redis_writer_module.THREAD_TIMEOUT, 0.005]


def test_the_connection_of_callers_is_tried_again_after_a_second(
	it: Setting, clients: list[Any], now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
	def away() -> None:
		raise redis.ConnectionError("refused")

	it.writer.write([it.message()])
	it.writer.write([it.message()])
	client = clients[0]
	it.writer.discard_caller_client()
	type(client).on_ping = staticmethod(away)
	it.writer.write([it.message()])
	assert len(clients) == 1
	now[0] += 1
	it.writer.write([it.message()])
	assert len(clients) == 2
	assert it.writer.caller_client is None
	type(client).on_ping = staticmethod(lambda: None)
	now[0] += 1
	it.writer.write([it.message()])
	assert it.writer.caller_client is clients[2]


def test_a_connection_to_the_former_redis_is_not_given_to_callers(it: Setting, clients: list[Any]) -> None:
	it.writer.write([it.message()])
	it.writer.write([it.message()])
	it.writer.discard_caller_client()
	it.writer._next_caller_client = 0
	type(clients[0]).on_ping = staticmethod(
		lambda: it.writer.connect_with(lambda timeout: it.connect(timeout))
	)
	it.writer.write([it.message()])
	assert len(clients) == 2
	assert it.writer.caller_client is None
