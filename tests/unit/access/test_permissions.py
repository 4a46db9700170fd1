"""Permissions: batches, the endpoints of each Frappe version, ended sessions, failing questions and the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from frappe_realtime.contract import MAX_QUESTIONS
from frappe_realtime.errors import WebUnavailable
from realtime.access.authentication import Session
from realtime.access.permission_requests import MAX_FAILURES, PermissionRequests, SessionEnded
from realtime.access.permissions import FAILURE_SECONDS, Permissions
from realtime.web.frappe_client import Credential, FrappeResponse, WebFailed
from tests.unit.access.fakes import APPS, SITE, Call, FakeHost, FakeWeb, FakeWorker, config, ok, session
from tests.unit.virtual_time import in_virtual_time, turns

ANN = session()


def permissions(web: FakeWeb, workers: FakeWorker | None = None) -> Permissions:
	fake: Any = web
	return Permissions(config(), PermissionRequests(fake), workers)


def answer_batch(call: Call) -> FrappeResponse:
	"""Allow documents whose name starts with `mine`."""
	return ok([name.startswith("mine") for _, name, _ in call.json["questions"]])


async def ask(subject: Permissions, user: Session, *question: str) -> bool:
	answer = subject.has_permission(user, *question)
	return answer if isinstance(answer, bool) else await answer


# -- with the app


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


# -- failures


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


# -- ended sessions


@pytest.mark.parametrize(
	"ended", [FrappeResponse(401, None), FrappeResponse(200, {"message": [True], "session_expired": 1})]
)
def test_an_answer_for_an_ended_session_is_no_answer(ended: FrappeResponse) -> None:
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

	test()


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


# -- Frappe's own endpoints


@pytest.mark.parametrize(
	("user_info_has_apps", "question", "method", "params"),
	[
		(True, ("ToDo", "1"), "has_permission", {"doctype": "ToDo", "name": "1"}),
		(True, ("ToDo",), "has_permission", {"doctype": "ToDo", "name": ""}),
		(False, ("ToDo", "1"), "can_subscribe_doc", {"doctype": "ToDo", "docname": "1"}),
		(False, ("ToDo",), "can_subscribe_doctype", {"doctype": "ToDo"}),
	],
)
def test_the_endpoint_of_each_version(
	user_info_has_apps: bool, question: tuple[str, ...], method: str, params: dict[str, str]
) -> None:
	@in_virtual_time
	async def test() -> None:
		web = FakeWeb(lambda call: ok(True))
		user = session(apps=("frappe",), user_info_has_apps=user_info_has_apps)
		assert await ask(permissions(web), user, *question) is True
		[call] = web.calls
		assert (call.path, call.params) == (f"/api/method/frappe.realtime.{method}", params)
		assert call.credential == user.credential

	test()


@pytest.mark.parametrize(
	"response",
	[ok(1), ok("true"), ok(None), FrappeResponse(403, {"message": True}), FrappeResponse(200, None)],
)
def test_only_true_of_the_stock_endpoint_grants(response: FrappeResponse) -> None:
	@in_virtual_time
	async def test() -> None:
		subject = permissions(FakeWeb(lambda call: response))
		assert await ask(subject, session(apps=None), "ToDo", "1") is False

	test()


@pytest.mark.parametrize(
	("response", "granted"),
	[
		(ok({"has_permission": True}), True),
		(ok({"has_permission": 1}), False),
		(ok({}), False),
		(ok(True), False),
		(FrappeResponse(403, {"message": {"has_permission": True}}), False),
	],
)
def test_other_permissions_than_reading(response: FrappeResponse, granted: bool) -> None:
	@in_virtual_time
	async def test() -> None:
		web = FakeWeb(lambda call: response)
		subject = permissions(web)
		assert await ask(subject, session(apps=()), "ToDo", "1", "write") is granted
		[call] = web.calls
		assert call.path == "/api/method/frappe.client.has_permission"
		assert call.params == {"doctype": "ToDo", "docname": "1", "perm_type": "write"}

	test()


@in_virtual_time
async def test_without_the_app_each_question_is_a_concurrent_request() -> None:
	web = FakeWeb()
	subject = permissions(web)
	user = session(apps=("frappe",))
	tasks = [asyncio.ensure_future(ask(subject, user, "ToDo", name)) for name in "ab"]
	await turns()
	tasks.append(asyncio.ensure_future(ask(subject, user, "ToDo", "c")))
	await turns()
	assert len(web.pending) == 3
	for future, answer in zip(web.pending, (True, False, True), strict=True):
		future.set_result(ok(answer))
	assert await asyncio.gather(*tasks) == [True, False, True]


# -- readers


def answer_readers(call: Call) -> FrappeResponse:
	return ok([user for user in call.json["users"] if user.startswith("a")])


@in_virtual_time
async def test_readers_become_answers_for_each_user() -> None:
	web = FakeWeb(answer_readers)
	subject = permissions(web)
	await subject.query_readers(SITE, "ToDo", "1", ["ann", "bob"])
	assert subject.cached_read(SITE, "ann", "ToDo", "1") is True
	assert subject.cached_read(SITE, "bob", "ToDo", "1") is False
	assert subject.cached_read(SITE, "eve", "ToDo", "1") is None
	[call] = web.calls
	assert call.path == "/api/method/frappe.realtime.readers"
	assert call.credential == Credential(sid="Guest")
	assert call.json == {"doctype": "ToDo", "name": "1", "users": ["ann", "bob"]}


@in_virtual_time
async def test_readers_are_queried_in_parts() -> None:
	web = FakeWeb(answer_readers)
	subject = permissions(web)
	await subject.query_readers(SITE, "ToDo", "1", [f"a{number}" for number in range(MAX_QUESTIONS + 1)])
	assert [len(call.json["users"]) for call in web.calls] == [MAX_QUESTIONS, 1]
	assert subject.cached_read(SITE, f"a{MAX_QUESTIONS}", "ToDo", "1") is True


@in_virtual_time
async def test_a_readers_query_renews_the_shared_secret_once() -> None:
	def answer(call: Call) -> FrappeResponse:
		return answer_readers(call) if call.renewed else FrappeResponse(403, None)

	web = FakeWeb(answer)
	subject = permissions(web)
	await subject.query_readers(SITE, "ToDo", "1", ["ann"])
	assert subject.cached_read(SITE, "ann", "ToDo", "1") is True
	assert len(web.calls) == 2


@pytest.mark.parametrize(
	"response", [FrappeResponse(403, None), ok("ann"), FrappeResponse(404, {"message": ["ann"]})]
)
def test_a_readers_query_without_an_answer(response: FrappeResponse) -> None:
	@in_virtual_time
	async def test() -> None:
		subject = permissions(FakeWeb(lambda call: response))
		with pytest.raises(WebUnavailable):
			await subject.query_readers(SITE, "ToDo", "1", ["ann"])
		assert subject.cached_read(SITE, "ann", "ToDo", "1") is None

	test()


# -- invalidation


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


# -- several workers


class Pair:
	"""Two workers, of which the first one asks for both."""

	def __init__(self, answer: Callable[[Call], FrappeResponse] | None) -> None:
		host = FakeHost()
		self.webs = [FakeWeb(answer), FakeWeb(answer)]
		self.both = [permissions(web, host.worker()) for web in self.webs]

	@property
	def calls(self) -> list[int]:
		return [len(web.calls) for web in self.webs]


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
