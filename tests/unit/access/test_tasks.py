"""Background tasks: their owners follow them, System Users too unless configured otherwise, and pending subscriptions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from realtime.access import tasks as module
from realtime.access.tasks import MAX_PENDING_PER_SOCKET, TaskAccess
from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.socketio.namespace import Namespaces
from tests.unit.access.fakes import SITE, config, connected, session
from tests.unit.virtual_time import in_virtual_time, turns

OWNER = session("bob", user_type="Website User")
OTHER = session("eve", user_type="Website User")
ROOM = "task_progress:1"
STARTED = {"site": SITE, "task_id": "1", "user": "bob"}


class FakeStore:
	"""The streams of owners."""

	def __init__(self) -> None:
		self.values: list[bytes] = []
		self.reads: list[tuple[str, int]] = []
		self.error: Exception | None = None
		self.gate: asyncio.Event | None = None

	async def entries(self, key: str, count: int) -> list[bytes]:
		self.reads.append((key, count))
		if self.gate is not None:
			await self.gate.wait()
		if self.error is not None:
			raise self.error
		return self.values


def access(store: FakeStore | None = None, **keys: Any) -> TaskAccess:
	fake: Any = store or FakeStore()
	return TaskAccess(config(**keys), fake)


def entry(**message: str) -> bytes:
	return json.dumps(message).encode()


@in_virtual_time
async def test_a_known_owner_is_admitted_and_others_are_not() -> None:
	subject, namespaces = access(), Namespaces()
	owner, other = connected(namespaces, OWNER), connected(namespaces, OTHER)
	subject.on_message(STARTED)
	subject.subscribe(owner, "1")
	subject.subscribe(other, "1")
	assert ROOM in owner.rooms
	assert ROOM not in other.rooms
	assert subject.refused == 1


@in_virtual_time
async def test_a_subscription_before_the_task_is_pending() -> None:
	subject, namespaces = access(), Namespaces()
	owner, other = connected(namespaces, OWNER), connected(namespaces, OTHER)
	subject.subscribe(owner, "1")
	subject.subscribe(other, "1")
	await turns()
	assert ROOM not in owner.rooms
	subject.on_message({**STARTED, "site": "two.test"})
	subject.on_message({**STARTED, "task_id": "2"})
	assert ROOM not in owner.rooms
	subject.on_message(STARTED)
	assert ROOM in owner.rooms
	assert ROOM not in other.rooms
	assert subject.refused == 1


@in_virtual_time
async def test_the_first_announcement_counts() -> None:
	subject, namespaces = access(), Namespaces()
	subject.on_message(STARTED)
	subject.on_message({**STARTED, "user": "eve"})
	other = connected(namespaces, OTHER)
	subject.subscribe(other, "1")
	assert ROOM not in other.rooms


@pytest.mark.parametrize(
	("subscribers", "apps", "admitted"),
	[
		("System User", ("frappe_realtime",), True),
		("owner", ("frappe_realtime",), False),
		("owner", ("frappe",), True),
		("owner", None, True),
	],
)
def test_system_users(subscribers: str, apps: tuple[str, ...] | None, admitted: bool) -> None:
	@in_virtual_time
	async def test() -> None:
		subject = access(realtime_task_subscribers=subscribers)
		user = session("ann", apps=apps)
		socket = connected(Namespaces(), user)
		subject.on_message(STARTED)
		subject.subscribe(socket, "1")
		assert (ROOM in socket.rooms) is admitted
		assert subject.is_allowed(user, ROOM) is admitted

	test()


@in_virtual_time
async def test_without_the_app_only_system_users_follow_tasks() -> None:
	subject = access()
	socket = connected(Namespaces(), session("bob", user_type="Website User", apps=("frappe",)))
	subject.subscribe(socket, "1")
	assert subject.refused == 1
	subject.on_message(STARTED)
	assert ROOM not in socket.rooms


@in_virtual_time
async def test_the_owner_of_a_restored_room() -> None:
	subject = access()
	assert not subject.is_allowed(OWNER, ROOM)
	subject.on_message(STARTED)
	assert subject.is_allowed(OWNER, ROOM)
	assert not subject.is_allowed(OTHER, ROOM)
	assert not subject.is_allowed(session("bob", user_type="Website User", site="two.test"), ROOM)


@in_virtual_time
async def test_pending_subscriptions_end_with_the_socket_or_the_client_s_word() -> None:
	subject, namespaces = access(), Namespaces()
	gone, left, third = [connected(namespaces, OWNER) for _ in range(3)]
	for task in "12":
		subject.subscribe(gone, task)
	subject.subscribe(left, "1")
	subject.subscribe(third, "1")
	subject.on_disconnect(gone)
	subject.unsubscribe(left, "1")
	subject.on_message(STARTED)
	assert ROOM not in gone.rooms
	assert ROOM not in left.rooms
	assert ROOM in third.rooms
	subject.subscribe(left, "1")
	assert ROOM in left.rooms
	subject.unsubscribe(left, "1")
	assert ROOM not in left.rooms


@in_virtual_time
async def test_a_socket_has_a_bounded_number_of_pending_subscriptions() -> None:
	subject = access()
	socket = connected(Namespaces(), OWNER)
	for number in range(MAX_PENDING_PER_SOCKET + 1):
		subject.subscribe(socket, str(number))
	assert subject.refused == 1
	for number in range(MAX_PENDING_PER_SOCKET + 1):
		subject.on_message({**STARTED, "task_id": str(number)})
	assert f"task_progress:{MAX_PENDING_PER_SOCKET - 1}" in socket.rooms
	assert f"task_progress:{MAX_PENDING_PER_SOCKET}" not in socket.rooms


@in_virtual_time
async def test_the_oldest_owner_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(module, "MAX_OWNERS", 2)
	subject = access()
	for number in range(3):
		subject.on_message({**STARTED, "task_id": str(number)})
	allowed = [subject.is_allowed(OWNER, f"task_progress:{number}") for number in range(3)]
	assert allowed == [False, True, True]


@pytest.mark.parametrize("message", [{}, {**STARTED, "user": 7}, {**STARTED, "site": None}, {"site": SITE}])
def test_invalid_announcements(message: dict[str, Any]) -> None:
	with pytest.raises(ValueError, match="must be strings"):
		access().on_message(message)


# -- the stream


@in_virtual_time
async def test_the_stream_of_the_site_is_read_once() -> None:
	store = FakeStore()
	store.values = [entry(site=SITE, task_id="1", user="bob")]
	subject, namespaces = access(store), Namespaces()
	first, second = connected(namespaces, OWNER), connected(namespaces, OTHER)
	subject.subscribe(first, "1")
	subject.subscribe(second, "1")
	await turns()
	assert ROOM in first.rooms
	assert ROOM not in second.rooms
	assert store.reads == [(f"frappe_realtime:{SITE}:tasks", module.MAX_OWNERS)]


@in_virtual_time
async def test_invalid_entries_of_the_stream_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
	store = FakeStore()
	store.values = [b"{", b"[]", b"7", b"{}", b"\xff", b"", entry(site=SITE, task_id="1", user="bob")]
	subject = access(store)
	socket = connected(Namespaces(), OWNER)
	subject.subscribe(socket, "1")
	await turns()
	assert ROOM in socket.rooms
	assert "6 invalid entries" in caplog.text


@in_virtual_time
async def test_the_stream_is_read_again_after_a_new_subscription() -> None:
	store = FakeStore()
	store.gate = asyncio.Event()
	subject = access(store)
	socket = connected(Namespaces(), OWNER)
	subject.subscribe(socket, "1")
	await turns()
	subject.on_subscribed()
	await turns()
	assert len(store.reads) == 2
	store.values = [entry(site=SITE, task_id="1", user="bob")]
	store.gate.set()
	await turns()
	assert ROOM in socket.rooms
	subject.on_subscribed()
	await turns()
	assert len(store.reads) == 2, "no subscription is pending"


@in_virtual_time
async def test_without_redis_the_announcement_decides() -> None:
	store = FakeStore()
	store.error = StoreUnavailable("refused")
	subject = access(store)
	socket = connected(Namespaces(), OWNER)
	subject.subscribe(socket, "1")
	await turns()
	subject.on_message(STARTED)
	assert ROOM in socket.rooms


@in_virtual_time
async def test_a_new_process_reads_the_owners_before_it_takes_a_room_from_a_session() -> None:
	store = FakeStore()
	store.values = [entry(**STARTED)]
	subject = access(store)
	assert await subject.may_stay(OWNER, ROOM)
	assert not await subject.may_stay(OTHER, ROOM)
	assert not await subject.may_stay(OWNER, "task_progress:2")
	assert store.reads == [(f"frappe_realtime:{SITE}:tasks", module.MAX_OWNERS)], "they are read once"


@in_virtual_time
async def test_owners_that_could_not_be_read_are_read_again() -> None:
	"""That they are unknown is no reason to take a room from its owner: the recovery is tried again."""
	store = FakeStore()
	store.error = StoreUnavailable("away")
	subject = access(store)
	with pytest.raises(StoreUnavailable):
		await subject.may_stay(OWNER, ROOM)
	store.values, store.error = [entry(**STARTED)], None
	assert await subject.may_stay(OWNER, ROOM)


@in_virtual_time
async def test_an_owner_whose_announcement_was_missed_is_read() -> None:
	"""The subscription is interrupted, and the client has joined the room at another sidecar. A second is short enough for it."""
	store = FakeStore()
	subject = access(store)
	assert not await subject.may_stay(OWNER, ROOM)
	store.values = [entry(**STARTED)]
	assert not await subject.may_stay(OWNER, ROOM)
	await asyncio.sleep(module.READ_AGAIN_SECONDS)
	assert await subject.may_stay(OWNER, ROOM)
	assert len(store.reads) == 2


@in_virtual_time
async def test_a_redis_that_refuses_to_name_the_owners_takes_the_room_only() -> None:
	"""A retry would fail too."""
	store = FakeStore()
	store.error = StoreDenied("NOPERM no rights")
	assert not await access(store).may_stay(OWNER, ROOM)


@in_virtual_time
async def test_a_subscription_that_begins_while_the_owners_are_read_for_a_session() -> None:
	"""They are read again."""
	store = FakeStore()
	store.values, store.gate = [entry(**STARTED)], asyncio.Event()
	subject = access(store)
	stays = asyncio.ensure_future(subject.may_stay(OWNER, ROOM))
	await turns()
	subject.on_subscribed()
	store.gate.set()
	assert await stays
	assert len(store.reads) == 2


@in_virtual_time
async def test_a_system_user_stays_without_a_read() -> None:
	store = FakeStore()
	assert await access(store).may_stay(session("ann"), ROOM)
	assert store.reads == []
