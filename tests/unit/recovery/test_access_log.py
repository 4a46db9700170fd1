"""The log of access changes: which missed events may be from a time without access."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from realtime.bus.events import StreamPosition
from realtime.bus.store import Entry, StoreUnavailable
from realtime.recovery import access_log, access_reader
from realtime.recovery.access_log import AccessLog, ClientAccess, subject_of
from realtime.recovery.access_reader import read_changes, take_change
from realtime.recovery.site_stream import SiteStream
from tests.unit.recovery.fakes import FakeStore, event
from tests.unit.recovery.histories import Setting, run
from tests.unit.socketio.fakes import SITE

USER = "ann@example.com"
ROOM = "doc:ToDo/1"
SECOND = 1000


def at(seconds: int) -> StreamPosition:
	return (seconds * SECOND, 0)


def change(log: AccessLog, seconds: int, kind: str = "user", **fields: str) -> None:
	"""Add a change right after the event of this second."""
	subject = subject_of({"kind": kind, **(fields or {"user": USER})})
	assert subject is not None
	log.add(subject, at(seconds), seconds * SECOND)


def doubtful(
	log: AccessLog,
	*seconds: int,
	room: str = ROOM,
	joined: int = 0,
	offset: int = 100,
	connected: int = 0,
	answered: int = 0,
) -> list[int]:
	"""Return which events of these seconds are in doubt for a client with an offset."""
	rooms: dict[str | None, StreamPosition] = {room: at(joined)}
	access = ClientAccess(log, USER, rooms, at(offset), connected * SECOND, answered or log.count)

	def missed(second: int) -> Any:
		one = event(second, f"{second * SECOND}-0", room)
		one.position = at(second)
		return one

	return [second for second in seconds if access.has_doubts([missed(second)])]


def test_events_before_the_first_and_after_the_last_change_are_certain() -> None:
	log = AccessLog()
	change(log, 110)
	assert doubtful(log, 109, 110, 111) == []
	change(log, 115)
	change(log, 120)
	assert doubtful(log, 109, 110, 111, 115, 116, 120, 121) == [111, 115, 116, 120]


@pytest.mark.parametrize(
	("kind", "fields", "rooms"),
	[
		("user", {"user": USER}, {ROOM, "open_doc:ToDo/1", "doctype:ToDo", "all"}),
		("site", {}, {ROOM, "open_doc:ToDo/1", "doctype:ToDo", "all"}),
		("doctype", {"doctype": "ToDo"}, {ROOM, "open_doc:ToDo/1", "doctype:ToDo"}),
		("changed", {"doctype": "ToDo", "name": "1"}, {ROOM, "open_doc:ToDo/1"}),
		("doc", {"doctype": "ToDo", "name": "1"}, {ROOM, "open_doc:ToDo/1"}),
		("renamed", {"doctype": "ToDo", "old": "1", "new": "2"}, {ROOM, "open_doc:ToDo/1"}),
		("user", {"user": "other@example.com"}, set()),
		("doctype", {"doctype": "Note"}, set()),
		("changed", {"doctype": "ToDo", "name": "2"}, set()),
		("renamed", {"doctype": "ToDo", "old": "2", "new": "1"}, set()),
	],
)
def test_which_rooms_a_change_concerns(kind: str, fields: dict[str, str], rooms: set[str]) -> None:
	log = AccessLog()
	for second in (110, 120):
		change(log, second, kind, **fields or {"": ""})
	every = {
		ROOM,
		"open_doc:ToDo/1",
		"doctype:ToDo",
		"all",
		"website",
		f"user:{USER}",
		"chat",
		"task_progress:1",
	}
	assert {room for room in every if doubtful(log, 115, room=room)} == rooms


def test_a_change_after_the_permission_was_requested() -> None:
	"""The answer is from before the change."""
	log = AccessLog()
	change(log, 50)
	change(log, 110)
	assert doubtful(log, 109, 110, 111, 112, answered=1) == [111, 112]
	assert doubtful(log, 111, answered=2) == []


def test_two_changes_of_different_kinds() -> None:
	log = AccessLog()
	change(log, 110, "changed", doctype="ToDo", name="1")
	change(log, 120, "user", user=USER)
	assert doubtful(log, 115) == [115]
	assert doubtful(log, 115, room="doctype:ToDo") == []


def test_a_change_that_was_checked_while_the_client_was_connected() -> None:
	log = AccessLog()
	change(log, 50)
	change(log, 120)
	assert doubtful(log, 115) == []


def test_a_change_just_before_the_disconnect_counts() -> None:
	log = AccessLog()
	change(log, 95)
	change(log, 120)
	assert doubtful(log, 101, 115, 121) == [101, 115]


def test_a_change_before_the_client_joined_the_room() -> None:
	log = AccessLog()
	change(log, 95)
	change(log, 120)
	assert doubtful(log, 115, joined=96) == []
	# At the same position, the order is unknown.
	assert doubtful(log, 115, joined=95) == [115]


def test_the_site_was_quiet_before_the_disconnect() -> None:
	"""The offset is old, but the client was connected when access changed."""
	log = AccessLog()
	log.add(("user", USER), at(100), 3000 * SECOND)
	log.add(("user", USER), at(4001), 4002 * SECOND)
	assert doubtful(log, 4001, connected=3800) == []
	assert doubtful(log, 4001, connected=2900) == [4001]


def test_the_site_was_quiet_until_a_moment_before_the_disconnect() -> None:
	"""The last event of the client came after the change, the one before the change is old."""
	log = AccessLog()
	log.add(("user", USER), at(50), 99 * SECOND)
	change(log, 120)
	assert doubtful(log, 101, 115, 121) == [101, 115]
	# Ten seconds before the last event, a change has been checked.
	assert doubtful(log, 115, offset=110) == []
	assert doubtful(log, 115, joined=60) == []


def test_the_bounds_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(access_log, "MAX_CHANGES", 2)
	log = AccessLog()
	change(log, 110)
	change(log, 130, user="other@example.com")
	assert doubtful(log, 101, 120) == []
	change(log, 140, user="third@example.com")
	# What the dropped change has concerned is not known any more.
	assert len(log) == 2
	assert not log.has(("user", USER))
	assert doubtful(log, 101, 110, 120) == [101, 110]
	change(log, 150)
	assert doubtful(log, 120, 145, 151) == [120, 145]
	assert doubtful(log, 120, offset=145) == []


def test_old_changes_are_dropped() -> None:
	log = AccessLog()
	change(log, 110)
	change(log, 110 + access_log.MAX_AGE // SECOND + 1)
	assert len(log) == 1


def test_without_changes_nothing_is_computed() -> None:
	log = AccessLog()
	change(log, 50)
	assert not log.may_concern(at(51))
	assert log.may_concern(at(50))


# -- reading


def test_reading_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(access_reader, "PAGE", 2)

	async def test() -> None:
		store, stream = FakeStore(), SiteStream(SITE)
		for number in (1, 2, 3, 4, 5):
			store.append(number)
			live = store.announce("user", user=USER)
		take_change(stream, live)
		assert await read_changes(stream, store) == {("user", USER)}  # type: ignore[arg-type]
		# The held one was read as well.
		assert len(stream.access) == 5
		take_change(stream, live)
		assert len(stream.access) == 5
		take_change(stream, store.announce("site"))
		assert len(stream.access) == 6
		assert stream.access.newest == (5, 0)

	asyncio.run(test())


@pytest.mark.parametrize("interruption", ["redis is unavailable", "the subscription is renewed"])
def test_an_interruption_between_two_pages_loses_no_missed_change(
	interruption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
	"""The clients that the changes of both pages concern hear of it, before the missed events."""
	monkeypatch.setattr(access_reader, "PAGE", 2)
	monkeypatch.setattr(random, "uniform", lambda low, high: 0)

	async def test(it: Setting) -> None:
		await it.history.follow(SITE)
		it.history.access_missed.connect(lambda site, changes: it.delivered.append(changes))
		users = ["ann", "bob", "cem"]
		for user in users:
			it.store.append(len(it.store.entries) + 1)
			it.store.announce("user", user=user)
		read, reads = it.store.access_messages, 0

		async def access_messages(*arguments: Any) -> tuple[list[Entry], str | None]:
			nonlocal reads
			reads += 1
			if reads == 2 and interruption == "redis is unavailable":
				raise StoreUnavailable("away")
			if reads == 2:
				it.history.on_subscribed()
				await asyncio.sleep(0)
			return await read(*arguments)

		it.store.access_messages = access_messages  # type: ignore[assignment]
		it.history.on_subscribed()
		await it.caught_up()
		assert it.delivered == [{("user", user) for user in users}, 1, 2, 3]
		it.history.on_subscribed()
		await it.caught_up()
		assert len(it.delivered) == 4, "they are reported once"

	run(test)


def test_messages_that_have_expired(monkeypatch: pytest.MonkeyPatch) -> None:
	async def test() -> None:
		store, stream = FakeStore(), SiteStream(SITE)
		for number in (1, 2, 3):
			store.append(number)
			store.announce("user", user=USER)
		stream.position = (3, 0)
		await read_changes(stream, store)  # type: ignore[arg-type]
		del store.changes[0]
		fresh = SiteStream(SITE)
		assert ("site",) in await read_changes(fresh, store)  # type: ignore[arg-type]
		assert fresh.access.doubt([("user", "other")], (0, 0), 0, 0) == ((0, 0), (2, 0))
		# None of them is left, but the id of the last one is.
		empty = SiteStream(SITE)
		empty.position = (3, 0)
		last = store.changes[-1].id
		store.changes.clear()

		async def none(*_: Any) -> tuple[list[Entry], str | None]:
			return [], last

		store.access_messages = none  # type: ignore[assignment]
		assert await read_changes(empty, store) == {("site",)}  # type: ignore[arg-type]
		assert empty.access.doubt([("user", "other")], (0, 0), 0, 0) == ((0, 0), (3, 0))
		assert await read_changes(stream, store) == set()  # type: ignore[arg-type]

	asyncio.run(test())


def test_an_invalid_entry_concerns_the_site() -> None:
	async def test() -> None:
		store, stream = FakeStore(), SiteStream(SITE)
		store.changes = [Entry("1-0", b"\xff", "0-0"), Entry("2-0", b'{"kind": "user"}', "1-0")]
		assert await read_changes(stream, store) == {("site",)}  # type: ignore[arg-type]

	asyncio.run(test())


def test_a_live_message_without_a_position_comes_after_all_events() -> None:
	async def test() -> None:
		stream = SiteStream(SITE)
		stream.access.held = None
		stream.position = (7, 0)
		stream.pending = [event(9, "9-0")]
		take_change(stream, {"kind": "user", "user": USER})
		assert stream.access.newest == (9, 0)

	asyncio.run(test())


def test_a_live_message_that_was_not_recorded_stops_recovery() -> None:
	async def test() -> None:
		stream = SiteStream(SITE)
		take_change(stream, {"kind": "user", "user": USER, "offset": None, "unrecorded": "no rights"})
		assert stream.unrecorded is not None
		assert stream.unrecorded[1] == "no rights"

	asyncio.run(test())


@pytest.mark.parametrize("held", [None, []])
def test_a_live_message_that_was_not_recorded_is_a_change_like_any_other(held: list[Any] | None) -> None:
	"""A rewind that was permitted before it asks again. It may come while Redis is read."""

	async def test() -> None:
		stream = SiteStream(SITE)
		stream.access.held = held
		take_change(stream, {"kind": "user", "user": USER, "offset": None, "unrecorded": "no rights"})
		await read_changes(stream, FakeStore())  # type: ignore[arg-type]
		assert stream.access.has_since([("user", USER)], 0)

	asyncio.run(test())
