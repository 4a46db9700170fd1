"""Permissions: questions that fail, that nobody waits for any more, or whose session has ended."""

from __future__ import annotations

import asyncio
import logging

import pytest

from frappe_realtime.errors import WebUnavailable
from realtime.access.authentication import Session
from realtime.access.permission_requests import MAX_FAILURES, SessionEnded, log_unanswered
from realtime.access.permissions import FAILURE_SECONDS
from realtime.log_budget import LogBudget
from realtime.web.frappe_client import FrappeResponse, WebFailed
from tests.unit.access.fakes import APPS, SITE, Call, FakeWeb, ok, session
from tests.unit.access.questions import ANN, answer_batch, ask, permissions
from tests.unit.virtual_time import in_virtual_time, turns


@in_virtual_time
async def test_a_failing_question_does_not_delay_the_others() -> None:
	def answer(call: Call) -> FrappeResponse:
		if any(name == "bad" for _, name, _ in call.json["questions"]):
			raise WebFailed(f"after {call.options['max_failures']}")
		return answer_batch(call)

	web = FakeWeb(answer)
	subject = permissions(web)
	answers = [asyncio.ensure_future(ask(subject, ANN, "ToDo", name)) for name in ("mine", "bad", "other")]
	assert await answers[0] is True
	with pytest.raises(WebFailed, match=f"after {MAX_FAILURES}"):
		await answers[1]
	assert await answers[2] is False
	assert [len(call.json["questions"]) for call in web.calls] == [3, 1, 1, 1]


@pytest.mark.parametrize("apps", [APPS, ("frappe",)])
def test_a_failing_question_is_remembered(apps: tuple[str, ...]) -> None:
	@in_virtual_time
	async def test() -> None:
		def fails(call: Call) -> FrappeResponse:
			raise WebFailed("HTTP 500")

		web = FakeWeb(fails)
		subject = permissions(web)
		user = session(apps=apps)
		assert not subject.is_cached(user, "ToDo", "bad")
		for _ in range(3):
			with pytest.raises(WebFailed, match="HTTP 500"):
				await ask(subject, user, "ToDo", "bad")
		calls = 2 if user.has_app else 1
		assert len(web.calls) == calls
		assert subject.is_cached(user, "ToDo", "bad")
		assert subject.cached_read(SITE, user.user, "ToDo", "bad") is None
		await asyncio.sleep(FAILURE_SECONDS + 0.1)
		assert not subject.is_cached(user, "ToDo", "bad")
		with pytest.raises(WebFailed):
			await ask(subject, user, "ToDo", "bad")
		assert len(web.calls) == 2 * calls
		subject.invalidate(lambda site, user, doctype, name: name == "other")
		assert subject.is_cached(user, "ToDo", "bad")
		subject.invalidate(lambda site, user, doctype, name: name == "bad")
		assert not subject.is_cached(user, "ToDo", "bad")

	test()


@in_virtual_time
async def test_a_failure_that_a_change_overtakes_is_not_remembered() -> None:
	web = FakeWeb()
	subject = permissions(web)
	user = session(apps=())
	task = asyncio.ensure_future(ask(subject, user, "ToDo", "bad"))
	await turns()
	web.pending[0].set_exception(WebFailed("HTTP 500"))
	# The answer is here, and the one who asked has not been told yet.
	await asyncio.sleep(0)
	subject.invalidate(lambda *_: False)
	with pytest.raises(WebFailed):
		await task
	assert not subject.is_cached(user, "ToDo", "bad")


@in_virtual_time
async def test_an_unexpected_answer_is_asked_one_by_one() -> None:
	for unexpected in (ok([True]), ok("text"), FrappeResponse(404, None), FrappeResponse(403, None)):

		def answer(call: Call, unexpected: FrappeResponse = unexpected) -> FrappeResponse:
			return unexpected if call.method == "has_permissions" else ok(call.params["name"] == "mine")

		web = FakeWeb(answer)
		subject = permissions(web)
		answers = await asyncio.gather(ask(subject, ANN, "ToDo", "mine"), ask(subject, ANN, "ToDo", "x"))
		assert list(answers) == [True, False]
		assert web.methods == ["has_permissions", "has_permission", "has_permission"]


@in_virtual_time
async def test_no_answer_reaches_all_callers_and_is_not_cached() -> None:
	def unavailable(call: Call) -> FrappeResponse:
		raise WebUnavailable("no answer")

	subject = permissions(FakeWeb(unavailable))
	results = await asyncio.gather(
		*[ask(subject, ANN, "ToDo", name) for name in "ab"], return_exceptions=True
	)
	assert [type(result) for result in results] == [WebUnavailable] * 2
	assert subject.cached_read(SITE, ANN.user, "ToDo", "a") is None
	assert subject.pending == 0


@in_virtual_time
async def test_a_request_ends_with_its_last_caller() -> None:
	web = FakeWeb()
	subject = permissions(web)
	tasks = [asyncio.ensure_future(ask(subject, ANN, "ToDo", name)) for name in "ab"]
	await turns()
	tasks[0].cancel()
	await turns()
	assert not web.pending[0].cancelled()
	tasks[1].cancel()
	await turns()
	assert web.pending[0].cancelled()
	assert subject.pending == 0
	# The credential's next question is sent, although the last request was cancelled.
	task = asyncio.ensure_future(ask(subject, ANN, "ToDo", "mine"))
	await turns()
	web.pending[1].set_result(ok([True]))
	assert await task is True


@in_virtual_time
async def test_a_question_without_a_caller_is_not_sent() -> None:
	web = FakeWeb()
	subject = permissions(web)
	first = asyncio.ensure_future(ask(subject, ANN, "ToDo", "a"))
	await turns()
	second = asyncio.ensure_future(ask(subject, ANN, "ToDo", "b"))
	third = asyncio.ensure_future(ask(subject, ANN, "ToDo", "c"))
	await turns()
	second.cancel()
	await turns()
	web.pending[0].set_result(ok([True]))
	await turns()
	assert web.calls[1].json == {"questions": [["ToDo", "c", "read"]]}
	web.pending[1].set_result(ok([True]))
	assert list(await asyncio.gather(first, third)) == [True, True]


@pytest.mark.parametrize(
	("ended", "level"),
	[
		(FrappeResponse(401, None), "WARNING"),
		(FrappeResponse(200, {"message": [True], "session_expired": 1}), "DEBUG"),
		(FrappeResponse(401, {"session_expired": 1}), "DEBUG"),
	],
)
def test_an_answer_for_an_ended_session_is_no_answer(
	caplog: pytest.LogCaptureFixture, ended: FrappeResponse, level: str
) -> None:
	caplog.set_level("DEBUG")

	@in_virtual_time
	async def test() -> None:
		subject = permissions(FakeWeb(lambda call: ended))
		reported: list[Session] = []
		subject.session_ended.connect(reported.append)
		with pytest.raises(SessionEnded) as raised:
			await ask(subject, ANN, "ToDo", "mine")
		assert raised.value.session is ANN
		assert reported == [ANN]
		assert subject.cached_read(SITE, ANN.user, "ToDo", "mine") is None
		log_unanswered(logging.getLogger("realtime"), LogBudget(), raised.value, "refused: %s")

	test()
	(record,) = [record for record in caplog.records if record.name.startswith("realtime")]
	assert record.levelname == level
	assert f"was not answered for {ANN.user}: " in record.getMessage()


@in_virtual_time
async def test_a_guest_has_no_session_that_could_end() -> None:
	guest = session("Guest")
	subject = permissions(
		FakeWeb(lambda call: FrappeResponse(200, {"message": [True], "session_expired": 1}))
	)
	assert await ask(subject, guest, "ToDo", "mine") is True


@in_virtual_time
async def test_another_session_of_the_user_repeats_the_question() -> None:
	phone = session(sid="phone")

	def answer(call: Call) -> FrappeResponse:
		return FrappeResponse(401, None) if call.credential == phone.credential else answer_batch(call)

	subject = permissions(FakeWeb(answer))
	first = asyncio.ensure_future(ask(subject, phone, "ToDo", "mine"))
	second = asyncio.ensure_future(ask(subject, ANN, "ToDo", "mine"))
	with pytest.raises(SessionEnded):
		await first
	assert await second is True
