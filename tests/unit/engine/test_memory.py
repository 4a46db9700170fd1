"""What one client can make the engine keep is bounded in bytes, however many pieces and connections it sends or reads."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from realtime.engine import Encoded
from realtime.engine.request_reader import MAX_HEAD
from tests.unit.engine.fakes import FakeClient, open_packet, request, websocket_request
from tests.unit.engine.websocket_clients import text


@contextmanager
def memory_growth() -> Iterator[list[int]]:
	"""Measure the growth of memory in the block; the list has the bytes afterwards."""
	growth: list[int] = []
	tracemalloc.start()
	try:
		before, _ = tracemalloc.get_traced_memory()
		yield growth
		growth.append(tracemalloc.get_traced_memory()[0] - before)
	finally:
		tracemalloc.stop()


def test_head_in_small_segments_takes_the_memory_of_its_bytes() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: ")
		with memory_growth() as growth:
			for _ in range((MAX_HEAD - 1000) // 2):
				client.send(bytes(bytearray(b"ab")))
		assert not client.transport.closing
		# The parser of HTTP has an object for the value too.
		assert growth[0] < 3 * MAX_HEAD
		client.engine.close()

	asyncio.run(run())


def test_body_in_small_chunks_takes_the_memory_of_its_bytes() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		head = request(
			"POST", f"transport=polling&sid={sid}", headers="Transfer-Encoding: chunked\r\n"
		).replace(b"Content-Length: 0\r\n", b"")
		client.send(head + b"2\r\n4a\r\n")
		with memory_growth() as growth:
			for _ in range(20_000):
				client.send(b"2\r\nab\r\n")
		assert growth[0] < 100_000
		client.send(b"0\r\n\r\n")
		assert client.listener.messages == ["a" + "ab" * 20_000]
		client.engine.close()

	asyncio.run(run())


def test_poll_while_the_payload_before_is_unread_ends_the_session() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		poll = request(query=f"transport=polling&sid={sid}")
		connection = client.listener.opened[0]
		reading, stopped, third = (FakeClient(client.engine) for _ in range(3))
		connection.send(Encoded("x" * 100_000))
		reading.send(poll)
		connection.send(Encoded("x" * 100_000))
		stopped.transport.counts_unsent = True
		stopped.send(poll)
		assert connection.unsent > 100_000
		third.send(poll)
		assert third.received().startswith(b"HTTP/1.1 400 ")
		assert client.listener.closed == ["transport error"]
		client.engine.close()

	asyncio.run(run())


def test_unread_payload_of_another_client_of_the_proxy_does_not_count() -> None:
	"""A proxy sends the requests of many clients on one connection."""

	async def run() -> None:
		shared = FakeClient()
		shared.send(request())
		first = open_packet(shared.received())["sid"]
		shared.send(request())
		second = open_packet(shared.received())["sid"]
		listener = shared.listener
		for connection in listener.opened:
			connection.send(Encoded("x"))
		shared.send(request(query=f"transport=polling&sid={first}"))
		shared.transport.counts_unsent = True
		shared.send(request(query=f"transport=polling&sid={second}"))
		other = FakeClient(shared.engine)
		other.send(request(query=f"transport=polling&sid={first}"))
		assert listener.closed == []
		listener.opened[0].send(Encoded("y"))
		assert other.received().endswith(b"\r\n\r\n4y")
		shared.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("character", ["", "ä", "😀", b"x"], ids=["empty", "latin", "emoji", "binary"])
def test_packets_that_wait_for_a_poll_count_with_their_memory(character: str | bytes) -> None:
	async def run() -> None:
		client = FakeClient(max_unsent=1_000_000)
		client.send(request())
		connection = client.listener.opened[0]
		with memory_growth() as growth:
			while connection.unsent < 900_000:
				connection.send(Encoded(character * 100))
		assert not connection.closed
		# The text is kept once as the message and once as the packet.
		assert growth[0] < 2_200_000
		client.engine.close()

	asyncio.run(run())


def test_session_has_one_websocket_that_is_not_upgraded_at_a_time() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		upgrade = websocket_request(f"transport=websocket&EIO=4&sid={sid}")
		first, second = FakeClient(client.engine), FakeClient(client.engine)
		first.send(upgrade)
		second.send(upgrade)
		assert (first.transport.closed, second.transport.closed) == (False, True)
		first.transport.close()
		third = FakeClient(client.engine)
		third.send(upgrade + text("2probe") + text("5") + text("4hello"))
		assert client.listener.messages == ["hello"]
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("sent", [b"G", b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: "])
def test_client_that_sends_its_head_byte_by_byte_is_closed(sent: bytes) -> None:
	async def run() -> None:
		client = FakeClient(head_timeout=0.05)
		client.send(sent)
		while not client.transport.closed:
			client.send(b"E")
			await asyncio.sleep(0.001)
		assert not client.engine.http_transports

	asyncio.run(asyncio.wait_for(run(), 10))


def test_client_that_sends_its_body_byte_by_byte_is_closed() -> None:
	async def run() -> None:
		client = FakeClient(head_timeout=0.05, keep_alive_timeout=0.05)
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(request("POST", f"transport=polling&sid={sid}", b"4" * 100_000)[:-100_000])
		while not client.transport.closed:
			client.send(b"x")
			await asyncio.sleep(0.001)
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))
