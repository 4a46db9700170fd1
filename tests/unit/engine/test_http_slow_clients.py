"""HTTP clients that do not read their responses, or take their time to send a request."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.engine.fakes import FakeClient, FakeTransport, open_packet, request, websocket_request
from tests.unit.virtual_time import in_virtual_time


def test_client_that_reads_no_responses_is_not_read() -> None:
	"""Otherwise its responses would pile up; each can be as long as its Origin header."""

	async def run() -> None:
		client = FakeClient()
		client.send(request())
		client.transport.protocol.pause_writing()
		assert not client.transport.reading
		client.transport.protocol.resume_writing()
		assert client.transport.reading
		client.engine.close()

	asyncio.run(run())


UNREAD_RESPONSES = {
	"keep-alive": request(),
	"Connection: close": request(headers="Connection: close\r\n"),
	"preflight": request("OPTIONS"),
	"HTTP error": b"no http at all\r\n\r\n",
	"rejected WebSocket": websocket_request("EIO=4&transport=websocket&sid=none"),
}


@pytest.mark.parametrize("sent", UNREAD_RESPONSES.values(), ids=UNREAD_RESPONSES.keys())
def test_client_that_does_not_read_is_closed(sent: bytes) -> None:
	async def run() -> None:
		client = FakeClient(flush_timeout=0.01, keep_alive_timeout=0.01)
		client.transport.counts_unsent = True
		client.send(sent)
		assert client.transport.unsent
		while not client.transport.closed:
			await asyncio.sleep(0)
		client.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))


def test_rejected_second_websocket_is_closed_when_not_read() -> None:
	async def run() -> None:
		first = FakeClient(flush_timeout=0.01)
		first.send(websocket_request())
		sid = next(iter(first.engine.connections))
		second = FakeClient(first.engine)
		second.transport.counts_unsent = True
		second.send(websocket_request(f"EIO=4&transport=websocket&sid={sid}"))
		while not second.transport.closed:
			await asyncio.sleep(0)
		assert not first.transport.closed
		first.engine.close()

	asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize("later", [False, True], ids=["the first request", "a later one"])
def test_a_request_that_begins_when_hardly_any_time_is_left_has_as_much_again(later: bool) -> None:
	@in_virtual_time
	async def run() -> None:
		client = FakeClient(ping_interval=1000.0)
		settings = client.engine.settings
		client.send(request())
		sid = open_packet(client.received())["sid"]
		post = request("POST", f"transport=polling&sid={sid}", b"4hello")
		poster = client if later else FakeClient(client.engine)
		timeout = settings.keep_alive_timeout if later else settings.head_timeout
		await asyncio.sleep(0.9 * timeout)
		poster.send(post[:30])
		await asyncio.sleep(0.5 * timeout)
		poster.send(post[30:-3])
		await asyncio.sleep(0.4 * timeout)
		poster.send(post[-3:])
		assert poster.received().endswith(b"\r\n\r\nok")
		assert client.listener.messages == ["hello"]
		client.engine.close()

	run()


def test_a_connection_that_was_used_before_may_be_idle_for_longer_than_a_new_one() -> None:
	@in_virtual_time
	async def run() -> None:
		engine = FakeClient().engine
		new, used = FakeTransport(), FakeTransport()
		for transport, protocol in ((new, engine.protocol()), (used, engine.next_protocol())):
			transport.protocol = protocol
			protocol.connection_made(transport)
		await asyncio.sleep(engine.settings.head_timeout + 1)
		assert (new.closed, used.closed) == (True, False)
		await asyncio.sleep(engine.settings.keep_alive_timeout - engine.settings.head_timeout)
		assert used.closed
		engine.close()

	run()


def test_client_that_sends_no_request_is_closed() -> None:
	async def run() -> None:
		client = FakeClient(head_timeout=0.01)
		transport: FakeTransport = client.transport
		while not transport.closed:
			await asyncio.sleep(0)
		assert not client.engine.http_transports

	asyncio.run(asyncio.wait_for(run(), 10))
