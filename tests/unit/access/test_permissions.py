"""Permissions: questions to the web process are batched, and answers are cached until access changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from frappe_realtime.contract.http import MAX_QUESTIONS
from tests.unit.access.fakes import SITE, FakeWeb, config, ok, session
from tests.unit.access.questions import ANN, answer_batch, ask, permissions
from tests.unit.virtual_time import in_virtual_time, turns


@in_virtual_time
async def test_questions_of_one_turn_are_one_request() -> None:
	web = FakeWeb(answer_batch)
	subject = permissions(web)
	names = ["mine 1", "other", "mine 2"]
	answers = await asyncio.gather(*[ask(subject, ANN, "ToDo", name) for name in names])
	assert answers == [True, False, True]
	[call] = web.calls
	assert call.path == "/api/method/frappe.realtime.has_permissions"
	assert (call.site, call.credential) == (SITE, ANN.credential)
	assert call.json == {"questions": [["ToDo", name, "read"] for name in names]}
	assert call.options == {"max_failures": 1}
	assert subject.pending == 0


@in_virtual_time
async def test_questions_during_a_request_are_sent_together_in_the_next() -> None:
	web = FakeWeb()
	subject = permissions(web)
	tasks = [asyncio.ensure_future(ask(subject, ANN, "ToDo", "mine 0"))]
	await turns()
	tasks += [asyncio.ensure_future(ask(subject, ANN, "ToDo", f"mine {number}")) for number in (1, 2)]
	await turns()
	assert len(web.calls) == 1
	assert subject.pending == 3
	web.pending[0].set_result(ok([True]))
	await turns()
	assert [len(call.json["questions"]) for call in web.calls] == [1, 2]
	web.pending[1].set_result(ok([True, False]))
	assert await asyncio.gather(*tasks) == [True, True, False]


@in_virtual_time
async def test_a_request_has_a_bounded_number_of_questions() -> None:
	web = FakeWeb(answer_batch)
	subject = permissions(web)
	await asyncio.gather(*[ask(subject, ANN, "ToDo", str(number)) for number in range(MAX_QUESTIONS + 1)])
	assert [len(call.json["questions"]) for call in web.calls] == [MAX_QUESTIONS, 1]


@in_virtual_time
async def test_credentials_do_not_share_requests_and_users_share_answers() -> None:
	web = FakeWeb(answer_batch)
	subject = permissions(web)
	other_device = session(sid="ann's phone")
	await asyncio.gather(ask(subject, ANN, "ToDo", "mine"), ask(subject, other_device, "ToDo", "mine 2"))
	assert len(web.calls) == 2
	assert subject.has_permission(other_device, "ToDo", "mine") is True
	await ask(subject, session("bob"), "ToDo", "mine")
	await ask(subject, ANN, "ToDo", "mine", "write")
	assert len(web.calls) == 4


@in_virtual_time
async def test_only_true_grants() -> None:
	web = FakeWeb(lambda call: ok([1, "yes", None, True]))
	subject = permissions(web)
	answers = await asyncio.gather(*[ask(subject, ANN, "ToDo", str(number)) for number in range(4)])
	assert answers == [False, False, False, True]


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_name_that_is_no_text_is_refused_without_a_request(name: str) -> None:
	@in_virtual_time
	async def test() -> None:
		web = FakeWeb(answer_batch)
		subject = permissions(web)
		assert subject.has_permission(ANN, name, "x") is False
		assert subject.has_permission(ANN, "ToDo", name) is False
		assert subject.has_permission(ANN, "ToDo", "x", name) is False
		assert web.calls == []

	test()


@in_virtual_time
async def test_answers_are_cached_for_a_while() -> None:
	web = FakeWeb(answer_batch)
	subject = permissions(web)
	assert subject.cached_read(SITE, ANN.user, "ToDo", "mine") is None
	await ask(subject, ANN, "ToDo", "mine")
	await ask(subject, ANN, "ToDo", "other")
	assert subject.cached_read(SITE, ANN.user, "ToDo", "mine") is True
	assert subject.cached_read(SITE, ANN.user, "ToDo", "other") is False
	assert subject.cached_read("two.test", ANN.user, "ToDo", "mine") is None
	await asyncio.sleep(config().realtime_cache_seconds + 0.1)
	assert subject.cached_read(SITE, ANN.user, "ToDo", "mine") is None


@in_virtual_time
async def test_invalidation_drops_what_is_concerned() -> None:
	subject = permissions(FakeWeb(answer_batch))
	for name in ("mine 1", "mine 2"):
		await ask(subject, ANN, "ToDo", name)
	seen: list[tuple[str, str, str, str]] = []

	def concerned(*key: str) -> bool:
		seen.append(key)  # type: ignore[arg-type]
		return key[3] == "mine 1"

	subject.invalidate(concerned)
	assert set(seen) == {(SITE, ANN.user, "ToDo", "mine 1"), (SITE, ANN.user, "ToDo", "mine 2")}
	assert subject.cached_read(SITE, ANN.user, "ToDo", "mine 1") is None
	assert subject.cached_read(SITE, ANN.user, "ToDo", "mine 2") is True
	assert subject.invalidations == 1


@in_virtual_time
async def test_an_answer_that_a_change_overtakes_is_asked_for_again() -> None:
	web = FakeWeb()
	subject = permissions(web)
	task = asyncio.ensure_future(ask(subject, ANN, "ToDo", "1"))
	readers = asyncio.ensure_future(subject.query_readers(SITE, "ToDo", "1", ["bob", ANN.user]))
	await turns()
	subject.invalidate(lambda site, user, *_: user == ANN.user)
	before = {"has_permissions": ok([True]), "readers": ok(["bob", ANN.user])}
	for call, future in zip(web.calls, list(web.pending), strict=True):
		future.set_result(before[call.method])
	await turns()
	assert subject.cached_read(SITE, ANN.user, "ToDo", "1") is None
	assert len(web.calls) == 4
	after = {"has_permissions": ok([False]), "readers": ok([])}
	for call, future in zip(web.calls[2:], web.pending[2:], strict=True):
		future.set_result(after[call.method])
	assert await task is False
	await readers
	assert subject.cached_read(SITE, "bob", "ToDo", "1") is False


@in_virtual_time
async def test_it_is_as_available_as_the_web_process() -> None:
	web = FakeWeb()
	subject = permissions(web)
	web.unavailable = {"two.test"}
	assert not subject.is_unavailable(SITE)
	web.unavailable = {SITE}
	assert subject.is_unavailable(SITE)


def test_an_awaitable_is_returned_only_if_needed() -> None:
	@in_virtual_time
	async def test() -> None:
		subject = permissions(FakeWeb(answer_batch))
		answer = subject.has_permission(ANN, "ToDo", "mine")
		assert isinstance(answer, Awaitable)
		await answer
		assert subject.has_permission(ANN, "ToDo", "mine") is True

	test()
