"""Clients that do not read, over TCP and uvloop: the file descriptors of their connections are closed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import uvloop

from realtime.engine import Encoded, Engine, EngineSettings
from tests.unit.engine.fakes import RecordingListener, request, websocket_request
from tests.unit.engine.test_memory import memory_growth

Scenario = Callable[[Engine, RecordingListener, socket.socket], Awaitable[None]]


def open_descriptors() -> int:
	"""Return the number of open file descriptors of this process."""
	return len(os.listdir("/proc/self/fd"))


async def until(condition: Callable[[], object]) -> None:
	"""Wait for a condition."""
	while not condition():
		await asyncio.sleep(0.001)


async def closed_websocket(engine: Engine, listener: RecordingListener, client: socket.socket) -> None:
	client.sendall(websocket_request())
	await until(lambda: listener.opened)
	listener.opened[0].send(Encoded("x" * 8_000_000))
	assert listener.opened[0].unsent
	listener.opened[0].close("server namespace disconnect")


async def unread_poll(engine: Engine, listener: RecordingListener, client: socket.socket) -> None:
	client.sendall(request())
	await until(lambda: listener.opened)
	listener.opened[0].send(Encoded("x" * 8_000_000))
	client.sendall(
		request(query=f"transport=polling&sid={listener.opened[0].id}", headers="Connection: close\r\n")
	)
	await until(lambda: not listener.opened[0].unsent)


async def unread_errors(engine: Engine, listener: RecordingListener, client: socket.socket) -> None:
	rejected = request(query="transport=polling&sid=none", headers=f"Origin: http://{'a' * 20_000}\r\n")
	[transport] = engine.http_transports
	while transport.is_reading():
		refused = engine.counters.refused.total()
		client.sendall(rejected)
		await until(lambda refused=refused: engine.counters.refused.total() > refused)  # type: ignore[misc]
		assert transport.get_write_buffer_size() < 1_000_000


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("scenario", [closed_websocket, unread_poll, unread_errors])
def test_descriptor_is_closed(scenario: Scenario) -> None:
	async def run() -> None:
		listener = RecordingListener()
		settings = EngineSettings(flush_timeout=0.05, max_unsent=10_000_000)
		engine = Engine(settings, listener)
		server = await asyncio.get_running_loop().create_server(engine.protocol, "127.0.0.1", 0)
		with socket.socket() as client:
			client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
			before = open_descriptors()
			client.connect(server.sockets[0].getsockname())
			await until(lambda: open_descriptors() == before + 1)
			await scenario(engine, listener, client)
			await until(lambda: open_descriptors() == before)
		engine.close()
		server.close()

	loop = uvloop.new_event_loop()
	try:
		loop.run_until_complete(asyncio.wait_for(run(), 30))
	finally:
		loop.close()


def test_small_frames_that_are_not_read_take_the_memory_of_their_bytes() -> None:
	"""uvloop needs up to 0.9 KB for a write that waits, however short it is."""

	async def run() -> tuple[int, int, bytes]:
		listener = RecordingListener()
		engine = Engine(EngineSettings(), listener)
		server = await asyncio.get_running_loop().create_server(engine.protocol, "127.0.0.1", 0)
		with socket.socket() as client:
			client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
			client.connect(server.sockets[0].getsockname())
			client.sendall(websocket_request())
			await until(lambda: listener.opened)
			connection = listener.opened[0]
			connection.send(Encoded("x" * 500_000))
			while connection.unsent < 100_000:
				connection.send(Encoded("x" * 500_000))
			start = connection.unsent
			with memory_growth() as growth:
				for number in range(20_000):
					connection.send(Encoded(str(number)))
					await asyncio.sleep(0)
			unsent = connection.unsent - start
			client.setblocking(False)
			received = b""
			while not received.endswith(b"19999"):
				await asyncio.sleep(0)
				with suppress(BlockingIOError):
					received += client.recv(1 << 20)
			await until(lambda: connection.writable_transport is not None)
		engine.close()
		server.close()
		return growth[0], unsent, received

	loop = uvloop.new_event_loop()
	try:
		growth, unsent, received = loop.run_until_complete(asyncio.wait_for(run(), 60))
	finally:
		loop.close()
	assert growth < 2 * unsent
	assert received.endswith(b"".join(Encoded(str(number)).frames for number in range(20_000)))
