"""The client towards the web process, against servers that answer in every way a server may, and some that it may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest

from realtime.web import http_client
from realtime.web.http_client import HTTPClient, HTTPError, HTTPResponse
from tests.unit.virtual_time import pass_time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = {"Host": "one.localhost"}

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
"""What a server does with a connection, which is told its number."""


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
	"""`test` as pytest can call it."""

	@wraps(test)
	def run(*arguments: Any, **named: Any) -> None:
		asyncio.run(test(*arguments, **named))

	return run


@asynccontextmanager
async def server(talk: Talk, timeout: float = 5) -> AsyncIterator[HTTPClient]:
	"""A client of a server that treats each connection as `talk` says."""
	number = 0

	async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		nonlocal number
		number += 1
		try:
			await talk(reader, writer, number)
		except (ConnectionError, asyncio.IncompleteReadError):
			pass
		finally:
			writer.close()

	listening = await asyncio.start_server(serve, "127.0.0.1", 0)
	client = HTTPClient(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", timeout)
	try:
		yield client
	finally:
		client.close()
		listening.close()


async def head(reader: asyncio.StreamReader) -> bytes:
	return await reader.readuntil(b"\r\n\r\n")


def always(*answers: bytes) -> Talk:
	"""Each request of each connection gets the next of `answers`; after the last the connection is closed."""

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		for answer in answers:
			await head(reader)
			writer.write(answer)

	return talk


async def get(client: HTTPClient, method: str = "GET", body: bytes = b"") -> HTTPResponse:
	return await client.request(method, "/api", HEADERS, body)


@pytest.mark.parametrize(
	("answer", "body"),
	[
		(OK, b"ok"),
		(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
		(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
		(b"HTTP/1.1 204 No Content\r\n\r\n", b""),
		(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end", b"to the end"),
		(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n", b""),
	],
	ids=["length", "chunked", "continue", "no content", "until the end", "HTTP 1.0"],
)
@in_a_loop
async def test_reads_a_body_however_it_ends(answer: bytes, body: bytes) -> None:
	async with server(always(answer)) as client:
		assert (await get(client)).body == body


@in_a_loop
async def test_tells_status_and_headers() -> None:
	answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nX-One: a\r\nX-One: b\r\n\r\n"
	async with server(always(answer)) as client:
		got = await get(client)
	assert (got.status, got.headers["X-One"]) == (403, "a, b")


@in_a_loop
async def test_sends_a_path_before_the_target_and_a_body_with_its_length() -> None:
	seen = b""

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		nonlocal seen
		seen = await head(reader) + await reader.readexactly(4)
		writer.write(OK)

	async with server(talk) as client:
		prefixed = HTTPClient(f"http://127.0.0.1:{client._port}/frappe/", 5)
		await prefixed.request("POST", "/api?a=b", HEADERS, b"body")
		prefixed.close()
	assert seen == b"POST /frappe/api?a=b HTTP/1.1\r\nHost: one.localhost\r\nContent-Length: 4\r\n\r\nbody"


@in_a_loop
async def test_uses_a_connection_again() -> None:
	numbers = []

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		while True:
			await head(reader)
			numbers.append(number)
			writer.write(OK)

	async with server(talk) as client:
		for _ in range(3):
			await get(client)
		assert numbers == [1, 1, 1]
		await asyncio.gather(get(client), get(client))
		assert sorted(numbers) == [1, 1, 1, 1, 2]


@in_a_loop
async def test_a_connection_that_says_it_closes_is_not_used_again() -> None:
	closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
	async with server(always(closing, b"never sent")) as client:
		assert [(await get(client)).body for _ in range(3)] == [b"ok"] * 3


@in_a_loop
async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.05)
	closed: asyncio.Queue[int] = asyncio.Queue()

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await head(reader)
		writer.write(OK)
		if not await reader.read():
			closed.put_nowait(number)

	async with server(talk) as client:
		await asyncio.gather(get(client), get(client))
		assert {await closed.get(), await closed.get()} == {1, 2}
		await get(client)
		assert await closed.get() == 3


def closes_kept_ones(asked: list[int]) -> Talk:
	"""The first connection answers once, and is closed by the second request, without a word."""

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		asked.append(number)
		await head(reader)
		writer.write(OK)
		await head(reader)
		asked.append(number)
		if number > 1:
			writer.write(OK)

	return talk


@in_a_loop
async def test_a_request_on_a_connection_that_was_closed_is_sent_again() -> None:
	asked: list[int] = []
	async with server(closes_kept_ones(asked)) as client:
		await get(client)
		assert (await get(client)).body == b"ok"
	assert asked == [1, 1, 2]


@in_a_loop
async def test_a_connection_that_was_closed_does_not_give_the_answer_before_again() -> None:
	"""An answer that has no body names no length, like one that ends with the connection."""
	numbers: list[int] = []

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		numbers.append(number)
		await head(reader)
		writer.write(b"HTTP/1.1 204 No Content\r\nServer: one\r\n\r\n" if number == 1 else OK)
		await head(reader)

	async with server(talk) as client:
		assert (await get(client)).status == 204
		assert (await get(client)).body == b"ok"
	assert numbers == [1, 2]


@in_a_loop
async def test_a_post_is_not_sent_again() -> None:
	asked: list[int] = []
	async with server(closes_kept_ones(asked)) as client:
		await get(client)
		with pytest.raises(ConnectionError):
			await get(client, "POST", b"")
	assert asked == [1, 1]


@pytest.mark.parametrize(
	"answer",
	[
		b"",
		b"HTTP/1.1 200 OK\r\nContent-Le",
		b"HTTP/1.1 200 OK\r\nServer: one\r\nContent-Le",
		b"HTTP/1.1 100 Continue\r\n\r\n",
		b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
	],
	ids=["nothing", "half a header", "half a head", "continue", "half a body"],
)
@in_a_loop
async def test_a_connection_closed_within_an_answer_is_no_answer(answer: bytes) -> None:
	async with server(always(answer)) as client:
		with pytest.raises(ConnectionError):
			await get(client)


@pytest.mark.parametrize(
	"answer",
	[
		b"SSH-2.0-OpenSSH_9.2\r\n",
		b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x01a",
	],
	ids=["another protocol", "two lengths", "an upgrade"],
)
@in_a_loop
async def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
	async with server(always(answer, OK)) as client:
		with pytest.raises(HTTPError):
			await get(client)


@in_a_loop
async def test_an_answer_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(http_client, "MAX_BODY", 1)
	async with server(always(OK)) as client:
		with pytest.raises(HTTPError, match="more than 1 bytes"):
			await get(client)


@in_a_loop
async def test_a_head_request_has_no_body_whatever_the_head_says() -> None:
	async with server(always(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as client:
		answer = await get(client, "HEAD")
		assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "99", b"")


@in_a_loop
async def test_a_server_that_says_nothing_is_given_up() -> None:
	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await reader.read(-1)

	async with server(talk, timeout=0.05) as client:
		with pytest.raises(asyncio.TimeoutError):
			await get(client)


@in_a_loop
async def test_the_answer_to_a_cancelled_request_is_not_anothers() -> None:
	asked = asyncio.Event()
	answer = asyncio.Event()

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await head(reader)
		asked.set()
		if number == 1:
			await answer.wait()
		writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)

	async with server(talk) as client:
		first = asyncio.ensure_future(get(client))
		await asked.wait()
		first.cancel()
		with pytest.raises(asyncio.CancelledError):
			await first
		answer.set()
		assert (await get(client)).body == b"2"


@in_a_loop
async def test_words_that_nobody_asked_for_end_the_connection() -> None:
	said = asyncio.Event()

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await head(reader)
		writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
		if number == 1:
			await writer.drain()
			await said.wait()
			writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
			await reader.read()

	async with server(talk) as client:
		assert (await get(client)).body == b"1"
		said.set()
		while client._idle:
			await asyncio.sleep(0)
		assert (await get(client)).body == b"2"


@in_a_loop
async def test_nobody_listens() -> None:
	async with server(always()) as client:
		pass
	with pytest.raises(ConnectionRefusedError):
		await get(client)


@pytest.mark.parametrize(
	("method", "target", "headers"),
	[
		("GET", "/api HTTP/1.1\r\nX: y", {}),
		("GET", "/api y", {}),
		("GET\n", "/api", {}),
		("GET", "/api", {"X-One": "a\r\nX-Frappe-Site-Name: two.localhost"}),
		("GET", "/api", {"X-One\n": "a"}),
		("GET", "/api", {"X-One": "a\rb"}),
		("GET", "/api", {"X-One": "\u20ac"}),
	],
)
@in_a_loop
async def test_what_a_head_cannot_carry_is_not_sent(
	method: str, target: str, headers: dict[str, str]
) -> None:
	async with server(always(OK)) as client:
		with pytest.raises(ValueError, match=r"line break|latin-1"):
			await client.request(method, target, headers)
		assert not client._connections


@in_a_loop
async def test_each_request_on_a_connection_has_its_own_timeout() -> None:
	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await head(reader)
		writer.write(OK)
		await head(reader)
		await reader.read()

	async with server(talk, timeout=3600) as client:
		await get(client)
		with pytest.raises(asyncio.TimeoutError):
			await client.request("GET", "/api", HEADERS, timeout=0.05)


@in_a_loop
async def test_the_timeout_of_a_request_does_not_end_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
	asked, answer = asyncio.Event(), asyncio.Event()

	async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
		await head(reader)
		writer.write(OK)
		await head(reader)
		asked.set()
		await answer.wait()
		writer.write(OK)

	async with server(talk, timeout=3600) as client:
		await client.request("GET", "/api", HEADERS, timeout=10)
		next_one = asyncio.ensure_future(get(client))
		await asked.wait()
		pass_time(monkeypatch, 10)
		# After the timer of the first request, which is overdue.
		asyncio.get_running_loop().call_later(0, answer.set)
		assert (await next_one).body == b"ok"


@in_a_loop
async def test_a_connection_that_is_closed_as_it_is_made_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
	"""As by a proxy that resets each connection; the event loop says so before it returns the connection."""

	async def create_connection(factory: Callable[[], Any], *_: Any, **more: Any) -> tuple[Any, Any]:
		connection = factory()
		connection.connection_made(asyncio.Transport())
		connection.connection_lost(ConnectionResetError("reset"))
		return None, connection

	monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
	client = HTTPClient("http://127.0.0.1:1", 5)
	with pytest.raises(ConnectionResetError):
		await get(client)
	assert not client._connections
