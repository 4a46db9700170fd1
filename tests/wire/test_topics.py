"""Rooms of apps that end with the permission to read a document, in Python and in JavaScript handlers."""

from __future__ import annotations

import pytest

from frappe_realtime.contract.rooms import topic_room
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import start_with_apps
from tests.wire.presence import Watcher
from tests.wire.test_access import hears, leaves, tell

PYTHON = """
from frappe_realtime import realtime, topic_room

@realtime.on("open")
async def open(socket, topic, doctype, name):
	room = topic_room(topic, doctype, name)
	await socket.join(room)
	return room

@realtime.on("rooms")
async def rooms(socket):
	return sorted(socket.rooms)
"""

JAVASCRIPT = """
socket.on("open", (topic, doctype, name, answer) => {
	const room = name ? `topic:${topic}:doc:${doctype}/${name}` : `topic:${topic}:doctype:${doctype}`;
	socket.join(room);
	answer(room);
});
socket.on("rooms", (answer) => answer([...socket.rooms].sort()));
"""


@pytest.fixture(scope="module", params=["python", "javascript"])
def app_bench(request: pytest.FixtureRequest, make_shared_bench: MakeBench) -> Bench:
	"""A bench with an app that lets each client into the topic that it asks for, in each language."""
	if request.param == "javascript":
		return start_with_apps(make_shared_bench, alpha=JAVASCRIPT)
	bench = make_shared_bench(start=False)
	write_handlers(bench, "alpha", PYTHON)
	install(bench, "alpha")
	return bench.start()


def enter(client: Client, topic: str, doctype: str, name: str = "") -> str:
	"""Let a client into the room of a topic, and return the room."""
	room = client.call("open", topic, doctype, name)
	assert room == topic_room(topic, doctype, name)
	return str(room)


@pytest.mark.parametrize("kind", ["user", "changed", "doctype"])
def test_who_may_not_read_the_document_leaves_its_topics(
	app_bench: Bench, connect: Connect, kind: str
) -> None:
	bench = app_bench
	user, other = bench.user(), bench.user()
	mine, others = connect(bench, user), connect(bench, other)
	hidden, shown = bench.document(), bench.document()
	chat, calls = enter(mine, "chat", "ToDo", hidden), enter(mine, "calls", "ToDo", hidden)
	kept = enter(mine, "chat", "ToDo", shown)
	enter(others, "chat", "ToDo", hidden)
	bench.site().forbid(user.name, "ToDo", hidden)
	what = {
		"user": {"user": user.name},
		"changed": {"doctype": "ToDo", "name": hidden},
		"doctype": {"doctype": "ToDo"},
	}
	tell(bench, kind, **what[kind])
	leaves(bench, mine, chat)
	leaves(bench, mine, calls)
	assert hears(bench, mine, kept)
	assert hears(bench, others, chat)
	assert set(mine.call("rooms")) & {chat, calls, kept} == {kept}


def test_who_may_not_read_the_doctype_leaves_its_topics(app_bench: Bench, connect: Connect) -> None:
	bench, user = app_bench, app_bench.user()
	client = connect(bench, user)
	board, kept = enter(client, "board", "ToDo"), enter(client, "board", "Note")
	bench.site().forbid(user.name, "ToDo")
	tell(bench, "user", user=user.name)
	leaves(bench, client, board)
	assert hears(bench, client, kept)


@pytest.mark.parametrize("kind", ["doc", "renamed"])
def test_a_document_that_is_gone_has_no_topics(app_bench: Bench, connect: Connect, kind: str) -> None:
	bench, name = app_bench, app_bench.document()
	client = connect(bench, bench.user())
	room = enter(client, "chat", "ToDo", name)
	what = {"name": name} if kind == "doc" else {"old": name, "new": bench.document()}
	tell(bench, kind, doctype="ToDo", **what)
	leaves(bench, client, room)


def test_the_presence_of_a_topic_ends_with_it(app_bench: Bench, connect: Connect) -> None:
	bench, name = app_bench, app_bench.document()
	ann, ben = bench.user(), bench.user()
	clients = [connect(bench, ann), connect(bench, ben)]
	for client in clients:
		enter(client, "chat", "ToDo", name)
	place = "room:" + topic_room("chat", "ToDo", name)
	stays, goes = (Watcher(client, place) for client in clients)
	stays.sees(ann.name, ben.name)
	bench.site().forbid(ben.name, "ToDo", name)
	tell(bench, "changed", doctype="ToDo", name=name)
	stays.sees(ann.name)
	until(lambda: goes.roster.ended == "not_permitted", "the end of the membership")
