"""Connection state recovery: which sessions are recovered, and which events are replayed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from frappe_realtime.contract.redis_keys import session_key
from realtime.recovery import windows
from realtime.recovery.recovered import Recovered
from realtime.socketio.namespace import RECOVERABLE_REASONS, Admission
from tests.unit.recovery.recoveries import BASE, PID, USER, Setting, run
from tests.unit.socketio.fakes import SITE, add_socket


def test_the_missed_events_of_its_rooms_are_replayed_in_order() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		it.save("room")
		it.publish(2, room="room")
		it.publish(3, room="another")
		it.publish(4)
		admission = await it.admit()
		it.publish(5, room="room")
		assert isinstance(admission, Recovered)
		assert (admission.pid, admission.id) == (PID, "socket")
		socket, replayed = it.restore(admission)
		assert replayed == [2, 4, 5]
		assert socket.rooms == BASE | {"room"}
		assert socket.namespace.offset == "5-0"
		assert (it.recovery.counters.recovered, it.recovery.counters.replayed) == (1, 3)
		assert it.recovery.counters.refused == 0

	run(test)


def test_events_from_before_a_room_was_joined_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
	"""In the window and before it."""
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 2)

	async def test(it: Setting) -> None:
		it.joined_at = {"website": "2-0", "early": "3-0", "late": "5-0"}
		it.save("early", "late")
		await it.history.follow(SITE)
		for number in range(1, 9):
			it.publish(number, room="early" if number % 2 else "late")
		socket, replayed = it.restore(await it.admit("1-0"))
		assert replayed == [5, 6, 7, 8]
		assert {room: socket.joined_at[room] for room in ("website", "early", "late")} == it.joined_at

	run(test)


def test_events_without_a_room_are_replayed_since_the_session_began() -> None:
	async def test(it: Setting) -> None:
		it.joined_at = {"website": "2-0", "room": "3-0"}
		it.save("room")
		await it.history.follow(SITE)
		it.publish(*range(1, 5), room="")
		assert it.restore(await it.admit("1-0"))[1] == [3, 4]

	run(test)


def test_an_offset_from_before_the_session_reads_no_history() -> None:
	"""It is not even a gap: the client cannot have missed anything there."""

	async def test(it: Setting) -> None:
		for number in range(1, 6):
			it.stream.append(number)
		del it.stream.entries[:3]
		it.joined_at = {"website": "5-0"}
		it.save()
		admission = await it.admit("1-0")
		assert isinstance(admission, Recovered)
		assert it.history.counters.read == 0

	run(test)


def test_a_room_that_is_new_in_the_session_is_joined_now() -> None:
	"""A Website User has become a System User."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, room="all")
		admission = await it.admit("1-0")
		it.publish(3, room="all")
		socket, replayed = it.restore(admission)
		assert replayed == [3]
		assert socket.joined_at["all"] == "2-0"
		assert socket.joined_at["website"] == "0-0"

	run(test)


def test_a_session_without_rooms_is_refused() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		record = {"id": "socket", "user": USER, "rooms": {}}
		it.redis.values[session_key(SITE, PID)] = (json.dumps(record), 100)
		assert type(await it.admit()) is Admission

	run(test)


def test_older_events_come_from_redis(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 2)

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(*range(1, 9))
		_, replayed = it.restore(await it.admit("3-0"))
		assert replayed == [4, 5, 6, 7, 8]

	run(test)


@pytest.mark.parametrize(
	("pid", "offset"),
	[
		("q" * 24, "2-0"),
		("p" * 19, "2-0"),
		("p" * 65, "2-0"),
		("p" * 24 + "\n", "2-0"),
		(None, "2-0"),
		(5, "2-0"),
		(PID, None),
		(PID, "x"),
		(PID, "3-0"),
		(PID, "0-5"),
	],
)
def test_an_unknown_pid_or_offset_gets_a_new_session(pid: Any, offset: Any) -> None:
	async def test(it: Setting) -> None:
		it.stream.append(1)
		it.stream.append(2)
		del it.stream.entries[0]
		it.save("room")
		await it.history.follow(SITE)
		admission = await it.admit(offset, pid)
		assert type(admission) is Admission
		assert admission.pid not in (None, pid)

	run(test)


def test_events_that_are_held_back_are_not_replayed() -> None:
	"""They are sent to this socket with the others, later."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, 3)
		admission = await it.admit()
		it.list_updates.pending = (3, 0)
		socket, replayed = it.restore(admission)
		assert replayed == [2]
		assert socket.namespace.offset == f"2-{(1 << 64) - 1}"
		assert it.recovery.counters.replayed == 1

	run(test)


def test_a_client_ahead_of_the_events_that_are_held_back_waits() -> None:
	"""Another sidecar has sent them already: here it would get them twice."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, 3)
		it.list_updates.pending = (2, 0)
		coming = asyncio.ensure_future(it.admit("2-0"))
		for _ in range(100):
			await asyncio.sleep(0)
		assert not coming.done()
		it.list_updates.pending = (3, 0)
		assert isinstance(await coming, Recovered)

	run(test)


def test_a_site_without_the_app_has_no_recovery() -> None:
	async def test(it: Setting) -> None:
		it.session.has_app = False
		admission = it.recovery.admit(it.session, {"pid": PID, "offset": "1-0"}, True, "")
		assert isinstance(admission, Admission)
		assert admission.pid is None

	run(test)


def test_a_client_that_cannot_recover() -> None:
	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1)
		admission = await it.admit(recoverable=False)
		assert type(admission) is Admission
		assert admission.pid is None
		new = it.recovery.admit(it.session, {}, False, "")
		assert isinstance(new, Admission)
		assert new.pid is None

	run(test)


def test_the_session_of_a_new_client_is_written() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		admission = it.recovery.admit(it.session, {}, True, "")
		assert isinstance(admission, Admission)
		socket, replayed = it.restore(admission)
		assert replayed == []
		for _ in range(100):
			await asyncio.sleep(0)
		saved = it.redis.saved(session_key(SITE, str(socket.pid)))
		assert saved is not None
		assert saved["id"] == socket.id

	run(test)


@pytest.mark.parametrize("reason", sorted(RECOVERABLE_REASONS))
def test_a_lost_connection_keeps_the_session(reason: str) -> None:
	async def test(it: Setting) -> None:
		socket = add_socket(it.namespaces, USER, PID)
		it.recovery.on_disconnect(socket, reason, {"room": "5-0"})
		for _ in range(100):
			await asyncio.sleep(0)
		assert it.redis.rooms() == {"room"}

	run(test)


@pytest.mark.parametrize(
	"reason", ["client namespace disconnect", "server namespace disconnect", "parse error"]
)
def test_another_end_deletes_the_session(reason: str) -> None:
	async def test(it: Setting) -> None:
		it.save("room")
		socket = add_socket(it.namespaces, USER, PID)
		it.recovery.on_disconnect(socket, reason, {"room": "5-0"})
		without_pid = add_socket(it.namespaces, USER)
		it.recovery.on_disconnect(without_pid, reason, {})
		for _ in range(100):
			await asyncio.sleep(0)
		assert it.redis.values == {}

	run(test)
