"""The Socket.IO server: what clients may do too often, or never answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Opcode

from realtime.socketio.client import Client, Limiter
from realtime.socketio.errors import ConnectRefused
from realtime.socketio.namespace import Admission, ServerSocket
from tests.unit.engine.websocket_clients import masked, text
from tests.unit.socketio.servers import Setting, connected, packets_of, run, turns


def test_a_client_that_does_not_read_is_admitted_to_no_further_namespace() -> None:
	async def run() -> None:
		wire, server, application = connected()
		wire.send(text("40/b,"))
		assert wire.transport.aborted
		assert application.calls == ["connect /a", "disconnect /a"]
		assert not server.namespaces
		wire.engine.close()

	asyncio.run(run())


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


def test_an_event_that_fails_costs_its_client_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
	"""The next packets of the same read are handled, and the log is bounded."""

	async def test(it: Setting) -> None:
		record = it.application.on_event

		def on_event(socket: ServerSocket, event: str, arguments: list[Any], ack: Any) -> None:
			if event == "fail":
				raise RecursionError("a bug")
			record(socket, event, arguments, ack)

		it.application.on_event = on_event  # type: ignore[method-assign]
		wire = it.client("/a")
		wire.send(text('42/a,["fail"]') * 100 + text('42/a,["next"]'))
		assert it.application.events == [("next", [])]
		assert not wire.transport.closing
		wire.send(text("42/a,{}"))
		assert wire.transport.closing, "an invalid packet still closes the connection"

	run(test)
	assert 1 <= len(caplog.messages) < 20
	assert caplog.messages[0] == "an event of a client in '/a' failed"
	assert "a bug" in caplog.text


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
