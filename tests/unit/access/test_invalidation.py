"""Invalidation: what each kind of message drops from the caches, and whose sockets and rooms it concerns."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from realtime.access.authentication import Session
from realtime.access.invalidation import BATCH_SECONDS, AccessInvalidator
from realtime.socketio.namespace import Namespace, Namespaces, ServerSocket
from realtime.web.cache import SingleFlightCache
from realtime.web.frappe_client import Credential
from tests.unit.access.fakes import SITE, connected, session
from tests.unit.virtual_time import in_virtual_time, turns

ANN, BOB = session("ann"), session("bob")
FOREIGN = session("ann", site="two.test")
GUEST_WITHOUT_APP = session("Guest", apps=None)


class FakeAuthenticator:
	def __init__(self) -> None:
		self.sessions: SingleFlightCache[tuple[str, Credential], Session] = SingleFlightCache(60, 100)
		for each in (ANN, BOB, FOREIGN):
			self.sessions.put((each.site, each.credential), each)

	def cached(self) -> set[tuple[str, str]]:
		return {
			(each.site, each.user)
			for each in (ANN, BOB, FOREIGN)
			if self.sessions.peek((each.site, each.credential)) is not None
		}


ANSWERS = [
	(SITE, "ann", "ToDo", "1"),
	(SITE, "bob", "ToDo", "1"),
	(SITE, "ann", "ToDo", ""),
	(SITE, "ann", "Note", "1"),
	("two.test", "ann", "ToDo", "1"),
]


class FakePermissions:
	def __init__(self) -> None:
		self.kept = list(ANSWERS)

	def invalidate(self, concerned: Any) -> None:
		self.kept = [answer for answer in self.kept if not concerned(*answer)]

	def invalidate_document(self, *document: str) -> None:
		self.kept = [answer for answer in self.kept if (answer[0], *answer[2:]) != document]


class FakeRevalidator:
	def __init__(self) -> None:
		self.sessions: list[Session] = []
		self.rooms: list[tuple[str, str]] = []
		self.ended: list[ServerSocket] = []

	def check_sessions(self, sessions: Any) -> None:
		self.sessions += list(sessions)

	def check_rooms(self, session: Session, rooms: set[str] | None) -> None:
		self.rooms += [(session.user, room) for room in rooms or ()]

	def end(self, socket: ServerSocket) -> None:
		self.ended.append(socket)


class FakeDocuments:
	def __init__(self) -> None:
		self.checked: list[tuple[str, str, str]] = []
		self.emptied: list[tuple[str, str, str]] = []

	def empty(self, namespace: Namespace, doctype: str, name: str) -> None:
		self.emptied.append((namespace.name, doctype, name))

	def check(self, namespace: Namespace, doctype: str, name: str) -> None:
		self.checked.append((namespace.name, doctype, name))


class FakeTasks:
	def __init__(self) -> None:
		self.messages: list[dict[str, Any]] = []

	def on_message(self, message: dict[str, Any]) -> None:
		if "task_id" not in message:
			raise ValueError("no task")
		self.messages.append(message)


class Setting:
	def __init__(self) -> None:
		self.namespaces = Namespaces()
		self.ann = connected(
			self.namespaces, ANN, "doc:ToDo/1", "doctype:ToDo", "doc:Note/1", "open_doc:ToDo/2"
		)
		self.bob = connected(self.namespaces, BOB, "doc:ToDo/1", "task_progress:ToDo")
		self.foreign = connected(self.namespaces, FOREIGN, "doc:ToDo/1")
		self.anonymous = connected(self.namespaces, None, name="/")
		self.authenticator = FakeAuthenticator()
		self.permissions = FakePermissions()
		self.revalidator = FakeRevalidator()
		self.documents = FakeDocuments()
		self.tasks = FakeTasks()
		fakes: Any = (self.authenticator, self.permissions, self.revalidator, self.documents, self.tasks)
		self.invalidator = AccessInvalidator(self.namespaces, *fakes)

	def send(self, kind: str, site: str = SITE, **fields: Any) -> None:
		self.invalidator.on_message(json.dumps({"site": site, "kind": kind, **fields}).encode())

	def dropped(self) -> list[tuple[str, str, str, str]]:
		return [answer for answer in ANSWERS if answer not in self.permissions.kept]


async def collected() -> None:
	"""Let the time pass in which messages are collected."""
	await asyncio.sleep(BATCH_SECONDS * 1.1)


@in_virtual_time
async def test_an_ended_session() -> None:
	it = Setting()
	it.send("session", sid_hash=ANN.credential.sid_hash)
	assert it.authenticator.cached() == {(SITE, "bob"), ("two.test", "ann")}
	assert it.revalidator.ended == []
	await collected()
	assert it.revalidator.ended == [it.ann]
	assert it.dropped() == []


@in_virtual_time
async def test_a_socket_that_is_admitted_meanwhile_is_included() -> None:
	it = Setting()
	it.send("session", sid_hash=ANN.credential.sid_hash)
	late = connected(it.namespaces, ANN)
	await collected()
	assert it.revalidator.ended == [it.ann, late]


@in_virtual_time
async def test_a_socket_that_is_admitted_after_the_last_message_is_included() -> None:
	"""The message comes in the moment in which no more are collected."""
	it = Setting()
	asyncio.get_running_loop().call_later(
		BATCH_SECONDS, lambda: it.send("session", sid_hash=ANN.credential.sid_hash)
	)
	it.send("session", sid_hash=BOB.credential.sid_hash)
	await asyncio.sleep(BATCH_SECONDS)
	await turns(5)
	late = connected(it.namespaces, ANN)
	await turns(20)
	assert it.revalidator.ended == [it.ann, it.bob, late]


@in_virtual_time
async def test_several_ended_sessions_of_several_sites() -> None:
	it = Setting()
	it.send("session", sid_hash=ANN.credential.sid_hash)
	it.send("session", sid_hash=BOB.credential.sid_hash)
	it.send("session", sid_hash=FOREIGN.credential.sid_hash, site="two.test")
	await collected()
	assert it.revalidator.ended == [it.ann, it.bob, it.foreign]


@in_virtual_time
async def test_an_ended_session_whose_connection_had_the_last_socket_of_another_site(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	it = Setting()
	third = connected(it.namespaces, session("ann", site="three.test"))
	end = it.revalidator.end

	def end_all_of_the_connection(socket: ServerSocket) -> None:
		end(socket)
		it.namespaces.pop("/two.test", None)
		it.foreign.namespace.sockets.clear()

	monkeypatch.setattr(it.revalidator, "end", end_all_of_the_connection)
	for site in (SITE, "two.test", "three.test"):
		it.send("session", sid_hash=ANN.credential.sid_hash, site=site)
	await collected()
	assert it.revalidator.ended == [it.ann, third]


@in_virtual_time
async def test_a_changed_user() -> None:
	it = Setting()
	it.send("user", user="ann")
	assert it.authenticator.cached() == {(SITE, "bob"), ("two.test", "ann")}
	assert it.dropped() == [answer for answer in ANSWERS if answer[:2] == (SITE, "ann")]
	await collected()
	assert it.revalidator.sessions == [ANN]


@in_virtual_time
async def test_a_load_under_way_is_repeated_for_any_changed_user_of_the_site() -> None:
	"""Who the user is, is not known before the answer."""
	it = Setting()
	loads = 0

	async def load() -> Session:
		nonlocal loads
		loads += 1
		await asyncio.sleep(1)
		return session("eve")

	key = (SITE, Credential(sid="eve"))
	task = asyncio.ensure_future(it.authenticator.sessions.get(key, load))
	await asyncio.sleep(0.5)
	it.send("user", user="bob", site="two.test")
	it.send("session", sid_hash=ANN.credential.sid_hash)
	it.send("user", user="bob")
	await task
	assert loads == 2


@in_virtual_time
async def test_changed_rules_of_a_doctype() -> None:
	it = Setting()
	it.send("doctype", doctype="ToDo")
	assert it.dropped() == [answer for answer in ANSWERS if answer[0] == SITE and answer[2] == "ToDo"]
	await collected()
	assert sorted(it.revalidator.rooms) == [
		("ann", "doc:ToDo/1"),
		("ann", "doctype:ToDo"),
		("ann", "open_doc:ToDo/2"),
		("bob", "doc:ToDo/1"),
	]
	assert len(it.authenticator.cached()) == 3


@pytest.mark.parametrize(("kind", "fields"), [("doc", {"name": "1"}), ("renamed", {"old": "1", "name": "2"})])
def test_a_document_that_is_gone(kind: str, fields: dict[str, str]) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.send(kind, doctype="ToDo", **fields)
		assert it.dropped() == [(SITE, "ann", "ToDo", "1"), (SITE, "bob", "ToDo", "1")]
		await collected()
		assert it.documents.emptied == [(f"/{SITE}", "ToDo", "1")]

	test()


@in_virtual_time
async def test_a_document_that_has_changed() -> None:
	it = Setting()
	it.send("changed", doctype="ToDo", name="1")
	assert it.dropped() == [(SITE, "ann", "ToDo", "1"), (SITE, "bob", "ToDo", "1")]
	assert it.documents.checked == []
	await collected()
	assert it.documents.checked == [(f"/{SITE}", "ToDo", "1")]
	assert not it.documents.emptied
	assert not it.revalidator.rooms
	assert not it.revalidator.sessions


@in_virtual_time
async def test_a_changed_site() -> None:
	it = Setting()
	it.send("site")
	assert it.authenticator.cached() == {("two.test", "ann")}
	assert it.dropped() == ANSWERS[:4]
	await collected()
	assert it.revalidator.sessions == [ANN, BOB]


@in_virtual_time
async def test_a_site_without_sockets() -> None:
	it = Setting()
	for kind, fields in (
		("site", {}),
		("user", {"user": "ann"}),
		("doctype", {"doctype": "ToDo"}),
		("doc", {"doctype": "ToDo", "name": "1"}),
		("session", {"sid_hash": "x"}),
	):
		it.send(kind, "three.test", **fields)
	await collected()
	assert [it.revalidator.sessions, it.revalidator.rooms, it.documents.emptied] == [[], [], []]
	assert it.invalidator.messages == {"site": 1, "user": 1, "doctype": 1, "doc": 1, "session": 1}


@in_virtual_time
async def test_the_owner_of_a_task() -> None:
	it = Setting()
	it.send("task", task_id="1", user="ann")
	assert it.tasks.messages == [{"site": SITE, "kind": "task", "task_id": "1", "user": "ann"}]
	assert it.invalidator.messages == {"task": 1}
	assert it.dropped() == []


@pytest.mark.parametrize(
	"payload",
	[
		b"{",
		b"[]",
		b"null",
		b'{"site": "one.test"}',
		b'{"kind": "site"}',
		b'{"site": 7, "kind": "site"}',
		b'{"site": "one.test", "kind": ["site"]}',
		b'{"site": "one.test", "kind": "user", "user": null}',
		b'{"site": "one.test", "kind": "user"}',
		b'{"site": "one.test", "kind": "doc", "doctype": "ToDo"}',
		b'{"site": "one.test", "kind": "renamed", "doctype": "ToDo", "name": "1"}',
		b'{"site": "one.test", "kind": "unknown"}',
		b'{"site": "one.test", "kind": "task"}',
	],
)
def test_invalid_messages_are_counted(payload: bytes) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.invalidator.on_message(payload)
		await collected()
		assert it.invalidator.messages == {"invalid": 1}
		assert it.dropped() == []
		assert len(it.authenticator.cached()) == 3
		assert it.revalidator.sessions == []

	test()


@in_virtual_time
async def test_a_new_subscription_revalidates_sites_with_the_app() -> None:
	it = Setting()
	connected(it.namespaces, GUEST_WITHOUT_APP)
	it.invalidator.on_subscribed()
	assert it.authenticator.cached() == set()
	assert it.dropped() == ANSWERS
	assert it.revalidator.sessions == [ANN, BOB, FOREIGN]


def test_invalid_messages_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		for _ in range(1000):
			it.invalidator.on_message(b"garbage")
		assert it.invalidator.messages == {"invalid": 1000}

	test()
	assert 1 <= len(caplog.messages) <= 11
