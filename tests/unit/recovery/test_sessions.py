"""The session store: the order of writes, lost sessions, outages of Redis, and reading."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

import pytest

from frappe_realtime.contract.redis_keys import session_key
from realtime.bus.store import SessionWrite, StoreDenied, StoreUnavailable
from realtime.recovery import sessions
from realtime.recovery.sessions import SavedSession, SessionStore
from realtime.socketio.namespace import Namespaces
from tests.unit.recovery.session_stores import KEY, LIVE_SECONDS, PID, SECONDS, FakeRedis, Setting, run
from tests.unit.socketio.fakes import SITE, add_socket, remove_socket


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Retry without a pause."""
	monkeypatch.setattr(random, "uniform", lambda low, high: 0)


def test_a_session_is_written_as_its_rooms_change() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket()
		socket.join("a")
		socket.join("b")
		await it.written()
		assert it.redis.rooms() == {"a", "b"}
		assert it.redis.seconds() == LIVE_SECONDS
		socket.leave("a")
		await it.written()
		assert it.redis.rooms() == {"b"}
		assert it.redis.saved() == {
			"recoveries": 0,
			"id": socket.id,
			"user": "ann@example.com",
			"sid_hash": "",
			"rooms": {"b": "0-0"},
		}

	run(test)


def test_changes_during_a_write_are_written_afterwards() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket()
		it.redis.gate.clear()
		socket.join("a")
		await it.written()
		socket.join("b")
		socket.join("c")
		it.redis.gate.set()
		await it.written()
		assert it.redis.rooms() == {"a", "b", "c"}
		assert len(it.redis.batches) == 2, "the later changes share one write"

	run(test)


def test_a_client_without_pid_has_no_session() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket(None)
		socket.join("a")
		it.store.delete(socket)
		await it.written()
		assert it.redis.batches == []

	run(test)


def test_a_disconnect_keeps_the_rooms_that_the_socket_was_in() -> None:
	"""Leaving the rooms because of the disconnect does not overwrite them."""

	async def test(it: Setting) -> None:
		socket = it.socket()
		socket.join("a")
		rooms = remove_socket(socket)
		it.store.detach(socket, rooms)
		await it.written()
		assert it.redis.rooms() == {"a"}
		assert it.redis.seconds() == SECONDS
		assert len(it.redis.batches) == 1

	run(test)


def test_the_last_write_of_a_session_wins() -> None:
	"""Also when the writes before it are retried."""

	async def test(it: Setting) -> None:
		socket = it.socket()
		it.redis.gate.clear()
		socket.join("a")
		await it.written()
		rooms = remove_socket(socket)
		it.store.detach(socket, rooms)
		it.store.delete(socket)
		it.redis.failures = [StoreUnavailable("away")]
		it.redis.gate.set()
		await it.written()
		assert it.redis.saved() is None

	run(test)


def test_sessions_are_written_in_the_order_of_their_last_change() -> None:
	async def test(it: Setting) -> None:
		pids = [letter * 24 for letter in "abc"]
		sockets = [it.socket(pid) for pid in pids]
		for socket in [*sockets, sockets[0]]:
			it.store.changed(socket)
		await it.written()
		assert [write.key for write in it.redis.batches[0]] == [
			session_key(SITE, pid) for pid in (pids[1], pids[2], pids[0])
		]

	run(test)


def test_writes_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(sessions, "BATCH", 2)

	async def test(it: Setting) -> None:
		for number in range(5):
			it.store.changed(it.socket(f"{number:024}"))
		await it.written()
		assert list(map(len, it.redis.batches)) == [2, 2, 1]

	run(test)


def test_writes_are_retried_while_redis_is_unavailable() -> None:
	async def test(it: Setting) -> None:
		it.redis.failures = [StoreUnavailable("away")] * 3
		socket = it.socket()
		socket.join("a")
		await it.written()
		assert it.redis.rooms() == {"a"}
		it.redis.gate.clear()
		socket.join("b")
		loading = asyncio.ensure_future(it.store.load(SITE, PID))
		await it.written()
		it.redis.gate.set()
		loaded = await loading
		assert loaded is not None
		assert loaded.rooms.keys() == {"a", "b"}

	run(test)


def test_a_redis_that_denies_sessions(caplog: pytest.LogCaptureFixture) -> None:
	"""It is logged once, and reported until a write succeeds."""

	async def test(it: Setting) -> None:
		socket = it.socket()
		for room in "ab":
			it.redis.failures = [StoreDenied("NOPERM")]
			socket.join(room)
			await it.written()
			assert it.store.denied == "NOPERM"
		socket.join("c")
		await it.written()
		assert it.store.denied == ""
		assert it.redis.rooms() == {"a", "b", "c"}

	run(test)
	assert sum("denies to keep sessions" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("then", [[], [StoreUnavailable("away")]])
def test_what_redis_has_of_a_session_that_it_denies_to_keep_is_deleted(then: list[Exception]) -> None:
	"""As when its memory is full: the client would recover without a room that it has joined since."""

	async def test(it: Setting) -> None:
		socket, ended = it.socket(), it.socket("e" * 24)
		socket.join("a")
		ended.join("a")
		await it.written()
		it.redis.failures = [StoreDenied("OOM command not allowed"), *then]
		socket.join("b")
		it.store.delete(ended)
		await it.written()
		assert it.redis.values == {}
		assert await it.store.load(SITE, PID) is None
		socket.join("c")
		await it.written()
		assert it.redis.rooms() == {"a", "b", "c"}

	run(test)


def test_the_oldest_detached_sessions_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Those of live sockets are not: they exist anyway."""
	monkeypatch.setattr(sessions, "MAX_WAITING", 2)

	async def test(it: Setting) -> None:
		it.redis.failures = [StoreUnavailable("away")]
		pids = [f"{number:024}" for number in range(4)]
		live = it.socket()
		it.store.changed(live)
		for pid in pids:
			socket = it.socket(pid)
			it.store.detach(socket, remove_socket(socket))
		await it.written()
		assert it.redis.values.keys() == {KEY, session_key(SITE, pids[2]), session_key(SITE, pids[3])}

	run(test)


def test_lost_sessions_are_written_again_after_a_subscription() -> None:
	async def test(it: Setting) -> None:
		sockets = [it.socket(letter * 24) for letter in "ab"]
		for socket in sockets:
			socket.join("room")
		it.socket(None)
		await it.written()
		it.redis.values.clear()
		it.store.on_subscribed()
		await it.written()
		assert it.redis.values.keys() == {session_key(SITE, letter * 24) for letter in "ab"}
		assert it.redis.rooms(session_key(SITE, "a" * 24)) == {"room"}

	run(test)


def test_live_sessions_are_extended_and_lost_ones_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(sessions, "BATCH", 2)

	async def test(it: Setting) -> None:
		pids = [f"{number:024}" for number in range(5)]
		for pid in pids:
			it.socket(pid).join("room")
		it.socket(None)
		await it.written()
		for key, (value, _) in list(it.redis.values.items()):
			it.redis.values[key] = (value, 1)
		lost = session_key(SITE, pids[3])
		del it.redis.values[lost]
		it.redis.batches.clear()
		await it.store._extend()
		await it.written()
		assert {it.redis.seconds(session_key(SITE, pid)) for pid in pids} == {LIVE_SECONDS}
		assert it.redis.rooms(lost) == {"room"}
		assert [write.key for batch in it.redis.batches for write in batch] == [lost]

	run(test)


def test_a_socket_that_ends_while_sessions_are_extended_is_not_written_again() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket()
		extending = asyncio.ensure_future(it.store._extend())
		await asyncio.sleep(0)
		remove_socket(socket)
		await extending
		await it.written()
		assert it.redis.values == {}

	run(test)


def test_extending_continues_after_an_outage() -> None:
	async def test(it: Setting) -> None:
		it.socket()
		for failure in (StoreUnavailable("away"), StoreDenied("NOPERM")):
			it.redis.failures = [failure]
			await it.store._extend()
		await it.store._extend()
		await it.written()
		assert it.redis.saved() is not None

	run(test)


def test_sessions_are_extended_in_time() -> None:
	async def body() -> None:
		redis, namespaces = FakeRedis(), Namespaces()
		store = SessionStore(redis, namespaces, 0.1)  # type: ignore[arg-type]
		add_socket(namespaces, pid=PID)
		store.start()
		while redis.saved() is None:
			await asyncio.sleep(0.05)
		await store.stop(1)

	asyncio.run(asyncio.wait_for(body(), 10))


def test_stop_writes_what_waits() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket()
		socket.join("a")
		await it.store.stop(5)
		assert it.redis.rooms() == {"a"}
		await it.store.stop(5)

	run(test)


def test_stop_does_not_wait_longer_than_the_timeout() -> None:
	async def test(it: Setting) -> None:
		it.redis.gate.clear()
		it.socket().join("a")
		await it.store.stop(0.01)
		it.redis.gate.set()
		await it.written()
		assert it.redis.saved() is None

	run(test)


def test_load_waits_for_the_write_of_the_session() -> None:
	async def test(it: Setting) -> None:
		socket = it.socket()
		it.redis.gate.clear()
		socket.join("a")
		loading = asyncio.ensure_future(it.store.load(SITE, PID))
		await it.written()
		assert not loading.done()
		it.redis.gate.set()
		assert await loading == SavedSession(socket.id, "ann@example.com", {"a": (0, 0)})

	run(test)


def test_load_fails_while_the_session_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
	"""What Redis has is outdated."""

	async def away(writes: Sequence[SessionWrite]) -> list[int]:
		raise StoreUnavailable("away")

	async def test(it: Setting) -> None:
		socket = it.socket()
		socket.join("a")
		await it.written()
		# However often it is tried again before the session is loaded.
		monkeypatch.setattr(it.redis, "write_sessions", away)
		it.store.delete(socket)
		await it.written()
		with pytest.raises(StoreUnavailable):
			await it.store.load(SITE, PID)
		assert it.redis.saved() is not None

	run(test)


def test_the_socket_of_a_client_that_has_recovered_elsewhere_is_reported() -> None:
	"""This process was separated from Redis, and from the process that has the client now."""

	async def test(it: Setting) -> None:
		outdated: list[tuple[str, str]] = []
		it.store.recovered_elsewhere.connect(lambda *names: outdated.append(names))
		socket, other = it.socket(), it.socket("q" * 24)
		for one in (socket, other):
			one.join("old")
		await it.written()
		record = {**(it.redis.saved() or {}), "recoveries": 1, "rooms": {"new": "1-0"}}
		it.redis.values[KEY] = (json.dumps(record), SECONDS)
		it.store.on_subscribed()
		await it.written()
		assert outdated == [(f"/{SITE}", socket.id)]
		assert it.redis.saved() == record
		loaded = await it.store.load(SITE, PID)
		assert loaded is not None
		assert loaded.recoveries == 1
		# Neither how it ends matters.
		it.store.detach(socket, {"old": "1-0"})
		await it.written()
		it.store.delete(socket)
		await it.written()
		assert it.redis.saved() == record

	run(test)


@pytest.mark.parametrize(
	"text",
	[
		"",
		"[]",
		"{}",
		'{"id": "a", "user": "b", "rooms": 5}',
		'{"id": "a", "user": "b", "rooms": ["website"]}',
		'{"id": "a", "user": "b", "rooms": {"website": "1-0", "room": ""}}',
		'{"id": "a", "user": "b", "rooms": {"room": null}}',
		"not JSON",
	],
)
def test_an_invalid_session_is_not_loaded(text: str) -> None:
	async def test(it: Setting) -> None:
		it.redis.values[KEY] = (text, 1)
		assert await it.store.load(SITE, PID) is None
		assert await it.store.load(SITE, "unknown") is None

	run(test)
