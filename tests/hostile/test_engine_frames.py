"""Frames and requests that carry no event: a client that goes on is closed, and others do not notice."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from websockets.frames import Frame, Opcode

from tests.wire.apps import in_log
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import PATIENCE
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import HANDSHAKE, SEPARATOR, PollingSession
from tests.wire.test_limits import reached

KEY = "realtime_frames_per_second"
RATES = {KEY: 20, "realtime_events_per_second": 20, "realtime_guest_events_per_second": 20}
BURST = 200
POLICY_VIOLATION = b"\x88\x02\x03\xf0"
"""A close frame with the code 1008."""


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
	"""Return a frame as a client sends it."""
	return Frame(opcode, data, fin).serialize(mask=True)


def after_handshake(bench: Bench, data: bytes) -> bytes:
	"""Send bytes on a WebSocket of an anonymous client; return what comes back until the server closes the connection."""
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=PATIENCE) as connection:
		connection.sendall(
			(
				f"GET {HANDSHAKE}websocket HTTP/1.1\r\nHost: {APP_SITE}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
			).encode()
		)
		received = b""
		while b'"sid"' not in received:
			received += connection.recv(65536)
		connection.sendall(data)
		received = b""
		while chunk := connection.recv(65536):
			received += chunk
		return received


FLOODS = {
	"pings": frame(Opcode.PING),
	"pongs": frame(Opcode.PONG),
	"heartbeats": frame(Opcode.TEXT, b"3"),
	"noops": frame(Opcode.TEXT, b"6"),
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
def test_flood_of_frames_closes_the_connection(make_bench: MakeBench, connect: Connect, sent: bytes) -> None:
	bench = make_bench(common=RATES)
	other = connect(bench, bench.user())
	assert after_handshake(bench, sent * BURST * 3).endswith(POLICY_VIOLATION)
	assert reached(bench, KEY) == 1
	in_log(bench, f"the limit {KEY} ")
	other.fence()
	assert other.disconnects == 0


@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "one byte"])
def test_flood_of_fragments_closes_the_connection(make_bench: MakeBench, data: bytes) -> None:
	bench = make_bench(common=RATES)
	fragments = frame(Opcode.TEXT, b"4", fin=False) + frame(Opcode.CONT, data, fin=False) * BURST * 3
	assert after_handshake(bench, fragments).endswith(POLICY_VIOLATION)


def post_pongs(session: PollingSession) -> int:
	return session.post(SEPARATOR.join(["3"] * 50)).status


def post_one(session: PollingSession) -> int:
	return session.post("3").status


@pytest.mark.parametrize("attack", [post_pongs, post_one])
def test_flood_of_polling_requests_ends_the_session(
	make_bench: MakeBench, attack: Callable[[PollingSession], int]
) -> None:
	# The requests of the test are slower than 20 a second on a busy machine.
	bench = make_bench(common={**RATES, KEY: 2, "realtime_events_per_second": 2})
	session = PollingSession(bench, bench.headers())
	while (status := attack(session)) == 200:
		pass
	assert status == 429
	assert session.post("3").status == 400
	assert reached(bench, KEY) == 1


def test_page_that_subscribes_to_hundreds_of_rooms_is_not_limited(bench: Bench, connect: Connect) -> None:
	before = reached(bench, KEY)
	client = connect(bench, bench.user())
	for number in range(900):
		client.emit("doc_subscribe", "ToDo", f"many-{number}")
	client.emit("unknown_event", *(bytes(100_000) for _ in range(10)))
	client.fence()
	assert client.disconnects == 0
	assert reached(bench, KEY) == before
