"""Links between two sidecars: who may open one, and what ends it."""

from __future__ import annotations

import asyncio

import pytest

from realtime.forwarding import forwarder as module
from realtime.forwarding import proofs
from realtime.forwarding.handshake import HandshakeConnection, request_head
from tests.unit.engine.fakes import request
from tests.unit.forwarding.processes import (
	PATIENCE,
	SECRET,
	Sidecar,
	answer,
	links_of,
	query,
	run,
	until,
)
from tests.unit.virtual_time import pass_time


async def opened(sidecar: Sidecar, own: str, peer: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
	"""Send the request for a link, and return the TCP connection."""
	reader, writer = await sidecar.connect()
	writer.write(request_head(own, peer, "x"))
	return reader, writer


@pytest.mark.parametrize("secret", ["another secret", ""])
def test_a_link_without_the_secret_is_refused_and_gets_no_proof(secret: str) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		reader, writer = await opened(owner, "entry", "owner")
		assert (await answer(reader))[0] == 101
		challenge = await reader.readexactly(proofs.NONCE_SIZE)
		nonces = (proofs.new_nonce(), challenge)
		writer.write(nonces[0] + proofs.proof(secret, proofs.CONNECTS, ("entry", "owner"), nonces))
		assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
		assert owner.forwarder.open_links == 0
		assert owner.forwarder.counters.refused_links == 1

	run(scenario)


def test_a_link_that_is_closed_while_its_proof_is_checked_is_not_kept(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""Requests for the sessions of the other end would wait for it without an end."""

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		asked, lost = asyncio.Event(), asyncio.Event()
		connection_lost = HandshakeConnection.connection_lost

		def note_loss(connection: HandshakeConnection, error: Exception | None) -> None:
			connection_lost(connection, error)
			lost.set()

		async def secret(renew: bool) -> str:
			asked.set()
			await lost.wait()
			return SECRET

		monkeypatch.setattr(HandshakeConnection, "connection_lost", note_loss)
		owner.forwarder._secret = secret
		reader, writer = await opened(owner, "entry", "owner")
		assert (await answer(reader))[0] == 101
		challenge = await reader.readexactly(proofs.NONCE_SIZE)
		nonces = (proofs.new_nonce(), challenge)
		writer.write(nonces[0] + proofs.proof(SECRET, proofs.CONNECTS, ("entry", "owner"), nonces))
		await asked.wait()
		writer.close()
		await until(lambda: not owner.forwarder._handshakes)
		assert owner.forwarder.counters.refused_links == 1
		assert links_of(owner) == []

	run(scenario)


def test_a_sidecar_that_does_not_know_the_secret_gets_no_request() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		owner.secret = "another secret"
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		assert (await answer(reader))[0] == 400
		assert owner.forwarder.counters.received == 0
		(reason,) = entry.forwarder.unreachable().values()
		assert "socketio_auth_secret" in reason

	run(scenario)


def test_a_link_to_a_process_that_is_not_here_is_refused() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		for own, peer in (("entry", "nobody"), ("entry", ""), ("", "owner")):
			reader, writer = await opened(owner, own, peer)
			assert (await answer(reader))[0] in (400, 503)
			writer.close()
		assert owner.forwarder.counters.refused_links == 3

	run(scenario)


def test_links_that_prove_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		silent = []
		for _ in range(module.MAX_HANDSHAKES):
			reader, writer = await opened(owner, "x", "owner")
			assert (await answer(reader))[0] == 101
			silent.append((reader, writer))
		reader, writer = await opened(owner, "x", "owner")
		assert (await answer(reader))[0] == 503
		writer.close()
		pass_time(monkeypatch, module.CONNECT_SECONDS)
		for reader, writer in silent:
			assert len(await asyncio.wait_for(reader.read(), PATIENCE)) == proofs.NONCE_SIZE
			writer.close()
		# Those without a proof have made room.
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[0] == 200

	run(scenario)


def test_frames_that_are_none_end_the_link() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[0] == 200
		(link,) = links_of(owner)
		link.data_received(b"\xff" * 20)
		await until(lambda: not links_of(entry))
		assert links_of(owner) == []

	run(scenario)


def test_the_secret_is_never_sent() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		seen = bytearray()

		async def pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
			while data := await source.read(65536):
				seen.extend(data)
				drain.write(data)
			drain.close()

		async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
			owner.writers.append(writer)
			there = await owner.connect()
			await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

		server = await asyncio.start_server(relay, "127.0.0.1", 0)
		host, port = server.sockets[0].getsockname()
		entry.others["owner"] = f"{host}:{port}"
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4hello"))
		assert (await answer(reader))[0] == 200
		assert b"4hello" in seen
		assert SECRET.encode() not in seen
		server.close()

	run(scenario)
