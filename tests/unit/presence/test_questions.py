"""Questions of Frappe's processes, as a sidecar answers them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from frappe_realtime.contract.presence import PRESENCE_JOIN
from frappe_realtime.contract.redis_keys import answer_key
from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.presence.questions import MAX_PENDING, PresenceQuestions
from tests.unit.presence.processes import Process
from tests.unit.virtual_time import in_virtual_time, turns


class Store:
	"""Keeps what is appended; fails with `error`."""

	endpoint = "redis://test"

	def __init__(self) -> None:
		self.answers: dict[str, Any] = {}
		self.error: Exception | None = None

	async def append(self, values: list[tuple[str, str]], seconds: int) -> None:
		if self.error is not None:
			raise self.error
		self.answers.update((key, json.loads(value)) for key, value in values)


class Setting:
	def __init__(self) -> None:
		self.process = Process()
		self.store = Store()
		self.ready = True
		store: Any = self.store
		self.questions = PresenceQuestions(store, self.process.feed, self.process.online, lambda: self.ready)

	async def ask(self, **question: Any) -> Any:
		message = {"site": "test.localhost", "id": "1", **question}
		self.questions.on_message(json.dumps(message).encode())
		await turns()
		return self.store.answers.pop(answer_key("1"), None)


@in_virtual_time
async def test_who_is_in_a_place() -> None:
	it = Setting()
	ann = it.process.socket()
	it.process.send(ann, PRESENCE_JOIN, "doc:Task/1", {"a": 1})
	found = await it.ask(kind="presence", place="doc:Task/1")
	assert (found["ready"], found["answer"]["count"]) == (True, 1)
	assert found["answer"]["members"][0]["state"] == {"a": 1}
	empty = {"members": [], "count": 0}
	assert (await it.ask(kind="presence", place="site"))["answer"] == empty
	assert (await it.ask(kind="presence", place="doc:Task/1", site="other"))["answer"] == empty
	assert (await it.ask(kind="presence", place="nowhere"))["error"]["code"] == "bad_request"


@in_virtual_time
async def test_who_is_in_many_places() -> None:
	it = Setting()
	users = [f"user-{number}@example.com" for number in range(6)]
	for user in [*users, users[0]]:
		it.process.send(it.process.socket(user), PRESENCE_JOIN, "doc:Task/1", {"a": 1})
	places = ["doc:Task/1", "doc:Task/2"]
	answer = (await it.ask(kind="users", places=places))["answer"]
	assert list(answer) == places[:1]
	assert answer["doc:Task/1"]["count"] == 6
	found = {one["user"]: one["full_name"] for one in answer["doc:Task/1"]["users"]}
	assert (len(found), found.keys() <= set(users)) == (5, True)
	assert (await it.ask(kind="users", places=["nowhere"]))["error"]["code"] == "bad_request"
	assert await it.ask(kind="users", places=places * 51) is None


@in_virtual_time
async def test_who_is_online() -> None:
	it = Setting()
	it.ready = False
	it.process.socket()
	it.process.socket("bob@example.com")
	users = ["bob@example.com", "eve@example.com"]
	assert await it.ask(kind="online", users=users) == {"ready": False, "answer": users[:1]}
	found = (await it.ask(kind="online", users=None))["answer"]
	assert sorted(found) == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize(
	"message",
	[
		b"",
		b"1",
		b"[]",
		b"{}",
		b'{"site":"a","id":"1","kind":"x"}',
		b'{"site":1,"id":"1","kind":"online"}',
		b'{"site":"a","id":"","kind":"online"}',
		b'{"site":"a","kind":"online","id":"%s"}' % (b"x" * 100),
		b'{"site":"a","id":"1","kind":"online","users":1}',
		b'{"site":"a","id":"1","kind":"presence"}',
	],
)
def test_what_is_no_question(message: bytes) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.questions.on_message(message)
		await turns()
		assert not it.store.answers

	test()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreDenied("NOPERM no")])
def test_redis_does_not_take_the_answer(error: Exception) -> None:
	@in_virtual_time
	async def test() -> None:
		it = Setting()
		it.store.error = error
		assert await it.ask(kind="online") is None
		assert it.questions.dropped == 1
		it.store.error = None
		assert (await it.ask(kind="online"))["answer"] == []

	test()


@in_virtual_time
async def test_questions_are_bounded() -> None:
	it = Setting()
	for number in range(MAX_PENDING + 10):
		it.questions.on_message(json.dumps({"site": "a", "id": str(number), "kind": "online"}).encode())
	assert it.questions.dropped == 10
	await turns(100)
	assert it.questions.answered == len(it.store.answers) == MAX_PENDING
