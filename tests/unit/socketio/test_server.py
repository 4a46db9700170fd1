"""Sockets that end while something is written to them, since their client has stopped to read, and packets for nobody."""

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
	"""Lets everybody in, and keeps what it is told."""

	def __init__(self) -> None:
		self.told: list[str] = []
		self.sockets: list[ServerSocket] = []

	def authorize(self, connection: Connection, namespace: str, auth: dict[str, Any]) -> Admission:
		return Admission(namespace)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		self.told.append(f"connect {socket.namespace.name}")
		self.sockets.append(socket)
		socket.send_connect()

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None: ...

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: set[str]) -> None:
		self.told.append(f"disconnect {socket.namespace.name}")


def connected() -> tuple[Wire, SocketIOServer, Application]:
	"""A client in a namespace, and far behind with reading."""
	application = Application()
	server = SocketIOServer(application, Namespaces())
	wire = Wire(Engine(EngineSettings(max_unsent=1000), server))
	wire.feed(websocket_request())
	wire.feed(text("40/a,"))
	wire.transport.unsent = 1001
	wire.transport.protocol.pause_writing()
	return wire, server, application


def test_a_socket_that_the_server_ends_ends_once() -> None:
	async def run() -> None:
		wire, server, application = connected()
		server.disconnect(application.sockets[0])
		assert wire.transport.aborted
		assert application.told == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		wire.engine.close()

	asyncio.run(run())


def test_only_an_acknowledgement_acknowledges() -> None:
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


def test_a_client_that_does_not_read_gets_no_further_socket() -> None:
	async def run() -> None:
		wire, server, application = connected()
		wire.feed(text("40/b,"))
		assert wire.transport.aborted
		assert application.told == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		wire.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("packet", ['451-/b,["x",{"_placeholder":true,"num":0}]', '461-["x"]'])
def test_nothing_is_kept_for_who_is_in_no_namespace(packet: str) -> None:
	async def run() -> None:
		wire, server, _ = connected()
		wire.transport.unsent = 0
		wire.feed(text(packet))
		assert wire.transport.closed
		assert server.counters.invalid == 1
		wire.engine.close()

	asyncio.run(run())


def test_who_is_gone_before_somebody_was_asked_about_him_leaves_no_question_behind() -> None:
	"""A coroutine that is never awaited would be reported where it is let go of, long after."""

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
