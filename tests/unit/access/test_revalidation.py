"""Revalidation of sessions: what the answers of the web process end, and how many queries are sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.access.authentication import Session
from realtime.access.check_queue import SLOW_SECONDS
from realtime.access.permissions import FAILURE_SECONDS
from realtime.access.revalidation import CONCURRENT_CHECKS, END_REASON, RETRY_SECONDS
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.web.frappe_client import Credential, WebFailed
from tests.unit.access.fakes import SITE, session
from tests.unit.access.revalidations import ANN, Setting
from tests.unit.virtual_time import in_virtual_time, turns


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
async def test_a_renewed_session_is_announced() -> None:
	it = Setting()
	renewed: list[Session] = []
	it.revalidator.session_renewed.connect(renewed.append)
	ben = session("ben")
	it.authenticator.answers |= {"ann": ANN._replace(online_hooks=True), "ben": session("Guest")}
	for one in (ANN, ben):
		it.socket(one)
	it.revalidator.check_sessions([ANN, ben])
	await it.done()
	assert renewed == [ANN._replace(online_hooks=True)], "the other one has ended"


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
	assert len(it.authenticator.asked) <= CONCURRENT_CHECKS
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
	assert it.authenticator.most == CONCURRENT_CHECKS


@in_virtual_time
async def test_a_site_that_gives_no_answers_keeps_no_other_waiting() -> None:
	"""As one in maintenance mode, of which each check waits for `realtime_web_patience`."""
	it = Setting()
	served = asyncio.Event()
	waiting: list[str] = []
	authenticate = it.authenticator.authenticate

	async def wait_and_authenticate(site: str, credential: Credential) -> Session:
		if site == SITE:
			waiting.append(credential.sid)
			await served.wait()
		return await authenticate(site, credential)

	it.authenticator.authenticate = wait_and_authenticate  # type: ignore[method-assign]
	sessions = [session(str(number)) for number in range(3 * CONCURRENT_CHECKS)]
	for each in sessions:
		it.socket(each)
	it.revalidator.check_sessions(sessions)
	await asyncio.sleep(2 * SLOW_SECONDS)
	assert len(waiting) == CONCURRENT_CHECKS
	ben = session("ben", site="two.test")
	it.authenticator.answers["ben"] = session("Guest", site="two.test")
	socket = it.socket(ben)
	it.revalidator.check_sessions([ben])
	await turns()
	assert socket.connection.closed == END_REASON
	assert len(waiting) == CONCURRENT_CHECKS
	served.set()
	await it.done()
	assert sorted(it.authenticator.asked) == sorted(["ben", *waiting])
	assert sorted(waiting, key=int) == [each.user for each in sessions]


@in_virtual_time
async def test_a_failing_check_does_not_end_its_task(caplog: pytest.LogCaptureFixture) -> None:
	it = Setting()
	it.authenticator.answers["ann"] = RuntimeError("a defect")
	it.socket(ANN)
	for _ in range(CONCURRENT_CHECKS + 1):
		it.revalidator.check_sessions([ANN])
		await it.done()
	it.authenticator.answers["ann"] = session("Guest")
	it.revalidator.check_sessions([ANN])
	await it.done()
	assert it.revalidator.sockets_ended == 1
	assert "a check of access failed" in caplog.text


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


@in_virtual_time
async def test_a_check_is_pending_until_it_has_its_answer() -> None:
	"""Also while it asks, and while a question that fails waits to be repeated."""
	it = Setting()
	answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
	it.permissions.has_permission = lambda session, *subject: answer  # type: ignore[method-assign]
	it.socket(ANN, "doc:ToDo/1")
	it.revalidator.check_rooms(ANN, None)
	await turns()
	assert it.revalidator.pending == 0
	assert it.revalidator.is_pending(ANN)
	answer.set_exception(WebFailed("500"))
	await turns()
	assert not it.revalidator.is_pending(ANN)
	assert it.revalidator.is_pending(ANN, ["website", "doc:ToDo/1"])
	it.permissions.has_permission = lambda session, *subject: True  # type: ignore[method-assign]
	await asyncio.sleep(FAILURE_SECONDS)
	await it.done()
	assert not it.revalidator.is_pending(ANN, ["doc:ToDo/1"])


@in_virtual_time
async def test_a_session_is_pending_while_it_is_asked_about() -> None:
	it = Setting()
	it.socket(ANN)
	it.revalidator.check_sessions([ANN])
	assert it.revalidator.is_pending(ANN)
	await asyncio.sleep(0)
	assert it.authenticator.asked == ["ann"]
	assert it.revalidator.is_pending(ANN)
	await it.done()
	assert not it.revalidator.is_pending(ANN)
