"""Fan-out: which sockets get an event, with which offset, and in how many writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from realtime.engine import Encoded
from realtime.socketio import packets
from realtime.socketio.fanout import Event, Fanout
from realtime.socketio.namespace import Namespaces, ServerSocket
from tests.unit.socketio.fakes import SITE, FakeConnection, add_socket

NAMESPACE = f"/{SITE}"


class Remote:
	"""Records what is sent to other processes."""

	def __init__(self, present: bool = True) -> None:
		self.present = present
		self.sent: list[tuple[str, Any, str, list[str]]] = []

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		self.sent.append((namespace, rooms, str(encoded.messages[0]), list(excluded)))


class Setting:
	"""Four sockets: two that can recover, one of them in the room, and two that cannot, likewise."""

	def __init__(self, remote: bool = False) -> None:
		self.namespaces = Namespaces()
		self.remote = Remote(remote)
		self.fanout = Fanout(self.namespaces, self.remote)
		self.offset_in, self.offset_out = (add_socket(self.namespaces, pid=letter * 24) for letter in "ab")
		self.plain_in, self.plain_out = (add_socket(self.namespaces) for _ in "ab")
		self.namespace = self.namespaces[NAMESPACE]
		for socket in (self.offset_in, self.plain_in):
			socket.join("room")

	@property
	def all(self) -> list[ServerSocket]:
		"""The four sockets."""
		return [self.offset_in, self.offset_out, self.plain_in, self.plain_out]


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


def test_a_socket_that_is_left_out_is_left_out_also_after_its_client_has_recovered() -> None:
	it = Setting()
	recovered = add_socket(it.namespaces, id=it.plain_out.id)
	recovered.join("room")
	it.fanout.emit(it.namespace, ("room",), "step", (1,), it.plain_out)
	assert [len(received(socket)) for socket in (it.plain_in, it.plain_out, recovered)] == [1, 0, 0]


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


def test_fast_clients_get_frames() -> None:
	namespaces = Namespaces()
	fast = add_socket(namespaces, fast=True)
	fast_with_offset = add_socket(namespaces, pid="p" * 24, fast=True)
	slow = add_socket(namespaces)
	Fanout(namespaces).deliver([event(1, "1-0", room=None)])
	for socket, text in ((fast, b'["step",1]'), (fast_with_offset, b'["step",1,"1-0"]')):
		connection: Any = socket.connection
		assert len(connection.frames) == 1
		assert text in connection.frames[0]
		assert connection.sent == []
	assert received(slow) == [["step", 1]]


def test_an_emit_reaches_each_socket_of_its_rooms_once() -> None:
	it = Setting()
	it.namespace.offset = "7-0"
	it.plain_in.join("second")
	it.plain_out.join("second")
	it.fanout.emit(it.namespace, ["room", "second", "unknown"], "said", [1, 2])
	assert received(it.offset_in) == [["said", 1, 2, "7-0"]]
	assert received(it.plain_in) == received(it.plain_out) == [["said", 1, 2]]
	assert received(it.offset_out) == []


def test_an_emit_to_all_but_one() -> None:
	it = Setting()
	it.fanout.emit(it.namespace, None, "said", [1], but=it.offset_in)
	assert [len(received(socket)) for socket in it.all] == [0, 1, 1, 1]


def test_emits_go_to_other_processes() -> None:
	it = Setting(remote=True)
	it.fanout.emit(it.namespace, ["room"], "said", [1])
	it.fanout.emit(it.namespace, None, "said", [2], but=it.plain_in)
	it.fanout.send(NAMESPACE, ["empty"], Encoded(f'2{NAMESPACE},["said",3]'), ["room"])
	assert it.remote.sent == [
		(NAMESPACE, ["room"], f'2{NAMESPACE},["said",1]', []),
		(NAMESPACE, None, f'2{NAMESPACE},["said",2]', [it.plain_in.id]),
		(NAMESPACE, ["empty"], f'2{NAMESPACE},["said",3]', ["room"]),
	]


def test_an_emit_to_sockets_of_this_process_stays_here() -> None:
	it = Setting(remote=True)
	it.fanout.emit(it.namespace, [it.plain_in.id, it.plain_out.id], "said", [1])
	it.fanout.send(NAMESPACE, [it.plain_in.id], Encoded(f'2{NAMESPACE},["said",2]'))
	assert it.remote.sent == []
	it.fanout.emit(it.namespace, [it.plain_in.id, "unknown id"], "said", [3])
	it.plain_in.join(it.plain_out.id)
	it.fanout.emit(it.namespace, [it.plain_out.id], "said", [4])
	assert len(it.remote.sent) == 2


def test_without_peers_nothing_is_sent_to_other_processes() -> None:
	it = Setting(remote=False)
	it.fanout.emit(it.namespace, ["room"], "said", [1])
	it.fanout.send(NAMESPACE, ["room"], Encoded(f'2{NAMESPACE},["said",2]'))
	assert it.remote.sent == []
	assert len(received(it.plain_in)) == 2


def test_excluded_rooms() -> None:
	it = Setting()
	it.fanout.send_local(NAMESPACE, None, Encoded(f'2{NAMESPACE},["said",1]'), ["room", "unknown"])
	assert [len(received(socket)) for socket in it.all] == [0, 1, 0, 1]
	it.fanout.send_local("/unknown", None, Encoded('2/unknown,["said",1]'))


def test_a_local_emit() -> None:
	it = Setting(remote=True)
	it.fanout.emit_local(it.namespace, "room", "said", {"a": 1})
	it.fanout.emit_local(it.namespace, "empty", "said", 1)
	assert received(it.plain_in) == [["said", {"a": 1}]]
	assert received(it.offset_in) == [["said", {"a": 1}, "0-0"]]
	assert it.remote.sent == []


def test_a_socket_that_leaves_while_it_is_written_to() -> None:
	"""Its connection closes because it reads too slowly; the others of the room are not skipped."""
	it = Setting()
	members: Iterable[ServerSocket] = list(it.namespace.members("room"))
	for socket in members:
		send = socket.connection.send

		def close(encoded: Encoded, socket: ServerSocket = socket, send: Any = send) -> None:
			send(encoded)
			socket.leave("room")

		socket.connection.send = close  # type: ignore[method-assign]
	it.fanout.deliver([event(1)])
	assert [len(received(socket)) for socket in members] == [1, 1]
