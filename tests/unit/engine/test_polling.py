"""The polling transport: one GET and one POST at a time, in a session that a request may end or leave as it is."""

from __future__ import annotations

import asyncio
import json

import pytest

from realtime.engine import Encoded
from tests.unit.engine.fakes import FakeClient, open_packet, request
from tests.unit.virtual_time import in_virtual_time


def test_polling_session() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(request("POST", f"transport=polling&sid={sid}", b"4hello\x1e4you"))
		assert client.received().endswith(b"\r\n\r\nok")
		assert client.listener.messages == ["hello", "you"]
		client.send(request(query=f"transport=polling&sid={sid}"))
		assert client.received() == b"", "a GET stays pending until there is a packet"
		client.engine.close()
		assert client.received().endswith(b"\r\n\r\n1")
		assert client.listener.closed == ["server shutting down"]

	asyncio.run(run())


def test_packet_for_a_poll_whose_connection_is_closing_is_not_lost_unnoticed() -> None:
	"""The event loop reports the end of the TCP connection in a later turn. A proxy repeats the poll."""

	async def run() -> None:
		client = FakeClient()
		client.send(request())
		poll = request(query=f"transport=polling&sid={open_packet(client.received())['sid']}")
		client.send(poll)
		client.transport.closing = True
		client.listener.opened[0].send(Encoded("missed"))
		again = FakeClient(client.engine)
		again.send(poll)
		client.transport.protocol.connection_lost(None)
		assert client.listener.closed == ["transport error"]
		assert again.received().endswith(b"\r\n\r\n1")
		client.engine.close()

	asyncio.run(run())


def test_pipelining_closes_the_connection() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(request(query=f"transport=polling&sid={sid}"))
		client.send(request(query=f"transport=polling&sid={sid}"))
		assert client.transport.closed
		assert client.listener.closed == ["transport error"]
		client.engine.close()

	asyncio.run(run())


def test_pipelining_in_one_segment_closes_the_connection() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(
			request("POST", f"transport=polling&sid={sid}", b"4first", "Origin: http://a\r\n")
			+ request("POST", f"transport=polling&sid={sid}", b"4second")
		)
		response = client.received()
		assert response.startswith(b"HTTP/1.1 400 ")
		assert b"Access-Control-Allow-Origin: http://a\r\n" in response, "the page can read it"
		assert client.transport.closed
		assert client.listener.messages == []
		client.engine.close()

	asyncio.run(run())


def test_concurrent_polls_close_the_session() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(request(query=f"transport=polling&sid={sid}"))
		second = FakeClient(client.engine)
		second.send(request(query=f"transport=polling&sid={sid}"))
		assert second.received().startswith(b"HTTP/1.1 400")
		assert client.listener.closed == ["transport error"]
		client.engine.close()

	asyncio.run(run())


def test_concurrent_posts_close_the_session() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		post = request("POST", f"transport=polling&sid={open_packet(client.received())['sid']}", b"4hello")
		first, second = FakeClient(client.engine), FakeClient(client.engine)
		first.send(post[:-1])
		second.send(post)
		assert second.received().startswith(b"HTTP/1.1 400 ")
		assert client.listener.closed == ["transport error"]
		first.send(post[-1:])
		assert first.received().startswith(b"HTTP/1.1 400 ")
		assert client.listener.messages == []
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_websocket_request_without_upgrade_leaves_the_session(method: str) -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		sid = open_packet(client.received())["sid"]
		client.send(request(query=f"transport=polling&sid={sid}"))
		posting, other = FakeClient(client.engine), FakeClient(client.engine)
		post = request("POST", f"transport=polling&sid={sid}", b"4hello")
		posting.send(post[:-1])
		other.send(request(method, f"transport=websocket&sid={sid}", b"4other" if method == "POST" else b""))
		head, _, body = other.received().partition(b"\r\n\r\n")
		assert (head[:13], json.loads(body)["code"]) == (b"HTTP/1.1 400 ", 3)
		posting.send(post[-1:])
		assert client.listener.messages == ["hello"]
		client.listener.opened[0].send(Encoded("1"))
		assert client.received().endswith(b"\r\n\r\n41"), "the pending GET is still the client's"
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(run())


def test_incomplete_post_keeps_the_session() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		post = request("POST", f"transport=polling&sid={open_packet(client.received())['sid']}", b"4hello")
		lost = FakeClient(client.engine)
		lost.send(post[:-1])
		lost.transport.close()
		for _ in range(2):
			client.send(post)
		assert client.listener.messages == ["hello", "hello"]
		assert client.listener.closed == []
		client.engine.close()

	asyncio.run(run())


def test_body_without_a_session_is_not_kept() -> None:
	async def run() -> None:
		for sent in (request("POST", "transport=polling&sid=none", b"4" * 900), request(body=b"4" * 900)):
			client = FakeClient(max_payload=1000)
			client.send(sent[:-1])
			assert client.transport.protocol._body == b""
			client.send(sent[-1:])
			assert client.received()
			client.engine.close()

	asyncio.run(run())


def test_what_waits_is_sent_before_the_connection_is_closed() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		poll = request(query=f"transport=polling&sid={open_packet(client.received())['sid']}")
		[connection] = client.listener.opened
		client.send(poll)
		connection.send(Encoded("first"))
		assert client.received().endswith(b"\r\n\r\n4first")
		connection.send(Encoded("last"))
		connection.close_when_sent("forced close")
		assert client.listener.closed == []
		client.send(poll)
		assert client.received().endswith(b"\r\n\r\n4last")
		client.send(poll)
		assert client.received().endswith(b"\r\n\r\n1")
		assert client.listener.closed == ["forced close"]
		client.engine.close()

	asyncio.run(run())


def test_a_connection_for_which_nothing_waits_is_closed_at_once() -> None:
	async def run() -> None:
		client = FakeClient()
		client.send(request())
		client.send(request(query=f"transport=polling&sid={open_packet(client.received())['sid']}"))
		client.listener.opened[0].close_when_sent("forced close")
		assert client.received().endswith(b"\r\n\r\n1")
		assert client.listener.closed == ["forced close"]
		client.engine.close()

	asyncio.run(run())


def test_a_client_that_does_not_fetch_what_waits_is_closed_after_the_ping_timeout() -> None:
	@in_virtual_time
	async def run() -> None:
		client = FakeClient(ping_interval=25.0, ping_timeout=20.0)
		client.send(request())
		connection = client.listener.opened[0]
		connection.send(Encoded("last"))
		connection.close_when_sent("forced close")
		await asyncio.sleep(46)
		assert client.listener.closed == ["ping timeout"]
		assert not client.engine.connections
		client.engine.close()

	run()
