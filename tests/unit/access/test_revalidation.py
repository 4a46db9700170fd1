"""Revalidation: what the answers of the web process end, how many queries are sent, and the periodic checks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frappe_realtime.contract import room_subject
from frappe_realtime.errors import WebUnavailable
from realtime.access import revalidation as module
from realtime.access.authentication import Session
from realtime.access.permission_requests import SessionEnded
from realtime.access.permissions import FAILURE_SECONDS
from realtime.access.revalidation import (
	APP_INTERVAL_FACTOR,
	END_REASON,
	RETRY_SECONDS,
	WORKERS,
	Revalidator,
)
from realtime.signals import Signal
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.socketio.namespace import Namespaces
from realtime.web.cache import SingleFlightCache
from realtime.web.frappe_client import Credential, WebFailed
from tests.unit.access.fakes import SITE, config, connected, session
from tests.unit.virtual_time import in_virtual_time, turns

ANN = session("ann")


class FakeAuthenticator:
	"""Answers after a turn of the loop, and records the queries and how many were pending at once."""

	def __init__(self) -> None:
		self.sessions: SingleFlightCache[tuple[str, Credential], Session] = SingleFlightCache(60, 100)
		self.answers: dict[str, Session | Exception] = {}
		self.asked: list[str] = []
		self.pending = self.most = 0

	async def authenticate(self, site: str, credential: Credential) -> Session:
		self.asked.append(credential.sid)
		self.pending += 1
		self.most = max(self.most, self.pending)
		await asyncio.sleep(0)
		self.pending -= 1
		answer = self.answers.get(credential.sid, session(credential.sid))
		if isinstance(answer, Exception):
			raise answer
		return answer


class FakePermissions:
	"""Grants what is not in `answers`, where a test denies it, or has an exception or a function."""

	def __init__(self) -> None:
		self.session_ended: Signal[[Session]] = Signal()
		self.answers: dict[tuple[str, str], Any] = {}
		self.asked: list[tuple[str, str, str]] = []
		self.at_once = True

	def has_permission(self, user: Session, doctype: str, name: str, ptype: str = "read") -> Any:
		self.asked.append((user.credential.sid, doctype, name))
		answer = self.answers.get((doctype, name), True)
		if callable(answer):
			answer = answer(user)
		if isinstance(answer, bool) and self.at_once:
			return answer
		return self._later(answer)

	async def _later(self, answer: Any) -> bool:
		await asyncio.sleep(0)
		if isinstance(answer, Exception):
			raise answer
		return bool(answer)


class Setting:
	def __init__(self, seconds: float = 0) -> None:
		self.namespaces = Namespaces()
		self.authenticator = FakeAuthenticator()
		self.permissions = FakePermissions()
		fakes: Any = (self.authenticator, self.permissions)
		self.revalidator = Revalidator(config(realtime_recheck_seconds=seconds), self.namespaces, *fakes)
		self.withdrawn: list[tuple[str, str]] = []
		self.revalidator.room_withdrawn.connect(
			lambda socket, room: self.withdrawn.append((socket.session.user, room))
		)
		self.revalidator.start()

	def socket(self, user: Session, *rooms: str) -> Any:
		return connected(self.namespaces, user, *rooms)

	async def done(self) -> None:
		for _ in range(50):
			await turns()
		assert self.revalidator.pending == 0


# -- sessions


@pytest.mark.parametrize(
	("answer", "ended"),
	[
		(session("ann"), False),
		(session("ann", apps=()), False),
		(session("Guest"), True),
		(session("bob"), True),
		(session("ann", user_type="Website User"), True),
		(ConnectRefused("Unauthorized"), True),
	],
)
def test_a_session_that_is_another_user_s_ends(answer: Any, ended: bool) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.authenticator.answers["ann"] = answer
		sockets = [it.socket(ANN), it.socket(ANN)]
		other = it.socket(session("ann", sid="phone"))
		it.revalidator.check_sessions([ANN])
		await it.done()
		for socket in sockets:
			assert socket.connection.closed == (END_REASON if ended else "")
			assert socket.session is (ANN if ended else answer)
		assert not other.connection.closed
		assert it.revalidator.sockets_ended == (2 if ended else 0)

	test()


@in_virtual_time
async def test_the_rooms_follow_the_session() -> None:
	it = Setting()
	it.permissions.answers["ToDo", "1"] = False
	socket = it.socket(ANN, "doc:ToDo/1", "doc:ToDo/2", "open_doc:ToDo/1", "website")
	it.revalidator.check_sessions([ANN])
	await it.done()
	assert socket.rooms == {"user:ann", "doc:ToDo/2", "website"}
	assert sorted(it.withdrawn) == [("ann", "doc:ToDo/1"), ("ann", "open_doc:ToDo/1")]
	assert it.revalidator.rooms_withdrawn == 2


@in_virtual_time
async def test_the_rooms_of_an_ended_session_are_not_queried() -> None:
	it = Setting()
	it.authenticator.answers["ann"] = session("Guest")
	it.socket(ANN, "doc:ToDo/1")
	it.revalidator.check_sessions([ANN])
	await it.done()
	assert it.permissions.asked == []


@in_virtual_time
async def test_only_the_rooms_of_a_guest_are_queried() -> None:
	it = Setting()
	guest = session("Guest")
	it.permissions.answers["ToDo", "1"] = False
	sockets = [it.socket(session("Guest", sid=sid), "doc:ToDo/1") for sid in ("Guest", "dead")]
	it.revalidator.check_sessions([guest])
	await it.done()
	assert it.authenticator.asked == []
	assert all("doc:ToDo/1" not in socket.rooms for socket in sockets)


@in_virtual_time
async def test_a_session_without_sockets_is_not_queried() -> None:
	it = Setting()
	it.revalidator.check_sessions([ANN])
	it.revalidator.check_rooms(ANN, {"doc:ToDo/1"})
	await it.done()
	assert it.authenticator.asked == []
	assert it.permissions.asked == []


@in_virtual_time
async def test_while_the_web_process_is_unavailable_nothing_ends_and_the_check_is_repeated() -> None:
	it = Setting()
	it.authenticator.answers["ann"] = ConnectPostponed()
	socket = it.socket(ANN, "doc:ToDo/1")
	it.revalidator.check_sessions([ANN])
	await turns(100)
	assert len(it.authenticator.asked) <= WORKERS
	assert it.revalidator.pending == 1
	assert not socket.connection.closed
	it.authenticator.answers["ann"] = session("Guest")
	await asyncio.sleep(RETRY_SECONDS * 1.1)
	await it.done()
	assert socket.connection.closed == END_REASON


@in_virtual_time
async def test_an_answer_for_another_user_is_a_reason_to_check_the_session_without_its_rooms() -> None:
	it = Setting()
	it.socket(ANN, "doc:ToDo/1")
	await turns()
	it.authenticator.sessions.put((SITE, ANN.credential), ANN)
	other = (SITE, Credential(sid="bob"))
	it.authenticator.sessions.put(other, session("bob"))
	it.permissions.session_ended.send(ANN)
	assert it.authenticator.sessions.peek((SITE, ANN.credential)) is None
	assert it.authenticator.sessions.peek(other) is not None
	await it.done()
	assert it.authenticator.asked == ["ann"]
	assert it.permissions.asked == []


@in_virtual_time
async def test_a_check_with_rooms_is_not_replaced_by_one_without() -> None:
	it = Setting()
	it.socket(ANN, "doc:ToDo/1")
	it.revalidator.check_sessions([ANN])
	it.revalidator.check_session(ANN)
	await it.done()
	assert it.permissions.asked == [("ann", "ToDo", "1")]


@in_virtual_time
async def test_thousands_are_queried_once_and_a_few_at_a_time() -> None:
	it = Setting()
	sessions = [session(str(number)) for number in range(3000)]
	for each in sessions:
		it.socket(each)
	for _ in range(3):
		it.revalidator.check_sessions(sessions)
	assert it.revalidator.pending == 3000
	while it.revalidator.pending:
		await asyncio.sleep(0)
	assert sorted(it.authenticator.asked, key=int) == [str(number) for number in range(3000)]
	assert it.authenticator.most == WORKERS


@in_virtual_time
async def test_a_failing_check_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	it.authenticator.answers["ann"] = RuntimeError("a defect")
	it.socket(ANN)
	for _ in range(WORKERS + 1):
		it.revalidator.check_sessions([ANN])
		await it.done()
	it.authenticator.answers["ann"] = session("Guest")
	it.revalidator.check_sessions([ANN])
	await it.done()
	assert it.revalidator.sockets_ended == 1
	assert "a revalidation failed" in caplog.text


@in_virtual_time
async def test_failing_checks_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	"""Clients cause some checks when they connect."""
	it = Setting()
	it.authenticator.answers["ann"] = RuntimeError("a defect")
	it.socket(ANN)
	for _ in range(100):
		it.revalidator.check_sessions([ANN])
		await it.done()
	assert 1 <= len(caplog.messages) < 20


# -- rooms


@in_virtual_time
async def test_rooms_that_are_named_are_queried() -> None:
	it = Setting()
	it.permissions.at_once = False
	it.permissions.answers |= {("ToDo", ""): False, ("ToDo", "1"): False}
	sockets = [it.socket(ANN, "doctype:ToDo", "doc:ToDo/1", "doc:ToDo/2") for _ in range(2)]
	it.revalidator.check_rooms(ANN, {"doctype:ToDo"})
	it.revalidator.check_rooms(ANN, {"doc:ToDo/2"})
	await it.done()
	assert sorted(it.permissions.asked) == [("ann", "ToDo", ""), ("ann", "ToDo", "2")]
	for socket in sockets:
		assert socket.rooms == {"user:ann", "doc:ToDo/1", "doc:ToDo/2"}
	assert it.revalidator.rooms_withdrawn == 2


@in_virtual_time
async def test_all_rooms_include_named_ones() -> None:
	for first, second in (({"doc:ToDo/1"}, None), (None, {"doc:ToDo/1"})):
		it = Setting()
		it.socket(ANN, "doc:ToDo/1", "doc:ToDo/2", "some handler's room")
		it.revalidator.check_rooms(ANN, first)
		it.revalidator.check_rooms(ANN, second)
		assert it.revalidator.pending == 1
		await it.done()
		assert sorted(it.permissions.asked) == [("ann", "ToDo", "1"), ("ann", "ToDo", "2")]
		await it.revalidator.stop()


@in_virtual_time
async def test_the_caller_s_set_of_rooms_is_not_changed() -> None:
	it = Setting()
	rooms = {"doc:ToDo/1"}
	it.revalidator.check_rooms(ANN, rooms)
	it.revalidator.check_rooms(ANN, {"doc:ToDo/2"})
	assert rooms == {"doc:ToDo/1"}


@in_virtual_time
async def test_many_rooms_are_queried_in_parts() -> None:
	it = Setting()
	count = 2 * module.ROOMS_PER_CHECK + 1
	it.socket(ANN, *[f"doc:ToDo/{number}" for number in range(count)])
	it.revalidator.check_rooms(ANN, None)
	await it.done()
	assert len(it.permissions.asked) == count


@in_virtual_time
async def test_rooms_without_an_answer_are_queried_again() -> None:
	it = Setting()
	it.permissions.answers["ToDo", "1"] = WebUnavailable("no answer")
	socket = it.socket(ANN, "doc:ToDo/1", "doc:ToDo/2")
	it.revalidator.check_rooms(ANN, None)
	await turns(200)
	assert "doc:ToDo/1" in socket.rooms
	assert len(it.permissions.asked) <= 2 + WORKERS, "each worker waits before it asks again"
	it.permissions.answers["ToDo", "1"] = False
	await asyncio.sleep(RETRY_SECONDS * 1.1)
	await it.done()
	assert socket.rooms == {"user:ann", "doc:ToDo/2"}


@in_virtual_time
async def test_a_question_that_fails_occupies_no_worker_and_is_repeated_later() -> None:
	it = Setting()
	it.permissions.answers["ToDo", "1"] = WebFailed("HTTP 500")
	sockets = [it.socket(session(f"u{number}"), "doc:ToDo/1") for number in range(2 * WORKERS)]
	for socket in sockets:
		it.revalidator.check_rooms(socket.session, None)
	disabled = it.socket(ANN)
	it.authenticator.answers["ann"] = session("Guest")
	it.revalidator.check_sessions([ANN])
	began = asyncio.get_running_loop().time()
	await it.done()
	assert disabled.connection.closed == END_REASON
	assert asyncio.get_running_loop().time() == began
	assert all("doc:ToDo/1" in socket.rooms for socket in sockets)
	it.permissions.answers["ToDo", "1"] = False
	await asyncio.sleep(FAILURE_SECONDS + 0.1)
	await it.done()
	assert all("doc:ToDo/1" not in socket.rooms for socket in sockets)


@in_virtual_time
async def test_rooms_are_queried_with_another_session_if_one_has_ended() -> None:
	it = Setting()
	phone = session("ann", sid="phone")

	def answer(user: Session) -> Any:
		return SessionEnded("ended", user) if user.credential.sid == "phone" else True

	it.permissions.answers["ToDo", "1"] = answer
	ended, other = it.socket(phone, "doc:ToDo/1"), it.socket(ANN, "doc:ToDo/1")
	stranger = it.socket(session("bob"), "doc:ToDo/1")
	it.revalidator.check_rooms(phone, None)
	await it.done()
	assert "doc:ToDo/1" not in ended.rooms
	assert "doc:ToDo/1" in other.rooms
	assert "doc:ToDo/1" in stranger.rooms
	assert [sid for sid, *_ in it.permissions.asked] == ["phone", "ann"]


@in_virtual_time
async def test_a_room_is_emptied_without_a_query() -> None:
	it = Setting()
	sockets = [it.socket(session(user), "doc:ToDo/1", "doc:ToDo/2") for user in ("ann", "bob")]
	it.revalidator.empty_room(it.namespaces[f"/{SITE}"], "doc:ToDo/1")
	assert [sorted(socket.rooms)[0] for socket in sockets] == ["doc:ToDo/2"] * 2
	assert it.withdrawn == [("ann", "doc:ToDo/1"), ("bob", "doc:ToDo/1")]
	assert it.permissions.asked == []


# -- periodic checks


@pytest.fixture
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
	def first(low: float, high: float) -> float:
		return high

	monkeypatch.setattr("random.uniform", first)


def connect(it: Setting, *users: Session) -> list[Any]:
	sockets = [it.socket(user) for user in users]
	for socket in sockets:
		it.revalidator.on_connect(socket)
	return sockets


@pytest.mark.usefixtures("no_spread")
@pytest.mark.parametrize(("apps", "factor"), [(("frappe",), 1), (("frappe_realtime",), APP_INTERVAL_FACTOR)])
def test_each_session_is_checked_periodically(apps: tuple[str, ...], factor: int) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting(seconds=30)
		user = session("ann", apps=apps)
		it.authenticator.answers["ann"] = user
		connect(it, user, user)
		await asyncio.sleep(29 * factor)
		assert it.authenticator.asked == []
		await asyncio.sleep(3 * factor)
		assert it.authenticator.asked == ["ann"]
		await asyncio.sleep(31 * factor)
		assert it.authenticator.asked == ["ann"] * 2

	test()


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_the_checks_end_with_the_last_socket_and_begin_again() -> None:
	it = Setting(seconds=30)
	[socket] = connect(it, session("ann", apps=()))
	it.namespaces[f"/{SITE}"].sockets.clear()
	socket.leave("user:ann")
	await asyncio.sleep(100)
	assert it.authenticator.asked == []
	connect(it, session("ann", apps=()))
	await asyncio.sleep(32)
	assert it.authenticator.asked == ["ann"]


@pytest.mark.usefixtures("no_spread")
@in_virtual_time
async def test_all_guests_of_a_site_share_one_check() -> None:
	it = Setting(seconds=30)
	guests = [session("Guest", sid=sid, apps=()) for sid in ("Guest", "dead 1", "dead 2")]
	for socket in connect(it, *guests):
		socket.join("doc:ToDo/1")
	await asyncio.sleep(32)
	assert len(it.permissions.asked) == 1


@in_virtual_time
async def test_no_periodic_checks_if_they_are_switched_off() -> None:
	it = Setting(seconds=0)
	connect(it, ANN)
	await asyncio.sleep(100_000)
	assert it.authenticator.asked == []


def test_the_first_checks_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
	bounds: list[tuple[float, float]] = []

	def uniform(low: float, high: float) -> float:
		bounds.append((low, high))
		return low

	monkeypatch.setattr("random.uniform", uniform)

	@in_virtual_time
	async def test() -> None:
		it = Setting(seconds=30)
		connect(it, session("ann", apps=()))
		await asyncio.sleep(14)
		assert it.authenticator.asked == []
		await asyncio.sleep(3)
		assert it.authenticator.asked == ["ann"]
		assert bounds == [(0.5, 1)]

	test()


def test_the_subject_of_a_room() -> None:
	assert room_subject("doc:ToDo/a/b") == ("ToDo", "a/b")
	assert room_subject("open_doc:ToDo/1") == ("ToDo", "1")
	assert room_subject("doctype:ToDo") == ("ToDo", "")
	for room in ("all", "website", "user:a", "task_progress:1", "doc:", "doc:ToDo", "doc:/x", "doctype:"):
		assert room_subject(room) is None
