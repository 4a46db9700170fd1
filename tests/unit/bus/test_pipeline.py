"""Batches of commands over one connection: replies, errors, and connections that are closed."""

from __future__ import annotations

import asyncio
import gc
import traceback
from typing import Any, cast

import hiredis
import pytest

from realtime.bus.endpoint import TIMEOUT, Address, RedisEndpoint
from realtime.bus.pipeline import RedisPipeline
from tests.unit.bus.fakes import FakeServer
from tests.unit.virtual_time import in_virtual_time


def pipeline(server: FakeServer) -> RedisPipeline:
	return RedisPipeline(cast(RedisEndpoint, server))


@in_virtual_time
async def test_replies_come_in_the_order_of_the_commands() -> None:
	server = FakeServer()
	server.reply = lambda command: b"$%d\r\n%b\r\n" % (len(command[1]), command[1])
	it = pipeline(server)
	batches = [it.execute([("GET", f"{number}-{each}") for each in range(3)]) for number in range(4)]
	for number, replies in enumerate(await asyncio.gather(*batches)):
		assert replies == [f"{number}-{each}".encode() for each in range(3)]
	assert len(server.transports) == 1, "concurrent batches share one connection"


@in_virtual_time
async def test_the_batches_of_one_turn_of_the_loop_are_one_write() -> None:
	server = FakeServer()
	it = pipeline(server)
	await it.execute([("GET", "a")])
	await asyncio.gather(*[it.execute([("GET", f"{number}")]) for number in range(100)])
	assert len(server.commands) == 101
	assert server.transports[0].writes == 2


@in_virtual_time
async def test_replies_in_pieces() -> None:
	server = FakeServer()
	server.reply = lambda command: None
	waiting = asyncio.ensure_future(pipeline(server).execute([("GET", "a"), ("GET", "b")]))
	while not server.commands:
		await asyncio.sleep(0)
	for byte in b"$1\r\nx\r\n$-1\r\n":
		assert not waiting.done()
		server.transports[0].send(bytes((byte,)))
	assert await waiting == [b"x", None]


@in_virtual_time
async def test_a_transaction() -> None:
	server = FakeServer()
	replies = {b"MULTI": b"+OK\r\n", b"EXEC": b"*2\r\n:1\r\n:2\r\n"}
	server.reply = lambda command: replies.get(command[0], b"+QUEUED\r\n")
	assert await pipeline(server).execute([("GET", "a"), ("GET", "b")], transaction=True) == [1, 2]
	assert [command[0] for command in server.commands] == [b"MULTI", b"GET", b"GET", b"EXEC"]


@pytest.mark.parametrize("denied", [b"MULTI", b"GET"])
@in_virtual_time
async def test_an_error_in_a_transaction(denied: bytes) -> None:
	server = FakeServer()
	replies = {b"MULTI": b"+OK\r\n", b"EXEC": b"-EXECABORT discarded\r\n", denied: b"-NOPERM no\r\n"}
	server.reply = lambda command: replies.get(command[0], b"+QUEUED\r\n")
	with pytest.raises(hiredis.ReplyError, match="NOPERM"):
		await pipeline(server).execute([("GET", "a")], transaction=True)


@in_virtual_time
async def test_an_error_of_one_command() -> None:
	server = FakeServer()
	server.reply = lambda command: b"-WRONGTYPE no\r\n" if command[1] == b"b" else b"+OK\r\n"
	it = pipeline(server)
	with pytest.raises(hiredis.ReplyError, match="WRONGTYPE"):
		await it.execute([("GET", "a"), ("GET", "b"), ("GET", "c")])
	assert await it.execute([("GET", "a")]) == [b"OK"]
	assert len(server.transports) == 1, "the connection is kept"


@in_virtual_time
async def test_a_master_that_is_a_replica_now() -> None:
	server = FakeServer()
	server.reply = lambda command: b"-READONLY You can't write against a read only replica.\r\n"
	it = pipeline(server)
	with pytest.raises(hiredis.ReplyError, match="READONLY"):
		await it.execute([("SET", "a", "b")])
	server.reply = lambda command: b"+OK\r\n"
	await it.execute([("SET", "a", "b")])
	assert len(server.transports) == 2, "the next batch asks for the address again"


@in_virtual_time
async def test_a_connection_that_is_lost() -> None:
	server = FakeServer()
	server.reply = lambda command: None
	it = pipeline(server)
	waiting = [asyncio.ensure_future(it.execute([("GET", "a")])) for _ in range(2)]
	while len(server.commands) < 2:
		await asyncio.sleep(0)
	server.transports[0].abort()
	for one in waiting:
		with pytest.raises(ConnectionResetError):
			await one
	server.reply = lambda command: b"+OK\r\n"
	assert await it.execute([("GET", "a")]) == [b"OK"]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"+OK\r\n+OK\r\n"])
@in_virtual_time
async def test_garbage(garbage: bytes) -> None:
	server = FakeServer()
	server.reply = lambda command: garbage
	it = pipeline(server)
	replies: Any = await asyncio.gather(it.execute([("GET", "a")]), return_exceptions=True)
	assert replies[0] == [b"OK"] or isinstance(replies[0], ConnectionResetError)
	assert server.transports[0].closing


@in_virtual_time
async def test_no_reply_in_time() -> None:
	server = FakeServer()
	server.reply = lambda command: None
	began = asyncio.get_running_loop().time()
	with pytest.raises(asyncio.TimeoutError):
		await pipeline(server).execute([("GET", "a")])
	assert asyncio.get_running_loop().time() - began == pytest.approx(TIMEOUT)
	assert server.transports[0].closing


@in_virtual_time
async def test_each_batch_has_its_own_time() -> None:
	server = FakeServer()
	loop = asyncio.get_running_loop()
	it = pipeline(server)
	await it.execute([("GET", "a")])
	await asyncio.sleep(TIMEOUT / 2)
	server.reply = lambda command: None
	began = loop.time()
	with pytest.raises(asyncio.TimeoutError):
		await it.execute([("GET", "b")])
	assert loop.time() - began == pytest.approx(TIMEOUT)


@in_virtual_time
async def test_a_caller_that_is_cancelled_leaves_its_reply_to_nobody_else() -> None:
	server = FakeServer()
	server.reply = lambda command: None
	it = pipeline(server)
	cancelled = asyncio.ensure_future(it.execute([("GET", "a")]))
	other = asyncio.ensure_future(it.execute([("GET", "b")]))
	while len(server.commands) < 2:
		await asyncio.sleep(0)
	cancelled.cancel()
	await asyncio.sleep(0)
	server.transports[0].send(b"+a\r\n+b\r\n")
	assert await other == [b"b"]


@in_virtual_time
async def test_password_and_database_come_first() -> None:
	server = FakeServer(Address(username="ann", password="secret", database=2))
	await pipeline(server).execute([("GET", "a")])
	assert server.commands == [(b"AUTH", b"ann", b"secret"), (b"SELECT", b"2"), (b"GET", b"a")]


@in_virtual_time
async def test_a_wrong_password() -> None:
	server = FakeServer(Address(password="wrong"))
	server.reply = lambda command: b"-WRONGPASS invalid username-password pair\r\n"
	it = pipeline(server)
	for _ in range(2):
		with pytest.raises(hiredis.ReplyError, match="WRONGPASS"):
			await it.execute([("GET", "a")])
	assert all(transport.closing for transport in server.transports)


@in_virtual_time
async def test_redis_that_cannot_be_reached() -> None:
	server = FakeServer()
	server.refusal = ConnectionRefusedError("refused")
	with pytest.raises(ConnectionRefusedError):
		await pipeline(server).execute([("GET", "a")])


@in_virtual_time
async def test_callers_share_one_attempt_to_connect_and_its_error() -> None:
	"""As when the host of Redis is gone: the last caller does not wait for the attempts of those before it."""
	server = FakeServer()
	server.delay, server.refusal = TIMEOUT, asyncio.TimeoutError("no answer")
	it = pipeline(server)
	loop = asyncio.get_running_loop()
	began = loop.time()
	waiting = [asyncio.ensure_future(it.execute([("GET", "a")])) for _ in range(20)]
	await asyncio.sleep(1)
	waiting += [asyncio.ensure_future(it.execute([("GET", "a")])) for _ in range(20)]
	errors = await asyncio.gather(*waiting, return_exceptions=True)
	assert {str(error) for error in errors} == {"no answer"}
	assert loop.time() - began == pytest.approx(TIMEOUT)
	assert server.attempts == 1
	server.delay, server.refusal = 0.0, None
	assert await it.execute([("GET", "a")]) == [b"OK"], "the next caller tries again"


@in_virtual_time
async def test_a_caller_that_is_cancelled_does_not_end_the_attempt_of_the_others() -> None:
	server = FakeServer()
	server.delay = 1.0
	it = pipeline(server)
	waiting = [asyncio.ensure_future(it.execute([("GET", "a")])) for _ in range(3)]
	await asyncio.sleep(0.5)
	# The first one has begun the attempt.
	waiting[0].cancel()
	waiting[2].cancel()
	assert await waiting[1] == [b"OK"]
	assert waiting[0].cancelled()
	assert waiting[2].cancelled()
	assert server.attempts == 1


@in_virtual_time
async def test_an_attempt_goes_on_when_nobody_waits_for_it_any_more() -> None:
	"""A caller that waits for less than an attempt takes leaves the connection to the next one."""
	server = FakeServer()
	server.delay = 1.5
	it = pipeline(server)
	with pytest.raises(asyncio.TimeoutError):
		await asyncio.wait_for(it.execute([("GET", "a")]), 1)
	assert await asyncio.wait_for(it.execute([("GET", "a")]), 1) == [b"OK"]
	assert server.attempts == 1


@in_virtual_time
async def test_the_error_of_an_attempt_that_nobody_waits_for_is_not_logged() -> None:
	server = FakeServer()
	server.delay, server.refusal = 1.5, ConnectionRefusedError("refused")
	it = pipeline(server)
	logged: list[Any] = []
	asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
	with pytest.raises(asyncio.TimeoutError):
		await asyncio.wait_for(it.execute([("GET", "a")]), 1)
	await asyncio.sleep(1)
	del it
	gc.collect()
	assert logged == []


@in_virtual_time
async def test_the_error_that_callers_share_does_not_grow_with_their_number() -> None:
	server = FakeServer()
	server.refusal = ConnectionRefusedError("refused")
	it = pipeline(server)
	await asyncio.gather(*[it.execute([("GET", "a")]) for _ in range(50)], return_exceptions=True)
	assert len(traceback.extract_tb(server.refusal.__traceback__)) < 10


@in_virtual_time
async def test_a_pipeline_that_is_closed_while_it_connects() -> None:
	server = FakeServer()
	server.delay = 1.0
	it = pipeline(server)
	waiting = [asyncio.ensure_future(it.execute([("GET", "a")])) for _ in range(2)]
	await asyncio.sleep(0.5)
	it.close()
	assert await it.execute([("GET", "a")]) == [b"OK"], "as after a connection that was lost"
	for one in waiting:
		with pytest.raises(ConnectionResetError):
			await one
	assert len(server.transports) == 1
