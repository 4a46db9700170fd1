"""The rate of failed logins: what uses it up, who waits, and who does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.access.failed_logins import (
	CACHED_SESSION,
	WAIT_SECONDS,
	FailedLoginLimit,
	KnownCredentials,
	LoginAttempt,
)
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.web.frappe_client import Credential
from tests.unit.access.fakes import SITE, FakeSessionCache, config, session
from tests.unit.virtual_time import in_virtual_time, turns

HERE, ELSEWHERE, UNKNOWN = LoginAttempt("198.51.100.7"), LoginAttempt("198.51.100.8"), LoginAttempt("")
ANN, GUEST = session(), session("Guest")
KEY = "realtime_failed_logins_per_second"
UNKNOWN_KEY = "realtime_unknown_failed_logins_per_second"
BURST = 30


class Web:
	"""Answers each question as `answers` says; those of `pending` when the test says so."""

	def __init__(self, **keys: Any) -> None:
		self.reached: Counter[str] = Counter()
		self.known = KnownCredentials(100)
		keys = {KEY: 1, UNKNOWN_KEY: 1, "realtime_web_connections": 2, **keys}
		self.cache = FakeSessionCache()
		cache: Any = self.cache
		self.limit = FailedLoginLimit(config(**keys), self.known, cache, self.count)
		self.asked: list[str] = []
		self.pending: dict[str, asyncio.Future[Any]] = {}

	def count(self, key: str, source: str) -> None:
		assert source.startswith(" from ")
		self.reached[key] += 1

	async def answer(self, sid: str, outcome: Any) -> Any:
		self.asked.append(sid)
		if outcome is None:
			self.pending[sid] = asyncio.get_running_loop().create_future()
			outcome = await self.pending[sid]
		if isinstance(outcome, Exception):
			raise outcome
		return outcome

	async def connect(self, sid: str, outcome: Any = GUEST, attempt: LoginAttempt | None = HERE) -> Any:
		return await self.limit.ask(SITE, Credential(sid=sid), attempt, lambda: self.answer(sid, outcome))

	def start(self, sid: str, outcome: Any = GUEST, attempt: LoginAttempt = HERE) -> asyncio.Task[Any]:
		return asyncio.get_running_loop().create_task(self.connect(sid, outcome, attempt))

	async def use_up(self, attempt: LoginAttempt = HERE) -> None:
		"""Fail as often as the burst allows."""
		for number in range(BURST):
			await self.connect(f"dead {number}", attempt=attempt)
		self.asked.clear()


@in_virtual_time
async def test_failed_logins_are_asked_about_at_the_rate() -> None:
	web = Web()
	loop = asyncio.get_running_loop()
	began = loop.time()
	await web.use_up()
	assert loop.time() == began
	await web.connect("one more")
	assert 1 <= loop.time() - began < 1.1
	with pytest.raises(ConnectRefused):
		await web.connect("refused", ConnectRefused("Unauthorized"))
	assert 2 <= loop.time() - began < 2.1
	assert not web.reached
	assert not web.limit._queues


@pytest.mark.parametrize(
	("sid", "outcome", "attempt"),
	[
		("valid", ANN, HERE),
		("valid", WebUnavailable("away"), HERE),
		("Guest", GUEST, HERE),
		("revalidated", GUEST, None),
		("invented", GUEST, ELSEWHERE),
		("invented", GUEST, UNKNOWN),
	],
)
@in_virtual_time
async def test_what_uses_up_no_failed_login(sid: str, outcome: Any, attempt: LoginAttempt | None) -> None:
	web = Web()
	began = asyncio.get_running_loop().time()
	for number in range(BURST + 1 if attempt is HERE or attempt is None else BURST):
		name = sid if sid == "Guest" else f"{sid} {number}"
		if isinstance(outcome, Exception):
			with pytest.raises(type(outcome)):
				await web.connect(name, outcome, attempt)
		else:
			await web.connect(name, outcome, attempt)
	await web.use_up()
	assert asyncio.get_running_loop().time() == began


@pytest.mark.parametrize("attempt", [HERE, UNKNOWN])
@in_virtual_time
async def test_a_session_in_frappe_s_cache_does_not_wait(attempt: LoginAttempt) -> None:
	web = Web()
	began = asyncio.get_running_loop().time()
	await web.use_up(attempt)
	attacker = web.start("invented", attempt=attempt)
	await turns()
	web.cache.sids.add("new login")
	assert await web.connect("new login", ANN, attempt) is ANN
	assert asyncio.get_running_loop().time() == began
	assert web.asked == ["new login"]
	await attacker
	assert asyncio.get_running_loop().time() > began


@in_virtual_time
async def test_a_session_in_frappe_s_cache_that_is_refused_waits_in_the_end() -> None:
	web = Web()
	began = asyncio.get_running_loop().time()
	await web.use_up()
	web.cache.sids.add("expired")
	for _ in range(int(CACHED_SESSION[1])):
		await web.connect("expired")
	assert asyncio.get_running_loop().time() == began
	with pytest.raises(ConnectPostponed):
		await web.connect("expired")
	assert web.asked == ["expired"] * int(CACHED_SESSION[1])


@in_virtual_time
async def test_the_cache_is_asked_only_when_there_is_no_token() -> None:
	web = Web()
	await web.use_up()
	assert not any(sid.startswith("dead") for sid in web.cache.asked)
	waiting = web.start("one more")
	await turns()
	assert web.cache.asked == ["one more"]
	await waiting


@in_virtual_time
async def test_a_storm_of_valid_sessions_is_asked_about_without_a_pause() -> None:
	web = Web()
	began = asyncio.get_running_loop().time()
	sids = [f"user {number}" for number in range(5 * BURST)]
	clients = [web.start(sid, None) for sid in sids]
	while not all(client.done() for client in clients):
		await turns()
		assert len(web.pending) <= BURST
		for sid in list(web.pending):
			web.pending.pop(sid).set_result(ANN)
	assert sorted(web.asked) == sorted(sids)
	assert asyncio.get_running_loop().time() == began
	assert not web.limit._queues


@in_virtual_time
async def test_a_credential_that_was_valid_needs_no_token() -> None:
	web = Web()
	await web.connect("ann", ANN)
	await web.use_up()
	began = asyncio.get_running_loop().time()
	await web.connect("ann", ANN)
	assert asyncio.get_running_loop().time() == began
	# Once it is not valid any more, it does.
	await web.connect("ann")
	assert Credential(sid="ann") not in web.known
	await web.connect("ann")
	assert asyncio.get_running_loop().time() > began


@in_virtual_time
async def test_the_newest_question_is_the_next_one_and_those_that_failed_come_last() -> None:
	web = Web()
	await web.use_up()
	again = web.start("failed before", attempt=LoginAttempt(HERE.address, has_failed=True))
	first, second = web.start("first"), web.start("second")
	late = web.start("failed too", attempt=LoginAttempt(HERE.address, has_failed=True))
	await asyncio.gather(again, first, second, late)
	assert web.asked == ["second", "first", "failed before", "failed too"]


@pytest.mark.parametrize(("attempt", "key"), [(HERE, KEY), (UNKNOWN, UNKNOWN_KEY)])
@in_virtual_time
async def test_a_question_without_a_token_is_postponed(attempt: LoginAttempt, key: str) -> None:
	web = Web()
	await web.use_up(attempt)
	began = asyncio.get_running_loop().time()
	clients = [web.start(f"waits {number}", attempt=attempt) for number in range(50)]
	results = await asyncio.gather(*clients, return_exceptions=True)
	postponed = [result for result in results if isinstance(result, ConnectPostponed)]
	assert asyncio.get_running_loop().time() - began < WAIT_SECONDS + 1
	assert len(web.asked) + len(postponed) == 50
	assert WAIT_SECONDS - 1 <= len(web.asked) <= WAIT_SECONDS + 1
	assert web.reached == {key: len(postponed)}
	assert not web.limit._queues


@in_virtual_time
async def test_a_question_that_waits_for_the_web_process_is_not_postponed() -> None:
	web = Web()
	clients = [web.start(f"user {number}", None) for number in range(BURST + 1)]
	await asyncio.sleep(10 * WAIT_SECONDS)
	assert len(web.asked) == BURST
	web.pending.pop("user 0").set_result(ANN)
	await turns()
	assert len(web.asked) == BURST + 1
	for pending in web.pending.values():
		pending.set_result(ANN)
	await asyncio.gather(*clients)
	assert not web.reached


@in_virtual_time
async def test_a_client_that_leaves() -> None:
	"""Its question counts if the web process has it."""
	web = Web()
	for number in range(BURST):
		client = web.start(f"left {number}", None)
		await turns()
		client.cancel()
	await turns()
	assert len(web.asked) == BURST
	waiting = web.start("waiting")
	await turns()
	waiting.cancel()
	granted = web.start("granted")
	while not web.limit._queues[HERE.address].asking:
		await asyncio.sleep(0.001)
	granted.cancel()
	await turns()
	assert not web.limit._queues


def test_known_credentials_are_bounded() -> None:
	known = KnownCredentials(2)
	one, two, three = (Credential(sid=sid) for sid in ("1", "2", "3"))
	for credential in (one, two, one, three):
		known.add(credential)
	assert [credential in known for credential in (one, two, three, None)] == [True, False, True, False]
	known.discard(one)
	known.discard(one)
	assert one not in known
