"""Commands to Redis: which errors are worth a retry, and what an operator is advised."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.store import RedisStore, StoreDenied, StoreUnavailable
from tests.unit.bus.fakes import FakeServer
from tests.unit.virtual_time import in_virtual_time

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


def store_of(server: FakeServer) -> RedisStore:
	return RedisStore(cast(RedisEndpoint, server))


@pytest.mark.parametrize(
	("reply", "expected", "advice"),
	[
		("LOADING Redis is loading the dataset in memory", StoreUnavailable, ""),
		("READONLY You can't write against a read only replica.", StoreUnavailable, ""),
		("MASTERDOWN Link with MASTER is down", StoreUnavailable, ""),
		("ERR max number of clients reached", StoreUnavailable, ""),
		("NOAUTH Authentication required.", StoreDenied, "URL of redis_queue"),
		("WRONGPASS invalid username-password pair", StoreDenied, "URL of redis_queue"),
		(
			"NOPERM User default has no permissions to run the 'multi' command",
			StoreDenied,
			"Let the user of redis_queue run MULTI and EXEC.",
		),
		(
			"NOPERM this user has no permissions to run the 'xrange' command",
			StoreDenied,
			"Let the user of redis_queue run XRANGE.",
		),
		("NOPERM No permissions to access a key", StoreDenied, "frappe_realtime:*"),
		(WRONGTYPE, StoreDenied, "The key has another type"),
		("ERR syntax error", StoreDenied, "docs/delivery.md"),
	],
)
def test_replies_and_advice(reply: str, expected: type[Exception], advice: str) -> None:
	@in_virtual_time
	async def test() -> None:
		server = FakeServer()
		server.reply = lambda command: f"-{reply}\r\n".encode()
		with pytest.raises(expected) as raised:
			await store_of(server).session("key")
		assert type(raised.value) is expected
		if isinstance(raised.value, StoreDenied):
			assert advice in raised.value.advice

	test()


@pytest.mark.parametrize(
	"error", [ConnectionRefusedError("refused"), OSError("no route"), asyncio.TimeoutError()], ids=repr
)
@in_virtual_time
async def test_redis_that_cannot_be_reached(error: Exception) -> None:
	server = FakeServer()
	server.refusal = error
	with pytest.raises(StoreUnavailable):
		await store_of(server).session("key")


@in_virtual_time
async def test_a_value_that_is_no_text() -> None:
	server = FakeServer()
	server.reply = lambda command: b"$1\r\n\xff\r\n"
	with pytest.raises(StoreDenied, match="the value of key is not text"):
		await store_of(server).set_default("key", "value")
	assert await store_of(server).session("key") == "�"


@in_virtual_time
async def test_a_history() -> None:
	server = FakeServer()
	entry = b"*2\r\n$3\r\n1-0\r\n*4\r\n$1\r\ne\r\n$2\r\n{}\r\n$1\r\np\r\n$1\r\n\xff\r\n"
	replies = {b"MULTI": b"+OK\r\n", b"EXEC": b"*3\r\n$3\r\n1-0\r\n$-1\r\n*1\r\n" + entry}
	server.reply = lambda command: replies.get(command[0], b"+QUEUED\r\n")
	entries, last, newest = await store_of(server).history("one.test", "-", 1)
	assert (entries[0].id, entries[0].payload, entries[0].before, last) == ("1-0", b"{}", "�", "1-0")
	assert newest == "1-0"
	replies[b"EXEC"] = b"*2\r\n$-1\r\n$-1\r\n"
	assert await store_of(server).history("one.test", "-", 0) == ([], None, None)
	assert await store_of(server).latest("one.test", "-", 0) == ([], None, "", "")


@pytest.mark.parametrize(
	("order", "newest", "value"),
	[
		(b"9-0 4-0 9-0 2-0", "4-0", ("9-0", "2-0")),
		(b"8-0 4-0 8-0 2-0", "9-0", ("8-0", "2-0")),
		(b"garbage", "9-0", ("", "")),
	],
	ids=["", "an older publisher has published since", "not ours"],
)
@in_virtual_time
async def test_the_newest_entries_of_both_streams(order: bytes, newest: str, value: tuple[str, str]) -> None:
	server = FakeServer()
	reply = b"*2\r\n$3\r\n9-0\r\n$%d\r\n%b\r\n" % (len(order), order)
	replies = {b"MULTI": b"+OK\r\n", b"EXEC": reply}
	server.reply = lambda command: replies.get(command[0], b"+QUEUED\r\n")
	assert await store_of(server).history("one.test", "-", 0) == ([], "9-0", newest)
	assert await store_of(server).latest("one.test", "-", 0) == ([], "9-0", *value)


@in_virtual_time
async def test_a_secret_is_set_once() -> None:
	server = FakeServer()
	replies = {b"SET": b"$-1\r\n", b"GET": b"$5\r\nfirst\r\n"}
	server.reply = lambda command: replies[command[0]]
	assert await store_of(server).set_default("key", "second") == "first"
	assert server.commands[0] == (b"SET", b"key", b"second", b"NX")


@in_virtual_time
async def test_the_entries_of_a_stream() -> None:
	server = FakeServer()
	of_ours, other = b"*2\r\n$1\r\ne\r\n$2\r\n{}\r\n", b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n"
	rows = [b"*2\r\n$3\r\n1-0\r\n" + fields for fields in (of_ours, other, b"*-1\r\n")]
	server.reply = lambda command: b"*3\r\n" + b"".join(rows)
	assert await store_of(server).entries("key", 3) == [b"{}", b"", b""]
