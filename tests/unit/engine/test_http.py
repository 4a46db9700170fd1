"""Requests as they come over TCP: in one piece, in many, wrong, too long, or not meant for the engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engine import Engine, EngineSettings
from realtime.engine.request import Request, parse_query
from tests.unit.engine.fakes import Listener, Transport, Wire, request, websocket_request

cuts = st.lists(st.integers(0, 10_000), max_size=12)


def opened(answer: bytes) -> dict[str, Any]:
	"""The open packet in an answer to a handshake."""
	assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
	return json.loads(answer.partition(b"\r\n\r\n0")[2])


def test_a_polling_session() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		sid = opened(wire.answers())["sid"]
		wire.feed(request("POST", f"transport=polling&sid={sid}", b"4hello\x1e4you"))
		assert wire.answers().endswith(b"\r\n\r\nok")
		assert wire.listener.messages == ["hello", "you"]
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		assert wire.answers() == b"", "a GET waits for something to say"
		wire.engine.close()
		assert wire.answers().endswith(b"\r\n\r\n1")
		assert wire.listener.closed == ["server shutting down"]

	asyncio.run(run())


@given(st.text("ab=&;?/#%2B+é\\", max_size=20))
def test_a_query_is_read_as_the_standard_library_reads_it(query: str) -> None:
	read = parse_query(b"/socket.io/?" + query.encode("latin-1"))
	assert read == {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}


@given(cuts)
def test_a_request_may_come_in_any_pieces(places: list[int]) -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed_in_pieces(request(headers="Cookie: sid=abc\r\nOrigin: http://a\r\n"), places)
		answer = wire.answers()
		assert opened(answer)["pingInterval"] == 25000
		assert b"Access-Control-Allow-Origin: http://a\r\n" in answer
		assert wire.listener.opened[0].request.headers["cookie"] == "sid=abc"
		assert wire.listener.opened[0].request.query == {"EIO": "4", "transport": "polling"}
		wire.engine.close()

	asyncio.run(run())


@given(cuts)
def test_a_post_may_come_in_any_pieces(places: list[int]) -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		sid = opened(wire.answers())["sid"]
		wire.feed_in_pieces(request("POST", f"transport=polling&sid={sid}", "4ä\x1e4b".encode()), places)
		assert wire.listener.messages == ["ä", "b"]
		wire.engine.close()

	asyncio.run(run())


@given(st.binary(max_size=300), cuts)
def test_garbage_ends_the_connection_and_nothing_else(garbage: bytes, places: list[int]) -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed_in_pieces(garbage + b"\r\n\r\n\r\n\r\n", places)
		assert not wire.listener.opened
		assert not wire.engine.connections
		wire.engine.close()

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
def test_what_the_protocol_does_not_allow(sent: bytes, status: int, code: int) -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(sent)
		head, _, body = wire.answers().partition(b"\r\n\r\n")
		assert head.startswith(f"HTTP/1.1 {status} ".encode())
		assert json.loads(body)["code"] == code
		assert wire.engine.counters.refused == 1
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	("sent", "status"),
	[
		(b"GET /" + b"a" * 40_000, 431),
		(b"no http at all\r\n\r\n", 400),
		(b"POST /socket.io/?EIO=4 HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
		(request("POST", "transport=polling&sid=a", b"4" * 1001), 413),
		(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
	],
)
def test_what_http_does_not_allow(sent: bytes, status: int) -> None:
	async def run() -> None:
		wire = Wire(max_payload=1000)
		wire.feed(sent)
		assert wire.answers().startswith(f"HTTP/1.1 {status} ".encode())
		assert wire.transport.closed
		wire.engine.close()

	asyncio.run(run())


def test_pipelining_ends_the_connection() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		sid = opened(wire.answers())["sid"]
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		assert wire.transport.closed
		assert wire.listener.closed == ["transport error"]
		wire.engine.close()

	asyncio.run(run())


def test_two_requests_in_one_piece_are_not_taken_for_one() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		sid = opened(wire.answers())["sid"]
		wire.feed(
			request("POST", f"transport=polling&sid={sid}", b"4first")
			+ request("POST", f"transport=polling&sid={sid}", b"4second")
		)
		assert wire.answers().startswith(b"HTTP/1.1 400 ")
		assert wire.transport.closed
		assert wire.listener.messages == []
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	"headers",
	["X: " + "a" * 40_000 + "\r\n", "X: y\r\n" * 10_000, "".join(f"X{n}: y\r\n" for n in range(5000))],
)
def test_a_head_that_is_too_long_is_refused_also_in_one_piece(headers: str) -> None:
	"""What is kept of a connection is its head."""

	async def run() -> None:
		wire = Wire()
		wire.feed(request(headers=headers))
		assert wire.answers().startswith(b"HTTP/1.1 431 ")
		assert wire.transport.closed
		assert wire.listener.opened == []
		wire.engine.close()

	asyncio.run(run())


def test_what_comes_after_the_body_is_no_header() -> None:
	"""Proxies that take away what a client says in their name look at the head alone."""

	async def run() -> None:
		wire = Wire()
		wire.feed(
			request(headers="Transfer-Encoding: chunked\r\n")
			+ b"1\r\na\r\n0\r\nX-Frappe-Site-Name: b\r\n\r\n"
		)
		opened(wire.answers())
		assert "x-frappe-site-name" not in wire.listener.opened[0].request.headers
		wire.engine.close()

	asyncio.run(run())


def test_no_header_of_a_request_makes_one_of_the_answer() -> None:
	async def run() -> None:
		for origin in (b"http://a\rX-Evil: 1", b"http://a\r\n\tX-Evil: 1", b"http://a\n X-Evil: 1", b"a\0b"):
			wire = Wire()
			wire.feed(request().replace(b"Host: a\r\n", b"Host: a\r\nOrigin: " + origin + b"\r\n"))
			head = wire.answers().partition(b"\r\n\r\n")[0]
			assert head
			assert not [line for line in head.splitlines() if line.strip().lower().startswith(b"x-evil")]
			wire.engine.close()

	asyncio.run(run())


def test_a_client_that_reads_no_answer_is_not_read() -> None:
	"""Or its answers would pile up: each can be as long as its Origin."""

	async def run() -> None:
		wire = Wire()
		wire.feed(request("OPTIONS"))
		wire.transport.protocol.pause_writing()
		assert not wire.transport.reading
		wire.transport.protocol.resume_writing()
		assert wire.transport.reading
		wire.engine.close()

	asyncio.run(run())


UNREAD = {
	"an answer after which it would go on": request("OPTIONS"),
	"an answer after which the connection ends": request("OPTIONS", headers="Connection: close\r\n"),
	"a refusal": b"no http at all\r\n\r\n",
	"a refused WebSocket": websocket_request("EIO=4&transport=websocket&sid=none"),
}


@pytest.mark.parametrize("sent", UNREAD.values(), ids=UNREAD.keys())
def test_a_client_that_does_not_read_cannot_hold_a_connection(sent: bytes) -> None:
	async def run() -> None:
		wire = Wire(flush_timeout=0.01, keep_alive_timeout=0.01)
		wire.transport.counts = True
		wire.feed(sent)
		assert wire.transport.unsent
		while not wire.transport.closed:
			await asyncio.sleep(0)
		wire.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))


def test_a_second_websocket_that_is_refused_and_not_read_is_closed() -> None:
	async def run() -> None:
		first = Wire(flush_timeout=0.01)
		first.feed(websocket_request())
		sid = next(iter(first.engine.connections))
		second = Wire(first.engine)
		second.transport.counts = True
		second.feed(websocket_request(f"EIO=4&transport=websocket&sid={sid}"))
		while not second.transport.closed:
			await asyncio.sleep(0)
		assert not first.transport.closed
		first.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))


def test_two_polls_at_a_time_end_the_session() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		sid = opened(wire.answers())["sid"]
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		second = Wire(wire.engine)
		second.feed(request(query=f"transport=polling&sid={sid}"))
		assert second.answers().startswith(b"HTTP/1.1 400")
		assert wire.listener.closed == ["transport error"]
		wire.engine.close()

	asyncio.run(run())


def test_two_posts_at_a_time_end_the_session() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		post = request("POST", f"transport=polling&sid={opened(wire.answers())['sid']}", b"4hello")
		first, second = Wire(wire.engine), Wire(wire.engine)
		first.feed(post[:-1])
		second.feed(post)
		assert second.answers().startswith(b"HTTP/1.1 400 ")
		assert wire.listener.closed == ["transport error"]
		first.feed(post[-1:])
		assert first.answers().startswith(b"HTTP/1.1 400 ")
		assert wire.listener.messages == []
		wire.engine.close()

	asyncio.run(run())


def test_a_post_that_breaks_off_leaves_the_session() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(request())
		post = request("POST", f"transport=polling&sid={opened(wire.answers())['sid']}", b"4hello")
		lost = Wire(wire.engine)
		lost.feed(post[:-1])
		lost.transport.close()
		for _ in range(2):
			wire.feed(post)
		assert wire.listener.messages == ["hello", "hello"]
		assert wire.listener.closed == []
		wire.engine.close()

	asyncio.run(run())


def test_the_body_of_a_request_for_nobody_is_not_kept() -> None:
	async def run() -> None:
		for sent in (request("POST", "transport=polling&sid=none", b"4" * 900), request(body=b"4" * 900)):
			wire = Wire(max_payload=1000)
			wire.feed(sent[:-1])
			assert wire.transport.protocol._body == []
			wire.feed(sent[-1:])
			assert wire.answers()
			wire.engine.close()

	asyncio.run(run())


def test_other_paths_go_to_the_application_with_all_that_has_come() -> None:
	class Application(asyncio.Protocol):
		received = b""

		def data_received(self, data: bytes) -> None:
			Application.received += data

	async def run() -> None:
		engine = Engine(EngineSettings(), Listener(), Application)
		wire = Wire(engine)
		first, second = b"POST /health HTTP/1.1\r\nContent-Length: 4\r\n", b"\r\nab"
		wire.feed(first)
		wire.feed(second)
		wire.feed(b"cd")
		assert Application.received == first + second + b"cd"
		assert isinstance(wire.transport.protocol, Application)
		assert not engine.transports
		engine.close()

	asyncio.run(run())


def test_a_preflight_names_only_what_a_client_needs() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(
			request(
				"OPTIONS", headers="Origin: http://b\r\nAccess-Control-Request-Headers: x-forwarded-host\r\n"
			)
		)
		answer = wire.answers()
		assert answer.startswith(b"HTTP/1.1 204 ")
		assert b"x-forwarded-host" not in answer.lower()
		wire.engine.close()

	asyncio.run(run())


def test_a_request_is_read_again_from_its_bytes() -> None:
	head = (
		b"GET /socket.io/?EIO=4&x=%C3%A4&x=2 HTTP/1.1\r\nA: 1\r\na: 2\r\nCookie: b=1\r\nCookie: c=2\r\n\r\n"
	)
	kept = Request("GET", b"", {}, head, "")
	kept.release()
	assert kept.headers == {"a": "1, 2", "cookie": "b=1; c=2"}
	assert kept.query == {"EIO": "4", "x": "ä"}


def test_a_client_that_sends_no_request_is_closed() -> None:
	async def run() -> None:
		wire = Wire(head_timeout=0.01)
		transport: Transport = wire.transport
		while not transport.closed:
			await asyncio.sleep(0)
		assert not wire.engine.transports

	asyncio.run(asyncio.wait_for(run(), 10))
