"""The members of rooms, one and many."""

from __future__ import annotations

import random
from typing import Any

import pytest

from realtime.socketio.rooms import Rooms


def test_the_members_of_a_room_keep_the_order_in_which_they_joined() -> None:
	rooms = Rooms()
	a, b, c = sockets(3)
	assert (list(rooms), rooms.members("r"), rooms.get("r"), "r" in rooms) == ([], (), None, False)
	for socket in (b, a, c):
		rooms.add("r", socket)
	assert (list(rooms.members("r")), list(rooms["r"]), len(rooms)) == ([b, a, c], [b, a, c], 1)
	rooms.remove("r", b)
	rooms.remove("r", c)
	assert list(rooms.members("r")) == [a]
	rooms.add("r", b)
	assert list(rooms.members("r")) == [a, b]


def test_a_room_ends_with_its_last_member() -> None:
	rooms = Rooms()
	a, b = sockets(2)
	rooms.add("one", a)
	rooms.add("two", a)
	rooms.add("two", b)
	rooms.remove("one", a)
	for socket in (a, b):
		assert "two" in rooms
		rooms.remove("two", socket)
	assert (dict(rooms), list(rooms), len(rooms), "one" in rooms) == ({}, [], 0, False)
	with pytest.raises(KeyError):
		rooms["one"]


def test_any_sequence_of_changes_is_that_of_plain_dictionaries() -> None:
	chance = random.Random(7)
	rooms, model = Rooms(), dict[str, list[Any]]()
	some = sockets(5)
	for _ in range(3000):
		room, socket = chance.choice("abc"), chance.choice(some)
		members = model.setdefault(room, [])
		if socket in members:
			members.remove(socket)
			rooms.remove(room, socket)
		else:
			members.append(socket)
			rooms.add(room, socket)
		if not members:
			del model[room]
		assert {room: list(members) for room, members in rooms.items()} == model


def sockets(count: int) -> list[Any]:
	"""Return objects that stand for sockets."""
	return [object() for _ in range(count)]
