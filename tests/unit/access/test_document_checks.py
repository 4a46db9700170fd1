"""Checks of documents that have changed: one query for all users in the rooms, and no work for a document without sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from frappe_realtime.contract.rooms import topic_room
from frappe_realtime.errors import WebUnavailable
from realtime.access.authentication import Session
from realtime.access.check_queue import SLOW_SECONDS
from realtime.access.document_checks import CONCURRENT_CHECKS, DocumentRevalidator
from realtime.access.document_rooms import DocumentRooms
from realtime.socketio.namespace import Namespace, Namespaces
from tests.unit.access.fakes import SITE, connected, session
from tests.unit.virtual_time import in_virtual_time, turns

OTHER_SITE = "two.test"

ROOMS = {
	"doc:ToDo/1",
	"open_doc:ToDo/1",
	"presence:doc:ToDo/1",
	"shared:doc:ToDo/1",
	"shared_write:doc:ToDo/1",
}


class FakePermissions:
	"""Answers when the test says so."""

	def __init__(self) -> None:
		self.cached: dict[str, bool] = {}
		self.queries: list[tuple[str, str, str, list[str]]] = []
		self.answered = asyncio.Event()
		self.unavailable = False

	def cached_read(self, site: str, user: str, doctype: str, name: str) -> bool | None:
		return self.cached.get(user)

	async def query_readers(self, site: str, doctype: str, name: str, users: Iterable[str]) -> None:
		self.queries.append((site, doctype, name, sorted(users)))
		await self.answered.wait()
		if self.unavailable:
			raise WebUnavailable


class FakeRevalidator:
	def __init__(self) -> None:
		self.checks: list[tuple[str, set[str] | None]] = []
		self.under_way: Counter[str] = Counter()
		self.emptied: set[str] = set()

	def begin_checks(self, site: str, rooms: Iterable[str]) -> None:
		assert site in (SITE, OTHER_SITE)
		self.under_way.update(rooms)

	def end_checks(self, site: str, rooms: Iterable[str]) -> None:
		assert site in (SITE, OTHER_SITE)
		self.under_way.subtract(rooms)

	def empty_room(self, namespace: Namespace, room: str) -> None:
		self.emptied.add(room)

	def check_rooms(self, session: Session, rooms: set[str] | None) -> None:
		self.checks.append((session.user, rooms))


class Setting:
	"""Three sockets in the rooms of a document."""

	def __init__(self) -> None:
		self.namespaces = Namespaces()
		rooms = DocumentRooms(self.namespaces)
		for user, room in (("ann", "doc:ToDo/1"), ("ann", "open_doc:ToDo/1"), ("bob", "open_doc:ToDo/1")):
			connected(self.namespaces, session(user)).join(room)
		self.namespace = self.namespaces[f"/{SITE}"]
		self.permissions, self.revalidator = FakePermissions(), FakeRevalidator()
		fakes: Any = (self.permissions, self.revalidator)
		self.documents = DocumentRevalidator(rooms, *fakes)


@in_virtual_time
async def test_one_query_for_all_users_then_their_rooms() -> None:
	it = Setting()
	it.permissions.cached["bob"] = True
	it.documents.check(it.namespace, "ToDo", "1")
	await turns()
	assert it.permissions.queries == [(SITE, "ToDo", "1", ["ann"])]
	assert it.revalidator.checks == []
	assert it.revalidator.under_way == dict.fromkeys(ROOMS, 1)
	it.permissions.answered.set()
	await turns()
	assert not any(it.revalidator.under_way.values())
	assert sorted(it.revalidator.checks) == [("ann", ROOMS), ("bob", ROOMS)]


@in_virtual_time
async def test_a_document_without_sockets_is_not_queried() -> None:
	it = Setting()
	it.documents.check(it.namespace, "ToDo", "2")
	await turns()
	assert it.permissions.queries == []


@in_virtual_time
async def test_a_document_that_changes_again_is_queried_once_more() -> None:
	it = Setting()
	for number in range(2, 6):
		connected(it.namespaces, session("bob")).join(f"doc:ToDo/{number}")
	for _ in range(3):
		for number in range(1, 6):
			it.documents.check(it.namespace, "ToDo", str(number))
	await turns()
	assert len(it.permissions.queries) == CONCURRENT_CHECKS
	for _ in range(3):
		it.documents.check(it.namespace, "ToDo", "1")
	it.permissions.answered.set()
	await turns()
	await turns()
	names = [name for _, _, name, _ in it.permissions.queries]
	assert sorted(names) == ["1", "1", "2", "3", "4", "5"]
	assert not any(it.revalidator.under_way.values())


@in_virtual_time
async def test_without_an_answer_the_revalidator_repeats_the_query() -> None:
	it = Setting()
	it.permissions.unavailable = True
	it.permissions.answered.set()
	it.documents.check(it.namespace, "ToDo", "1")
	await turns()
	assert sorted(it.revalidator.checks) == [("ann", ROOMS), ("bob", ROOMS)]


@in_virtual_time
async def test_a_site_that_gives_no_answers_keeps_no_other_waiting() -> None:
	it = Setting()
	for number in range(1, 5):
		connected(it.namespaces, session("bob")).join(f"doc:ToDo/{number}")
		it.documents.check(it.namespace, "ToDo", str(number))
	await asyncio.sleep(2 * SLOW_SECONDS)
	assert len(it.permissions.queries) == CONCURRENT_CHECKS
	connected(it.namespaces, session("ann", site=OTHER_SITE)).join("doc:Note/1")
	it.documents.check(it.namespaces[f"/{OTHER_SITE}"], "Note", "1")
	await turns()
	assert it.permissions.queries[CONCURRENT_CHECKS:] == [(OTHER_SITE, "Note", "1", ["ann"])]


@in_virtual_time
async def test_the_rooms_of_topics_are_rooms_of_the_document() -> None:
	it = Setting()
	it.permissions.answered.set()
	chat, calls = topic_room("chat", "ToDo", "1"), topic_room("calls", "ToDo", "1")
	connected(
		it.namespaces, session("eve"), chat, topic_room("chat", "ToDo", "2"), topic_room("chat", "ToDo")
	)
	gone = connected(it.namespaces, session("eve"), chat, calls)
	gone.leave(calls)
	it.documents.check(it.namespace, "ToDo", "1")
	await turns()
	assert ("eve", {*ROOMS, chat}) in it.revalidator.checks
	it.documents.empty(it.namespace, "ToDo", "1")
	assert it.revalidator.emptied == {*ROOMS, chat}


@in_virtual_time
async def test_a_topic_alone_has_its_document_checked() -> None:
	it = Setting()
	it.permissions.answered.set()
	room = topic_room("chat", "ToDo", "2")
	last = [connected(it.namespaces, session("eve"), room) for _ in range(2)]
	last[0].leave(room)
	it.documents.check(it.namespace, "ToDo", "2")
	await turns()
	assert it.permissions.queries == [(SITE, "ToDo", "2", ["eve"])]
	last[1].leave(room)
	it.documents.check(it.namespace, "ToDo", "2")
	await turns()
	assert len(it.permissions.queries) == 1


@in_virtual_time
async def test_a_topic_that_is_joined_while_the_check_waits_is_checked_too() -> None:
	it = Setting()
	for number in range(2, 2 + CONCURRENT_CHECKS):
		connected(it.namespaces, session("bob")).join(f"doc:ToDo/{number}")
		it.documents.check(it.namespace, "ToDo", str(number))
	it.documents.check(it.namespace, "ToDo", "1")
	await turns()
	room = topic_room("chat", "ToDo", "1")
	connected(it.namespaces, session("eve"), room)
	it.permissions.answered.set()
	await turns()
	await turns()
	assert ("eve", {*ROOMS, room}) in it.revalidator.checks
	assert not any(it.revalidator.under_way.values())
