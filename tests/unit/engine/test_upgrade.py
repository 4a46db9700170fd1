"""The upgrade from polling to WebSocket: the probe, and the messages that are sent meanwhile."""

from __future__ import annotations

import asyncio

from websockets.frames import Opcode

from realtime.engine import Encoded
from tests.unit.engine.fakes import FakeClient, open_packet, request, websocket_request
from tests.unit.engine.websocket_clients import frames, masked, text
from tests.unit.virtual_time import in_virtual_time


def polling() -> tuple[FakeClient, str]:
	"""Return a client that has connected by polling, and its session id."""
	client = FakeClient()
	client.send(request())
	return client, open_packet(client.received())["sid"]


def test_upgrade_loses_no_message_and_keeps_their_order() -> None:
	async def run() -> None:
		client, sid = polling()
		connection = client.listener.opened[0]
		connection.send(Encoded("1"))
		client.send(request(query=f"transport=polling&sid={sid}"))
		assert client.received().endswith(b"\r\n\r\n41")
		client.send(request(query=f"transport=polling&sid={sid}"))
		probe = FakeClient(client.engine)
		probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		probe.received()
		probe.send(text("2probe"))
		assert frames(probe.received()) == [(Opcode.TEXT, b"3probe")]
		assert client.received().endswith(b"\r\n\r\n6"), "the pending GET gets a noop packet"
		connection.send(Encoded("2"))
		connection.send(Encoded("3", b"bytes"))
		assert probe.received() == b"", "no message is sent on the WebSocket before the upgrade packet"
		probe.send(text("5"))
		assert frames(probe.received()) == [
			(Opcode.TEXT, b"42"),
			(Opcode.TEXT, b"43"),
			(Opcode.BINARY, b"bytes"),
		]
		connection.send(Encoded("4"))
		assert frames(probe.received()) == [(Opcode.TEXT, b"44")]
		assert connection.transport_name == "websocket"
		client.engine.close()

	asyncio.run(run())


def test_failed_probe_keeps_polling() -> None:
	async def run() -> None:
		client, sid = polling()
		for sent in (text("5"), text("2other"), masked(Opcode.BINARY, b"x"), b"\0\0\0\0"):
			probe = FakeClient(client.engine)
			probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
			probe.send(sent)
			assert probe.transport.closed
		client.send(request("POST", f"transport=polling&sid={sid}", b"4hello"))
		assert client.listener.messages == ["hello"]
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(run())


def test_second_upgrade_is_rejected() -> None:
	"""A second WebSocket would neither be pinged nor closed with the connection."""

	async def run() -> None:
		client, sid = polling()
		probes = [FakeClient(client.engine) for _ in range(2)]
		for probe in probes:
			probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		for probe in probes:
			probe.send(text("2probe"))
		for probe in probes:
			probe.send(text("5"))
		assert [probe.transport.closed for probe in probes] == [False, True]
		probes[0].send(text("4hello"))
		assert client.listener.messages == ["hello"]
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(run())


def test_polls_while_the_pong_of_the_probe_is_delayed_are_answered_after_pauses() -> None:
	"""A client on a fast network would otherwise send hundreds of them, more than it may before it has logged in."""

	@in_virtual_time
	async def run() -> None:
		client, sid = polling()
		poll = request(query=f"transport=polling&sid={sid}")
		probe = FakeClient(client.engine)
		probe.send(websocket_request(f"transport=websocket&EIO=4&sid={sid}"))
		client.send(poll)
		probe.send(text("2probe"))
		loop = asyncio.get_running_loop()
		until, answers = loop.time() + 1.0, 0
		while loop.time() < until:
			if response := client.received():
				assert response.endswith(b"\r\n\r\n6")
				answers += 1
				client.send(poll)
			else:
				await asyncio.sleep(0.01)
		assert 4 <= answers <= 8
		if client.received():
			client.send(poll)
		client.listener.opened[0].send(Encoded("news"))
		assert client.received().endswith(b"\r\n\r\n4news"), "a packet does not wait for the pause"
		client.send(poll)
		await asyncio.sleep(1)
		assert client.received().endswith(b"\r\n\r\n6")
		probe.received()
		probe.send(text("5"))
		assert client.listener.opened[0].transport_name == "websocket"
		client.engine.close()

	run()
