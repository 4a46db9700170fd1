"""A process that stops: no request of a client fails because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from realtime.engine import Connection, Encoded
from realtime.engine.engine import LINGER_SECONDS
from tests.unit.engine.fakes import FakeClient, open_packet, request, websocket_request
from tests.unit.engine.test_confirmed_polls import ForwardedPoll
from tests.unit.engine.websocket_clients import text
from tests.unit.virtual_time import in_virtual_time

PATIENCE = 30.0

Scenario = Callable[[FakeClient, str, "asyncio.Task[None]"], Awaitable[None]]


def draining(
	scenario: Scenario, before: Callable[[FakeClient, str], None] = lambda client, sid: None
) -> None:
	"""Run a scenario with a polling client that is between two polls when the engine begins to drain."""

	@in_virtual_time
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		before(client, sid)
		drain = asyncio.ensure_future(client.engine.drain(PATIENCE))
		await asyncio.sleep(0)
		await scenario(client, sid, drain)
		await asyncio.wait_for(drain, PATIENCE / 2)
		assert client.listener.closed == ["server shutting down"]
		assert not client.engine.connections
		client.engine.close()

	run()


def test_the_next_poll_brings_what_waits_and_the_one_after_it_the_close() -> None:
	"""In one payload, socket.io-client would handle the message after the close, and get it again when it recovers."""

	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		assert client.listener.closed == []
		connection = client.listener.opened[0]
		connection.send(Encoded("last"))
		client.send(request(query=f"transport=polling&sid={sid}"))
		response = client.received()
		assert response.endswith(b"\r\n\r\n4last")
		assert b"Connection: close\r\n" in response, "the client has to find another process"
		connection.send(Encoded("too late"))
		again = FakeClient(client.engine)
		again.send(request(query=f"transport=polling&sid={sid}"))
		assert again.received().endswith(b"\r\n\r\n1")

	draining(scenario)


def test_a_pending_poll_is_answered_at_once() -> None:
	def before(client: FakeClient, sid: str) -> None:
		client.send(request(query=f"transport=polling&sid={sid}"))

	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		assert client.received().endswith(b"\r\n\r\n1")

	draining(scenario, before)


def test_a_post_before_the_next_poll_is_handled() -> None:
	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		other = FakeClient(client.engine)
		other.send(request("POST", f"transport=polling&sid={sid}", b"4hello"))
		assert other.received().endswith(b"\r\n\r\nok")
		assert client.listener.messages == ["hello"]
		client.send(request(query=f"transport=polling&sid={sid}"))

	draining(scenario)


def test_requests_that_were_on_their_way_when_the_client_was_told() -> None:
	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		client.send(request(query=f"transport=polling&sid={sid}"))
		post, upgrade = FakeClient(client.engine), FakeClient(client.engine)
		post.send(request("POST", f"transport=polling&sid={sid}", b"4late"))
		assert post.received().startswith(b"HTTP/1.1 200 ")
		assert client.listener.messages == []
		upgrade.send(websocket_request(f"EIO=4&transport=websocket&sid={sid}"))
		assert upgrade.received().startswith(b"HTTP/1.1 101 ")
		made_up = FakeClient(client.engine)
		made_up.send(request("POST", "transport=polling&sid=none", b"4x"))
		assert made_up.received().startswith(b"HTTP/1.1 400 ")

	draining(scenario)


def test_a_post_that_arrives_some_time_after_the_client_was_told() -> None:
	"""Another process may have accepted it, and passes it on while this one drains."""

	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		client.send(request(query=f"transport=polling&sid={sid}"))
		await asyncio.sleep(0.9 * LINGER_SECONDS)
		assert not drain.done()
		post = FakeClient(client.engine)
		post.send(request("POST", f"transport=polling&sid={sid}", b"4late"))
		assert post.received().startswith(b"HTTP/1.1 200 ")

	draining(scenario)


@pytest.mark.parametrize("waits", [True, False])
def test_a_poll_whose_response_is_not_confirmed_yet(waits: bool) -> None:
	"""The close follows what the client may still miss, and is not sent if it has missed it."""
	first, second = ForwardedPoll(), ForwardedPoll()

	def before(client: FakeClient, sid: str) -> None:
		connection = client.listener.opened[0]
		connection.send(Encoded("one"))
		assert connection.on_poll_request(first)
		if waits:
			assert connection.on_poll_request(second)

	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		connection: Connection = client.listener.opened[0]
		assert second.payload is None
		if not waits:
			assert connection.on_poll_request(second)
		assert second.payload is None
		connection.confirm(first, delivered=True)
		assert second.payload == "1"

	draining(scenario, before)


def test_clients_on_websocket_stay_until_the_others_have_left() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(websocket_request())
		await client.engine.drain(PATIENCE)
		assert client.listener.closed == []
		client.received()
		client.engine.close()
		assert client.listener.closed == ["server shutting down"]
		assert client.received().startswith(b"\x88")

	asyncio.run(run())


def test_an_upgrade_that_is_under_way_is_completed() -> None:
	"""Its client does not poll any more, and would not notice before its ping timeout that the connection is closed."""
	upgrade: list[FakeClient] = []

	def before(client: FakeClient, sid: str) -> None:
		upgrade.append(FakeClient(client.engine))
		upgrade[0].send(websocket_request(f"EIO=4&transport=websocket&sid={sid}"))
		upgrade[0].send(text("2probe"))

	async def scenario(client: FakeClient, sid: str, drain: asyncio.Task[None]) -> None:
		assert client.listener.closed == []
		upgrade[0].received()
		upgrade[0].send(text("5"))
		assert upgrade[0].received().startswith(b"\x88")

	draining(scenario, before)


def test_a_client_that_does_not_poll_is_not_waited_for_any_longer() -> None:
	@in_virtual_time
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		await client.engine.drain(0.0)
		assert client.listener.closed == []
		client.engine.close()
		assert client.listener.closed == ["server shutting down"]

	run()
