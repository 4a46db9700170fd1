"""Commands to Redis: which errors are worth a retry, and what an operator is advised."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import (
	AuthenticationError,
	BusyLoadingError,
	NoPermissionError,
	ReadOnlyError,
	ResponseError,
	TimeoutError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from realtime.bus.store import RedisStore, StoreDenied, StoreUnavailable
from tests.unit.virtual_time import in_virtual_time

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class FakeRedis:
	"""Raises, or answers a pipeline with, what a test sets."""

	def __init__(self) -> None:
		self.error: Exception | None = None
		self.replies: list[Any] = []
		self.commands: list[tuple[Any, ...]] = []
		self.transactions: list[bool] = []

	async def set(self, *arguments: Any, **options: Any) -> None:
		if self.error is not None:
			raise self.error

	async def get(self, key: str) -> Any:
		return self.replies[0]

	def pipeline(self, transaction: bool) -> FakeRedis:
		self.transactions.append(transaction)
		return self

	def execute_command(self, *command: Any) -> None:
		self.commands.append(command)

	async def execute(self, raise_on_error: bool) -> list[Any]:
		assert not raise_on_error
		if self.error is not None:
			raise self.error
		return self.replies


class FakeEndpoint:
	def __init__(self, redis: FakeRedis) -> None:
		self._redis = redis

	def client(self) -> FakeRedis:
		return self._redis


def store(redis: FakeRedis) -> RedisStore:
	endpoint: Any = FakeEndpoint(redis)
	return RedisStore(endpoint)


@pytest.mark.parametrize(
	("error", "expected", "advice"),
	[
		(RedisConnectionError("refused"), StoreUnavailable, ""),
		(TimeoutError("slow"), StoreUnavailable, ""),
		(OSError("no route"), StoreUnavailable, ""),
		(BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable, ""),
		(ReadOnlyError("You can't write against a read only replica."), StoreUnavailable, ""),
		(ResponseError("MASTERDOWN Link with MASTER is down"), StoreUnavailable, ""),
		(AuthenticationError("Authentication required."), StoreDenied, "URL of redis_queue"),
		(ResponseError("NOAUTH Authentication required."), StoreDenied, "URL of redis_queue"),
		(
			NoPermissionError("User default has no permissions to run the 'multi' command"),
			StoreDenied,
			"Let the user of redis_queue run MULTI and EXEC.",
		),
		(
			ResponseError("NOPERM this user has no permissions to run the 'xrange' command"),
			StoreDenied,
			"Let the user of redis_queue run XRANGE.",
		),
		(NoPermissionError("No permissions to access a key"), StoreDenied, "frappe_realtime:*"),
		(ResponseError(WRONGTYPE), StoreDenied, "The key has another type"),
		(ResponseError("ERR syntax error"), StoreDenied, "docs/delivery.md"),
	],
	ids=repr,
)
def test_errors_and_advice(error: Exception, expected: type[Exception], advice: str) -> None:
	@in_virtual_time
	async def test() -> None:
		for reply in (False, True):
			redis = FakeRedis()
			redis.error, redis.replies = (None, [error]) if reply else (error, [])
			with pytest.raises(expected) as raised:
				await store(redis).session("key")
			assert type(raised.value) is expected
			if isinstance(raised.value, StoreDenied):
				assert advice in raised.value.advice

	test()


@in_virtual_time
async def test_a_value_that_is_no_text() -> None:
	redis = FakeRedis()
	redis.replies = [b"\xff"]
	with pytest.raises(StoreDenied, match="the value of key is not text"):
		await store(redis).set_default("key", "value")
	assert await store(redis).session("key") == "�"
	redis.replies = [b"\xff", [(b"1-0", {b"e": b"{}", b"p": b"\xff"})]]
	entries, last = await store(redis).history("one.test", "-", 1)
	assert (entries[0].id, entries[0].before, last) == ("1-0", "�", "�")
	assert redis.transactions[-1] is True


@in_virtual_time
async def test_an_error_while_a_secret_is_set() -> None:
	redis = FakeRedis()
	redis.error = NoPermissionError("User default has no permissions to run the 'set' command")
	with pytest.raises(StoreDenied):
		await store(redis).set_default("key", "value")
	redis.error = RedisConnectionError("refused")
	with pytest.raises(StoreUnavailable):
		await store(redis).set_default("key", "value")
