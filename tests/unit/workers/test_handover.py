"""The handover of TCP connections between two workers, in one event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from realtime.engine import RequestRefused
from realtime.workers.handover import INLINE, WorkerHandover, remove_sockets


class Echo(asyncio.Protocol):
	"""Writes back what it receives."""

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.transport = transport

	def data_received(self, data: bytes) -> None:
		assert isinstance(self.transport, asyncio.Transport)
		self.transport.write(data)


class Sent(asyncio.Protocol):
	"""A connection that is handed over with `received` as the bytes of its request."""

	def __init__(self, received: bytes) -> None:
		self.received = received
		self.refused: list[RequestRefused] = []
		self.transport: asyncio.Transport

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		assert isinstance(transport, asyncio.Transport)
		self.transport = transport
		transport.pause_reading()

	def handed_over(self) -> None:
		self.transport.abort()

	def release(self, protocol: asyncio.Protocol) -> None:
		raise NotImplementedError

	def refuse(self, refused: RequestRefused) -> None:
		self.refused.append(refused)
		self.transport.abort()


class Pair:
	"""Two workers, of which `one` accepts and `other` owns.

	Args:
		folder: Their folder.
	"""

	def __init__(self, folder: Path) -> None:
		self.limits: list[str] = []
		self.one = WorkerHandover(folder, "one", 5, self.limits.append)
		self.other = WorkerHandover(folder, "other", 5, self.limits.append)

	async def accepted(self, received: bytes) -> tuple[socket.socket, Sent]:
		"""Return a client, and its connection at `one`."""
		client, server = socket.socketpair()
		client.setblocking(False)
		_, sent = await asyncio.get_running_loop().connect_accepted_socket(lambda: Sent(received), server)
		return client, sent

	async def passes(self) -> bool:
		"""Return whether `one` can pass a connection without a session to another worker."""
		client, sent = await self.accepted(b"")
		passed = self.one.send_to_any(sent)
		client.close()
		if not passed:
			sent.transport.abort()
		return passed


def run(folder: Path, scenario: Callable[[Pair], Awaitable[None]]) -> None:
	async def main() -> None:
		pair = Pair(folder)
		pair.other.start(Echo)
		await scenario(pair)
		pair.one.stop()
		pair.other.stop()

	asyncio.run(main())
	assert not list(folder.iterdir())


async def receive(client: socket.socket, size: int) -> bytes:
	"""Return `size` bytes of the client's connection, or all up to its end."""
	data = b""
	while len(data) < size and (more := await asyncio.get_running_loop().sock_recv(client, size)):
		data += more
	return data


@pytest.mark.parametrize("size", [1, INLINE, INLINE + 1, 300_000])
def test_a_connection_and_its_bytes_arrive(tmp_path: Path, size: int) -> None:
	async def scenario(pair: Pair) -> None:
		data = os.urandom(size)
		client, sent = await pair.accepted(data)
		assert pair.one.send("other", sent)
		assert await receive(client, size) == data
		await asyncio.get_running_loop().sock_sendall(client, b"later")
		assert await receive(client, 5) == b"later"
		assert (pair.one.sent, pair.other.received, pair.other.lost) == (1, 1, 0)
		client.close()

	run(tmp_path, scenario)


@pytest.mark.parametrize("name", ["nobody", "", "../other", "a" * 65, "other\0"])
def test_a_worker_that_does_not_exist(tmp_path: Path, name: str) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		assert not pair.one.send(name, sent)
		assert not sent.transport.is_closing()
		sent.transport.abort()
		client.close()

	run(tmp_path, scenario)


def test_a_worker_that_was_killed(tmp_path: Path) -> None:
	"""Its socket is still in the folder."""
	path = tmp_path / "killed.handover"
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
		killed.bind(str(path))

	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		assert not pair.one.send("killed", sent)
		sent.transport.abort()
		client.close()
		remove_sockets(tmp_path, "killed")

	run(tmp_path, scenario)


def test_a_worker_that_ends_after_a_handover(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		assert pair.one.send("other", sent)
		assert await receive(client, 1) == b"x"
		pair.other.stop()
		again, sent = await pair.accepted(b"x")
		assert not pair.one.send("other", sent)
		sent.transport.abort()
		client.close()
		again.close()

	run(tmp_path, scenario)


def test_a_connection_that_has_arrived_when_the_worker_ends(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		assert pair.one.send("other", sent)
		pair.other.stop()
		assert await receive(client, 1) == b"x"
		client.close()

	run(tmp_path, scenario)


def fill(pair: Pair, sent: Sent) -> int:
	"""Send copies of one connection until they wait; return their number."""
	count = 0
	while not pair.one.waiting:
		# The receiver gets descriptors of the same connection.
		sent.handed_over = lambda: None  # type: ignore[method-assign]
		assert pair.one.send("other", sent)
		count += 1
	return count


def test_connections_wait_for_a_worker_that_is_busy(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		count = fill(pair, sent)
		while pair.one.waiting < 5:
			assert pair.one.send("other", sent)
			count += 1
		with pytest.raises(RequestRefused) as refused:
			pair.one.send("other", sent)
		assert refused.value.status == 503
		assert pair.limits == ["realtime_handovers_waiting"]
		assert await receive(client, count) == b"x" * count
		assert pair.one.waiting == 0
		assert pair.one.sent == count
		sent.transport.abort()
		client.close()

	run(tmp_path, scenario)


def test_a_worker_that_ends_waits_until_another_one_has_its_connections(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		count = fill(pair, sent)
		await pair.one.drain(5.0)
		pair.one.stop()
		assert await receive(client, count) == b"x" * count
		assert not sent.refused
		sent.transport.abort()
		client.close()

	run(tmp_path, scenario)


def test_a_worker_that_receives_nothing_is_not_waited_for_any_longer(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		fill(pair, sent)
		await pair.one.drain(-1.0)
		pair.one.stop()
		assert [one.code for one in sent.refused] == [1]
		client.close()

	run(tmp_path, scenario)


def test_connections_that_wait_for_a_worker_that_ends_are_refused(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		fill(pair, sent)
		pair.other.stop()
		while pair.one.waiting:
			await asyncio.sleep(0)
		assert [one.code for one in sent.refused] == [1]
		client.close()

	run(tmp_path, scenario)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"x")
		assert pair.one.send("other", sent)
		await receive(client, 1)
		client.close()
		before = len(os.listdir("/proc/self/fd"))
		for size in (1, INLINE + 1):
			for _ in range(20):
				client, sent = await pair.accepted(b"x" * size)
				assert pair.one.send("other", sent)
				await receive(client, size)
				client.close()
		# The transports close in a later turn of the loop.
		while len(os.listdir("/proc/self/fd")) > before:
			await asyncio.sleep(0)

	run(tmp_path, scenario)


def test_a_fresh_connection_goes_to_any_worker(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		client, sent = await pair.accepted(b"")
		assert pair.one.send_to_any(sent)
		await asyncio.get_running_loop().sock_sendall(client, b"first")
		assert await receive(client, 5) == b"first"
		client.close()
		client, sent = await pair.accepted(b"")
		assert not pair.other.send_to_any(sent), "there is no other one"
		sent.transport.abort()
		client.close()

	run(tmp_path, scenario)


def test_a_worker_that_leaves_gets_requests_for_its_own_sessions_only(tmp_path: Path) -> None:
	async def scenario(pair: Pair) -> None:
		assert pair.one.has_others()
		assert await pair.passes()
		pair.other.leave()
		assert not pair.one.has_others()
		assert not await pair.passes()
		client, sent = await pair.accepted(b"to its owner")
		assert pair.one.send("other", sent)
		assert await asyncio.get_running_loop().sock_recv(client, 100) == b"to its owner"
		client.close()

	run(tmp_path, scenario)
