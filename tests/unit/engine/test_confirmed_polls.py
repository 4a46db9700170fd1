"""Polling GETs whose response travels over another sidecar, where it may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from realtime.engine import Connection, Encoded
from realtime.engine.polling import PollingConnection
from tests.unit.engine.fakes import FakeClient, open_packet, request


class ForwardedPoll:
	"""A GET that another sidecar has forwarded; keeps its response."""

	is_confirmed = True

	def __init__(self) -> None:
		self.payload: str | None = None

	def unread(self, connection: PollingConnection) -> int:
		return 0

	def respond_payload(self, payload: str) -> None:
		self.payload = payload


def with_connection(test: Callable[[FakeClient, Connection], None]) -> None:
	"""Run a test with a polling client that has sent no GET yet."""

	async def run() -> None:
		client = FakeClient()
		client.send(request())
		assert open_packet(client.received())
		test(client, client.listener.opened[0])
		client.engine.close()

	asyncio.run(run())


@pytest.mark.parametrize("upgrading", [False, True])
def test_the_next_poll_waits_until_the_response_before_is_confirmed(upgrading: bool) -> None:
	def test(client: FakeClient, connection: Connection) -> None:
		first, second = ForwardedPoll(), ForwardedPoll()
		connection.send(Encoded("one"))
		assert connection.on_poll_request(first)
		assert first.payload == "4one"
		if upgrading:
			connection.start_upgrade()
		else:
			connection.send(Encoded("two"))
		assert connection.on_poll_request(second)
		if not upgrading:
			connection.send(Encoded("three"))
		assert second.payload is None
		connection.confirm(second, delivered=True)
		assert second.payload is None, "it has no response yet"
		connection.confirm(first, delivered=True)
		assert second.payload == ("6" if upgrading else "4two\x1e4three")

	with_connection(test)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_lost_response_ends_the_session(repeated: bool) -> None:
	"""Also if a proxy has repeated the GET: nothing later may reach the client, which would not notice the loss."""

	def test(client: FakeClient, connection: Connection) -> None:
		first, again = ForwardedPoll(), ForwardedPoll()
		connection.send(Encoded("lost"))
		assert connection.on_poll_request(first)
		if repeated:
			assert connection.on_poll_request(again)
		connection.send(Encoded("later"))
		connection.confirm(first, delivered=False)
		assert again.payload == ("1" if repeated else None)
		assert client.listener.closed == ["transport error"]
		assert not connection.on_poll_request(ForwardedPoll())

	with_connection(test)


def test_a_session_that_ends_for_another_reason_answers_the_repeated_poll() -> None:
	def test(client: FakeClient, connection: Connection) -> None:
		first, again = ForwardedPoll(), ForwardedPoll()
		connection.send(Encoded("lost"))
		assert connection.on_poll_request(first)
		assert connection.on_poll_request(again)
		connection.send(Encoded("later"))
		connection.close("forced close")
		assert again.payload == "1"
		connection.confirm(first, delivered=False)
		assert client.listener.closed == ["forced close"]

	with_connection(test)


def test_a_response_that_nothing_followed_is_confirmed() -> None:
	def test(client: FakeClient, connection: Connection) -> None:
		first, second = ForwardedPoll(), ForwardedPoll()
		connection.send(Encoded("one"))
		assert connection.on_poll_request(first)
		connection.confirm(first, delivered=True)
		assert connection.on_poll_request(second)
		assert second.payload is None
		connection.send(Encoded("two"))
		assert second.payload == "4two"

	with_connection(test)
