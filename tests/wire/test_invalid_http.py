"""Invalid HTTP requests, handshakes, payloads of polls and frames of WebSockets end their own connection, at most."""

from __future__ import annotations

import base64
import os
import socket

import pytest

from tests.wire.bench import Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.hostile_clients import upgrade
from tests.wire.raw import HANDSHAKE, SEPARATOR, PollingSession, request, send_bytes

HTTP_GARBAGE = {
	"nothing": b"",
	"zeros": b"\0" * 1000,
	"text": b"hello\r\n\r\n",
	"tls": base64.b64decode("FgMBAgABAAH8AwM=") + b"\x01" * 200,
	"no version": b"GET /socket.io/\r\n\r\n",
	"old": b"GET /socket.io/?EIO=4&transport=polling HTTP/0.9\r\n\r\n",
	"newer": b"GET /socket.io/?EIO=4&transport=polling HTTP/3.0\r\n\r\n",
	"endless line": b"GET /" + b"a" * 200_000,
	"endless header": b"GET /socket.io/ HTTP/1.1\r\nHost: app.test\r\nX: " + b"a" * 200_000,
	"many headers": b"GET /socket.io/ HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
	"no host": b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n",
	"two lengths": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"negative length": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: -1\r\n\r\n",
	"length and chunks": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"broken chunk": b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: app.test\r\n"
	b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	"websocket without key": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n"
	b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"websocket version 8": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n"
	b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
	b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	"websocket without upgrade": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n\r\n",
	"preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"header with NUL": b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n",
	"latin": b"GET /socket.io/?EIO=4&transport=polling&x=\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
	"percent": b"GET /socket.io/?EIO=4&transport=polling&sid=%zz%ff%00 HTTP/1.1\r\nHost: app.test\r\n\r\n",
	"connect": b"CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	"absolute": b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	"pipelined": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 500,
}


@pytest.mark.parametrize("data", HTTP_GARBAGE.values(), ids=HTTP_GARBAGE.keys())
def test_garbage_instead_of_http(bench: Bench, connect: Connect, data: bytes) -> None:
	answer = send_bytes(bench, data)
	assert b"Traceback" not in answer
	assert not answer.startswith(b"HTTP/1.1 5")
	connect(bench).fence()


QUERIES = {
	"EIO=4&transport=polling&sid=unknown": (400, 1),
	"EIO=4&transport=carrier-pigeon": (400, 0),
	"EIO=3&transport=polling": (400, 5),
	"transport=polling": (400, 5),
	"EIO=4": (400, 0),
}


@pytest.mark.parametrize(("query", "answer"), QUERIES.items(), ids=QUERIES.keys())
def test_an_invalid_handshake_is_answered_as_by_node(
	bench: Bench, query: str, answer: tuple[int, int]
) -> None:
	response = request(bench, "GET", f"/socket.io/?{query}", bench.headers())
	assert (response.status, f'"code":{answer[1]},' in response.text.replace(" ", "")) == (answer[0], True)


def test_a_handshake_is_not_a_post(bench: Bench) -> None:
	assert request(bench, "POST", f"{HANDSHAKE}polling", bench.headers(), "x").status == 400
	for method in ("PUT", "DELETE", "PATCH", "HEAD"):
		assert request(bench, method, f"{HANDSHAKE}polling", bench.headers()).status in (400, 405)


POLLING_GARBAGE = {
	"text": "garbage",
	"no packet": "",
	"separators": SEPARATOR * 100,
	"broken base64": "b%%%",
	"unknown packet": "9",
	"invalid UTF-8": b"4\xff\xfe",
	"many": SEPARATOR.join(["4x"] * 1000),
}


@pytest.mark.parametrize("body", POLLING_GARBAGE.values(), ids=POLLING_GARBAGE.keys())
def test_garbage_in_a_polling_payload(bench: Bench, body: str | bytes) -> None:
	session = PollingSession(bench, bench.headers())
	session.post(body)
	# Whether told at once or by the close packet: the session is over.
	until(lambda: session.post("3").status == 400, "the end of the session")


def test_a_payload_above_the_limit(bench: Bench) -> None:
	session = PollingSession(bench, bench.headers())
	assert session.post("4" + "x" * 1_000_001).status in (400, 413)


def test_concurrent_polls_end_the_session(bench: Bench) -> None:
	session = PollingSession(bench, bench.headers())
	head = f"GET {session.path} HTTP/1.1\r\nHost: {session.headers['Host']}\r\n\r\n".encode()
	with (
		socket.create_connection(("127.0.0.1", bench.sidecar.port)) as first,
		socket.create_connection(("127.0.0.1", bench.sidecar.port)) as second,
	):
		first.sendall(head)
		second.sendall(head)
		until(lambda: session.post("3").status == 400, "the end of the session")


FRAMES = {
	"unmasked": b"\x81\x05hello",
	"reserved opcode": b"\x83\x80\0\0\0\0",
	"reserved bits": b"\xf1\x80\0\0\0\0",
	"compressed": b"\xc1\x80\0\0\0\0",
	"invalid UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
	"huge": b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
	"fragmented ping": b"\x09\x80\0\0\0\0",
	"long ping": b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,
	"continuation of nothing": b"\x80\x80\0\0\0\0",
	"close without code": b"\x88\x81\0\0\0\0x",
	"noise": os.urandom(64) + b"\xff" * 64,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_invalid_frames_close_the_connection(bench: Bench, frame: bytes) -> None:
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=30) as connection:
		connection.sendall(upgrade())
		received = b""
		while b'"sid"' not in received:
			received += connection.recv(65536)
		assert received.startswith(b"HTTP/1.1 101")
		connection.sendall(frame)
		connection.settimeout(30)
		try:
			while connection.recv(65536):
				pass
		except ConnectionResetError:
			pass


def test_compression_is_not_negotiated(bench: Bench) -> None:
	"""A compressed message could unpack to any size; one that is sent all the same is an invalid frame."""
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=30) as connection:
		connection.sendall(upgrade(b"Sec-WebSocket-Extensions: permessage-deflate"))
		received = b""
		while b'"sid"' not in received:
			received += connection.recv(65536)
	assert received.startswith(b"HTTP/1.1 101")
	assert b"sec-websocket-extensions" not in received.lower()
