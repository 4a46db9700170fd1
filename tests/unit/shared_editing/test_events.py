"""Shared documents in one process: who follows, who changes, who is asked, and what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from frappe_realtime.contract.events import LIMIT_REACHED
from frappe_realtime.contract.shared_editing import (
	SHARED_ANSWER,
	SHARED_END,
	SHARED_JOIN,
	SHARED_LEAVE,
	SHARED_READ_ONLY,
	SHARED_SYNC,
	SHARED_UPDATE,
)
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable
from realtime.access.authentication import Session
from realtime.access.limits import ClientLimits
from realtime.access.permission_requests import SessionEnded
from realtime.cluster.members import RemoteMembers
from realtime.config import Config
from realtime.shared_editing.crdt import Merged
from realtime.shared_editing.documents import SharedDocument
from realtime.shared_editing.events import SharedEvents
from realtime.shared_editing.members import SharedMembers
from realtime.shared_editing.states import StateUnavailable
from realtime.socketio import packets
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.usage import Usage
from realtime.web.frappe_client import Credential
from tests.unit.virtual_time import in_virtual_time, turns

SITE = "/test.localhost"
NOTE = ("Note", "N-1", "")
ROOMS = ("shared:doc:Note/N-1", "shared_write:doc:Note/N-1", "shared_field::doc:Note/N-1")
VECTOR = b"\x00"


class Connection:
	"""Records the events that are sent to a client, with their attachments."""

	writable_transport = None
	data = None
	remote = ""

	def __init__(self) -> None:
		self.events: list[list[Any]] = []

	@property
	def request(self) -> Any:
		return self

	def send(self, encoded: Any) -> None:
		text, *attachments = encoded.messages
		self.events.append(packets.reconstruct(packets.decode(text).data, attachments))


class Permissions:
	"""Refuses what is in `forbidden`; raises `failure` while `away` is set."""

	def __init__(self) -> None:
		self.invalidations = 0
		self.forbidden: set[tuple[str, str]] = set()
		self.away = False
		self.failure = WebUnavailable("no answer")
		self.waits: asyncio.Event | None = None

	def is_cached(self, *_: Any) -> bool:
		return True

	def has_permission(self, session: Session, doctype: str, name: str, ptype: str) -> bool | Awaitable[bool]:
		async def answer() -> bool:
			if self.waits is not None:
				await self.waits.wait()
			if self.away:
				raise self.failure
			return (session.user, ptype) not in self.forbidden

		return answer() if self.away or self.waits else (session.user, ptype) not in self.forbidden


class Process:
	"""One sidecar, as far as shared editing needs it."""

	def __init__(self, **keys: Any) -> None:
		config = Config(bench=Path(), **keys)
		unused: Any = None
		self.permissions = Permissions()
		self.namespaces = Namespaces()
		self.remote = RemoteMembers(100)
		self.members = SharedMembers(config, self.remote)
		self.namespaces.observe(self.members)
		self.limits = ClientLimits(config, unused, unused, self.namespaces, Usage(100))
		permissions: Any = self.permissions
		self.events = SharedEvents(config, self.members, Fanout(self.namespaces), permissions, self.limits)

	def socket(self, user: str = "ann@example.com") -> ServerSocket:
		"""Connect a socket."""
		namespace = self.namespaces.open(SITE)
		session = Session(SITE[1:], Credential(sid=user), user, "System User", user, ("frappe",))
		connection: Any = Connection()
		socket = ServerSocket(namespace, connection, Admission(session))
		namespace.sockets[socket.id] = socket
		return socket

	def send(self, socket: ServerSocket, event: str, *arguments: Any) -> list[Any]:
		"""Handle an event; return the list in which its acknowledgement appears."""
		answers: list[Any] = []
		self.events.on_event(socket, event, list(arguments), answers.append)
		return answers

	async def join(self, socket: ServerSocket, *document: str) -> dict[str, Any]:
		"""Follow a document; return the answer."""
		answers = self.send(socket, SHARED_JOIN, *(document or NOTE), VECTOR)
		await turns()
		(answer,) = answers
		return dict(answer)

	def disconnect(self, socket: ServerSocket) -> None:
		"""End a socket as the Socket.IO server does."""
		del socket.namespace.sockets[socket.id]
		rooms = set(socket.rooms)
		for room in rooms:
			socket.leave(room)
		self.events.on_disconnect(socket, "transport close", rooms)


def received(socket: ServerSocket, event: str) -> list[Any]:
	"""Return the messages of one event that a socket was sent."""
	connection: Any = socket.connection
	return [data[1] for data in connection.events if data[0] == event]


def code(answer: dict[str, Any]) -> str:
	return str(answer["error"]["code"])


@in_virtual_time
async def test_a_change_reaches_all_who_follow_but_its_sender() -> None:
	it = Process()
	ann, ben, cid = it.socket(), it.socket("ben"), it.socket("cid")
	assert await it.join(ann) == {"write": True, "peers": 0, "members": 0}
	assert await it.join(ben) == {"write": True, "peers": 1, "members": 1}
	await it.join(cid, "Note", "N-1", "other")
	assert it.send(ann, SHARED_UPDATE, *NOTE, b"change") == [{}]
	assert [one["update"] for one in received(ben, SHARED_UPDATE)] == [b"change"]
	assert received(ann, SHARED_UPDATE) == received(cid, SHARED_UPDATE) == []
	assert (it.events.updates, it.events.update_bytes, it.members.count) == (1, 6, 3)


@in_virtual_time
async def test_only_writers_are_asked_and_only_who_follows_is_answered() -> None:
	it = Process()
	it.permissions.forbidden = {("reader", "write")}
	writer, reader, late, stranger = (it.socket(user) for user in ("ann", "reader", "late", "stranger"))
	await it.join(writer)
	assert await it.join(reader) == {"write": False, "peers": 1, "members": 1}
	assert (await it.join(late))["peers"] == 1
	assert received(reader, SHARED_SYNC) == []
	question = received(writer, SHARED_SYNC)[-1]
	assert (question["from"], question["state_vector"]) == (late.id, VECTOR)
	answer = it.send(writer, SHARED_ANSWER, *NOTE, late.id, b"state", VECTOR)
	assert answer == [{}]
	assert received(late, SHARED_ANSWER)[0]["update"] == b"state"
	for to in (stranger.id, "nobody", None):
		assert code(it.send(writer, SHARED_ANSWER, *NOTE, to, b"state", VECTOR)[0]) == "bad_request"
	for event, arguments in ((SHARED_UPDATE, [b"x"]), (SHARED_ANSWER, [late.id, b"x", VECTOR])):
		assert code(it.send(reader, event, *NOTE, *arguments)[0]) == "read_only"
		assert code(it.send(stranger, event, *NOTE, *arguments)[0]) == "not_member"
	assert received(stranger, SHARED_ANSWER) == received(writer, SHARED_UPDATE) == []


@in_virtual_time
async def test_writers_of_other_sidecars_are_asked() -> None:
	it = Process()
	ann = it.socket()
	for room, id in ((ROOMS[2], "writer"), (ROOMS[2], "reader"), (ROOMS[1], "writer")):
		it.remote.apply("peer", [(SITE, room, id, "user")])
	assert await it.join(ann) == {"write": True, "peers": 1, "members": 2}
	document = SharedDocument(*NOTE)
	assert it.members.is_member(ann.namespace, document, "reader")
	assert not it.members.is_member(ann.namespace, document, "nobody")


@in_virtual_time
async def test_permissions_end_as_rooms_do() -> None:
	it = Process()
	ann = it.socket()
	await it.join(ann)
	ann.leave(ROOMS[1])
	assert received(ann, SHARED_READ_ONLY) == [{"doctype": "Note", "name": "N-1", "field": ""}]
	assert code(it.send(ann, SHARED_UPDATE, *NOTE, b"x")[0]) == "read_only"
	ann.leave(ROOMS[0])
	assert received(ann, SHARED_END)[0]["code"] == "not_permitted"
	assert (set(ann.rooms), it.members.count) == (set(), 0)


@in_virtual_time
async def test_two_fields_share_the_rooms_of_their_document() -> None:
	it = Process()
	ann = it.socket()
	for field in ("title", "body"):
		await it.join(ann, "Note", "N-1", field)
	it.send(ann, SHARED_LEAVE, "Note", "N-1", "title")
	assert ann.rooms == {ROOMS[0], ROOMS[1], "shared_field:body:doc:Note/N-1"}
	it.send(ann, SHARED_LEAVE, "Note", "N-1", "body")
	assert ann.rooms == set()
	assert received(ann, SHARED_END) == received(ann, SHARED_READ_ONLY) == []


@in_virtual_time
async def test_a_join_that_waits_is_cancelled_by_leaving_and_by_the_disconnect() -> None:
	it = Process()
	it.permissions.waits = asyncio.Event()
	ann, ben = it.socket(), it.socket("ben")
	answers = [it.send(one, SHARED_JOIN, *NOTE, VECTOR) for one in (ann, ben)]
	await turns()
	it.send(ann, SHARED_LEAVE, *NOTE)
	it.disconnect(ben)
	it.permissions.waits.set()
	await turns()
	assert answers == [[], []]
	assert ann.rooms == set()
	assert len(it.events._pending) == 0


@in_virtual_time
async def test_a_permission_that_is_withdrawn_while_the_other_is_awaited() -> None:
	it = Process()
	it.permissions.waits = asyncio.Event()
	ann = it.socket()
	answers = it.send(ann, SHARED_JOIN, *NOTE, VECTOR)
	await turns()
	it.permissions.waits.set()
	it.permissions.waits = None
	it.permissions.invalidations += 1
	it.permissions.forbidden = {(ann.session.user, "read")}
	await turns()
	assert code(answers[0]) == "not_permitted"
	assert ann.rooms == set()


@in_virtual_time
async def test_a_web_process_that_does_not_answer() -> None:
	it = Process()
	it.permissions.away = True
	assert code(await it.join(it.socket())) == "unavailable"


def test_an_expired_session_follows_nothing_and_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Process()
		ann = it.socket()
		it.permissions.away = True
		it.permissions.failure = SessionEnded("expired", ann.session, expired=True)
		assert code(await it.join(ann)) == "unavailable"

	test()
	assert caplog.messages == []


@in_virtual_time
async def test_a_recovered_session_follows_nothing_until_its_client_joins_again() -> None:
	it = Process()
	ann = it.socket()
	for room in (*ROOMS, "doc:Note/N-1"):
		ann.join(room)
	it.events.on_connect(ann, {})
	assert ann.rooms == {"doc:Note/N-1"}
	assert received(ann, SHARED_END) == []


@in_virtual_time
async def test_nothing_is_left_of_a_socket() -> None:
	it = Process()
	ann = it.socket()
	await it.join(ann)
	it.send(ann, SHARED_UPDATE, *NOTE, b"x")
	it.disconnect(ann)
	assert (it.members.count, it.members._documents, len(it.events._sent)) == (0, {}, 0)


class States:
	"""Keeps the states in memory, and appends as slowly as Redis."""

	def __init__(self) -> None:
		self.kept: set[SharedDocument] = set()
		self.appended: list[bytes] = []
		self.full = False
		self.away = False

	def keeps(self, site: str, document: SharedDocument) -> bool:
		return document in self.kept

	def is_full(self, site: str, document: SharedDocument) -> bool:
		return self.full

	def forget(self, site: str, document: SharedDocument) -> None:
		self.kept.discard(document)

	async def read(self, session: Session, document: SharedDocument, vector: bytes) -> Merged:
		await asyncio.sleep(0)
		if self.away:
			raise StateUnavailable("away")
		if vector == b"invalid":
			raise ValueError(vector)
		self.kept.add(document)
		return Merged(b"all", b"their vector", b"missing", 0)

	async def append(self, session: Session, document: SharedDocument, update: bytes) -> None:
		await asyncio.sleep(0)
		if self.away:
			raise StateUnavailable("away")
		self.appended.append(update)


def with_states() -> tuple[Process, States]:
	it, states = Process(), States()
	it.members.abandoned.connect(states.forget)
	it.events._states = states  # type: ignore[assignment]
	return it, states


UPDATE = b"\x00\x00"


@in_virtual_time
async def test_a_state_that_is_kept_takes_the_place_of_other_clients() -> None:
	it, states = with_states()
	ann, ben = it.socket(), it.socket("ben")
	await it.join(ann)
	answer = await it.join(ben)
	assert (answer["update"], answer["state_vector"]) == (b"missing", b"their vector")
	assert received(ann, SHARED_SYNC) == []
	answers = it.send(ann, SHARED_UPDATE, *NOTE, UPDATE)
	await turns()
	assert (answers, states.appended) == ([{}], [UPDATE])
	assert len(received(ben, SHARED_UPDATE)) == 1
	assert code(it.send(ann, SHARED_UPDATE, *NOTE, b"\xff\xff")[0]) == "bad_request"
	answers = it.send(ann, SHARED_SYNC, *NOTE, b"invalid")
	await turns()
	assert code(answers[0]) == "bad_request"
	states.full = True
	assert code(it.send(ann, SHARED_UPDATE, *NOTE, UPDATE)[0]) == "too_large"


@in_virtual_time
async def test_a_change_of_the_last_client_before_it_leaves_is_kept() -> None:
	it, states = with_states()
	ann = it.socket()
	await it.join(ann)
	it.send(ann, SHARED_UPDATE, *NOTE, UPDATE)
	it.send(ann, SHARED_LEAVE, *NOTE)
	it.disconnect(ann)
	await turns()
	assert states.appended == [UPDATE]
	assert (states.kept, it.events._appends) == (set(), set())


@in_virtual_time
async def test_without_the_state_other_clients_are_asked() -> None:
	it, states = with_states()
	states.away = True
	ann, ben = it.socket(), it.socket("ben")
	await it.join(ann)
	assert await it.join(ben) == {"write": True, "peers": 1, "members": 1, "kept": False}
	assert it.send(ann, SHARED_UPDATE, *NOTE, UPDATE) == [{}]
	states.away = False
	it.send(ann, SHARED_SYNC, *NOTE, VECTOR)
	await turns()
	states.away = True
	answers = it.send(ann, SHARED_UPDATE, *NOTE, UPDATE)
	await turns()
	assert code(answers[0]) == "unavailable"
	assert len(received(ben, SHARED_UPDATE)) == 2


@in_virtual_time
async def test_a_client_that_was_made_to_leave_while_the_state_was_read() -> None:
	it, states = with_states()
	ann = it.socket()
	answers = it.send(ann, SHARED_JOIN, *NOTE, VECTOR)
	for _ in range(50):
		await asyncio.sleep(0)
		if ann.rooms:
			break
	ann.leave(ROOMS[0])
	await turns()
	assert [code(answer) for answer in answers] == ["not_permitted"]
	assert states.kept == set()
	ben = it.socket("ben")
	await it.join(ben)
	await it.join(ann)
	answers = it.send(ann, SHARED_SYNC, *NOTE, VECTOR)
	ann.leave(ROOMS[0])
	await turns()
	assert [code(answer) for answer in answers] == ["not_permitted"]
	assert states.kept == {SharedDocument(*NOTE)}


@in_virtual_time
async def test_limits_are_reported_once_and_name_their_key() -> None:
	it = Process(realtime_shared_documents=1, realtime_shared_updates_per_second=1)
	ann = it.socket()
	await it.join(ann)
	answer = await it.join(ann, "Note", "N-2", "")
	assert "realtime_shared_documents is 1" in answer["error"]["message"]
	answers = [it.send(ann, SHARED_UPDATE, *NOTE, b"x")[0] for _ in range(15)]
	assert code(answers[-1]) == "limit"
	keys = [one["limit"] for one in received(ann, LIMIT_REACHED)]
	assert keys == ["realtime_shared_documents", "realtime_shared_updates_per_second"]
	assert it.limits.reached["realtime_shared_updates_per_second"] > 1


@in_virtual_time
async def test_a_large_change_counts_as_several() -> None:
	it = Process(realtime_shared_updates_per_second=1)
	ann = it.socket()
	await it.join(ann)
	assert it.send(ann, SHARED_UPDATE, *NOTE, bytes(200_000)) == [{}]
	assert code(it.send(ann, SHARED_UPDATE, *NOTE, b"x")[0]) == "limit"


@in_virtual_time
async def test_sizes() -> None:
	it = Process(realtime_shared_update_bytes=100, realtime_shared_document_bytes=200)
	ann, ben = it.socket(), it.socket("ben")
	await it.join(ann)
	await it.join(ben)
	assert code(it.send(ann, SHARED_UPDATE, *NOTE, bytes(101))[0]) == "too_large"
	assert it.send(ann, SHARED_ANSWER, *NOTE, ben.id, bytes(200), VECTOR) == [{}]
	assert code(it.send(ann, SHARED_ANSWER, *NOTE, ben.id, bytes(201), VECTOR)[0]) == "too_large"
	assert code(it.send(ann, SHARED_SYNC, *NOTE, bytes(70_000))[0]) == "too_large"


@in_virtual_time
async def test_a_guest_needs_the_kind_of_room() -> None:
	assert code(await (it := Process()).join(it.socket(GUEST))) == "limit"
	it = Process(realtime_guest_rooms=("shared",))
	assert (await it.join(it.socket(GUEST)))["write"] is True
