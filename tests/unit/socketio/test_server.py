"""The Socket.IO server: admission, packets, attachments, and the end of sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from websockets.frames import Opcode

from realtime.engine import Connection, Engine, EngineSettings
from realtime.socketio.client import Client, Limiter
from realtime.socketio.errors import ConnectPostponed, ConnectRefused
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import Ack, SocketIOServer
from tests.unit.engine.fakes import FakeClient, websocket_request
from tests.unit.engine.test_websocket import frames, masked, text


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
		wire.send(text('44/a,1{"x":1}') + text('44/a,1"x"') + text('43/a,2["another"]'))
		assert not answer.done()
		wire.send(text('43/a,1["yes"]'))
		assert answer.result() == ["yes"]
		wire.engine.close()

	asyncio.run(run())


def test_a_client_that_does_not_read_is_admitted_to_no_further_namespace() -> None:
	async def run() -> None:
		wire, server, application = connected()
		wire.send(text("40/b,"))
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
		wire.send(text(packet))
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

		application.authorize = lambda *_: ask()  # type: ignore[assignment, method-assign]
		wire.send(text("40/b,"))
		wire.transport.abort()
		while "cancelled" not in steps:
			await asyncio.sleep(0)
		assert steps == ["begun", "cancelled"]
		wire.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))


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


def test_events_and_their_acknowledgement() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		wire.send(text('42/a,["x",1]') + text('42/a,5["y"]'))
		assert it.application.events == [("x", [1]), ("y", [])]
		without, ack = it.application.acks
		assert without is None
		assert ack is not None
		ack("first", 2)
		ack("second")
		assert packets_of(wire) == ['43/a,5["first",2]']
		assert it.server.counters.events == 2

	run(test)


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


def test_attachments_complete_an_acknowledgement() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		answer = it.application.sockets[0].call("question")
		wire.send(text('461-/a,1[{"_placeholder":true,"num":0}]') + masked(Opcode.BINARY, b"yes"))
		assert answer.result() == [b"yes"]

	run(test)


@pytest.mark.parametrize(
	"sent",
	[
		pytest.param(masked(Opcode.BINARY, b"unexpected"), id="attachment of no event"),
		pytest.param(
			text('451-/a,["x",{"_placeholder":true,"num":0}]') + text('42/a,["y"]'), id="no attachment"
		),
		pytest.param(
			text('451-/a,["x",{"_placeholder":true,"num":1}]') + masked(Opcode.BINARY, b"one"),
			id="unknown attachment",
		),
		pytest.param(text('42/b,["not joined"]'), id="namespace not connected"),
		pytest.param(text("41/b,"), id="leaves a namespace not connected"),
		pytest.param(text("47"), id="unknown packet type"),
		pytest.param(text("4not a packet"), id="no packet"),
	],
)
def test_invalid_packets_close_the_connection(sent: bytes) -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		wire.send(sent)
		assert wire.transport.closed
		assert it.server.counters.invalid == 1
		assert it.application.ends == [("parse error", set())]

	run(test)


def test_a_repeated_connect_is_answered_again() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a")
		wire.send(text("40/a,"))
		assert packets_of(wire) == [f'40/a,{{"sid":"{it.application.sockets[0].id}"}}']
		assert len(it.application.sockets) == 1
		assert it.server.counters.connects == 1

	run(test)


def test_a_repeated_connect_while_the_first_one_is_pending() -> None:
	async def test(it: Setting) -> None:
		decision: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
		asked: list[str] = []

		def decide(namespace: str, auth: Any) -> Any:
			asked.append(namespace)
			return decision

		it.decide = decide
		wire = it.client("/a", "/a")
		assert asked == ["/a"]
		decision.set_result(Admission(None))
		await turns()
		assert len(packets_of(wire)) == 1
		assert it.socketio_client().connecting is None
		it.decide = lambda namespace, auth: Admission(namespace)
		wire.send(text("40/b,"))
		assert len(packets_of(wire)) == 1

	run(test)


def test_the_namespaces_of_a_connection_are_bounded() -> None:
	"""Pending ones count too."""

	async def test(it: Setting) -> None:
		it.decide = lambda namespace, auth: (
			asyncio.get_running_loop().create_future() if namespace == "/b" else Admission(namespace)
		)
		wire = it.client("/a", "/b")
		wire.send(text("40/c,"))
		assert packets_of(wire) == [
			'44/c,{"message":"Too many namespaces","data":{"code":"too_many_namespaces",'
			'"reason":"a connection may join 2 namespaces","most":2}}'
		]
		wire.send(text("41/a,") + text("40/c,"))
		assert packets_of(wire)[0].startswith('40/c,{"sid"')  # type: ignore[arg-type]
		assert it.server.counters.refused

	run(test, max_namespaces=2)


@pytest.mark.parametrize("later", [False, True])
def test_refused_connects_are_bounded(later: bool) -> None:
	"""A client needs one namespace: a connection that tries more names than it may have namespaces is closed."""

	async def test(it: Setting) -> None:
		async def refuse() -> Admission:
			raise ConnectRefused("No", "test_code", "test")

		def decide(namespace: str, auth: Any) -> Any:
			if later:
				return refuse()
			raise ConnectRefused("No", "test_code", "test")

		it.decide = decide
		wire = it.client()
		for number in range(3):
			assert not wire.transport.closing
			wire.send(text(f"40/{number},"))
			await turns()
			if number < 2:
				assert packets_of(wire) == [
					f'44/{number},{{"message":"No","data":{{"code":"test_code","reason":"test"}}}}'
				]
		assert wire.transport.closing
		assert it.server.counters.refused
		assert it.server.counters.connects == 0
		assert it.application.calls == []

	run(test, max_namespaces=2)


@pytest.mark.parametrize("error", [ConnectPostponed(), RuntimeError("a bug")])
def test_a_connect_without_a_decision_closes_the_connection(error: Exception) -> None:
	async def test(it: Setting) -> None:
		async def fail() -> Admission:
			raise error

		it.decide = lambda namespace, auth: fail()
		wire = it.client("/a")
		await turns()
		assert wire.transport.closing
		assert it.application.calls == []

	run(test)


def test_defects_while_clients_connect_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
	async def test(it: Setting) -> None:
		async def fail() -> Admission:
			raise RuntimeError("a bug")

		it.decide = lambda namespace, auth: fail()
		for _ in range(100):
			it.client("/a")
			await turns()

	run(test)
	assert 1 <= len(caplog.messages) < 20
	assert "connecting a client to '/a' failed" in caplog.messages[0]
	assert "a bug" in caplog.text


def test_a_client_that_is_gone_is_not_admitted() -> None:
	async def test(it: Setting) -> None:
		decision: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
		it.decide = lambda namespace, auth: decision
		wire = it.client("/a")
		decision.set_result(Admission(None))
		wire.transport.abort()
		await turns()
		assert it.application.calls == []
		assert not it.namespaces

	run(test)


def test_the_payload_of_connect_is_passed_on() -> None:
	async def test(it: Setting) -> None:
		asked: list[Any] = []

		def decide(namespace: str, auth: Any) -> Admission:
			asked.append((namespace, auth))
			return Admission(None)

		it.decide = decide
		wire = it.client()
		wire.send(text('40/a,{"token":"x"}') + text("40/b,"))
		assert asked == [("/a", {"token": "x"}), ("/b", {})]

	run(test)


def test_a_client_leaves_a_namespace() -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a", "/b")
		it.application.sockets[0].join("room")
		wire.send(text("41/a,"))
		assert it.application.ends == [("client namespace disconnect", {"room"})]
		assert list(it.namespaces) == ["/b"]
		assert not wire.transport.closed
		wire.send(text('42/b,["x"]'))
		assert it.application.events == [("x", [])]
		wire.send(text('42/a,["x"]'))
		assert wire.transport.closed

	run(test)


@pytest.mark.parametrize("close", [False, True])
def test_the_server_disconnects_a_socket(close: bool) -> None:
	async def test(it: Setting) -> None:
		wire = it.client("/a", "/b")
		socket = it.application.sockets[0]
		answer = socket.call("question")
		socket.disconnect(close)
		socket.disconnect(close)
		assert "41/a," in packets_of(wire)
		assert wire.transport.closing is close
		assert (
			it.application.calls == ["connect /a", "connect /b", "disconnect /a"] + ["disconnect /b"] * close
		)
		assert it.application.ends[0] == ("server namespace disconnect", set())
		assert answer.cancelled()
		assert not socket.connected

	run(test)


def test_the_connect_timeout() -> None:
	"""It counts while a connection is in no namespace, and none is pending."""

	async def test(it: Setting) -> None:
		joined, left, never = it.client("/a"), it.client("/a"), it.client()
		decision: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
		it.decide = lambda namespace, auth: decision
		pending = it.client("/a")
		left.send(text("41/a,"))
		await asyncio.sleep(0.3)
		assert [wire.transport.closing for wire in (joined, left, never, pending)] == [
			False,
			True,
			True,
			False,
		]

	run(test, connect_timeout=0.1)


def test_a_client_that_recovers_supersedes_its_old_socket() -> None:
	async def test(it: Setting) -> None:
		it.decide = lambda namespace, auth: Admission(None, "pid", "id")
		old, new = it.client("/a"), it.client()
		first = it.application.sockets[0]
		first.join("room")
		namespace = first.namespace
		new.send(text("40/a,"))
		second = it.application.sockets[1]
		assert old.transport.aborted
		assert not new.transport.closing
		assert it.application.ends == [("transport close", set())]
		assert first.pid is None, "its session belongs to the new socket"
		assert not first.connected
		assert first.rooms == set()
		assert second.connected
		assert second.namespace is namespace
		assert namespace.recoverable == 1
		assert namespace.rooms == {}

	run(test)


def test_another_process_supersedes_a_socket() -> None:
	async def test(it: Setting) -> None:
		it.decide = lambda namespace, auth: Admission(None, "pid", "id")
		wire = it.client("/a")
		it.server.supersede("/b", "id")
		it.server.supersede("/a", "another id")
		assert not wire.transport.aborted
		it.server.supersede("/a", "id")
		assert wire.transport.aborted
		assert it.application.ends == [("transport close", set())]
		assert not it.namespaces

	run(test)


def test_the_offset_is_repeated_with_pings() -> None:
	async def test(it: Setting) -> None:
		it.decide = lambda namespace, auth: Admission(None, "pid" if namespace == "/a" else None)
		wire = it.client("/a", "/b")
		it.namespaces["/a"].offset = "1-0"
		[connection] = it.engine.connections.values()
		it.server.on_ping(connection)
		assert packets_of(wire) == ['42/a,["frappe_realtime:offset","1-0"]']

	run(test)


def test_the_limiter_counts_connections_and_timeouts() -> None:
	class Counting(Limiter):
		def __init__(self) -> None:
			self.calls: list[str] = []

		def on_open(self, client: Client) -> None:
			self.calls.append("open")

		def on_close(self, client: Client) -> None:
			assert not any(socket.connected for socket in client.sockets.values())
			self.calls.append("close")

		def too_long_without_namespace(self, client: Client) -> None:
			self.calls.append("timeout")

	limiter = Counting()

	async def test(it: Setting) -> None:
		it.client("/a").transport.abort()
		assert limiter.calls == ["open", "close"]
		it.client()
		await asyncio.sleep(0.3)
		assert limiter.calls[2:] == ["open", "timeout", "close"]

	run(test, limiter=limiter, connect_timeout=0.1)


def test_every_packet_counts_against_the_rate() -> None:
	"""An expected acknowledgement does not, apart from its attachments."""
	counted: list[int] = []

	class Counting(Limiter):
		def allows(self, client: Client, packets: int = 1) -> bool:
			counted.append(packets)
			return True

	async def test(it: Setting) -> None:
		wire = it.client("/a")
		one = '{"_placeholder":true,"num":0}'
		wire.send(text('42/a,["x"]') + text("43/a,7[]") + text("43/a,[]"))
		wire.send(text(f'452-/a,["x",{one}]') + masked(Opcode.BINARY, b"1") * 2)
		wire.send(text(f"461-/a,7[{one}]") + masked(Opcode.BINARY, b"1"))
		assert counted == [1, 1, 1, 1, 3, 2]
		socket = it.application.sockets[0]
		answers = [socket.call("question") for _ in range(2)]
		wire.send(text("43/a,1[]") + text(f"461-/a,2[{one}]") + masked(Opcode.BINARY, b"1"))
		assert [answer.result() for answer in answers] == [[], [b"1"]]
		assert counted[6:] == [1]
		wire.send(text("43/a,1[]"))
		assert counted[7:] == [1], "a repeated acknowledgement is unexpected"

	run(test, limiter=Counting())


@pytest.mark.parametrize("size", [3, 4])
def test_the_bytes_of_attachments_are_bounded(size: int) -> None:
	"""Together, and before the packet is complete."""

	class Small(Limiter):
		def allows_attachments(self, client: Client, size: int) -> bool:
			return size <= 6

	async def test(it: Setting) -> None:
		wire = it.client("/a")
		wire.send(text('453-/a,["x",{"_placeholder":true,"num":0}]') + masked(Opcode.BINARY, b"x" * size) * 2)
		assert wire.transport.closing is (size == 4)

	run(test, limiter=Small())


def test_packets_beyond_the_rate_are_ignored() -> None:
	class Strict(Limiter):
		def allows(self, client: Client, packets: int = 1) -> bool:
			return False

	async def test(it: Setting) -> None:
		wire = it.client("/a")
		assert it.application.calls == []
		it.server.limiter = Limiter()
		wire.send(text("40/a,"))
		it.server.limiter = Strict()
		wire.send(text('42/a,["x"]'))
		assert it.application.events == []
		assert it.server.counters.events == 0
		assert not wire.transport.closed

	run(test, limiter=Strict())
