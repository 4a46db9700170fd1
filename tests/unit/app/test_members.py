"""`presence`, `is_online` and `online_users`, against a fake of Redis."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

import frappe_realtime
from frappe_realtime.errors import PresenceRefused, SidecarUnavailable
from tests.unit.app.conftest import Frappe

ANN = {"id": "1", "user": "ann", "full_name": "Ann", "joined_at": 1.5, "version": 3, "state": {"a": 1}}


class Redis:
	"""Answers each question with `answers`, one after the other."""

	def __init__(self, *answers: dict[str, Any], receivers: int = 1) -> None:
		self.answers = list(answers)
		self.receivers = receivers
		self.questions: list[dict[str, Any]] = []
		self.closed = 0

	def publish(self, channel: str, message: str) -> int:
		assert channel == "frappe_realtime:questions"
		self.questions.append(json.loads(message))
		return self.receivers

	def blpop(self, keys: list[str], timeout: float) -> Any:
		assert keys == [f"frappe_realtime:answer:{self.questions[-1]['id']}"]
		assert 0 < timeout <= 2
		return (keys[0], json.dumps(self.answers.pop(0))) if self.answers else None

	def close(self) -> None:
		self.closed += 1


@pytest.fixture
def redis(frappe: Frappe, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Redis]:
	"""Return a function that sets the Redis that is asked; its arguments are the answers."""
	import frappe_realtime.members as members

	def use(*answers: dict[str, Any], receivers: int = 1) -> Redis:
		one = Redis(*answers, receivers=receivers)
		monkeypatch.setattr(members, "queue_connector", lambda conf: lambda timeout: one)
		return one

	return use


def test_presence(redis: Callable[..., Redis]) -> None:
	it = redis({"ready": True, "answer": {"members": [ANN, {**ANN, "id": "2"}], "count": 7}})
	found = frappe_realtime.presence("Task", 1)
	assert ([member.id for member in found.members], found.count, found.users) == (["1", "2"], 7, ["ann"])
	assert found.members[0].state == {"a": 1}
	(question,) = it.questions
	assert {**question, "id": ""} == {"kind": "presence", "place": "doc:Task/1", "site": "one", "id": ""}
	assert it.closed == 1


def test_users_of_places(redis: Callable[..., Redis]) -> None:
	answer = {"doc:Task/1": {"users": [{"user": "ann", "full_name": "Ann"}], "count": 1}}
	it = redis({"ready": True, "answer": answer})
	assert (
		importlib.import_module("frappe_realtime.members").users_of_places(["doc:Task/1", "doc:Task/2"])
		== answer
	)
	(question,) = it.questions
	assert (question["kind"], question["places"]) == ("users", ["doc:Task/1", "doc:Task/2"])


def test_is_online(redis: Callable[..., Redis]) -> None:
	redis({"ready": True, "answer": ["ann"]})
	assert frappe_realtime.is_online("ann")
	redis({"ready": True, "answer": []})
	assert not frappe_realtime.is_online("ann")


def test_online_users(redis: Callable[..., Redis]) -> None:
	it = redis(*[{"ready": True, "answer": [user]} for user in ("ann", "bob", "eve")])
	assert frappe_realtime.online_users() == ["ann"]
	assert frappe_realtime.online_users(("bob", "eve")) == ["bob"]
	assert frappe_realtime.online_users("eve") == ["eve"]
	assert [question["users"] for question in it.questions] == [None, ["bob", "eve"], ["eve"]]


def test_a_sidecar_that_has_just_started_answers_if_no_other_does(redis: Callable[..., Redis]) -> None:
	redis({"ready": False, "answer": ["ann"]}, {"ready": True, "answer": ["bob"]})
	assert frappe_realtime.online_users() == ["bob"]
	redis({"ready": False, "answer": ["ann"]})
	assert frappe_realtime.online_users() == ["ann"]


def test_there_is_no_answer(redis: Callable[..., Redis]) -> None:
	redis()
	with pytest.raises(SidecarUnavailable, match="within 2 s"):
		frappe_realtime.is_online("ann")
	it = redis(receivers=0)
	with pytest.raises(SidecarUnavailable, match="no sidecar has subscribed"):
		frappe_realtime.is_online("ann")
	assert it.closed == 1


def test_redis_does_not_answer(redis: Callable[..., Redis], monkeypatch: pytest.MonkeyPatch) -> None:
	it = redis()

	def fail(*arguments: Any) -> int:
		raise RedisConnectionError("refused")

	monkeypatch.setattr(it, "publish", fail)
	with pytest.raises(SidecarUnavailable, match="refused"):
		frappe_realtime.is_online("ann")


def test_what_is_refused(redis: Callable[..., Redis]) -> None:
	redis({"ready": True, "error": {"code": "bad_request", "message": "no place"}})
	with pytest.raises(PresenceRefused, match="no place") as refused:
		frappe_realtime.presence(room="all")
	assert refused.value.code == "bad_request"
