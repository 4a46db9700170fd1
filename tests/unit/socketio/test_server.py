"""Sockets that end while something is written to them, since their client has stopped to read, and packets for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import FakeClient, websocket_request
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


def connected() -> tuple[FakeClient, SocketIOServer, Application]:
	"""A client in a namespace, and far behind with reading."""
	application = Application()
	server = SocketIOServer(application, Namespaces())
	client = FakeClient(Engine(EngineSettings(max_unsent=1000), server))
	client.send(websocket_request())
	client.send(text("40/a,"))
	client.transport.unsent = 1001
	client.transport.protocol.pause_writing()
	return client, server, application


def test_a_socket_that_the_server_ends_ends_once() -> None:
	async def run() -> None:
		client, server, application = connected()
		server.disconnect(application.sockets[0])
		assert client.transport.aborted
		assert application.told == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		client.engine.close()

	asyncio.run(run())


def test_only_an_acknowledgement_acknowledges() -> None:
	async def run() -> None:
		client, _, application = connected()
		client.transport.unsent = 0
		answer = application.sockets[0].call("question")
		client.send(text('44/a,1{"x":1}') + text('44/a,1"x"') + text('43/a,2["another"]'))
		assert not answer.done()
		client.send(text('43/a,1["yes"]'))
		assert answer.result() == ["yes"]
		client.engine.close()

	asyncio.run(run())


def test_a_client_that_does_not_read_gets_no_further_socket() -> None:
	async def run() -> None:
		client, server, application = connected()
		client.send(text("40/b,"))
		assert client.transport.aborted
		assert application.told == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("packet", ['451-/b,["x",{"_placeholder":true,"num":0}]', '461-["x"]'])
def test_nothing_is_kept_for_who_is_in_no_namespace(packet: str) -> None:
	async def run() -> None:
		client, server, _ = connected()
		client.transport.unsent = 0
		client.send(text(packet))
		assert client.transport.closed
		assert server.counters.invalid == 1
		client.engine.close()

	asyncio.run(run())


def test_who_is_gone_before_somebody_was_asked_about_him_leaves_no_question_behind() -> None:
	"""A coroutine that is never awaited would be reported where it is let go of, long after."""

	async def run() -> None:
		client, _, application = connected()
		client.transport.unsent = 0
		steps: list[str] = []

		async def ask() -> Admission:
			steps.append("begun")
			try:
				return await asyncio.get_running_loop().create_future()
			except asyncio.CancelledError:
				steps.append("cancelled")
				raise

		application.authorize = lambda *_: ask()  # type: ignore[assignment, method-assign]
		client.send(text("40/b,"))
		client.transport.abort()
		while "cancelled" not in steps:
			await asyncio.sleep(0)
		assert steps == ["begun", "cancelled"]
		client.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))
