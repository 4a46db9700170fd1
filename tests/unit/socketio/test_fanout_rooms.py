"""The latency of events that were published with a time."""

from __future__ import annotations

from time import time

import pytest

<<<<<<<< HEAD:tests/unit/socketio/test_fanout.py
from realtime.bus.events import PublishedEvent
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
========
from realtime.engine import Encoded
from realtime.socketio import packets
from realtime.socketio.fanout import Event, Fanout, encode_missed
from realtime.socketio.namespace import Namespaces, ServerSocket
from tests.unit.socketio.fakes import SITE, FakeConnection, add_socket

NAMESPACE = f"/{SITE}"
>>>>>>>> 664e3bd (tests: the new unit tests pass mypy in strict mode):tests/unit/socketio/test_fanout_rooms.py


class Wire:
	def write(self, data: bytes) -> None: ...


class Connection:
	writable_transport = Wire()


<<<<<<<< HEAD:tests/unit/socketio/test_fanout.py
@pytest.fixture
def fanout() -> Fanout:
	"""A fan-out with a socket in the room `room` of one namespace."""
	namespaces = Namespaces()
	namespace = namespaces.open("/site.test")
	socket = ServerSocket(namespace, Connection(), Admission(None))  # type: ignore[arg-type]
	namespace.sockets[socket.id] = socket
	socket.join("room")
	return Fanout(namespaces)
========
def received(socket: ServerSocket) -> list[list[Any]]:
	"""Return the events that were sent to a socket, each with its arguments."""
	connection: Any = socket.connection
	assert isinstance(connection, FakeConnection)
	return [json.loads(str(text).partition(",")[2]) for text in connection.sent]


def event(message: Any, offset: str | None = None, room: str | None = "room") -> Event:
	return Event(NAMESPACE, room, "step", message, offset)


def test_an_event_for_a_room() -> None:
	it = Setting()
	it.fanout.deliver([event(1, "1-0")])
	assert received(it.offset_in) == [["step", 1, "1-0"]]
	assert received(it.plain_in) == [["step", 1]]
	assert received(it.offset_out) == received(it.plain_out) == []
	assert it.namespace.offset == "1-0"
	assert it.fanout.deliveries == 2


def test_an_event_for_a_namespace_and_for_all() -> None:
	it = Setting()
	other = add_socket(it.namespaces, site="two.test")
	it.fanout.deliver([event(1, room=None)])
	assert [len(received(socket)) for socket in it.all] == [1, 1, 1, 1]
	assert received(other) == []
	it.fanout.deliver([Event(None, None, "step", 2)])
	assert received(other) == [["step", 2]]
	assert [received(socket)[-1][1] for socket in it.all] == [2, 2, 2, 2]
	assert it.fanout.deliveries == 9


def test_the_id_of_a_socket_is_its_room() -> None:
	it = Setting()
	it.fanout.deliver([event(1, room=it.plain_out.id)])
	assert [len(received(socket)) for socket in it.all] == [0, 0, 0, 1]


def test_events_for_given_sockets() -> None:
	"""The filter of list updates chooses them."""
	it = Setting()
	it.fanout.send_events(it.namespace, [it.offset_out, it.plain_in], [event(1, "1-0")])
	assert [len(received(socket)) for socket in it.all] == [0, 1, 1, 0]
	assert it.namespace.offset == "1-0"


def test_an_unknown_namespace_or_room_is_ignored() -> None:
	it = Setting()
	it.fanout.deliver([Event("/unknown", None, "step", 1, "1-0"), event(1, "2-0", "unknown")])
	assert [received(socket) for socket in it.all] == [[], [], [], []]
	assert it.namespace.offset == "2-0", "clients have every event of theirs up to here"
	assert it.fanout.deliveries == 0


def test_an_event_without_offset_repeats_the_newest_one() -> None:
	it = Setting()
	it.fanout.deliver([event(1), event(2, "1-0"), event(3), event(4, "2-0"), event(5)])
	assert [args[2] for args in received(it.offset_in)] == ["0-0", "1-0", "1-0", "2-0", "2-0"]
	assert received(it.plain_in) == [["step", number] for number in range(1, 6)]


def test_the_order_across_rooms_and_namespaces() -> None:
	"""Consecutive events for one room share a write; the order of all stays."""
	it = Setting()
	it.plain_in.join("second")
	other = add_socket(it.namespaces, site="two.test")
	events = [
		event(1),
		event(2),
		event(3, room="second"),
		event(4),
		Event("/two.test", "room", "step", 5),
		event(6, room=None),
	]
	writes: list[int] = []
	send = it.plain_in.connection.send

	def count(encoded: Encoded) -> None:
		writes.append(len(encoded.messages))
		send(encoded)

	it.plain_in.connection.send = count  # type: ignore[method-assign]
	it.fanout.deliver(events)
	assert [args[1] for args in received(it.plain_in)] == [1, 2, 3, 4, 6]
	assert writes == [2, 1, 1, 1]
	assert received(other) == []


def test_an_event_of_an_empty_site_is_encoded_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
	it = Setting()
	encoded: list[Any] = []
	monkeypatch.setattr(packets, "encode_event", lambda *args: encoded.append(args))
	it.fanout.deliver([event(1, room="empty")])
	assert encoded == []


@pytest.mark.parametrize("recoverable", [0, 1, 2])
def test_one_encoding_for_each_kind_of_client(monkeypatch: pytest.MonkeyPatch, recoverable: int) -> None:
	"""Where all clients take an offset, or none does, the event is encoded once."""
	namespaces = Namespaces()
	sockets = [
		add_socket(namespaces, pid=f"{number:024}" if number < recoverable else None) for number in range(2)
	]
	calls: list[Any] = []
	encode = packets.encode_event

	def count(*args: Any) -> Encoded:
		calls.append(args)
		return encode(*args)

	monkeypatch.setattr(packets, "encode_event", count)
	Fanout(namespaces).deliver([event(1, "1-0", None)])
	assert len(calls) == 1
	for number, socket in enumerate(sockets):
		assert received(socket) == [["step", 1, "1-0"] if number < recoverable else ["step", 1]]
>>>>>>>> 664e3bd (tests: the new unit tests pass mypy in strict mode):tests/unit/socketio/test_fanout_rooms.py


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
