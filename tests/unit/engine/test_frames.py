"""The rate of frames, polling requests and packets of one client, pongs, and fragments."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from websockets.frames import Opcode

from realtime.engine import Connection
from realtime.engine.packets import Message
from realtime.engine.settings import FRAME_BURST
from realtime.engine.websocket import MAX_FRAGMENTS
from tests.unit.engine.fakes import FakeClient, open_packet, request, websocket_request
from tests.unit.engine.websocket_clients import connected, frames, masked, text

RATE = 10.0
BURST = int(RATE) * FRAME_BURST
POLICY_VIOLATION = (Opcode.CLOSE, b"\x03\xf0")

PING = masked(Opcode.PING, b"")
SENT = {"ping": PING, "pong": masked(Opcode.PONG, b""), "message": text("4"), "heartbeat": text("3")}


@pytest.fixture(autouse=True)
def clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Let no credit come back while a test sends: it may send one frame more than a burst."""
	monkeypatch.setattr("realtime.engine.connection.monotonic", lambda: 1000.0)


@pytest.mark.parametrize("frame", SENT.values(), ids=SENT.keys())
@pytest.mark.parametrize("together", [True, False], ids=["in one read", "in a read each"])
def test_more_frames_than_the_rate_close_the_connection(frame: bytes, together: bool) -> None:
	async def run() -> None:
		client = connected(frames_per_second=RATE)
		for data in [frame * BURST] if together else [frame] * BURST:
			client.send(data)
		assert client.listener.closed == []
		client.received()
		for data in [frame * BURST] if together else [frame] * BURST:
			client.send(data)
		assert frames(client.received())[-1] == POLICY_VIOLATION
		assert client.transport.closed
		assert client.listener.closed == ["forced close"]
		assert client.engine.counters.too_many_frames == 1
		assert client.limits == ["frames_per_second"]
		assert len(client.listener.messages) in (0, BURST)

	asyncio.run(run())


def test_credit_comes_back_at_the_rate() -> None:
	async def run() -> None:
		client = connected(frames_per_second=RATE)
		connection = client.listener.opened[0]
		client.send(PING * BURST)
		connection._credit_time -= 3
		client.send(PING * int(RATE) * 3)
		assert not connection.closed
		connection._credit_time -= 1000
		client.send(PING * BURST)
		assert not connection.closed
		client.send(PING * 5)
		assert connection.closed

	asyncio.run(run())


def trust(connection: Connection, message: Message) -> None:
	"""Handle a message as the layer above handles a login."""
	connection.trust()


@pytest.mark.parametrize("together", [True, False], ids=["in one read", "in a read each"])
def test_fewer_frames_are_allowed_until_the_client_is_trusted(together: bool) -> None:
	async def run() -> None:
		client = connected(frames_per_second=RATE, initial_frames_per_second=1.0)
		client.send(PING * (FRAME_BURST + 1))
		assert client.listener.closed == ["forced close"]
		client = connected(frames_per_second=RATE, initial_frames_per_second=1.0)
		connection = client.listener.opened[0]
		client.listener.on_message = trust  # type: ignore[method-assign]
		for data in [text("4") * BURST] if together else [text("4")] * BURST:
			client.send(data)
		assert not connection.closed
		for _ in range(BURST):
			client.send(PING)
		assert connection.closed

	asyncio.run(run())


def test_one_byte_of_a_frame_in_each_read_counts() -> None:
	async def run() -> None:
		client = connected(frames_per_second=RATE)
		client.send(masked(Opcode.BINARY, b"x" * 1000)[:10])
		for _ in range(BURST):
			client.send(b"x")
		assert client.listener.closed == ["forced close"]

	asyncio.run(run())


def test_parts_of_a_large_frame_count_once() -> None:
	async def run() -> None:
		client = connected(frames_per_second=1.0)
		message = text("4" + "x" * 100_000)
		client.send_in_pieces(message, list(range(0, len(message), 600)))
		assert client.listener.messages == ["x" * 100_000]
		client.engine.close()

	asyncio.run(run())


def test_only_the_latest_ping_of_a_read_is_answered() -> None:
	async def run() -> None:
		client = connected()
		client.send(b"".join(masked(Opcode.PING, b"%d" % number) for number in range(1500)))
		assert frames(client.received()) == [(Opcode.PONG, b"1499")]
		client.send(masked(Opcode.PING, b"next"))
		assert frames(client.received()) == [(Opcode.PONG, b"next")]
		client.engine.close()

	asyncio.run(run())


def test_frame_reader_reads_only_until_a_message_is_complete() -> None:
	async def run() -> None:
		client = connected()
		protocol = client.transport.protocol
		message = text("4" + "x" * 1000)
		client.send(PING + message)
		assert protocol._frame_reader is None
		for parts in (
			[message[:100], message[100:]],
			[masked(Opcode.TEXT, b"4", fin=False), PING, masked(Opcode.CONT, b"")],
		):
			for part in parts[:-1]:
				client.send(part)
				assert not protocol._reader_idle
			client.send(parts[-1])
			assert protocol._reader_idle
		client.send(message + PING)
		assert client.listener.messages == ["x" * 1000, "x" * 1000, "", "x" * 1000]
		assert frames(client.received()) == [(Opcode.PONG, b"")] * 3
		client.engine.close()

	asyncio.run(run())


def test_fragments_take_the_memory_of_their_bytes() -> None:
	async def run() -> None:
		client = connected()
		client.send(masked(Opcode.TEXT, b"4", fin=False))
		one = masked(Opcode.CONT, b"x", fin=False)
		tracemalloc.start()
		before, _ = tracemalloc.get_traced_memory()
		for _ in range(MAX_FRAGMENTS - 2):
			client.send(one)
		after, _ = tracemalloc.get_traced_memory()
		tracemalloc.stop()
		assert after - before < 3 * MAX_FRAGMENTS
		client.send(masked(Opcode.CONT, b"!"))
		assert client.listener.messages == ["x" * (MAX_FRAGMENTS - 2) + "!"]
		client.engine.close()

	asyncio.run(run())


def test_more_fragments_than_the_limit_close_the_connection() -> None:
	async def run() -> None:
		client = connected()
		client.received()
		client.send(masked(Opcode.TEXT, b"4", fin=False))
		for _ in range(MAX_FRAGMENTS):
			client.send(masked(Opcode.CONT, b"", fin=False))
		assert frames(client.received()) == [POLICY_VIOLATION]
		assert client.listener.closed == ["transport error"]

	asyncio.run(run())


def test_frames_of_a_probe_count() -> None:
	async def run() -> None:
		client = FakeClient(frames_per_second=RATE)
		client.send(request())
		sid = open_packet(client.received())["sid"]
		probe = FakeClient(client.engine)
		probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		probe.send(PING * BURST)
		assert probe.transport.closed
		assert client.listener.closed == ["forced close"]

	asyncio.run(run())


def test_probes_count() -> None:
	async def run() -> None:
		client = FakeClient(frames_per_second=RATE)
		client.send(request())
		sid = open_packet(client.received())["sid"]
		for _ in range(BURST):
			probe = FakeClient(client.engine)
			probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
			probe.transport.close()
			if client.listener.closed:
				break
		assert probe.received().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
		assert client.listener.closed == ["forced close"]

	asyncio.run(run())


@pytest.mark.parametrize("packets", [1, 7])
def test_polling_requests_and_their_packets_count(packets: int) -> None:
	async def run() -> None:
		client = FakeClient(frames_per_second=RATE)
		client.send(request())
		sid = open_packet(client.received())["sid"]
		post = request("POST", f"transport=polling&sid={sid}", b"\x1e".join([b"4x"] * packets))
		served = 0
		while not client.listener.closed:
			client.send(post)
			served += client.received().startswith(b"HTTP/1.1 200 ")
		assert BURST / (packets + 1) - 3 < served < BURST / packets
		assert len(client.listener.messages) == served * packets
		assert client.engine.counters.too_many_frames == 1
		assert client.transport.closed
		again = FakeClient(client.engine)
		again.send(post)
		assert b'"code":1' in again.received()
		client.engine.close()

	asyncio.run(run())
