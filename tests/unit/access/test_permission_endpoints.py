"""Permissions: the endpoints of Frappe itself, and the one that answers for all readers of a document."""

from __future__ import annotations

import asyncio

import pytest

from frappe_realtime.contract.http import MAX_QUESTIONS
from frappe_realtime.errors import WebUnavailable
from realtime.web.frappe_client import Credential, FrappeResponse
from tests.unit.access.fakes import SITE, Call, FakeWeb, ok, session
from tests.unit.access.questions import answer_readers, ask, permissions
from tests.unit.virtual_time import in_virtual_time, turns


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
