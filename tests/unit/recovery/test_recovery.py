"""Connection state recovery: which sessions and rooms are restored, and which missed events are replayed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.contract import session_key
from frappe_realtime.errors import WebUnavailable
from realtime.access.list_update_joiner import ListUpdateJoiner
from realtime.bus.events import StreamPosition
from realtime.bus.kept_events import KeptEvent
from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.config import Config
from realtime.recovery import recovery, windows
from realtime.recovery.forced_ends import ForcedEnds
from realtime.recovery.history import History
from realtime.recovery.recovered import Recovered
from realtime.recovery.recovery import Recovery
from realtime.recovery.replay_limit import ReplayLimit
from realtime.recovery.room_access import RoomAccess
from realtime.recovery.sessions import SessionStore
from realtime.socketio.errors import ConnectPostponed
from realtime.socketio.namespace import RECOVERABLE_REASONS, Admission, Namespaces, ServerSocket
from tests.unit.recovery.fakes import FakeStore
from tests.unit.recovery.test_sessions import FakeRedis
from tests.unit.socketio.fakes import SITE, FakeConnection, add_socket, remove_socket

PID = "p" * 24
USER = "ann@example.com"
BASE = {f"user:{USER}", "website", "all"}


class FakePermissions:
	"""Answers at once for `known`, later for `asked`, and no for the rest."""

	def __init__(self) -> None:
		self.invalidations = 0
		self.known: set[tuple[str, str]] = set()
		self.asked: set[tuple[str, str]] = set()
		self.failure: Exception | None = None

	def has_permission(self, session: Any, doctype: str, name: str) -> bool | Awaitable[bool]:
		if (doctype, name) in self.known:
			return True
		return self._answer((doctype, name))

	async def _answer(self, question: tuple[str, str]) -> bool:
		await asyncio.sleep(0)
		if self.failure is not None:
			raise self.failure
		return question in self.asked


class FakeListUpdates:
	"""Marks the events that pass through it; `pending` is the position of the first one that is held back."""

	def __init__(self) -> None:
		self.pending: StreamPosition | None = None
		self.learned: list[Any] = []
		self.while_learning: Callable[[], None] = lambda: None

	def first_pending(self, site: str) -> StreamPosition | None:
		return self.pending

	async def query_permissions(self, events: Iterable[KeptEvent], session: Any) -> None:
		self.learned += [event.position[0] for event in events]
		await asyncio.sleep(0)
		self.while_learning()

	def filtered(self, event: KeptEvent, session: Any, may_name: Callable[[str, str], bool]) -> KeptEvent:
		message = event.message
		if isinstance(message, dict) and not may_name(message["doctype"], message["name"]):
			return event.with_message("unnamed")
		return event


class Setting:
	"""A recovery with fakes for Redis and the web process."""

	def __init__(self, **config: Any) -> None:
		self.stream = FakeStore()
		self.redis = FakeRedis()
		self.namespaces = Namespaces()
		self.namespaces.open(f"/{SITE}")
		self.history = History(self.stream, lambda events: None, self.namespaces, 120)  # type: ignore[arg-type]
		self.sessions = SessionStore(self.redis, self.namespaces, 100)  # type: ignore[arg-type]
		self.permissions = FakePermissions()
		self.list_updates = FakeListUpdates()
		self.tasks: set[str] = set()
		self.limits: list[str] = []
		"""The limits that were reached."""
		self.joined_at: dict[str, str] = {}
		"""The offsets at which the saved session has joined rooms; otherwise 0-0."""
		permissions: Any = self.permissions
		list_updates: Any = self.list_updates
		self.unchecked = False
		revalidator: Any = SimpleNamespace(is_pending=lambda session: self.unchecked)
		tasks: Any = SimpleNamespace(is_allowed=lambda session, room: room in self.tasks)
		ForcedEnds(self.namespaces, self.history, self.sessions)
		self.recovery = Recovery(
			Config(bench=Path(), **config),
			self.namespaces,
			self.history,
			self.sessions,
			permissions,
			RoomAccess(permissions, tasks),
			list_updates,
			ListUpdateJoiner(Config(bench=Path()), self.namespaces, list_updates),
			revalidator,
			ReplayLimit(Config(bench=Path(), **config), self.limits.append),
		)
		self.session: Any = SimpleNamespace(site=SITE, user=USER, user_type="System User", has_app=True)

	def publish(self, *numbers: int, room: str = "website") -> None:
		"""Publish events; the number is the message and the time of its position."""
		for number in numbers:
			self.history.take([self.stream.append(number, room)])

	def change(self, kind: str, **fields: str) -> None:
		"""Announce a change of access."""
		self.history.take_access(self.stream.announce(kind, **fields))

	def save(self, *rooms: str, user: str = USER) -> None:
		"""Store a session in Redis."""
		positions = dict.fromkeys((*rooms, "website"), "0-0") | self.joined_at
		record = {"id": "socket", "user": user, "rooms": positions}
		self.redis.values[session_key(SITE, PID)] = (json.dumps(record), 100)

	async def admit(self, offset: Any = "1-0", pid: Any = PID, recoverable: bool = True) -> Admission:
		"""Connect with a pid and an offset."""
		admission = self.recovery.admit(
			self.session, {"pid": pid, "offset": offset}, recoverable, "192.0.2.1"
		)
		return admission if isinstance(admission, Admission) else await admission

	def restore(self, admission: Admission) -> tuple[ServerSocket, list[Any]]:
		"""Create the socket of an admission; return it and the messages that are replayed to it."""
		socket = add_socket(self.namespaces, USER, admission.pid, id=admission.id or "")
		replayed = self.recovery.restore(socket, admission)
		return socket, [json.loads(str(one.messages[0]).partition(",")[2])[1] for one in replayed]


def closed(socket: ServerSocket) -> list[str]:
	"""Return the reasons with which the connection of a socket was closed."""
	connection: Any = socket.connection
	reasons: list[str] = connection.closed
	return reasons


def run(test: Callable[[Setting], Coroutine[Any, Any, None]], **config: Any) -> None:
	async def body() -> None:
		await test(Setting(**config))

	asyncio.run(asyncio.wait_for(body(), 20))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Retry without a pause."""
	monkeypatch.setattr(random, "uniform", lambda low, high: 0)


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


def test_rooms_are_restored_with_permission_only() -> None:
	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "known")}
		it.permissions.asked = {("ToDo", "asked"), ("Note", "")}
		it.tasks = {"task_progress:mine"}
		it.save(
			"doc:ToDo/known",
			"open_doc:ToDo/asked",
			"doc:ToDo/denied",
			"doctype:Note",
			"doctype:Secret",
			"task_progress:mine",
			"task_progress:of another",
			"room of a handler",
			"user:bob@example.com",
		)
		await it.history.follow(SITE)
		it.publish(1)
		socket, _ = it.restore(await it.admit())
		assert socket.rooms == BASE | {
			"doc:ToDo/known",
			"open_doc:ToDo/asked",
			"doctype:Note",
			"task_progress:mine",
			"room of a handler",
		}

	run(test)


def test_the_room_of_system_users_is_not_restored_from_the_session() -> None:
	async def test(it: Setting) -> None:
		it.session.user_type = "Website User"
		it.save("all", "website")
		await it.history.follow(SITE)
		it.publish(1)
		it.publish(2, room="all")
		socket, replayed = it.restore(await it.admit())
		assert socket.rooms == BASE - {"all"}
		assert replayed == []

	run(test)


@pytest.mark.parametrize("user", ["bob@example.com", "Guest", ""])
def test_the_session_of_another_user_is_refused(user: str) -> None:
	async def test(it: Setting) -> None:
		it.save("room", user=user)
		await it.history.follow(SITE)
		it.publish(1)
		admission = await it.admit()
		assert type(admission) is Admission
		assert admission.pid not in (None, PID)
		assert admission.id is None
		assert it.recovery.counters.refused == 1
		assert it.recovery.counters.recovered == 0

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


def test_permissions_for_replayed_list_updates_are_requested() -> None:
	async def test(it: Setting) -> None:
		it.save()
		await it.history.follow(SITE)
		it.publish(1, 2, 3)
		await it.admit()
		assert it.list_updates.learned == [2, 3]

	run(test)


def test_events_between_two_changes_of_access_are_not_replayed() -> None:
	"""The client gets a new session, in which it fetches again what it may see."""

	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "1")}
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1, 2, room="doc:ToDo/1")
		it.change("user", user=USER)
		it.publish(3)
		assert isinstance(await it.admit("1-0"), Recovered)
		it.change("user", user=USER)
		# Nothing was published for the room between the changes.
		assert isinstance(await it.admit("1-0"), Recovered)
		it.publish(4, room="doc:ToDo/1")
		assert it.restore(await it.admit("1-0"))[1] == [2, 3, 4]
		it.change("changed", doctype="ToDo", name="1")
		assert type(await it.admit("1-0")) is Admission
		# An offset from before everything reveals no more.
		assert type(await it.admit("0-0")) is Admission

	run(test)


def test_events_after_a_change_during_the_recovery_are_not_replayed() -> None:
	"""The permission was requested before the change."""

	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "1")}
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1)

		def changed() -> None:
			it.change("user", user=USER)
			it.publish(2, room="doc:ToDo/1")

		it.list_updates.while_learning = changed
		assert type(await it.admit("1-0")) is Admission

	run(test)


def test_a_list_update_from_a_time_without_access_is_not_named() -> None:
	async def test(it: Setting) -> None:
		it.permissions.known = {("ToDo", "")}
		it.save("doctype:ToDo")
		await it.history.follow(SITE)
		it.publish(1)
		for number in (2, 3):
			it.change("changed", doctype="ToDo", name="1")
			live = it.stream.append(number)
			live.event, live.message = "list_update", {"doctype": "ToDo", "name": "1", "number": number}
			it.history.take([live])
		_, replayed = it.restore(await it.admit("1-0"))
		assert replayed == ["unnamed", {"doctype": "ToDo", "name": "1", "number": 3}]

	run(test)


@pytest.mark.parametrize("user", [USER, "Guest"])
def test_a_login_session_that_ended_while_the_client_was_away(user: str) -> None:
	"""A Guest with the cookie of a dead session stays a Guest."""

	async def test(it: Setting) -> None:
		it.session.user = user
		it.save(user=user)
		text, seconds = it.redis.values[session_key(SITE, PID)]
		record = {**json.loads(text), "sid_hash": "abc"}
		it.redis.values[session_key(SITE, PID)] = (json.dumps(record), seconds)
		await it.history.follow(SITE)
		it.publish(1)
		it.change("session", sid_hash="another")
		assert isinstance(await it.admit("1-0"), Recovered)
		it.change("session", sid_hash="abc")
		assert isinstance(await it.admit("1-0"), Recovered) is (user == "Guest")

	run(test)


def test_changes_that_were_missed_end_the_sockets_that_they_concern() -> None:
	"""Before the events of the interruption are delivered."""

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		inside, other = [add_socket(it.namespaces, USER, pid) for pid in ("p" * 24, "q" * 24)]
		inside.join("doc:ToDo/1")
		other.join("doc:ToDo/2")
		it.stream.announce("changed", doctype="ToDo", name="1")
		it.stream.append(2, "doc:ToDo/1")
		it.history.on_subscribed()
		stream = it.history.stream(SITE)
		assert stream is not None
		while stream.pending is not None:
			await asyncio.sleep(0)
		assert closed(inside) == ["forced close"]
		assert inside.pid is None
		assert closed(other) == []

	run(test)


def test_a_disconnect_before_a_change_was_checked_ends_the_session() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.publish(1)
		for number, (checks, changes) in enumerate([(True, True), (True, False), (False, True)]):
			room = f"doc:ToDo/{number}"
			if changes:
				it.change("changed", doctype="ToDo", name=str(number))
			it.unchecked = checks
			socket = add_socket(it.namespaces, USER, str(number) * 24)
			socket.join(room)
			it.recovery.on_disconnect(socket, "transport close", remove_socket(socket))
			assert (await it.sessions.load(SITE, str(number) * 24) is None) is (checks and changes)

	run(test)


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


def test_access_that_changes_during_the_recovery_is_noticed() -> None:
	async def test(it: Setting) -> None:
		it.save("doc:ToDo/1")
		await it.history.follow(SITE)
		it.publish(1)
		unchanged = await it.admit()
		assert not it.recovery.is_outdated(unchanged)
		it.permissions.invalidations += 1
		assert it.recovery.is_outdated(unchanged)
		assert not it.recovery.is_outdated(Admission(it.session))

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


def test_redis_is_unavailable_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(recovery, "REDIS_TIMEOUT", 0.05)

	async def test(it: Setting) -> None:
		it.stream.failures = [StoreUnavailable("away")] * 200_000
		with pytest.raises(ConnectPostponed):
			await it.admit()

	run(test)


def test_redis_denies_the_history() -> None:
	async def test(it: Setting) -> None:
		it.stream.failures = [StoreDenied("NOPERM")]
		admission = await it.admit()
		assert type(admission) is Admission
		assert admission.pid is None

	run(test)


def test_redis_denies_sessions() -> None:
	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.sessions.denied = "NOPERM"
		admission = it.recovery.admit(it.session, {}, True, "")
		assert isinstance(admission, Admission)
		assert admission.pid is None

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
