"""WebSockets: frames in any pieces, control frames, garbage, the probe and the upgrade, clients that do not read."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from realtime.engine import Encoded
from realtime.engine.websocket import WebSocketProtocol
from tests.unit.engine.fakes import Wire, request, websocket_request
from tests.unit.engine.test_http import cuts, opened


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
	"""A frame as a client sends it."""
	return Frame(opcode, data, fin).serialize(mask=True)


def text(message: str) -> bytes:
	return masked(Opcode.TEXT, message.encode())


def connected(**settings: float) -> Wire:
	"""A client on WebSocket."""
	wire = Wire(**settings)
	wire.feed(websocket_request())
	assert wire.answers().startswith(b"HTTP/1.1 101 ")
	return wire


def frames(data: bytes) -> list[tuple[Opcode, bytes]]:
	"""What a client reads."""
	client = Protocol(CLIENT, max_size=None)
	client.receive_data(data)
	return [(frame.opcode, bytes(frame.data)) for frame in client.events_received()]


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=6), cuts)
def test_messages_come_in_order_however_they_are_cut(sent: list[str | bytes], places: list[int]) -> None:
	async def run() -> None:
		wire = connected()
		stream = b"".join(
			[text("4" + item) if isinstance(item, str) else masked(Opcode.BINARY, item) for item in sent]
		)
		wire.feed_in_pieces(stream, places)
		assert wire.listener.messages == sent
		wire.engine.close()

	asyncio.run(run())


@given(st.binary(min_size=3, max_size=30), st.lists(st.integers(1, 9), max_size=4), st.booleans())
def test_fragments_are_put_together_around_control_frames(
	data: bytes, places: list[int], binary: bool
) -> None:
	async def run() -> None:
		wire = connected()
		message = data if binary else b"4" + data.hex().encode()
		edges = [0, *sorted(place % len(message) for place in places), len(message)]
		parts = [message[start:end] for start, end in itertools.pairwise(edges)]
		for number, part in enumerate(parts):
			first = Opcode.BINARY if binary else Opcode.TEXT
			wire.feed(masked(first if number == 0 else Opcode.CONT, part, fin=number == len(parts) - 1))
			wire.feed(masked(Opcode.PING, b"x"))
		assert wire.listener.messages == [data if binary else data.hex()]
		assert (Opcode.PONG, b"x") in frames(wire.answers())
		wire.engine.close()

	asyncio.run(run())


@given(st.binary(max_size=400), cuts)
def test_garbage_closes_at_most_this_connection(garbage: bytes, places: list[int]) -> None:
	async def run() -> None:
		wire = connected()
		other = Wire(wire.engine)
		other.feed(websocket_request())
		wire.feed_in_pieces(garbage, places)
		assert len(wire.engine.connections) in (1, 2)
		other.answers()
		other.feed(text("4still here"))
		assert "still here" in wire.listener.messages
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize(
	"sent",
	[
		Frame(Opcode.TEXT, b"4not masked").serialize(mask=False),
		masked(Opcode.TEXT, b"4\xff"),
		masked(Opcode.CONT, b"of nothing"),
		text("9"),
		text(""),
		text("2"),
		text("b!"),
		masked(Opcode.TEXT, b"4" * 1001),
		masked(Opcode.BINARY, b"4" * 900, fin=False) + masked(Opcode.CONT, b"4" * 200),
		bytes((0x89, 0xFE, 0, 126, 0, 0, 0, 0)) + b"p" * 126,
		bytes((0xC1, 0x80, 0, 0, 0, 0)),
	],
)
def test_what_the_protocol_does_not_allow_closes(sent: bytes) -> None:
	async def run() -> None:
		wire = connected(max_payload=1000)
		wire.feed(sent)
		assert wire.transport.closed
		assert not wire.engine.connections
		assert wire.listener.messages == []
		assert len(wire.listener.closed) == 1

	asyncio.run(run())


sizes = st.sampled_from([0, 1, 5, 124, 125, 126, 127, 200, 998, 999, 1000, 1001, 65_534, 65_535, 65_536])
opcodes = st.sampled_from([Opcode.TEXT] * 5 + [Opcode.BINARY] * 3 + [*Opcode])
any_frames = st.tuples(opcodes, sizes, st.booleans() | st.just(True), st.none() | st.integers(0, 31))


@example([(Opcode.BINARY, 5, True, 15)], [])
@given(st.lists(any_frames, min_size=1, max_size=8), cuts)
def test_frames_are_read_as_the_library_reads_them(
	sent: list[tuple[Opcode, int, bool, int | None]], places: list[int]
) -> None:
	"""With and without a pong first, after which the library reads all."""
	stream = b""
	for opcode, size, fin, flaw in sent:
		frame = bytearray(text("4" * size))
		frame[0] = fin << 7 | opcode
		if flaw is not None:
			frame[flaw // 8] ^= 1 << flaw % 8
		stream += frame

	async def run() -> None:
		seen = []
		for first in (b"", masked(Opcode.PONG, b"")):
			wire = connected(max_payload=70_000 if len(stream) % 2 else 1000)
			wire.feed(first)
			wire.feed_in_pieces(stream, places)
			closing = wire.transport.closing
			# The library answers pings, and faults, that come in one read with what closes the connection.
			answers = b"" if closing else wire.answers()
			seen.append((wire.listener.messages, wire.listener.closed, answers, closing))
			wire.engine.close()
		assert seen[0] == seen[1]

	asyncio.run(run())


def test_a_client_says_goodbye() -> None:
	async def run() -> None:
		wire = connected()
		wire.feed(masked(Opcode.CLOSE, Close(1001, "").serialize()))
		assert frames(wire.answers()) == [(Opcode.CLOSE, b"\x03\xe9")]
		assert wire.listener.closed == ["transport close"]

	asyncio.run(run())


def polling() -> tuple[Wire, str]:
	wire = Wire()
	wire.feed(request())
	return wire, opened(wire.answers())["sid"]


def test_an_upgrade_loses_and_reorders_nothing() -> None:
	async def run() -> None:
		wire, sid = polling()
		connection = wire.listener.opened[0]
		connection.send(Encoded("1"))
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		assert wire.answers().endswith(b"\r\n\r\n41")
		wire.feed(request(query=f"transport=polling&sid={sid}"))
		probe = Wire(wire.engine)
		probe.feed(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		probe.answers()
		probe.feed(text("2probe"))
		assert frames(probe.answers()) == [(Opcode.TEXT, b"3probe")]
		assert wire.answers().endswith(b"\r\n\r\n6"), "the waiting GET is let go"
		connection.send(Encoded("2"))
		connection.send(Encoded("3", b"bytes"))
		assert probe.answers() == b"", "until the client has moved, nothing goes out by WebSocket"
		probe.feed(text("5"))
		assert frames(probe.answers()) == [
			(Opcode.TEXT, b"42"),
			(Opcode.TEXT, b"43"),
			(Opcode.BINARY, b"bytes"),
		]
		connection.send(Encoded("4"))
		assert frames(probe.answers()) == [(Opcode.TEXT, b"44")]
		assert connection.transport_name == "websocket"
		wire.engine.close()

	asyncio.run(run())


def test_a_probe_that_fails_leaves_polling_alone() -> None:
	async def run() -> None:
		wire, sid = polling()
		for sent in (text("5"), text("2other"), masked(Opcode.BINARY, b"x"), b"\0\0\0\0"):
			probe = Wire(wire.engine)
			probe.feed(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
			probe.feed(sent)
			assert probe.transport.closed
		wire.feed(request("POST", f"transport=polling&sid={sid}", b"4hello"))
		assert wire.listener.messages == ["hello"]
		assert wire.listener.closed == []
		wire.engine.close()

	asyncio.run(run())


def test_a_client_that_does_not_read_is_closed_and_costs_no_other() -> None:
	async def run() -> None:
		wire = connected(max_unsent=1000)
		other = Wire(wire.engine)
		other.feed(websocket_request())
		other.answers()
		slow, quick = wire.listener.opened[0], wire.engine.connections[_sid(wire, 1)]
		wire.transport.unsent = 1001
		wire.transport.protocol.pause_writing()
		for _ in range(3):
			slow.send(Encoded("x"))
			quick.send(Encoded("x"))
		assert wire.transport.aborted
		assert wire.engine.counters.slow_clients == 1
		assert len(frames(other.answers())) == 3
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("how", ["the server closes it", "it says goodbye", "it breaks the protocol"])
def test_a_client_that_does_not_read_cannot_hold_a_closed_connection(how: str) -> None:
	async def run() -> None:
		wire = connected(flush_timeout=0.01)
		wire.transport.unsent = 1
		if how == "the server closes it":
			wire.listener.opened[0].close("server namespace disconnect")
		elif how == "it says goodbye":
			wire.feed(masked(Opcode.CLOSE, Close(1001, "").serialize()))
		else:
			wire.feed(b"\x83\x80\0\0\0\0")
		assert wire.transport.closing
		while not wire.transport.closed:
			await asyncio.sleep(0)
		assert len(wire.listener.closed) == 1
		assert not wire.engine.connections

	asyncio.run(asyncio.wait_for(run(), 10))


def test_a_client_that_is_slow_to_read_the_goodbye_gets_it() -> None:
	async def run() -> None:
		wire = connected()
		wire.answers()
		wire.transport.unsent = 1
		wire.listener.opened[0].close("server namespace disconnect")
		assert not wire.transport.closed
		assert frames(wire.answers()) == [(Opcode.CLOSE, b"\x03\xe8")]
		wire.transport.unsent = 0
		wire.transport.close()
		assert not wire.transport.aborted
		wire.engine.close()

	asyncio.run(run())


def test_a_client_that_pings_and_does_not_read_is_closed() -> None:
	"""The reader answers each ping of WebSocket itself."""

	async def run() -> None:
		wire = connected(max_unsent=10_000)
		wire.transport.counts = True
		wire.transport.protocol.pause_writing()
		ping = masked(Opcode.PING, b"x" * 125)
		for _ in range(200):
			wire.feed(ping)
		assert wire.transport.aborted
		assert wire.engine.counters.slow_clients == 1
		assert wire.listener.closed == ["transport error"]

	asyncio.run(run())


def test_a_message_of_endless_empty_fragments_takes_no_room() -> None:
	async def run() -> None:
		wire = connected()
		wire.feed(masked(Opcode.TEXT, b"4a", fin=False))
		before = _reachable(wire.transport.protocol)
		empty = masked(Opcode.CONT, b"", fin=False)
		for _ in range(100):
			wire.feed(empty * 20)
		assert _reachable(wire.transport.protocol) - before < 1000
		wire.feed(masked(Opcode.CONT, b"b"))
		assert wire.listener.messages == ["ab"]
		wire.engine.close()

	asyncio.run(run())


def _reachable(protocol: WebSocketProtocol) -> int:
	_, parts = protocol._fragments or (None, [])
	return sys.getsizeof(parts)


def test_a_client_upgrades_once() -> None:
	"""A second WebSocket would be nobody's: not counted, not pinged, not closed with the connection."""

	async def run() -> None:
		wire, sid = polling()
		probes = [Wire(wire.engine) for _ in range(2)]
		for probe in probes:
			probe.feed(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		for probe in probes:
			probe.feed(text("2probe"))
		for probe in probes:
			probe.feed(text("5"))
		assert [probe.transport.closed for probe in probes] == [False, True]
		probes[0].feed(text("4hello"))
		assert wire.listener.messages == ["hello"]
		assert wire.listener.closed == []
		wire.engine.close()

	asyncio.run(run())


def test_a_client_that_catches_up_stays() -> None:
	async def run() -> None:
		wire = connected(max_unsent=1000)
		connection = wire.listener.opened[0]
		wire.transport.protocol.pause_writing()
		assert connection.wire is None
		connection.send(Encoded("1"))
		wire.transport.protocol.resume_writing()
		connection.send(Encoded("2"))
		assert [data for _, data in frames(wire.answers())] == [b"41", b"42"]
		assert connection.wire is wire.transport
		wire.engine.close()

	asyncio.run(run())


def test_a_polling_client_that_does_not_poll_is_closed() -> None:
	async def run() -> None:
		wire = Wire(max_unsent=1000)
		wire.feed(request())
		connection = wire.listener.opened[0]
		for _ in range(20):
			connection.send(Encoded("x" * 100))
		assert connection.closed
		assert wire.engine.counters.slow_clients == 1

	asyncio.run(run())


def test_pings_and_their_absence() -> None:
	async def run() -> None:
		wire = connected(ping_interval=0.02, ping_timeout=0.02)
		wire.answers()
		while not (answer := wire.answers()):
			await asyncio.sleep(0)
		assert frames(answer) == [(Opcode.TEXT, b"2")]
		wire.feed(text("3"))
		while not wire.listener.closed:
			await asyncio.sleep(0)
		assert wire.listener.closed == ["ping timeout"]
		assert frames(wire.answers())[0] == (Opcode.TEXT, b"2")

	asyncio.run(asyncio.wait_for(run(), 10))


def _sid(wire: Wire, index: int) -> str:
	return list(wire.engine.connections)[index]


def test_the_open_packet_says_what_the_client_needs() -> None:
	async def run() -> None:
		wire = Wire()
		wire.feed(websocket_request())
		_, _, stream = wire.answers().partition(b"\r\n\r\n")
		[(opcode, data)] = frames(stream)
		packet = json.loads(data[1:])
		assert (opcode, data[:1]) == (Opcode.TEXT, b"0")
		assert packet == {
			"sid": _sid(wire, 0),
			"upgrades": [],
			"pingInterval": 25000,
			"pingTimeout": 20000,
			"maxPayload": 1000000,
		}
		wire.engine.close()

	asyncio.run(run())
