"""Responses that one sidecar forwards to a client which reads them late, or not at all: the owner is told what was lost."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple

import pytest

from realtime.engine import Encoded
from realtime.forwarding import entry_end
from tests.unit.engine.fakes import request
from tests.unit.forwarding.processes import PATIENCE, Sidecar, answer, query, run, until
from tests.unit.virtual_time import pass_time

BUFFER = 4096
"""Bytes that the kernel keeps for a TCP connection, so that the rest of a response waits in the process."""

MESSAGE = "y" * 50_000
"""Less than a window: the owner has sent all of it, and the end of the stream, before the client reads."""


class Poll(NamedTuple):
	"""A poll whose response the client has not read."""

	sid: str
	client: socket.socket


async def polled(entry: Sidecar, owner: Sidecar, keep_alive: bool) -> Poll:
	"""Let a client poll through the entry, and wait until the owner has responded."""
	assert entry._server
	for listening in entry._server.sockets:
		listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
	sid = await owner.session()
	client = socket.socket()
	client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
	client.setblocking(False)
	host, _, port = entry.address.partition(":")
	loop = asyncio.get_running_loop()
	await loop.sock_connect(client, (host, int(port)))
	head = request(query=query(sid))
	if not keep_alive:
		head = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
	await loop.sock_sendall(client, head)
	await until(lambda: owner.forwarder.received)
	(forwarded,) = entry.forwarder.forwarded
	owner.engine.connections[sid].send(Encoded(MESSAGE))
	await until(lambda: forwarded.stream.ended)
	assert forwarded.transport.get_write_buffer_size()
	return Poll(sid, client)


async def is_lost(owner: Sidecar, poll: Poll) -> None:
	"""Wait until the owner has ended the session, so that the client recovers."""
	await until(lambda: owner.listener.closed)
	assert owner.listener.closed == ["transport error"]
	assert poll.sid not in owner.engine.connections
	assert owner.forwarder.received == 0


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_response_that_is_not_read_in_time_is_lost(
	keep_alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
	# Less than the time after which a silent link ends.
	seconds = 4.0
	monkeypatch.setattr(entry_end, "FLUSH_SECONDS", seconds)
	monkeypatch.setattr(entry_end, "RESPONSE_SECONDS", seconds)

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		poll = await polled(entry, owner, keep_alive)
		assert owner.listener.closed == []
		pass_time(monkeypatch, seconds)
		await is_lost(owner, poll)
		assert not entry.forwarder.forwarded
		poll.client.close()

	run(scenario)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_response_whose_client_leaves_is_lost(keep_alive: bool) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		poll = await polled(entry, owner, keep_alive)
		# With unread data, the kernel resets the TCP connection.
		poll.client.close()
		await is_lost(owner, poll)
		assert not entry.forwarder.forwarded

	run(scenario)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_response_that_is_read_late_is_delivered(keep_alive: bool) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		poll = await polled(entry, owner, keep_alive)
		reader, writer = await asyncio.open_connection(sock=poll.client, limit=1 << 20)
		assert (await answer(reader))[:2] == (200, "4" + MESSAGE)
		if keep_alive:
			writer.write(request("POST", query(poll.sid), b"4next"))
			assert (await answer(reader))[:2] == (200, "ok")
		else:
			assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
			# As a proxy does when it has the response.
			writer.close()
			_, writer = await entry.connect()
			writer.write(request("POST", query(poll.sid), b"4next"))
		await until(lambda: owner.listener.messages)
		assert owner.listener.messages == ["next"]
		assert owner.listener.closed == []
		await until(lambda: not entry.forwarder.forwarded)
		assert owner.forwarder.received == 0
		writer.close()

	run(scenario)


def test_a_client_that_closes_when_it_has_read_the_response_has_lost_nothing() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		poll = await polled(entry, owner, keep_alive=True)
		reader, writer = await asyncio.open_connection(sock=poll.client, limit=1 << 20)
		assert (await answer(reader))[:2] == (200, "4" + MESSAGE)
		writer.close()
		await until(lambda: not owner.forwarder.received)
		assert owner.listener.closed == []
		reader, writer = await entry.connect()
		writer.write(request("POST", query(poll.sid), b"4next"))
		assert (await answer(reader))[:2] == (200, "ok")

	run(scenario)


def test_a_response_that_is_not_read_yet_counts_at_the_owner_only() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		poll = await polled(entry, owner, keep_alive=True)
		assert len(entry.forwarder.forwarded) == 1
		assert (entry.forwarder.received, owner.forwarder.received) == (0, 1)
		poll.client.close()

	run(scenario)
