"""Rooms and other sockets in handlers in JavaScript, presence, and the end of a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode
from tests.wire.javascript_api.chat import run, user_of
from tests.wire.presence import Watcher
from tests.wire.raw import WebSocketSession
from tests.wire.recoveries import answer, first, recover


def test_rooms_contain_the_socket_id_and_the_rooms_of_the_core(one: Client) -> None:
	rooms = {one.id, "all", "website", f"user:{user_of(one)}"}
	assert set(run(one, "return [...socket.rooms]")) == rooms
	assert set(run(one, "return socket.rooms_at_start")) == rooms


def test_join_and_leave_take_effect_at_once(chat_bench: Bench, one: Client) -> None:
	assert run(
		one,
		"""
		const seen = [];
		socket.join("a");
		seen.push(socket.rooms.has("a"), socket.nsp.adapter.rooms.get("a").has(socket.id));
		await socket.join(["b", "c"]);
		seen.push(socket.rooms.has("c"), socket.nsp.adapter.rooms.get("b").size);
		socket.leave("a");
		seen.push(socket.rooms.has("a"), socket.nsp.adapter.rooms.get("a") === undefined);
		return seen;
		""",
	) == [True, True, True, 1, False, True]
	for room in ("a", "b", "c"):
		chat_bench.publish("published", room, room)
	chat_bench.settle(one)
	assert one.all("published") == [("b",), ("c",)]


def test_last_of_several_moves_counts(chat_bench: Bench, one: Client) -> None:
	run(one, 'for (let i = 0; i < 7; i++) { socket.join("x"); socket.leave("x"); socket.join("y"); }')
	until(lambda: run(one, "return socket._pending_moves.size") == 0, "the sidecar's confirmation")
	assert set(run(one, "return [...socket.rooms]")) >= {"y"}
	assert not run(one, 'return socket.rooms.has("x")')
	chat_bench.publish("published", 1, "x")
	chat_bench.publish("published", 2, "y")
	chat_bench.settle(one)
	assert one.all("published") == [(2,)]


def test_join_can_be_replaced(one: Client) -> None:
	assert run(
		one,
		"""
		const join = socket.join;
		socket.join = function (room) { return join.call(this, "mine:" + room); };
		socket.join("a");
		return socket.rooms.has("mine:a");
		""",
	)


def test_rooms_of_subscriptions(chat_bench: Bench, one: Client) -> None:
	name = chat_bench.document()
	chat_bench.join(one, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	assert run(one, f'return socket.rooms.has("doc:ToDo/{name}")')
	one.emit("doc_unsubscribe", "ToDo", name)
	assert not run(one, f'return socket.rooms.has("doc:ToDo/{name}")')
	assert run(one, f'return socket.nsp.adapter.rooms.get("doc:ToDo/{name}") === undefined')


def test_members_of_a_room(one: Client, two: Client) -> None:
	for client in (one, two):
		run(client, 'socket.join("both")')
	assert set(run(one, 'return [...socket.nsp.adapter.rooms.get("both")]')) == {one.id, two.id}
	two.close()
	until(lambda: run(one, 'return socket.nsp.adapter.rooms.get("both").size') == 1, "the other has left")


def test_other_sockets_of_the_namespace(one: Client, two: Client) -> None:
	run(two, 'socket.custom = {"of": "two"}')
	assert run(one, f'return socket.nsp.sockets.get("{two.id}").custom') == {"of": "two"}
	assert run(one, f'return socket.nsp.sockets.get("{one.id}") === socket')
	assert run(
		one, f'return [...socket.nsp.sockets.values()].find((s) => s.id === "{two.id}").user'
	) == user_of(two)
	run(one, f'socket.nsp.sockets.forEach((s) => {{ if (s.id === "{two.id}") s.emit("direct", 1) }})')
	assert two.next("direct") == (1,)
	assert run(one, "return socket.nsp.sockets instanceof Map && socket.nsp.name") == f"/{APP_SITE}"


@pytest.mark.parametrize(
	("code", "receivers"),
	[
		('socket.to("r1").emit("e", 1)', "b"),
		('socket.in("r1").emit("e", 1)', "b"),
		('socket.to("r1").to("r2").emit("e", 1)', "bc"),
		('socket.to(["r1", "r2"]).emit("e", 1)', "bc"),
		('socket.to(["r1", "r2"]).except("r2").emit("e", 1)', ""),
		('socket.broadcast.to("r2").emit("e", 1)', "bc"),
		('socket.nsp.to("r1").emit("e", 1)', "ab"),
		('socket.nsp.in("r1").to("r2").emit("e", 1)', "abc"),
		('socket.nsp.except("r1").to("r2").emit("e", 1)', "c"),
		('socket.except("r1").to("r2").emit("e", 1)', "c"),
		('socket.to(ids.c).emit("e", 1)', "c"),
		('socket.nsp.to(socket.id).emit("e", 1)', "a"),
		('socket.to("nobody").emit("e", 1)', ""),
	],
)
def test_broadcast_to_rooms(chat_bench: Bench, connect: Connect, code: str, receivers: str) -> None:
	clients = {name: connect(chat_bench, chat_bench.user()) for name in "abcd"}
	for name, rooms in {"a": ["r1"], "b": ["r1", "r2"], "c": ["r2"]}.items():
		run(clients[name], f"socket.join({json.dumps(rooms)})")
	ids = json.dumps({name: client.id for name, client in clients.items()})
	run(clients["a"], f"const ids = {ids}; {code}")
	chat_bench.settle(*clients.values())
	assert "".join(name for name, client in clients.items() if client.all("e")) == receivers
	assert all(len(client.all("e")) <= 1 for client in clients.values())
	for client in clients.values():
		client.close()


@pytest.mark.parametrize(("target", "includes_sender"), [("socket.broadcast", False), ("socket.nsp", True)])
def test_broadcast_to_all(
	chat_bench: Bench, connect: Connect, one: Client, two: Client, target: str, includes_sender: bool
) -> None:
	other_site = connect(chat_bench, chat_bench.user(STOCK_SITE), STOCK_SITE)
	run(one, f'{target}.emit("to all", Buffer.from([1]), 2)')
	chat_bench.settle(one, two)
	chat_bench.settle(other_site, site=STOCK_SITE)
	assert two.all("to all") == [(b"\x01", 2)]
	assert bool(one.all("to all")) == includes_sender
	assert other_site.all("to all") == []


@pytest.mark.usefixtures("one")
def test_a_socket_that_has_gone_takes_the_recovered_one_out_of_no_room(chat_bench: Bench) -> None:
	"""They have the same id, and while another client is connected the same namespace."""
	user = chat_bench.user()
	old, known, offset = first(chat_bench, user)
	place = "presence({ room: 'kept' })"
	assert run_raw(old, f"gone = socket; socket.join('kept'); await socket.{place}.join(); return 1") == 1
	old.close()
	new = recover(chat_bench, user, known["pid"], offset)
	assert answer(new)["sid"] == known["sid"]
	same = run_raw(new, "return [gone === socket, gone.id === socket.id, gone.connected]")
	assert same == [False, True, False]
	kept = f"return [socket.rooms.has('kept'), await socket.{place}.count()]"
	until(lambda: run_raw(new, kept) == [True, 1], "the room and the place of the session")
	run_raw(new, f"gone.leave('kept'); await gone.{place}.leave(); return 1")
	assert run_raw(new, kept) == [True, 1]


def run_raw(raw: WebSocketSession, code: str) -> Any:
	"""Run JavaScript in the handlers with the socket of `raw`; return what it returns."""
	raw.send(f"42/{APP_SITE},1{json.dumps(['run', code])}")
	while not (text := str(raw.receive())).startswith(f"43/{APP_SITE},1["):
		pass
	return json.loads(text.partition(",1")[2])[0]


# -- presence


def test_presence(chat_bench: Bench, one: Client, two: Client) -> None:
	place = f"doc:ToDo/{chat_bench.document()}"
	name = place.rpartition("/")[2]
	joins = f"const place = socket.presence('ToDo', '{name}'); await place.join({{ a: 1 }}, {{ ttl: 60 }});"
	assert run(one, f"{joins} await place.set({{ b: 2 }}); return place.place") == place
	watcher = Watcher(two, place)
	watcher.sees_state(one.id, {"a": 1, "b": 2})
	members, count = run(one, f"{joins} return [await place.members(), await place.count()]")
	assert ([member["user"] for member in members], count) == ([user_of(one), user_of(two)], 2)
	run(one, f"await socket.presence('ToDo', '{name}').leave()")
	watcher.sees(user_of(two))
	refused = f"{joins} return place.set({{ a: 'x'.repeat(3000) }}).catch(({{ code }}) => code)"
	assert run(one, refused) == "limit"
	assert run(one, "return [socket.presence().place, socket.presence({ room: 'a' }).place]") == [
		"site",
		"room:a",
	]
	assert run(one, "return socket.presence('ToDo').place") == "doctype:ToDo"
	for arguments in ("'ToDo', null", "undefined, 'x'", "{}", "null"):
		code = (
			f"try {{ socket.presence({arguments}) }} catch ({{ name, message }}) {{ return [name, message] }}"
		)
		name, message = run(one, code)
		assert (name, "names no place" in message) == ("TypeError", True)


# -- disconnecting


def test_disconnect_is_emitted_after_the_rooms_are_left(chat_bench: Bench, one: Client, two: Client) -> None:
	for client in (one, two):
		run(client, 'socket.join("room")')
	run(
		one,
		"""
		socket.on("disconnect", (reason) => {
			const there = socket.nsp.sockets.has(socket.id) || socket.nsp.adapter.rooms.get("room").has(socket.id);
			socket.join("too late");
			socket.to("room").emit("bye", reason, socket.connected, there, [...socket.rooms], socket.user);
			socket.emit("after the disconnect");
		});
		""",
	)
	user = user_of(one)
	one.close()
	reason, *rest = two.next("bye")
	assert reason in ("client namespace disconnect", "transport close")
	assert rest == [False, False, [], user]


def test_presence_after_the_disconnect(chat_bench: Bench, one: Client, two: Client) -> None:
	run(two, "await socket.presence({ room: 'stays' }).join()")
	run(
		one,
		"""
		const place = socket.presence({ room: "stays" });
		await place.join();
		socket.on("disconnect", async () => {
			await place.join({ late: true });
			const rewound = await socket.rewind("stays", "latest");
			const users = (await place.members()).map(({ user }) => user);
			socket.nsp.emit("who stays", users, await place.count(), rewound);
		});
		""",
	)
	one.emit("run", "socket.disconnect()", None)
	assert two.next("who stays") == ([user_of(two)], 1, 0)


def test_handler_disconnects_the_socket(one: Client, two: Client) -> None:
	run(one, 'socket.on("disconnect", (reason) => socket.nsp.emit("left", reason))')
	one.emit("run", 'socket.disconnect(); socket.emit("last", socket.connected)', None)
	assert two.next("left") == ("server namespace disconnect",)
	until(lambda: not one.connected, "the disconnect")


def test_handler_closes_the_connection(
	chat_bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(chat_bench, node_version, chat_bench.user())
	client.emit("run", "socket.disconnect(true)", None)
	assert client.wait_for("disconnect")["disconnect"] in ("io server disconnect", "transport close")
