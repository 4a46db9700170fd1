"""The shared secret: created once, and never overwritten."""

from __future__ import annotations

from typing import cast

import pytest

from frappe_realtime.contract.redis_keys import SECRET_KEY
from frappe_realtime.errors import WebUnavailable
from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.store import RedisStore
from realtime.web.secret import SharedSecret
from tests.unit.bus.fakes import FakeServer
from tests.unit.virtual_time import in_virtual_time


class FakeRedis(FakeServer):
	"""`SET` and `GET`, as Redis does them."""

	def __init__(self) -> None:
		super().__init__()
		self.values: dict[str, bytes] = {}
		self.reply = self._reply

	def _reply(self, command: tuple[bytes, ...]) -> bytes:
		key = command[1].decode()
		if command[0] == b"SET":
			assert command[3] == b"NX"
			return b"+OK\r\n" if self.values.setdefault(key, command[2]) is command[2] else b"$-1\r\n"
		value = self.values.get(key)
		return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def secret(redis: FakeRedis) -> SharedSecret:
	return SharedSecret(RedisStore(cast(RedisEndpoint, redis)))


@in_virtual_time
async def test_a_secret_is_created_if_there_is_none() -> None:
	redis = FakeRedis()
	subject = secret(redis)
	value = await subject.get()
	assert len(value) == 32
	assert redis.values == {SECRET_KEY: value.encode()}
	assert await subject.get() == value
	assert [command[0] for command in redis.commands] == [b"SET", b"GET"]
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
async def test_a_secret_that_has_changed_is_announced_once() -> None:
	redis = FakeRedis()
	subject = secret(redis)
	announced: list[str] = []
	subject.changed.connect(announced.append)
	first = await subject.get()
	for value in ("another", "another", "a third"):
		redis.values[SECRET_KEY] = value.encode()
		await subject.get()
		await subject.get(renew=True)
	assert announced == [first, "another", "a third"]


@in_virtual_time
async def test_without_redis_the_web_process_cannot_be_asked() -> None:
	redis = FakeRedis()
	redis.refusal = ConnectionRefusedError("refused")
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
