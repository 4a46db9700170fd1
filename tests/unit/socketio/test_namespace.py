"""Namespaces, rooms and sockets: membership, observers, and what a socket is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realtime.engine import Encoded
from realtime.socketio.namespace import CALL_NUMBERS, Namespaces, ServerSocket
from tests.unit.socketio.fakes import SITE, add_socket, remove_socket

PID = "p" * 24


class Observer:
	"""Records changes of rooms."""

	def __init__(self) -> None:
		self.changes: list[tuple[str, str]] = []

	def joined(self, socket: ServerSocket, room: str) -> None:
		self.changes.append(("joined", room))

	def left(self, socket: ServerSocket, room: str) -> None:
		self.changes.append(("left", room))


def sent(socket: ServerSocket) -> list[str]:
	"""Return the packets that were sent to a socket."""
	connection: Any = socket.connection
	return [str(text) for text in connection.sent]


def test_joining_and_leaving_a_room() -> None:
	namespaces, observer = Namespaces(), Observer()
	namespaces.observe(observer)
	socket = add_socket(namespaces)
	socket.join("room")
	socket.join("room")
	assert socket.namespace.members("room") == (socket,)
	socket.leave("room")
	socket.leave("room")
	assert socket.rooms == set()
	assert socket.namespace.rooms == {}
	assert observer.changes == [("joined", "room"), ("left", "room")]


def test_a_disconnected_socket_joins_nothing() -> None:
	socket = add_socket(Namespaces())
	remove_socket(socket)
	socket.join("room")
	assert socket.rooms == set()
	assert socket.namespace.rooms == {}


def test_observers_of_namespaces_that_exist_and_of_later_ones() -> None:
	namespaces, first, second = Namespaces(), Observer(), Observer()
	old = add_socket(namespaces)
	for observer in (first, second):
		namespaces.observe(observer)
	new = add_socket(namespaces, site="two.test")
	namespaces.unobserve(second)
	for socket in (old, new, add_socket(namespaces, site="three.test")):
		socket.join("room")
	assert second.changes == []
	assert first.changes[0] == ("joined", "room")
	assert old.namespace.observers == (first,)


def test_the_offset_at_which_a_room_was_joined() -> None:
	namespaces = Namespaces()
	socket, plain = add_socket(namespaces, pid=PID), add_socket(namespaces)
	socket.namespace.offset = "5-0"
	for one in (socket, plain):
		one.join("now")
		one.join("before", "3-0")
	assert socket.joined_at == {"now": "5-0", "before": "3-0"}
	assert plain.joined_at == {"now": "", "before": ""}, "it cannot recover"
	socket.leave("now")
	assert socket.joined_at == {"before": "3-0"}
	socket.namespace.offset = "7-0"
	socket.join("now")
	assert socket.joined_at["now"] == "7-0"
	assert remove_socket(socket) == {"now": "7-0", "before": "3-0"}, "they are needed for the session"
	assert socket.joined_at == {}


@pytest.mark.parametrize(("entries", "more"), [({}, ""), ({"calls": True}, ',"calls":true')])
@pytest.mark.parametrize("pid", [None, PID])
def test_the_answer_to_connect(pid: str | None, entries: dict[str, Any], more: str) -> None:
	"""With what a client has missed, and then the offset."""
	socket = add_socket(Namespaces(entries), pid=pid)
	socket.namespace.offset = "5-0"
	socket.send_connect([Encoded("missed")] if pid else [])
	if pid:
		assert sent(socket) == [
			f'0/{SITE},{{"sid":"{socket.id}","pid":"{pid}"{more}}}',
			"missed",
			f'2/{SITE},["frappe_realtime:offset","5-0"]',
		]
	else:
		assert sent(socket) == [f'0/{SITE},{{"sid":"{socket.id}"{more}}}']


@pytest.mark.parametrize(("pid", "end"), [(None, ""), (PID, ',"5-0"')])
def test_an_event_for_one_socket(pid: str | None, end: str) -> None:
	socket = add_socket(Namespaces(), pid=pid)
	socket.namespace.offset = "5-0"
	socket.emit("event", 1)
	assert sent(socket) == [f'2/{SITE},["event",1{end}]']


def test_an_acknowledgement_from_before_a_reconnect_answers_no_later_call() -> None:
	"""Clients send it with the number of the event as soon as they are connected again."""

	async def run() -> None:
		namespaces = Namespaces(first_call=CALL_NUMBERS - 1)
		before = add_socket(namespaces, id="one")
		earlier = before.call("question", 1)
		assert sent(before) == [f'2/{SITE},{CALL_NUMBERS - 1}["question",1]']
		remove_socket(before)
		before.cancel_acks()
		namespaces.discard_empty(before.namespace)
		assert earlier.cancelled()
		after = add_socket(namespaces, id="one")
		later = after.call("question", 2)
		assert sent(after) == [f'2/{SITE},0["question",2]'], "below 32 bits, for clients in Java"
		assert not after.acknowledged(CALL_NUMBERS - 1, ["to the first"])
		assert after.acknowledged(0, ["to the second"])
		assert later.result() == ["to the second"]

	asyncio.run(run())


def test_calls_and_their_acknowledgements() -> None:
	async def run() -> None:
		socket = add_socket(Namespaces(), pid=PID)
		first, second = socket.call("question", 1), socket.call("question", 2)
		assert sent(socket) == [f'2/{SITE},1["question",1]', f'2/{SITE},2["question",2]']
		assert socket.acknowledged(2, ["two"])
		assert not socket.acknowledged(2, ["again"])
		assert not socket.acknowledged(3, ["unknown"])
		assert second.result() == ["two"]
		first.cancel()
		await asyncio.sleep(0)
		assert not socket.acknowledged(1, ["too late"])
		third = socket.call("question", 3)
		socket.cancel_acks()
		assert third.cancelled()
		remove_socket(socket)
		count = len(sent(socket))
		assert socket.call("question", 4).cancelled()
		assert len(sent(socket)) == count

	asyncio.run(run())
