"""Permissions: one question for the sockets of several workers."""

from __future__ import annotations

import asyncio

import pytest

from realtime.access.authentication import Session
from realtime.access.permission_requests import SessionEnded
from realtime.access.permissions import FAILURE_SECONDS
from realtime.web.frappe_client import FrappeResponse, WebFailed
from tests.unit.access.fakes import SITE, Call, FakeWeb, ok, session
from tests.unit.access.questions import ANN, Pair, answer_batch, ask, permissions
from tests.unit.virtual_time import in_virtual_time, turns


@pytest.mark.parametrize(
	"user", [ANN, session(apps=("frappe",)), session(user_info_has_apps=False, apps=None)]
)
def test_another_worker_asks_with_the_session_of_the_client(user: Session) -> None:
	@in_virtual_time
	async def test() -> None:
		own = FakeWeb(
			lambda call: answer_batch(call) if call.json else ok(call.params.get("name") != "other")
		)
		alone, pair = permissions(own), Pair(own.answer)
		for name in ("mine", "other"):
			expected = await ask(alone, user, "ToDo", name)
			for one in pair.both[::-1]:
				assert await ask(one, user, "ToDo", name) is expected
		assert pair.webs[0].calls == own.calls
		assert pair.webs[1].calls == []
		assert [one.answers.shared for one in pair.both] == [0, 2]

	test()


@in_virtual_time
async def test_questions_of_one_turn_at_another_worker_are_one_request() -> None:
	pair = Pair(answer_batch)
	names = ["mine 1", "other", "mine 2"]
	answers = await asyncio.gather(*[ask(pair.both[1], ANN, "ToDo", name) for name in names])
	assert answers == [True, False, True]
	assert pair.calls == [1, 0]


@in_virtual_time
async def test_a_session_that_has_ended_is_noticed_by_the_worker_of_its_client() -> None:
	pair = Pair(lambda call: FrappeResponse(401, None))
	ended: list[Session] = []
	pair.both[1].session_ended.connect(ended.append)
	with pytest.raises(SessionEnded):
		await ask(pair.both[1], ANN, "ToDo", "mine")
	assert ended == [ANN]


@in_virtual_time
async def test_a_question_that_fails_at_another_worker_is_kept_no_longer_than_one_that_fails_here() -> None:
	def fail(call: Call) -> FrappeResponse:
		raise WebFailed("HTTP 500")

	pair = Pair(fail)
	for number in (0, 1):
		with pytest.raises(WebFailed):
			await ask(pair.both[number], ANN, "ToDo", "bad")
		await asyncio.sleep(FAILURE_SECONDS - 1)
	# The first one has asked twice: an answer that it has kept for a while would be kept anew by the other.
	asked = pair.calls[0]
	with pytest.raises(WebFailed):
		await ask(pair.both[1], ANN, "ToDo", "bad")
	assert pair.calls == [asked, 0]
	await asyncio.sleep(1.1)
	with pytest.raises(WebFailed):
		await ask(pair.both[1], ANN, "ToDo", "bad")
	assert pair.calls[0] > asked


@in_virtual_time
async def test_what_is_known_of_several_readers_is_no_newer_than_the_question_about_them() -> None:
	pair = Pair(None)
	(first, second), web = pair.both, pair.webs[0]
	task = asyncio.ensure_future(first.query_readers(SITE, "ToDo", "a", [ANN.user]))
	await turns()
	second.invalidate_document(SITE, "ToDo", "a")
	web.pending[0].set_result(ok([ANN.user]))
	await task
	assert first.cached_read(SITE, ANN.user, "ToDo", "a") is True
	answer = asyncio.ensure_future(ask(second, ANN, "ToDo", "a"))
	await turns()
	web.pending[1].set_result(ok([False]))
	assert await answer is False
