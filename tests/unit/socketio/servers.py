"""A Socket.IO server over fake connections."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from websockets.frames import Opcode

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.client import Client
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import FakeClient, websocket_request
from tests.unit.engine.websocket_clients import frames, text


class Application:
	"""Admits every client, and records calls."""

	def __init__(self) -> None:
		self.calls: list[str] = []
		self.sockets: list[ServerSocket] = []
		self.events: list[tuple[str, list[Any]]] = []
		self.acks: list[Ack | None] = []
		self.ends: list[tuple[str, set[str]]] = []

	def authorize(self, connection: Connection, namespace: str, auth: dict[str, Any]) -> Admission:
		return Admission(namespace)

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any], admission: Admission) -> None:
		self.calls.append(f"connect {socket.namespace.name}")
		self.sockets.append(socket)
		socket.send_connect()

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		self.events.append((event, arguments))
		self.acks.append(ack)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		self.calls.append(f"disconnect {socket.namespace.name}")
		self.ends.append((reason, set(rooms)))


def connected() -> tuple[FakeClient, SocketIOServer, Application]:
	"""Return a client in the namespace /a that has stopped reading."""
	application = Application()
	server = SocketIOServer(application, Namespaces())
	wire = FakeClient(Engine(EngineSettings(max_unsent=1000), server))
	wire.send(websocket_request())
	wire.send(text("40/a,"))
	wire.transport.unsent = 1001
	wire.transport.protocol.pause_writing()
	return wire, server, application


class Setting:
	"""A server with an application that admits by `decide`, and clients that read."""

	def __init__(self, **options: Any) -> None:
		self.application = Application()
		self.decide: Any = lambda namespace, auth: Admission(namespace)
		self.application.authorize = lambda _, namespace, auth: self.decide(namespace, auth)  # type: ignore[assignment, method-assign]
		self.namespaces = Namespaces()
		self.server = SocketIOServer(self.application, self.namespaces, **options)
		self.engine = Engine(EngineSettings(), self.server)

	def client(self, *namespaces: str) -> FakeClient:
		"""Connect a client to namespaces."""
		wire = FakeClient(self.engine)
		wire.send(websocket_request())
		for name in namespaces:
			wire.send(text(f"40{name},"))
		wire.received()
		return wire

	def socketio_client(self) -> Client:
		"""The state of the only connection."""
		[connection] = self.engine.connections.values()
		client: Client = connection.data
		return client


def packets_of(wire: FakeClient) -> list[str | bytes]:
	"""Return the Socket.IO packets that were sent to a client since the last call."""
	found: list[str | bytes] = []
	for opcode, payload in frames(wire.received()):
		if opcode == Opcode.BINARY:
			found.append(payload)
		elif payload.startswith(b"4"):
			found.append(payload.decode())
	return found


def run(test: Any, **options: Any) -> None:
	async def body() -> None:
		it = Setting(**options)
		await test(it)
		it.engine.close()

	asyncio.run(asyncio.wait_for(body(), 10))


async def turns() -> None:
	for _ in range(20):
		await asyncio.sleep(0)
