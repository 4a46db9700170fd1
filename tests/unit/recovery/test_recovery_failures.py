"""Connection state recovery: what is away, denied or lost, and the limits of replays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.recovery import recovery, windows
from realtime.recovery.recovered import Recovered
from realtime.recovery.sessions import DENIED_SECONDS
from realtime.socketio.errors import ConnectPostponed
from realtime.socketio.namespace import Admission
from realtime.web.cache import Unsettled
from realtime.web.frappe_client import WebFailed
from tests.unit.recovery.fakes import event
from tests.unit.recovery.recoveries import PID, USER, Setting, run
from tests.unit.socketio.fakes import SITE, FakeConnection, add_socket, remove_socket
from tests.unit.virtual_time import in_virtual_time, turns


def test_a_gap_in_the_history_is_refused() -> None:
	async def test(it: Setting) -> None:
		for number in range(1, 6):
			it.stream.append(number)
		del it.stream.entries[:3]
		it.save()
		assert type(await it.admit("2-0")) is Admission
		assert it.recovery.counters.refused == 1
		assert isinstance(await it.admit("3-0"), Recovered)

	run(test)


@pytest.mark.parametrize(("limit", "recovers"), [(3 * 50, True), (3 * 50 - 1, False)])
def test_missed_bytes_are_bounded(limit: int, recovers: bool) -> None:
	"""Counted are the events of its rooms, in the window and before it."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, 3)
		it.publish(4, 5, room="another")
		it.publish(6)
		admission = await it.admit()
		assert isinstance(admission, Recovered) is recovers
		assert it.recovery.counters.refused == (not recovers)

	run(test, realtime_max_unsent=limit)


def test_a_stream_that_is_reset_during_the_recovery() -> None:
	"""The recovery starts again, with the new stream."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2)

		def forget() -> None:
			it.list_updates.while_learning = lambda: None
			it.namespaces.clear()
			it.history.on_subscribed()

		it.list_updates.while_learning = forget
		admission = await it.admit()
		assert isinstance(admission, Recovered)
		assert admission.stream is it.history.stream(SITE)
		assert it.restore(admission)[1] == [2]

	run(test)


def test_a_window_that_moves_on_during_the_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 2)

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2)

		def publish() -> None:
			it.list_updates.while_learning = lambda: None
			it.publish(3, 4, 5)

		it.list_updates.while_learning = publish
		assert it.restore(await it.admit())[1] == [2, 3, 4, 5]

	run(test)


def test_redis_loses_its_last_events_during_the_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
	"""The client has missed one of them."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2)

		async def restart(*_: Any) -> None:
			it.stream.entries.clear()
			it.stream.last = None
			it.history.on_subscribed()
			await turns(50)

		monkeypatch.setattr(it.list_updates, "query_permissions", restart)
		assert type(await it.admit("1-0")) is Admission

	run(test)


def test_an_event_that_is_not_recorded_during_the_recovery() -> None:
	"""It was sent to the sockets that there were, and the history does not have it."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2)
		it.list_updates.while_learning = lambda: it.history.take([event(3, None, unrecorded="OOM")])
		assert type(await it.admit("1-0")) is Admission
		assert it.recovery.counters.refused == 1

	run(test)


def test_the_web_process_is_unavailable() -> None:
	async def test(it: Setting) -> None:
		it.save("doc:ToDo/1")
		it.permissions.failure = WebUnavailable("away")
		await it.history.follow(SITE)
		it.publish(1)
		with pytest.raises(ConnectPostponed):
			await it.admit()

	run(test)


@pytest.mark.parametrize("failure", [WebFailed("HTTP 500"), Unsettled("saved all the time")])
def test_a_room_whose_question_fails_costs_the_session_and_not_the_connection(failure: Exception) -> None:
	async def test(it: Setting) -> None:
		it.save("doc:ToDo/1")
		it.permissions.failure = failure
		await it.history.follow(SITE)
		it.publish(1)
		admission = await it.admit()
		assert not isinstance(admission, Recovered)
		assert admission.pid
		assert it.recovery.counters.refused == 1

	run(test)


def test_closed_connections_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	"""Each client that reconnects meanwhile is one."""

	async def test(it: Setting) -> None:
		it.save("doc:ToDo/1")
		it.permissions.failure = WebUnavailable("away")
		await it.history.follow(SITE)
		it.publish(1)
		for _ in range(100):
			with pytest.raises(ConnectPostponed):
				await it.admit()

	run(test)
	lines = [message for message in caplog.messages if "closed the connection of a client" in message]
	assert 1 <= len(lines) < 20
	assert lines[0] == f"closed the connection of a client of {SITE}, which will reconnect: away"


def test_redis_is_unavailable_for_a_while() -> None:
	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1)
		it.redis.failures = [StoreUnavailable("away")] * 3
		assert isinstance(await it.admit(), Recovered)

	run(test)


def test_the_owners_of_tasks_cannot_be_read_for_a_while() -> None:
	async def test(it: Setting) -> None:
		it.tasks, it.owner_errors = {"task_progress:mine"}, [StoreUnavailable(), StoreUnavailable()]
		it.save("task_progress:mine", "user:ann@example.com")
		it.publish(1, 2)
		admission = await it.admit()
		assert isinstance(admission, Recovered)
		assert "task_progress:mine" in admission.rooms

	run(test)


def test_redis_is_unavailable_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(recovery, "REDIS_TIMEOUT", 0.05)

	async def test(it: Setting) -> None:
		it.stream.failures = [StoreUnavailable("away")] * 200_000
		with pytest.raises(ConnectPostponed):
			await it.admit()

	run(test)


@pytest.mark.parametrize("what", ["the session", "the history"])
@in_virtual_time
async def test_a_redis_that_never_replies_is_not_waited_for_too_long(
	what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""As one whose host is gone: to connect may take 5 seconds, and so may the replies to what comes first and to the command."""
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 0)
	it = Setting()
	it.save()
	await it.history.follow(SITE)
	it.publish(1, 2, 3)
	loop = asyncio.get_running_loop()

	async def never(*_: Any) -> Any:
		await asyncio.sleep(15)
		raise StoreUnavailable("no reply within 5 s")

	if what == "the session":
		monkeypatch.setattr(it.redis, "session", never)
	else:
		monkeypatch.setattr(it.stream, "history", never)
	began = loop.time()
	admissions = await asyncio.gather(*[it.admit() for _ in range(3)], return_exceptions=True)
	assert [type(one) for one in admissions] == [ConnectPostponed] * 3
	assert loop.time() - began == pytest.approx(recovery.REDIS_TIMEOUT, abs=0.1)


@in_virtual_time
async def test_a_redis_that_does_not_name_the_owners_of_tasks_is_not_waited_for_too_long() -> None:
	"""They are read while the web process is asked about the other rooms."""
	it = Setting()
	it.save("task_progress:mine")
	await it.history.follow(SITE)

	async def never(session: Any, room: str) -> bool:
		await asyncio.sleep(15)
		raise StoreUnavailable("no reply within 5 s")

	it.may_stay = never
	began = asyncio.get_running_loop().time()
	with pytest.raises(ConnectPostponed):
		await it.admit()
	assert asyncio.get_running_loop().time() - began < 2 * recovery.REDIS_TIMEOUT


@in_virtual_time
async def test_the_time_of_the_web_process_is_not_that_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
	"""A client waits for it for `realtime_web_patience`."""
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 0)
	it = Setting()
	it.save("doc:ToDo/1")
	await it.history.follow(SITE)
	it.publish(1, 2, 3)

	async def late(question: tuple[str, str]) -> bool:
		await asyncio.sleep(3 * recovery.REDIS_TIMEOUT)
		return True

	monkeypatch.setattr(it.permissions, "_answer", late)
	assert isinstance(await it.admit(), Recovered)


def test_redis_denies_the_history() -> None:
	async def test(it: Setting) -> None:
		it.stream.failures = [StoreDenied("NOPERM")]
		admission = await it.admit()
		assert type(admission) is Admission
		assert admission.pid is None

	run(test)


@in_virtual_time
async def test_redis_denies_sessions_for_a_while() -> None:
	"""The session of a new client is tried again after a minute; until one is kept, the last answer is reported."""
	it = Setting()
	await it.history.follow(SITE)

	async def is_recoverable() -> bool:
		admission = it.recovery.admit(it.session, {}, True, "")
		assert isinstance(admission, Admission)
		it.restore(admission)
		await turns(20)
		return admission.pid is not None

	# The session is written, and then what Redis may have of it is deleted.
	it.redis.failures = [StoreDenied(f"NOPERM {number}") for number in (1, 1, 2, 2)]
	for answer in ("NOPERM 1", "NOPERM 2"):
		assert await is_recoverable()
		assert not await is_recoverable()
		await asyncio.sleep(DENIED_SECONDS - 1)
		assert not await is_recoverable()
		await asyncio.sleep(1)
		assert it.sessions.denied == answer
	assert await is_recoverable()
	assert it.sessions.denied == ""
	assert await is_recoverable()


def test_lost_events_end_the_sessions_of_the_site() -> None:
	async def test(it: Setting) -> None:
		it.save("room")
		socket = add_socket(it.namespaces, USER, PID)
		other = add_socket(it.namespaces, USER, "o" * 24, site="two.test")
		it.history.lost.send(SITE)
		it.history.lost.send("unknown.test")
		connection: Any = socket.connection
		assert connection.closed == ["forced close"]
		assert socket.pid is None
		it.recovery.on_disconnect(socket, "forced close", remove_socket(socket))
		for _ in range(100):
			await asyncio.sleep(0)
		assert it.redis.values == {}
		assert isinstance(other.connection, FakeConnection)
		assert other.connection.closed == []

	run(test)


def test_replayed_bytes_are_limited_for_each_user() -> None:
	"""The event of 1.6 MB is replayed once; then the bucket of 1.5 MB is overdrawn."""

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1)
		big = it.stream.append(2)
		big.size = 1_600_000
		it.history.take([big])
		concurrent = await asyncio.gather(*[it.admit() for _ in range(3)])
		assert [isinstance(one, Recovered) for one in concurrent] == [True, False, False]
		assert type(await it.admit()) is Admission
		assert set(it.limits) == {"realtime_recovery_bytes_per_second"}
		assert it.recovery.counters.replayed_bytes == 1_600_000
		it.session.user = "bob@example.com"
		it.save(user="bob@example.com")
		assert isinstance(await it.admit(), Recovered)

	run(test, realtime_recovery_bytes_per_second=50_000)


def test_bytes_that_are_read_for_a_client_count(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Whether they are for its rooms or not."""
	monkeypatch.setattr(windows, "WINDOW_EVENTS", 0)

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1)
		it.publish(*range(2, 1000), room="another")
		first = await it.admit()
		assert isinstance(first, Recovered)
		assert it.recovery.counters.replayed_bytes == 0
		assert type(await it.admit()) is Admission

	run(test, realtime_recovery_bytes_per_second=1000)


def test_refusals_are_logged_at_a_bounded_rate(
	caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
	caplog.set_level("INFO")
	now = [0.0]
	monkeypatch.setattr("realtime.recovery.recovery.monotonic", lambda: now[0])

	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		for now[0] in (0, 1, 9, 10, 11):
			assert type(await it.admit("5-0")) is Admission
		assert it.recovery.counters.refused == 5

	run(test)
	lines = [record.message for record in caplog.records if "gets a new session" in record.message]
	assert len(lines) == 2
	assert lines[1].endswith("(4 so far)")
