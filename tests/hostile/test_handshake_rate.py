"""Clients that connect again and again, and requests that open no session."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest

from tests.wire.bench import Bench
from tests.wire.conditions import PATIENCE
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import HANDSHAKE, request
from tests.wire.test_limits import reached

KEY = "realtime_handshakes_per_second"
BURST = 10
FORWARDED = {"X-Forwarded-For": "198.51.100.7"}


def test_a_loop_of_handshakes_is_refused_until_the_rate_allows_it(
	make_bench: MakeBench, connect: Connect
) -> None:
	bench = make_bench(common={KEY: 1, "realtime_connections_per_address": BURST})
	headers = {**bench.headers(), **FORWARDED}
	began = time.monotonic()
	opened = 0
	while (answer := request(bench, "GET", f"{HANDSHAKE}polling", headers)).status == 200:
		opened += 1
		closed = request(
			bench, "POST", f"{HANDSHAKE}polling&sid={json.loads(answer.text[1:])['sid']}", headers, "1"
		)
		assert closed.status == 200
	assert BURST <= opened <= BURST + time.monotonic() - began + 1
	assert (answer.status, answer.headers["retry-after"]) == (429, "1")
	assert answer.headers["connection"] == "close"
	assert KEY in answer.text
	assert reached(bench, KEY) == 1
	assert "198.51.100.7" in bench.sidecar.log
	# Other addresses and clients without an address are not affected.
	for other in ({"X-Forwarded-For": "198.51.100.8"}, {}):
		assert connect(bench, bench.user(), headers=other).connected
	while request(bench, "GET", f"{HANDSHAKE}polling", headers).status != 200:
		assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_pages_have_a_rate_of_their_own(make_bench: MakeBench, connect: Connect, path: str) -> None:
	bench = make_bench(common={"realtime_pages_per_second": 0.2})
	began, shown = time.monotonic(), 0
	while (answer := request(bench, "GET", path, FORWARDED)).status == 200:
		shown += 1
	assert 2 <= shown <= 2 + 0.2 * (time.monotonic() - began) + 1
	assert (answer.status, answer.headers["connection"]) == (429, "close")
	assert int(answer.headers["retry-after"]) >= 1
	assert "realtime_pages_per_second" in answer.text
	assert reached(bench, "realtime_pages_per_second") == 1
	# Those who connect are not affected, and neither are other addresses.
	assert connect(bench, bench.user(), headers={**FORWARDED}).connected
	assert request(bench, "GET", path, {"X-Forwarded-For": "198.51.100.8"}).status == 200


INVALID = {
	"another path": (b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n", 404),
	"a path below": (b"GET /socket.io/socket.io.js HTTP/1.1\r\nHost: a\r\n\r\n", 404),
	"no session": (b"GET /socket.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	"no transport": (b"GET /socket.io/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
	"a preflight": (b"OPTIONS /socket.io/ HTTP/1.1\r\nHost: a\r\n\r\n", 204),
}


@pytest.mark.parametrize(("sent", "status"), INVALID.values(), ids=INVALID.keys())
def test_requests_that_open_no_session_end_the_tcp_connection(bench: Bench, sent: bytes, status: int) -> None:
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=PATIENCE) as connection:
		connection.sendall(sent)
		with http.client.HTTPResponse(connection) as answer:
			answer.begin()
			assert (answer.status, answer.getheader("Connection")) == (status, "close")
			answer.read()
		assert connection.recv(1) == b""
	assert bench.sidecar.health()[0] == 200


def test_a_connection_without_a_login_may_send_few_frames(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_unknown_frames_per_second": 1})
	answer = request(bench, "GET", f"{HANDSHAKE}polling", bench.headers())
	path = f"{HANDSHAKE}polling&sid={json.loads(answer.text[1:])['sid']}"
	assert request(bench, "POST", path, bench.headers(), "\x1e".join(["3"] * 20)).status == 429
	assert reached(bench, "realtime_frames_per_second") == 1
	client = connect(bench, bench.user())
	for _ in range(100):
		client.emit("doc_subscribe", "ToDo", "1")
	client.fence()
	assert client.disconnects == 0
