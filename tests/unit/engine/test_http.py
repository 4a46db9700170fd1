"""HTTP requests to the engine: segmented, invalid, too long, or for another path."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engine import Engine, EngineSettings, RequestRefused
from realtime.engine.request import Request, parse_query
from tests.unit.engine.fakes import (
	FakeClient,
	RecordingListener,
	cuts,
	open_packet,
	request,
	websocket_request,
)


@given(st.text("ab=&;?/#%2B+é\\", max_size=20))
def test_parse_query_agrees_with_the_standard_library(query: str) -> None:
	read = parse_query(b"/socket.io/?" + query.encode("latin-1"))
	assert read == {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}


@given(cuts)
def test_get_request_in_any_segments(places: list[int]) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send_in_pieces(request(headers="Cookie: sid=abc\r\nOrigin: http://a\r\n"), places)
		response = client.received()
		assert open_packet(response)["pingInterval"] == 25000
		assert b"Access-Control-Allow-Origin: http://a\r\n" in response
		assert client.listener.opened[0].request.headers["cookie"] == "sid=abc"
		assert client.listener.opened[0].request.query == {"EIO": "4", "transport": "polling"}
		client.engine.close()

	asyncio.run(run())


@given(cuts)
def test_post_request_in_any_segments(places: list[int]) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send_in_pieces(request("POST", f"transport=polling&sid={sid}", "4ä\x1e4b".encode()), places)
		assert client.listener.messages == ["ä", "b"]
		client.engine.close()

	asyncio.run(run())


@given(st.binary(max_size=300), cuts)
def test_garbage_opens_no_connection(garbage: bytes, places: list[int]) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send_in_pieces(garbage + b"\r\n\r\n\r\n\r\n", places)
		assert not client.listener.opened
		assert not client.engine.connections
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	("sent", "status", "code"),
	[
		(request(query="EIO=4"), 400, 0),
		(request(query="EIO=4&transport=tcp"), 400, 0),
		(request(query="transport=polling&sid=none"), 400, 1),
		(request("POST", "EIO=4&transport=polling"), 400, 2),
		(request(query="EIO=3&transport=polling"), 400, 5),
		(request(query="transport=polling"), 400, 5),
		(request(query="EIO=4&transport=websocket"), 400, 3),
		(websocket_request("EIO=3&transport=websocket"), 400, 5),
		(websocket_request("EIO=4&transport=websocket&sid=none"), 400, 1),
		(websocket_request().replace(b"Version: 13", b"Version: 8"), 400, 3),
		(websocket_request().replace(b"MDEyMzQ1Njc4OWFiY2RlZg==", b"short"), 400, 3),
	],
)
def test_requests_that_engineio_does_not_allow(sent: bytes, status: int, code: int) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(sent)
		head, _, body = client.received().partition(b"\r\n\r\n")
		assert head.startswith(f"HTTP/1.1 {status} ".encode())
		assert json.loads(body)["code"] == code
		assert client.engine.counters.refused == {json.loads(body)["message"]: 1}
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	("sent", "status"),
	[
		(b"GET /" + b"a" * 40_000, 431),
		(b"no http at all\r\n\r\n", 400),
		(b"POST /socket.io/?EIO=4 HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
		(request("POST", "transport=polling&sid=a", b"4" * 1001), 413),
		(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
		(b"POST /page HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 404),
		(request(query="transport=polling&sid=none"), 400),
		(request(query="transport=carrier-pigeon"), 400),
		(request("OPTIONS"), 204),
	],
)
def test_requests_that_http_does_not_allow(sent: bytes, status: int) -> None:
	async def run() -> None:
		client = FakeClient(max_payload=1000)
		client.send(sent)
		assert client.received().startswith(f"HTTP/1.1 {status} ".encode())
		assert client.transport.closed
		client.engine.close()

	asyncio.run(run())


class Page(asyncio.Protocol):
	"""Takes over a TCP connection and answers with what it has received."""

	def connection_made(self, transport: Any) -> None:
		self.transport = transport

	def data_received(self, data: bytes) -> None:
		self.transport.write(data)


def test_only_the_fallback_paths_reach_the_fallback() -> None:
	async def run() -> None:
		allowed = [True, False]

		def allow(request: Request) -> None:
			assert request.headers["host"] == "a"
			if not allowed.pop(0):
				raise RequestRefused(3, "Too many", 429, retry_after=7)

		engine = Engine(
			EngineSettings(),
			RecordingListener(),
			fallback_protocol=Page,
			fallback_paths=frozenset((b"/page",)),
			allow_fallback=allow,
		)
		answers = []
		for path in ("/page?x=1", "/page", "/other"):
			client = FakeClient(engine)
			client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
			answers.append(client.received())
			assert client.transport.closed is (path != "/page?x=1")
		assert answers[0].startswith(b"GET /page?x=1")
		assert answers[1].startswith(b"HTTP/1.1 429 ")
		assert b"\r\nRetry-After: 7\r\n" in answers[1]
		assert answers[2].startswith(b"HTTP/1.1 404 ")
		assert allowed == []
		engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	"headers",
	["X: " + "a" * 40_000 + "\r\n", "X: y\r\n" * 10_000, "".join(f"X{n}: y\r\n" for n in range(5000))],
)
def test_too_long_head_in_one_segment_is_rejected(headers: str) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request(headers=headers))
		assert client.received().startswith(b"HTTP/1.1 431 ")
		assert client.transport.closed
		assert client.listener.opened == []
		client.engine.close()

	asyncio.run(run())


def test_trailer_fields_are_ignored() -> None:
	"""A proxy removes forged headers from the head only."""

	async def run() -> None:
		client = FakeClient()
		client.send(
			request(headers="Transfer-Encoding: chunked\r\n")
			+ b"1\r\na\r\n0\r\nX-Frappe-Site-Name: b\r\n\r\n"
		)
		open_packet(client.received())
		assert "x-frappe-site-name" not in client.listener.opened[0].request.headers
		client.engine.close()

	asyncio.run(run())


def test_request_headers_cannot_inject_response_headers() -> None:
	async def run() -> None:
		for origin in (b"http://a\rX-Evil: 1", b"http://a\r\n\tX-Evil: 1", b"http://a\n X-Evil: 1", b"a\0b"):
			client = FakeClient()
			client.send(request().replace(b"Host: a\r\n", b"Host: a\r\nOrigin: " + origin + b"\r\n"))
			head = client.received().partition(b"\r\n\r\n")[0]
			assert head
			assert not [line for line in head.splitlines() if line.strip().lower().startswith(b"x-evil")]
			client.engine.close()

	asyncio.run(run())


def test_other_paths_are_passed_to_the_application() -> None:
	class Application(asyncio.Protocol):
		received = b""

		def data_received(self, data: bytes) -> None:
			Application.received += data

	async def run() -> None:
		engine = Engine(
			EngineSettings(), RecordingListener(), Application, fallback_paths=frozenset((b"/health",))
		)
		client = FakeClient(engine)
		first, second = b"POST /health HTTP/1.1\r\nContent-Length: 4\r\n", b"\r\nab"
		client.send(first)
		client.send(second)
		client.send(b"cd")
		assert Application.received == first + second + b"cd"
		assert isinstance(client.transport.protocol, Application)
		assert not engine.http_transports
		engine.close()

	asyncio.run(run())


def test_preflight_allows_only_the_headers_of_clients() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(
			request(
				"OPTIONS", headers="Origin: http://b\r\nAccess-Control-Request-Headers: x-forwarded-host\r\n"
			)
		)
		response = client.received()
		assert response.startswith(b"HTTP/1.1 204 ")
		assert b"x-forwarded-host" not in response.lower()
		client.engine.close()

	asyncio.run(run())


def test_released_request_is_parsed_again() -> None:
	head = (
		b"GET /socket.io/?EIO=4&x=%C3%A4&x=2 HTTP/1.1\r\nA: 1\r\na: 2\r\nCookie: b=1\r\nCookie: c=2\r\n\r\n"
	)
	released = Request("GET", b"", {}, head, "")
	released.release()
	assert released.headers == {"a": "1, 2", "cookie": "b=1; c=2"}
	assert released.query == {"EIO": "4", "x": "ä"}


@pytest.mark.parametrize(
	("version", "expect", "told"),
	[
		(b"1.1", "Expect: 100-continue\r\n", True),
		(b"1.1", "expect: 100-Continue\r\n", True),
		(b"1.1", "", False),
		(b"1.0", "Expect: 100-continue\r\n", False),
	],
)
def test_a_client_that_waits_with_the_body_is_told_to_send_it(
	version: bytes, expect: str, told: bool
) -> None:
	"""As .NET Framework and curl do; they send it after a delay otherwise."""

	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		post = request("POST", f"transport=polling&sid={sid}", b"4hello", expect)
		head, end, body = post.replace(b"HTTP/1.1", b"HTTP/" + version).partition(b"\r\n\r\n")
		posting = FakeClient(client.engine)
		posting.send(head + end)
		assert posting.received() == (b"HTTP/1.1 100 Continue\r\n\r\n" if told else b"")
		posting.send(body)
		assert posting.received().startswith(b"HTTP/1.1 200 ")
		assert client.listener.messages == ["hello"]
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("sent", [request(), websocket_request(), b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_client_that_has_reset_its_connection_before_it_was_accepted_opens_none(sent: bytes) -> None:
	"""The kernel still has its request, but not its address: it would count as a client of a Unix socket, a trusted proxy."""

	async def run() -> None:
		engine = Engine(
			EngineSettings(),
			RecordingListener(),
			fallback_protocol=Page,
			fallback_paths=frozenset((b"/page",)),
		)
		for peer, refused in ((None, True), ("", False)):
			client = FakeClient(engine)
			client.transport.peer = peer
			client.send(sent)
			assert client.received().startswith(b"HTTP/1.1 400 ") is refused
			assert client.transport.closed is refused
		assert len(engine.connections) == (sent[:9] != b"GET /page")
		engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("target", [b"/", b"/socket.io/?EIO=4&transport=polling"])
def test_the_response_to_head_has_no_body(target: bytes) -> None:
	async def run() -> None:
		responses = []
		for method in (b"HEAD", b"POST"):
			client = FakeClient()
			client.send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
			responses.append(client.received())
			assert client.transport.closed
			client.engine.close()
		head, end, body = responses[1].partition(b"\r\n\r\n")
		assert body
		assert responses[0] == head + end

	asyncio.run(run())
