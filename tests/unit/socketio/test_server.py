"""The Socket.IO server: packets, admission to namespaces, and the end of sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Opcode

from realtime.json_codec import SAFE_DEPTH
from realtime.socketio.client import Client
from realtime.socketio.errors import ConnectPostponed
from realtime.socketio.namespace import Admission
from tests.unit.engine.fakes import FakeClient, open_packet, request
from tests.unit.engine.websocket_clients import masked, text
from tests.unit.socketio.servers import Setting, connected, packets_of, run, turns


def test_a_disconnect_that_closes_the_connection_ends_the_socket_once() -> None:
	async def run() -> None:
		wire, server, application = connected()
		[socket] = application.sockets
		client: Client = socket.connection.data
		server.disconnect(socket)
		assert wire.transport.aborted
		assert client.timer_slot is None, "its connect timeout does not begin"
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


def test_a_connect_that_is_nested_too_deeply_closes_the_connection() -> None:
	"""Its payload is kept, for handlers in another process too; a Node process could not be told of any socket."""

	async def test(it: Setting) -> None:
		for levels, joined in ((SAFE_DEPTH - 1, True), (SAFE_DEPTH, False), (1000, False)):
			wire = it.client()
			wire.send(text(f'40/a,{{"a":{"[" * levels}{"]" * levels}}}'))
			assert (bool(it.application.sockets), wire.transport.closing) == (joined, not joined)
			it.application.sockets.clear()
		assert it.server.counters.invalid == 2

	run(test)


@pytest.mark.parametrize(("values", "joined"), [(100, True), (2000, False)])
def test_a_connect_that_takes_much_memory_closes_the_connection(values: int, joined: bool) -> None:
	"""An empty list is 3 bytes of JSON, and 64 in memory."""

	async def test(it: Setting) -> None:
		wire = it.client()
		wire.send(text(f'40/a,{{"a":[{",".join(["[]"] * values)}]}}'))
		assert (bool(it.application.sockets), wire.transport.closing) == (joined, not joined)
		assert it.server.counters.invalid == (not joined)

	run(test)


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


@pytest.mark.parametrize(
	("late", "ignored"),
	[
		pytest.param(text('43/a,1["yes"]'), True, id="acknowledgement"),
		pytest.param(
			text('461-/a,1[{"_placeholder":true,"num":0}]') + masked(Opcode.BINARY, b"yes"),
			True,
			id="binary acknowledgement",
		),
		pytest.param(text('42/a,["event"]'), False, id="event"),
		pytest.param(
			text('451-/a,["event",{"_placeholder":true,"num":0}]') + masked(Opcode.BINARY, b"data"),
			False,
			id="binary event",
		),
	],
)
def test_only_an_acknowledgement_may_arrive_while_its_client_connects_again(
	late: bytes, ignored: bool
) -> None:
	"""socket.io-client keeps events until it is connected, but not the acknowledgement of an event from before."""

	async def test(it: Setting) -> None:
		decision: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
		it.decide = lambda namespace, auth: decision
		wire = it.client("/a")
		wire.send(late)
		assert wire.transport.closing is not ignored
		decision.set_result(Admission(None))
		await turns()
		assert len(it.application.sockets) == ignored

	run(test)


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
		assert packets_of(wire) == ['42/a,1["question"]', "41/a,"] + ["41/b,"] * close
		assert wire.transport.closing is close
		assert (
			it.application.calls == ["connect /a", "connect /b", "disconnect /a"] + ["disconnect /b"] * close
		)
		assert it.application.ends == [("server namespace disconnect", set())] * (1 + close)
		assert answer.cancelled()
		assert not socket.connected

	run(test)


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


@pytest.mark.parametrize(
	"late",
	[b'42/a,["late"]', b'451-/a,["late",{"_placeholder":true,"num":0}]\x1ebeA=='],
	ids=["text", "binary"],
)
def test_a_client_on_polling_is_sent_the_disconnect_before_its_connection_is_closed(late: bytes) -> None:
	"""Otherwise its next poll would fail, and socket.io-client would reconnect by itself."""

	async def test(it: Setting) -> None:
		polling, posting = FakeClient(it.engine), FakeClient(it.engine)
		polling.send(request())
		query = f"transport=polling&sid={open_packet(polling.received())['sid']}"
		polling.send(request(query=query))
		posting.send(request("POST", query, b"40/a,"))
		assert b'40/a,{"sid":' in polling.received()
		[socket] = it.application.sockets
		socket.emit("bye")
		socket.disconnect(close=True)
		assert it.application.ends == [("server namespace disconnect", set())]
		posting.received()
		posting.send(request("POST", query, late))
		assert posting.received().endswith(b"\r\n\r\nok")
		assert it.application.events == []
		polling.send(request(query=query))
		assert polling.received().endswith(b'\r\n\r\n42/a,["bye"]\x1e41/a,')
		polling.send(request(query=query))
		assert polling.received().endswith(b"\r\n\r\n1")
		assert not it.engine.connections

	run(test)
