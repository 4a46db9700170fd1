"""The Socket.IO server: admission, packets, attachments, and the end of sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import Wire, websocket_request
from tests.unit.engine.test_websocket import text


class Application:
	"""Admits every client, and records calls."""

	def __init__(self) -> None:
		self.calls: list[str] = []
		self.sockets: list[ServerSocket] = []

	def authorize(self, connection: Connection, namespace: str, auth: dict[str, Any]) -> Admission:
		return Admission(namespace)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		self.calls.append(f"connect {socket.namespace.name}")
		self.sockets.append(socket)
		socket.send_connect()

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None: ...

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		self.calls.append(f"disconnect {socket.namespace.name}")


def connected() -> tuple[Wire, SocketIOServer, Application]:
	"""Return a client in the namespace /a that has stopped reading."""
	application = Application()
	server = SocketIOServer(application, Namespaces())
	wire = Wire(Engine(EngineSettings(max_unsent=1000), server))
	wire.feed(websocket_request())
	wire.feed(text("40/a,"))
	wire.transport.unsent = 1001
	wire.transport.protocol.pause_writing()
	return wire, server, application


def test_a_disconnect_that_closes_the_connection_ends_the_socket_once() -> None:
	async def run() -> None:
		wire, server, application = connected()
		server.disconnect(application.sockets[0])
		assert wire.transport.aborted
		assert application.calls == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		wire.engine.close()

	asyncio.run(run())


def test_only_a_valid_acknowledgement_resolves_a_call() -> None:
	async def run() -> None:
		wire, _, application = connected()
		wire.transport.unsent = 0
		answer = application.sockets[0].call("question")
		wire.feed(text('44/a,1{"x":1}') + text('44/a,1"x"') + text('43/a,2["another"]'))
		assert not answer.done()
		wire.feed(text('43/a,1["yes"]'))
		assert answer.result() == ["yes"]
		wire.engine.close()

	asyncio.run(run())


def test_a_client_that_does_not_read_is_admitted_to_no_further_namespace() -> None:
	async def run() -> None:
		wire, server, application = connected()
		wire.feed(text("40/b,"))
		assert wire.transport.aborted
		assert application.calls == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("packet", ['451-/b,["x",{"_placeholder":true,"num":0}]', '461-["x"]'])
def test_attachments_for_a_namespace_that_was_not_joined_close_the_connection(packet: str) -> None:
	async def run() -> None:
		wire, server, _ = connected()
		wire.transport.unsent = 0
		wire.feed(text(packet))
		assert wire.transport.closed
		assert server.counters.invalid == 1
		wire.engine.close()

	asyncio.run(run())


def test_authorization_is_cancelled_when_the_client_disconnects() -> None:
	"""After its first step: a coroutine that is never awaited would cause a RuntimeWarning much later."""

	async def run() -> None:
		wire, _, application = connected()
		wire.transport.unsent = 0
		steps: list[str] = []

		async def ask() -> Admission:
			steps.append("begun")
			try:
				return await asyncio.get_running_loop().create_future()
			except asyncio.CancelledError:
				steps.append("cancelled")
				raise

		application.authorize = lambda *_: ask()  # type: ignore[method-assign]
		wire.feed(text("40/b,"))
		wire.transport.abort()
		while "cancelled" not in steps:
			await asyncio.sleep(0)
		assert steps == ["begun", "cancelled"]
		wire.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))
