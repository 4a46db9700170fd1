"""The latency of events that were published with a time."""

from __future__ import annotations

from time import time

import pytest

from realtime.bus.events import PublishedEvent
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket


class Wire:
	def write(self, data: bytes) -> None: ...


class Connection:
	writable_transport = Wire()


@pytest.fixture
def fanout() -> Fanout:
	"""A fan-out with a socket in the room `room` of one namespace."""
	namespaces = Namespaces()
	namespace = namespaces.open("/site.test")
	socket = ServerSocket(namespace, Connection(), Admission(None))  # type: ignore[arg-type]
	namespace.sockets[socket.id] = socket
	socket.join("room")
	return Fanout(namespaces)


def published(seconds_ago: float, room: str = "room") -> PublishedEvent:
	"""An event that Redis appended to the stream at that time."""
	milliseconds = int((time() - seconds_ago) * 1000)
	return PublishedEvent(
		"/site.test", room, "news", 1, f"{milliseconds}-0", site="site.test", position=(milliseconds, 0)
	)


def test_latency_is_the_age_of_an_event_when_it_is_written(fanout: Fanout) -> None:
	fanout.deliver([published(2), published(4)])
	assert sum(fanout.latency.counts) == 2
	assert fanout.latency.total == pytest.approx(6, abs=0.5)


def test_latency_of_a_clock_that_is_ahead_is_zero(fanout: Fanout) -> None:
	fanout.deliver([published(-100)])
	assert fanout.latency.counts[0] == 1
	assert fanout.latency.total == 0


def test_latency_needs_a_socket_and_an_offset(fanout: Fanout) -> None:
	fanout.deliver([published(1, "empty room")])
	fanout.deliver([PublishedEvent("/site.test", "room", "news", 1, site="site.test")])
	assert sum(fanout.latency.counts) == 0
	assert fanout.deliveries == 1
