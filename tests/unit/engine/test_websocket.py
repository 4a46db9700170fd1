"""WebSocket: frames in any segments, control frames, garbage, slow clients, heartbeat."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from realtime.engine import Encoded
from realtime.engine.frame_reader import FrameReader
from realtime.engine.websocket import WebSocketProtocol
from tests.unit.engine.fakes import UPGRADE, FakeClient, cuts, request, websocket_request
from tests.unit.engine.websocket_clients import connected, frames, masked, text


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=6), cuts)
def test_messages_in_any_segments_keep_their_order(sent: list[str | bytes], places: list[int]) -> None:
	async def run() -> None:
		client = connected()
		stream = b"".join(
			[text("4" + item) if isinstance(item, str) else masked(Opcode.BINARY, item) for item in sent]
		)
		client.send_in_pieces(stream, places)
		assert client.listener.messages == sent
		client.engine.close()

	asyncio.run(run())


@given(st.binary(min_size=3, max_size=30), st.lists(st.integers(1, 9), max_size=4), st.booleans())
def test_fragments_are_joined_around_control_frames(data: bytes, places: list[int], binary: bool) -> None:
	async def run() -> None:
		client = connected()
		message = data if binary else b"4" + data.hex().encode()
		edges = [0, *sorted(place % len(message) for place in places), len(message)]
		parts = [message[start:end] for start, end in itertools.pairwise(edges)]
		for number, part in enumerate(parts):
			first = Opcode.BINARY if binary else Opcode.TEXT
			client.send(masked(first if number == 0 else Opcode.CONT, part, fin=number == len(parts) - 1))
			client.send(masked(Opcode.PING, b"x"))
		assert client.listener.messages == [data if binary else data.hex()]
		assert (Opcode.PONG, b"x") in frames(client.received())
		client.engine.close()

	asyncio.run(run())


@given(st.binary(max_size=400), cuts)
def test_garbage_affects_no_other_connection(garbage: bytes, places: list[int]) -> None:
	async def run() -> None:
		client = connected()
		other = FakeClient(client.engine)
		other.send(websocket_request())
		client.send_in_pieces(garbage, places)
		assert len(client.engine.connections) in (1, 2)
		other.received()
		other.send(text("4still here"))
		assert "still here" in client.listener.messages
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	"sent",
	[
		pytest.param(Frame(Opcode.TEXT, b"4not masked").serialize(mask=False), id="not masked"),
		pytest.param(masked(Opcode.TEXT, b"4\xff"), id="no UTF-8"),
		pytest.param(masked(Opcode.CONT, b"no first fragment"), id="no first fragment"),
		pytest.param(text("9"), id="unknown packet type"),
		pytest.param(text(""), id="no packet type"),
		pytest.param(text("2"), id="ping"),
		pytest.param(text("b!"), id="no Base64"),
		pytest.param(masked(Opcode.TEXT, b"4" * 1001), id="too long"),
		pytest.param(
			masked(Opcode.BINARY, b"4" * 900, fin=False) + masked(Opcode.CONT, b"4" * 200),
			id="too long in fragments",
		),
		pytest.param(bytes((0x89, 0xFE, 0, 126, 0, 0, 0, 0)) + b"p" * 126, id="long control frame"),
		pytest.param(bytes((0xC1, 0x80, 0, 0, 0, 0)), id="reserved bit"),
	],
)
def test_protocol_error_closes_the_connection(sent: bytes) -> None:
	async def run() -> None:
		client = connected(max_payload=1000)
		client.send(sent)
		assert client.transport.closed
		assert not client.engine.connections
		assert client.listener.messages == []
		assert len(client.listener.closed) == 1

	asyncio.run(run())


sizes = st.sampled_from([0, 1, 5, 124, 125, 126, 127, 200, 998, 999, 1000, 1001, 65_534, 65_535, 65_536])
opcodes = st.sampled_from([Opcode.TEXT] * 5 + [Opcode.BINARY] * 3 + [*Opcode])
any_frames = st.tuples(opcodes, sizes, st.booleans() | st.just(True), st.none() | st.integers(0, 31))


class WebsocketsOnly(FakeClient):
	"""A client whose frames are never parsed in place."""

	def send(self, data: bytes) -> None:
		protocol = self.transport.protocol
		if isinstance(protocol, WebSocketProtocol):
			protocol._reader_idle = False
			if protocol._frame_reader is None:
				protocol._frame_reader = FrameReader(protocol._max_payload)
		super().send(data)


@example([(Opcode.BINARY, 5, True, 15)], [])
@given(st.lists(any_frames, min_size=1, max_size=8), cuts)
def test_frames_are_parsed_as_websockets_parses_them(
	sent: list[tuple[Opcode, int, bool, int | None]], places: list[int]
) -> None:
	"""Each stream is parsed twice, the second time by `websockets` alone."""
	stream = b""
	for opcode, size, fin, flaw in sent:
		frame = bytearray(text("4" * size))
		frame[0] = fin << 7 | opcode
		if flaw is not None:
			frame[flaw // 8] ^= 1 << flaw % 8
		stream += frame

	async def run() -> None:
		seen = []
		for client_class in (FakeClient, WebsocketsOnly):
			client = client_class(max_payload=70_000 if len(stream) % 2 else 1000)
			client.send(websocket_request())
			client.received()
			client.send_in_pieces(stream, places)
			closing = client.transport.closing
			# `websockets` also responds to pings and errors that follow the cause of the close in one segment.
			output = b"" if closing else client.received()
			seen.append((client.listener.messages, client.listener.closed, output, closing))
			client.engine.close()
		assert seen[0] == seen[1]

	asyncio.run(run())


@pytest.mark.parametrize("head", [2, 6])
def test_the_head_of_a_frame_in_a_segment_of_its_own(head: int) -> None:
	"""The payload looks like a frame. Some clients write the head and the payload separately."""

	async def run() -> None:
		client = connected()
		frame = masked(Opcode.BINARY, bytes(100))
		payload = bytes((0x89, 0x82)) + bytes(98)
		frame = frame[:2] + bytes(4) + payload
		for data in (frame[:head], frame[head:], masked(Opcode.BINARY, b"next")):
			client.send(data)
		assert client.listener.messages == [payload, b"next"]
		assert client.received() == b""

	asyncio.run(run())


@pytest.mark.parametrize("size", [1, 5000])
def test_a_ping_before_what_closes_the_connection_is_not_answered(size: int) -> None:
	"""In one read, parsed in place and by `websockets`."""

	async def run() -> None:
		client = connected()
		client.send(masked(Opcode.PING, b"x") + masked(Opcode.TEXT, b"\xff" * size))
		assert client.transport.closing
		assert client.listener.closed == ["transport error"]
		assert Opcode.PONG not in [opcode for opcode, _ in frames(client.received())]

	asyncio.run(run())


def test_close_frame_of_the_client() -> None:
	async def run() -> None:
		client = connected()
		client.send(masked(Opcode.CLOSE, Close(1001, "").serialize()))
		assert frames(client.received()) == [(Opcode.CLOSE, b"\x03\xe9")]
		assert client.listener.closed == ["transport close"]

	asyncio.run(run())


def test_slow_client_is_closed_and_delays_no_other() -> None:
	async def run() -> None:
		client = connected(max_unsent=1000)
		other = FakeClient(client.engine)
		other.send(websocket_request())
		other.received()
		slow, quick = client.listener.opened[0], client.engine.connections[_sid(client, 1)]
		client.transport.unsent = 1001
		client.transport.protocol.pause_writing()
		for _ in range(3):
			slow.send(Encoded("x"))
			quick.send(Encoded("x"))
		assert client.transport.aborted
		assert client.engine.counters.slow_clients == 1
		assert client.limits == ["max_unsent"]
		assert len(frames(other.received())) == 3
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("cause", ["close by the server", "close frame of the client", "protocol error"])
def test_closed_connection_of_a_client_that_does_not_read_is_aborted(cause: str) -> None:
	async def run() -> None:
		client = connected(flush_timeout=0.01)
		client.transport.unsent = 1
		if cause == "close by the server":
			client.listener.opened[0].close("server namespace disconnect")
		elif cause == "close frame of the client":
			client.send(masked(Opcode.CLOSE, Close(1001, "").serialize()))
		else:
			client.send(b"\x83\x80\0\0\0\0")
		assert client.transport.closing
		while not client.transport.closed:
			await asyncio.sleep(0)
		assert len(client.listener.closed) == 1
		assert not client.engine.connections

	asyncio.run(asyncio.wait_for(run(), 10))


def test_close_frame_is_flushed_to_a_slow_client() -> None:
	async def run() -> None:
		client = connected()
		client.received()
		client.transport.unsent = 1
		client.listener.opened[0].close("server namespace disconnect")
		assert not client.transport.closed
		assert frames(client.received()) == [(Opcode.CLOSE, b"\x03\xe8")]
		client.transport.unsent = 0
		client.transport.close()
		assert not client.transport.aborted
		client.engine.close()

	asyncio.run(run())


def test_client_that_sends_pings_and_reads_no_pongs_is_closed() -> None:
	async def run() -> None:
		client = connected(max_unsent=10_000)
		client.transport.counts_unsent = True
		client.transport.protocol.pause_writing()
		ping = masked(Opcode.PING, b"x" * 125)
		for _ in range(200):
			client.send(ping)
		assert client.transport.aborted
		assert client.engine.counters.slow_clients == 1
		assert client.listener.closed == ["transport error"]

	asyncio.run(run())


def test_empty_fragments_take_no_memory() -> None:
	async def run() -> None:
		client = connected()
		client.send(masked(Opcode.TEXT, b"4a", fin=False))
		before = _fragments_size(client.transport.protocol)
		empty = masked(Opcode.CONT, b"", fin=False)
		for _ in range(100):
			client.send(empty * 20)
		assert _fragments_size(client.transport.protocol) - before < 1000
		client.send(masked(Opcode.CONT, b"b"))
		assert client.listener.messages == ["ab"]
		client.engine.close()

	asyncio.run(run())


def _fragments_size(protocol: WebSocketProtocol) -> int:
	assert protocol._fragments is not None
	return sys.getsizeof(protocol._fragments.data)


def test_client_that_reads_again_stays_connected() -> None:
	async def run() -> None:
		client = connected(max_unsent=1000)
		connection = client.listener.opened[0]
		client.transport.protocol.pause_writing()
		assert connection.writable_transport is None
		connection.send(Encoded("1"))
		client.transport.protocol.resume_writing()
		connection.send(Encoded("2"))
		assert [data for _, data in frames(client.received())] == [b"41", b"42"]
		assert connection.writable_transport is client.transport
		client.engine.close()

	asyncio.run(run())


def test_polling_client_that_does_not_poll_is_closed() -> None:
	async def run() -> None:
		client = FakeClient(max_unsent=1000)
		client.send(request())
		connection = client.listener.opened[0]
		for _ in range(20):
			connection.send(Encoded("x" * 100))
		assert connection.closed
		assert client.engine.counters.slow_clients == 1

	asyncio.run(run())


def test_heartbeat() -> None:
	async def run() -> None:
		client = connected(ping_interval=0.02, ping_timeout=0.02)
		client.received()
		while not (output := client.received()):
			await asyncio.sleep(0)
		assert frames(output) == [(Opcode.TEXT, b"2")]
		client.send(text("3"))
		while not client.listener.closed:
			await asyncio.sleep(0)
		assert client.listener.closed == ["ping timeout"]
		assert frames(client.received())[0] == (Opcode.TEXT, b"2")

	asyncio.run(asyncio.wait_for(run(), 10))


def _sid(client: FakeClient, index: int) -> str:
	return list(client.engine.connections)[index]


def test_open_packet() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(websocket_request())
		_, _, stream = client.received().partition(b"\r\n\r\n")
		[(opcode, data)] = frames(stream)
		packet = json.loads(data[1:])
		assert (opcode, data[:1]) == (Opcode.TEXT, b"0")
		assert packet == {
			"sid": _sid(client, 0),
			"upgrades": [],
			"pingInterval": 25000,
			"pingTimeout": 20000,
			"maxPayload": 1000000,
		}
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	("offered", "chosen"),
	[
		("", []),
		("Sec-WebSocket-Protocol: one\r\n", [b"Sec-WebSocket-Protocol: one"]),
		("Sec-WebSocket-Protocol: one, two\r\n", [b"Sec-WebSocket-Protocol: one"]),
		("Sec-WebSocket-Protocol: one\r\nSec-WebSocket-Protocol: two\r\n", [b"Sec-WebSocket-Protocol: one"]),
		("Sec-WebSocket-Protocol: no token\r\n", []),
	],
)
def test_the_first_subprotocol_that_a_client_offers_is_chosen(offered: str, chosen: list[bytes]) -> None:
	"""The option `protocols` of socket.io-client: browsers, and `ws`, fail a handshake that chooses none of them."""

	async def run() -> None:
		client = FakeClient()
		client.send(request(query="EIO=4&transport=websocket", headers=UPGRADE + offered))
		lines = client.received().partition(b"\r\n\r\n")[0].split(b"\r\n")
		assert lines[0].startswith(b"HTTP/1.1 101 ")
		assert [line for line in lines if line.startswith(b"Sec-WebSocket-Protocol")] == chosen
		client.engine.close()

	asyncio.run(run())
