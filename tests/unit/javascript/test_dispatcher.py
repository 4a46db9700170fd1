"""Events of clients, sent to the Node process or kept until it is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from realtime.javascript import dispatcher
from realtime.javascript.dispatcher import MAX_UNREAD, EventDispatcher
from realtime.javascript.replication import SocketReplica
from tests.unit.javascript.fakes import JavaScriptBench, call


def dispatching(folder: Path, **limits: int) -> tuple[JavaScriptBench, EventDispatcher]:
	"""Return a bench with an app in JavaScript whose Node process does not run, and its dispatcher."""
	bench = JavaScriptBench(folder, "chat")
	return bench, EventDispatcher(bench.channel, bench.sockets, **limits)


def connect(bench: JavaScriptBench, id: str) -> SocketReplica:
	"""Return the replica of a new socket."""
	bench.connect(id, "chat")
	replica = bench.sockets.get(id)
	assert replica is not None
	return replica


def test_events_are_kept_until_the_process_is_ready(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path)
		one, gone = connect(bench, "one"), connect(bench, "gone")
		events.dispatch(one, "first", [1], None)
		events.dispatch(gone, "ignored", [], None)
		bench.sockets.remove(gone.socket, "transport close")
		bench.start_process()
		await bench.process.operations()
		events.dispatch(one, "second", [b"x"], lambda *_: None)
		assert await bench.process.operations() == []
		events.on_ready()
		events.dispatch(one, "third", [], None)
		assert await bench.process.operations() == [
			["event", "one", None, 0, ["first", 1]],
			["event", "one", 1, 1, ["second", {"_placeholder": True, "num": 0}]],
			["event", "one", None, 0, ["third"]],
		]
		events.on_process_ended()
		events.dispatch(one, "fourth", [], None)
		assert await bench.process.operations() == []
		events.on_ready()
		assert await bench.process.operations() == [["event", "one", None, 0, ["fourth"]]]

	asyncio.run(run())


def test_oldest_pending_event_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(dispatcher, "MAX_PENDING_EVENTS", 2)

	async def run() -> None:
		bench, events = dispatching(tmp_path)
		one = connect(bench, "one")
		for number in range(5):
			events.dispatch(one, "event", [number], None)
		assert events.dropped == 3
		bench.start_process()
		await bench.process.operations()
		events.on_ready()
		assert [operation[4] for operation in await bench.process.operations()] == [
			["event", 3],
			["event", 4],
		]

	asyncio.run(run())


def test_events_are_dropped_while_the_process_does_not_read(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path)
		one = connect(bench, "one")
		bench.start_process()
		events.on_ready()
		await bench.process.operations()
		bench.process.unread = MAX_UNREAD + 1
		events.dispatch(one, "dropped", [], None)
		assert events.dropped == 1
		bench.process.unread = MAX_UNREAD
		events.dispatch(one, "sent", [], None)
		assert [operation[4] for operation in await bench.process.operations()] == [["sent"]]

	asyncio.run(run())


def test_pending_events_of_a_socket_are_bounded_in_bytes(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path, queue=100, queue_bytes=10_000)
		one, other = connect(bench, "one"), connect(bench, "other")
		for _ in range(5):
			events.dispatch(one, "text", ["x" * 4000], None)
		events.dispatch(one, "binary", [b"x" * 4000], None)
		events.dispatch(one, "small", [], None)
		events.dispatch(other, "small", [], None)
		assert events.dropped == 4
		assert events.limits_reached == {"realtime_handler_queue_bytes": 4}
		for _ in range(101):
			events.dispatch(other, "small", [], None)
		assert events.limits_reached["realtime_handler_queue"] == 2
		bench.start_process()
		await bench.process.operations()
		events.on_ready()
		names = [(operation[1], operation[4][0]) for operation in await bench.process.operations()]
		assert names == [("one", "text"), ("one", "text"), ("one", "small"), *[("other", "small")] * 100]

	asyncio.run(run())


def test_pending_events_of_all_sockets_are_bounded_in_bytes(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr(dispatcher, "MAX_PENDING_BYTES", 10_000)

	async def run() -> None:
		bench, events = dispatching(tmp_path)
		for number in range(5):
			events.dispatch(connect(bench, f"s{number}"), "text", [number, "x" * 3000], None)
		assert events.dropped == 2
		bench.start_process()
		await bench.process.operations()
		events.on_ready()
		assert [operation[4][1] for operation in await bench.process.operations()] == [2, 3, 4]

	asyncio.run(run())


def test_pending_events_of_a_socket_that_has_gone_are_dropped(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path, queue_bytes=5000)
		one, gone = connect(bench, "one"), connect(bench, "gone")
		for replica in (gone, one):
			events.dispatch(replica, "text", ["x" * 4000], None)
		events.drop_events("gone")
		events.dispatch(gone, "again", ["x" * 4000], None)
		assert events.dropped == 0
		bench.start_process()
		await bench.process.operations()
		events.on_ready()
		assert [operation[4][0] for operation in await bench.process.operations()] == ["text", "again"]

	asyncio.run(run())


def codes(answers: list[tuple[Any, ...]]) -> list[str]:
	"""Return the codes of the errors with which a client is answered."""
	return [error["code"] for error, *_ in answers]


def test_a_call_that_the_process_had_when_it_ended_is_answered(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path)
		one = connect(bench, "one")
		bench.start_process()
		events.on_ready()
		reply, answers = call()
		events.dispatch(one, "event", [], reply)
		reply.end()
		events.dispatch(one, "event", [], lambda *answer: answers.append(answer))
		assert answers == []
		events.on_process_ended()
		assert codes(answers) == ["failed"]

	asyncio.run(run())


def test_a_call_that_waits_for_a_process_is_not_answered_when_another_one_ends(tmp_path: Path) -> None:
	async def run() -> None:
		bench, events = dispatching(tmp_path)
		one = connect(bench, "one")
		reply, answers = call()
		events.dispatch(one, "event", [], reply)
		reply.end()
		bench.start_process()
		events.on_process_ended()
		await bench.process.operations()
		events.on_ready()
		((_, _, token, *_),) = await bench.process.operations()
		ack = one.pop_ack(token)
		assert ack is reply
		assert answers == []

	asyncio.run(run())


def test_a_call_that_is_dropped_while_it_waits_is_answered(
	tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr(dispatcher, "MAX_PENDING_EVENTS", 1)
	bench, events = dispatching(tmp_path)
	one = connect(bench, "one")
	first, answers = call()
	second, later_answers = call()
	for reply in (first, second):
		events.dispatch(one, "event", [], reply)
		reply.end()
	assert codes(answers) == ["dropped"]
	assert later_answers == []


@pytest.mark.parametrize(
	("limits", "key"),
	[({"queue": 0}, "realtime_handler_queue"), ({"queue_bytes": 0}, "realtime_handler_queue_bytes")],
)
def test_the_answer_to_a_call_that_is_dropped_names_the_limit(
	tmp_path: Path, limits: dict[str, int], key: str
) -> None:
	bench, events = dispatching(tmp_path, **limits)
	reply, answers = call()
	events.dispatch(connect(bench, "one"), "event", [], reply)
	reply.end()
	assert codes(answers) == ["dropped"]
	assert answers[0][0]["message"].endswith(f'"event" was dropped ({key}).')
	assert events.limits_reached == {key: 1}
