"""The shared secret: created once, and never overwritten."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from frappe_realtime.contract import SECRET_KEY
from frappe_realtime.errors import WebUnavailable
from realtime.bus.store import RedisStore
from realtime.web.secret import SharedSecret
from tests.unit.virtual_time import in_virtual_time


class FakeRedis:
	"""`SET` and `GET`, as Redis does them."""

	def __init__(self) -> None:
		self.values: dict[str, bytes] = {}
		self.commands: list[str] = []
		self.error: Exception | None = None

	async def set(self, key: str, value: str, nx: bool = False) -> bool | None:
		self._note("SET")
		if nx and key in self.values:
			return None
		self.values[key] = value.encode()
		return True

	async def get(self, key: str) -> bytes | None:
		self._note("GET")
		return self.values.get(key)

	def _note(self, command: str) -> None:
		if self.error is not None:
			raise self.error
		self.commands.append(command)


class FakeEndpoint:
	def __init__(self, redis: FakeRedis) -> None:
		self._redis = redis

	def client(self) -> FakeRedis:
		return self._redis

	def __str__(self) -> str:
		return "Redis at test"


def secret(redis: FakeRedis) -> SharedSecret:
	endpoint: Any = FakeEndpoint(redis)
	return SharedSecret(RedisStore(endpoint))


@in_virtual_time
async def test_a_secret_is_created_if_there_is_none() -> None:
	redis = FakeRedis()
	subject = secret(redis)
	value = await subject.get()
	assert len(value) == 32
	assert redis.values == {SECRET_KEY: value.encode()}
	assert await subject.get() == value
	assert redis.commands == ["SET", "GET"]
	assert await secret(FakeRedis()).get() != value


@in_virtual_time
async def test_a_secret_of_another_process_is_kept() -> None:
	redis = FakeRedis()
	redis.values[SECRET_KEY] = b"of Frappe"
	assert await secret(redis).get() == "of Frappe"
	assert redis.values == {SECRET_KEY: b"of Frappe"}


@in_virtual_time
async def test_of_two_processes_one_creates_the_secret() -> None:
	redis = FakeRedis()
	first, second = secret(redis), secret(redis)
	assert await first.get() == await second.get()


@in_virtual_time
async def test_a_secret_that_was_changed_or_deleted_is_read_again() -> None:
	redis = FakeRedis()
	subject = secret(redis)
	before = await subject.get()
	redis.values[SECRET_KEY] = b"another"
	assert await subject.get() == before
	assert await subject.get(renew=True) == "another"
	assert await subject.get() == "another"
	del redis.values[SECRET_KEY]
	assert await subject.get(renew=True) not in (before, "another")


@in_virtual_time
async def test_without_redis_the_web_process_cannot_be_asked() -> None:
	redis = FakeRedis()
	redis.error = RedisConnectionError("refused")
	with pytest.raises(WebUnavailable, match="the shared secret cannot be read from Redis at test: refused"):
		await secret(redis).get()


@pytest.mark.parametrize("value", [b"\xff", b"a\r\nX: y", "ü".encode()])
def test_a_secret_that_cannot_be_sent_counts_as_none(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
	@in_virtual_time
	async def test() -> None:
		redis = FakeRedis()
		redis.values[SECRET_KEY] = value
		subject = secret(redis)
		assert await subject.get() == ""
		assert SECRET_KEY in caplog.text
		redis.values[SECRET_KEY] = b"valid"
		assert await subject.get() == "valid"

	test()
