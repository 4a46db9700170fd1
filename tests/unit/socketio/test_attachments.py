"""Packets with binary values: their text comes first, and is complete with its attachments."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Opcode

from realtime.memory import memory_of
from realtime.socketio.namespace import Admission
from tests.unit.engine.fakes import FakeClient, open_packet, request
from tests.unit.engine.websocket_clients import masked, text
from tests.unit.socketio.servers import Setting, connected, run, turns


def test_attachments_complete_an_event() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		wire.send(text('452-/a,["x",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'))
		wire.send(masked(Opcode.BINARY, b"first"))
		assert it.application.events == []
		assert it.server.counters.events == 0
		wire.send(masked(Opcode.BINARY, b"second") + text('42/a,["y"]'))
		assert it.application.events == [("x", [b"second", b"first"]), ("y", [])]
		assert not wire.transport.closed

	run(test)


def test_an_event_whose_attachments_are_missing_takes_the_memory_of_its_text() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		values = ",".join(["[]"] * 1000)
		wire.send(text(f'451-/a,["x",{{"_placeholder":true,"num":0}},{values}]'))
		packet = it.socketio_client().packet
		assert packet is not None
		assert memory_of([packet.data], 100_000) < 5000
		wire.send(masked(Opcode.BINARY, b"data"))
		assert it.application.events == [("x", [b"data", *[[]] * 1000])]

	run(test)


def test_attachments_complete_an_acknowledgement() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		answer = it.application.sockets[0].call("question")
		wire.send(text('461-/a,1[{"_placeholder":true,"num":0}]') + masked(Opcode.BINARY, b"yes"))
		assert answer.result() == [b"yes"]

	run(test)


@pytest.mark.parametrize("packet", ['451-/b,["x",{"_placeholder":true,"num":0}]', '461-["x"]'])
def test_attachments_for_a_namespace_that_was_not_joined_close_the_connection(packet: str) -> None:
	async def run() -> None:
		wire, server, _ = connected()
		wire.transport.unsent = 0
		wire.send(text(packet))
		assert wire.transport.closed
		assert server.counters.invalid == 1
		wire.engine.close()

	asyncio.run(run())


def test_nothing_is_kept_of_an_acknowledgement_that_is_ignored() -> None:
	"""Its client may wait for its admission for long, and may not have logged in."""

	async def test(it: Setting) -> None:
		decision: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
		it.decide = lambda namespace, auth: decision
		wire = it.client("/a")
		values = ",".join(["[]"] * 1000)
		wire.send(
			text(f'462-/a,1[{{"_placeholder":true,"num":0}},{values}]') + masked(Opcode.BINARY, b"x" * 1000)
		)
		client = it.socketio_client()
		assert client.packet is not None
		assert memory_of([client.packet.data, client.attachments], 100_000) < 500
		wire.send(masked(Opcode.BINARY, b"last"))
		assert it.socketio_client().packet is None
		assert not wire.transport.closing
		decision.set_result(Admission(None))
		await turns()

	run(test)


def test_nothing_is_kept_of_an_event_that_is_ignored() -> None:
	"""A client that is to leave may name any namespace: it has not read yet which sockets of it have ended."""

	async def test(it: Setting) -> None:
		wire = FakeClient(it.engine)
		wire.send(request())
		query = f"transport=polling&sid={open_packet(wire.received())['sid']}"
		[connection] = it.engine.connections.values()
		connection.leave()
		name = "a" * 1000
		late = f'451-/{name},["late",{{"_placeholder":true,"num":0}}]'
		wire.send(request("POST", query, late.encode()))
		assert wire.received().endswith(b"\r\n\r\nok")
		packet = it.socketio_client().packet
		assert packet is not None
		assert name not in repr(packet)
		wire.send(request("POST", query, b"beA=="))
		assert wire.received().endswith(b"\r\n\r\nok")
		assert it.socketio_client().packet is None
		assert not connection.closed

	run(test)
