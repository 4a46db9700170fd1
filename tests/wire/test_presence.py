"""Presence with real clients: connections that break, access that ends, and questions of Frappe's processes."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from frappe_realtime.contract.presence import (
	ASK_ONLINE,
	ASK_PRESENCE,
	ASK_USERS,
	PRESENCE,
	PRESENCE_JOIN,
	PRESENCE_LEAVE,
	PRESENCE_SET,
)
from frappe_realtime.contract.redis_keys import session_key
from frappe_realtime.errors import PresenceRefused, SidecarUnavailable
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.questions import ask_sidecars
from realtime.demo.model import WEBSITE_USER
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, SITES, Bench
from tests.wire.clients import POLLING, WEBSOCKET
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.presence import Watcher
from tests.wire.recoveries import first as connect_first
from tests.wire.sidecars import metric
from tests.wire.test_access import tell


def place_of(bench: Bench) -> str:
	return f"doc:ToDo/{bench.document()}"


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids="+".join)
def test_members_come_change_and_go(
	every_bench: Bench, connect: Connect, site: str, transports: tuple[str, ...]
) -> None:
	bench, place = every_bench, place_of(every_bench)
	ann, ben = bench.user(site), bench.user(site)
	first = Watcher(connect(bench, ann, site, transports=transports), place, {"page": 1})
	second = Watcher(connect(bench, ben, site, transports=transports), place)
	for one in (first, second):
		one.sees(ann.name, ben.name)
		one.sees_state(first.id, {"page": 1})
	answer: Any = first.client.call(PRESENCE_SET, place, {"page": 2, "field": "due"})
	assert answer["version"] > first.answer["me"]["version"]
	second.sees_state(first.id, {"page": 2, "field": "due"})
	second.client.emit(PRESENCE_SET, place, {"typing": True}, 1)
	first.has_seen_state(second.id, {"typing": True})
	first.sees_state(second.id, {})
	assert second.client.call(PRESENCE_LEAVE, place) == {}
	first.sees(ann.name)
	second.client.close()


def test_a_stranger_is_refused(bench: Bench, connect: Connect) -> None:
	place, user = place_of(bench), bench.user(user_type=WEBSITE_USER)
	client = connect(bench, user)
	for name in (place, "doctype:ToDo", "site", "room:chat"):
		assert client.call(PRESENCE_JOIN, name)["error"]["code"] == "not_permitted", name
	bench.site().allow(user.name, "ToDo", place.rpartition("/")[2])
	tell(bench, "user", user=user.name)
	until(lambda: "me" in client.call(PRESENCE_JOIN, place), "the permission counts")


@pytest.mark.parametrize("how", ["permission", "deleted", "logout"])
def test_access_that_is_withdrawn(bench: Bench, connect: Connect, how: str) -> None:
	place, ann, ben = place_of(bench), bench.user(), bench.user()
	name = place.rpartition("/")[2]
	leaver = connect(bench, ben)
	stays, goes = Watcher(connect(bench, ann), place), Watcher(leaver, place)
	stays.sees(ann.name, ben.name)
	if how == "deleted":
		tell(bench, "doc", doctype="ToDo", name=name)
		until(lambda: stays.roster.ended == "not_permitted", "the end of the place")
	elif how == "permission":
		bench.site().forbid(ben.name, "ToDo", name)
		tell(bench, "changed", doctype="ToDo", name=name)
		stays.sees(ann.name)
	else:
		bench.site().disable(ben.name)
		tell(bench, "user", user=ben.name)
		stays.sees(ann.name)
		until(lambda: not leaver.connected, "the end of the session")
		return
	until(lambda: goes.roster.ended == "not_permitted", "the end of the membership")
	assert goes.roster.members == {}


def test_access_that_ends_while_the_web_process_forbids_each_question(bench: Bench, connect: Connect) -> None:
	"""A role is taken away: the user's rooms are checked one by one."""
	ann, ben = bench.user(), bench.user()
	places = [place_of(bench) for _ in range(4)]
	stays = [Watcher(connect(bench, ann), place) for place in places]
	client = connect(bench, ben)
	goes = [Watcher(client, place) for place in places]
	for one in stays:
		one.sees(ann.name, ben.name)
	bench.site().forbid(ben.name, "ToDo")
	tell(bench, "doctype", doctype="ToDo")
	for one in stays:
		one.sees(ann.name)
	until(lambda: all(one.roster.ended for one in goes), "the end of all memberships")


def test_the_place_of_a_room(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False)
	write_handlers(
		bench,
		"chat",
		"""
from frappe.realtime import realtime

@realtime.on("enter")
async def enter(socket):
	await socket.join("chat:1")
	return True

@realtime.on("exit")
async def exit(socket):
	await socket.leave("chat:1")
""",
	)
	install(bench, "chat")
	bench.start()
	ann, ben = bench.user(), bench.user()
	clients = [connect(bench, ann), connect(bench, ben)]
	for client in clients:
		assert client.call("enter")
	first, second = (Watcher(client, "room:chat:1") for client in clients)
	first.sees(ann.name, ben.name)
	second.client.emit("exit")
	first.sees(ann.name)
	until(lambda: second.roster.ended, "the end of the membership")
	assert second.roster.members == {}


LOBBY = """
from frappe.realtime import realtime

@realtime.on("enter")
async def enter(socket):
	await socket.join("lobby")
	return True

@realtime.on("expel")
async def expel(socket, sid):
	await socket.nsp.sockets[sid].leave("lobby")
"""


@pytest.fixture(scope="module")
def lobby_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench with a room of handlers, and a grace that outlasts the tests."""
	bench = make_shared_bench(start=False, common={"realtime_presence_grace_seconds": 600})
	write_handlers(bench, "lobby", LOBBY)
	install(bench, "lobby")
	return bench.start()


@pytest.mark.parametrize("how", ["permission", "logout"])
@pytest.mark.parametrize("kind", ["document", "doctype", "site", "room"])
def test_withdrawn_access_ends_each_kind_of_place(
	lobby_bench: Bench, connect: Connect, connect_node: ConnectNode, kind: str, how: str
) -> None:
	"""At once, although a member that has lost its connection would stay for the grace."""
	bench = lobby_bench
	ann, ben, document = bench.user(), bench.user(), place_of(bench)
	place = {"document": document, "doctype": "doctype:ToDo", "site": "site", "room": "room:lobby"}[kind]
	watching, leaving = connect(bench, ann), connect_node(bench, NEW, ben)
	if kind == "room":
		assert watching.call("enter")
		assert leaving.call("enter")
	stays, goes = Watcher(watching, place), Watcher(leaving, place)
	stays.sees(ann.name, ben.name)
	if how == "logout":
		bench.site().disable(ben.name)
		tell(bench, "user", user=ben.name)
	elif kind == "room":
		watching.emit("expel", leaving.state()["id"])
	else:
		if kind == "site":
			ben.user_type = WEBSITE_USER
		else:
			bench.site().forbid(ben.name, "ToDo", document.rpartition("/")[2] if kind == "document" else "")
		tell(bench, "user", user=ben.name)
	stays.sees(ann.name)
	if how == "permission" and kind != "site":
		until(lambda: goes.roster.ended == "not_permitted", "the end of the membership")
		assert goes.roster.members == {}
	else:
		leaving.wait_for("disconnect")
	# A client that is closed may stay a member for the grace, and the next test is in the same place.
	assert watching.call(PRESENCE_LEAVE, place) == {}


def test_no_state_is_kept_in_redis(bench: Bench, connect: Connect) -> None:
	"""Not even of a client that can recover: its session has the room of the place."""
	place = place_of(bench)
	raw, known, _ = connect_first(bench, bench.user())
	joined = json.dumps([PRESENCE_JOIN, place, {"secret": "needle"}])
	raw.send(f"42/{APP_SITE},{joined}")
	second = Watcher(connect(bench, bench.user()), place)
	second.sees_state(known["sid"], {"secret": "needle"})
	redis = bench.valkey.client
	session = session_key(APP_SITE, known["pid"])
	until(lambda: place in str(redis.get(session)), "the session with the room")
	assert "needle" not in str(redis.get(session))
	for key in redis.scan_iter("frappe_realtime:*"):
		dumped = redis.dump(key) or b""
		assert b"needle" not in dumped, key
	raw.close()


def test_a_node_client_that_reconnects_is_the_same_member(
	bench: Bench, connect: Connect, connect_node: ConnectNode
) -> None:
	place, ann, ben = place_of(bench), bench.user(), bench.user()
	node = connect_node(bench, NEW, ben)
	there = Watcher(node, place, {"page": 1})
	first = Watcher(connect(bench, ann), place)
	first.sees(ann.name, ben.name)
	node.cut()
	node.connect(2)
	assert node.state()["recovered"]
	node.emit(PRESENCE_SET, place, {"page": 2})
	first.sees_state(there.id, {"page": 2})
	assert first.roster.left == []
	assert there.roster.users() == sorted([ann.name, ben.name])


def test_a_node_client_that_goes_leaves_at_once(
	bench: Bench, connect: Connect, connect_node: ConnectNode
) -> None:
	place, ann = place_of(bench), bench.user()
	node = connect_node(bench, NEW, bench.user())
	first = Watcher(connect(bench, ann), place)
	there = Watcher(node, place)
	until(lambda: first.roster.count == 2, "two members")
	node.disconnect()
	first.sees(ann.name)
	assert first.roster.left == [there.id]


def test_limits_are_reported(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_presence_places": 2, "realtime_presence_state_bytes": 20})
	client = connect(bench, bench.user())
	places = [place_of(bench) for _ in range(3)]
	answers = [client.call(PRESENCE_JOIN, place) for place in places]
	assert "realtime_presence_places is 2" in answers[2]["error"]["message"]
	assert client.next("limit_reached")[0]["limit"] == "realtime_presence_places"
	answer = client.call(PRESENCE_SET, places[0], {"text": "x" * 20})
	assert answer["error"]["code"] == "limit"
	assert metric(bench, 'limit_reached_total{limit="realtime_presence_state_bytes"}') == 1
	assert metric(bench, "presence_members") == 2
	assert metric(bench, "presence_places") == 2


def test_one_message_for_each_place_and_interval(bench: Bench, connect: Connect) -> None:
	place = place_of(bench)
	watchers = [Watcher(connect(bench, bench.user()), place) for _ in range(4)]
	until(lambda: all(len(one.roster.members) == 4 for one in watchers), "four members")
	before = metric(bench, "presence_messages_total")
	began = time.monotonic()
	for x in range(50):
		for one in watchers:
			one.client.emit(PRESENCE_SET, place, {"x": x})
	for one in watchers:
		one.client.fence()
	for one in watchers:
		for other in watchers:
			one.sees_state(other.id, {"x": 49})
	sent = metric(bench, "presence_messages_total") - before
	received = [len(one.client.all(PRESENCE)) for one in watchers]
	# The interval is a tenth of a second; members that have lost their connection in earlier tests may leave meanwhile.
	assert sent <= 10 * (time.monotonic() - began) + 10, "200 changes"
	assert all(json.dumps(one.client.all(PRESENCE)[-1]).count('"place"') == 1 for one in watchers)
	assert min(received) >= 1
	assert all(one.roster.went_back == 0 for one in watchers)


# -- questions of Frappe's processes


def ask(bench: Bench, kind: str, patience: float = 10.0, **question: Any) -> Any:
	"""Ask as `frappe_realtime.presence` and `is_online` do."""
	connect = queue_connector({"redis_queue": bench.valkey.url})
	return ask_sidecars(connect, APP_SITE, {"kind": kind, **question}, patience)


def test_a_process_of_frappe_asks(bench: Bench, connect: Connect) -> None:
	place, ann = place_of(bench), bench.user()
	assert ask(bench, ASK_ONLINE, users=[ann.name]) == []
	client = connect(bench, ann)
	assert ask(bench, ASK_ONLINE, users=[ann.name, "nobody"]) == [ann.name]
	assert ann.name in ask(bench, ASK_ONLINE)
	watcher = Watcher(client, place, {"page": 1})
	answer = ask(bench, ASK_PRESENCE, place=place)
	assert [(one["id"], one["state"]) for one in answer["members"]] == [(watcher.id, {"page": 1})]
	users = {"users": [{"user": ann.name, "full_name": ann.full_name}], "count": 1}
	assert ask(bench, ASK_USERS, places=[place, place_of(bench)]) == {place: users}
	client.close()
	until(lambda: ask(bench, ASK_ONLINE, users=[ann.name]) == [], "the end of the user")
	assert ask(bench, ASK_PRESENCE, place=place)["count"] == 0
	with pytest.raises(PresenceRefused):
		ask(bench, ASK_PRESENCE, place="nowhere")


def test_no_sidecar_answers(make_bench: MakeBench) -> None:
	bench = make_bench()
	bench.sidecar.signal(signal.SIGSTOP)
	with pytest.raises(SidecarUnavailable, match="answered within"):
		ask(bench, ASK_ONLINE, 0.2)
	bench.sidecar.signal(signal.SIGCONT)
	bench.sidecar.stop()
	with pytest.raises(SidecarUnavailable, match="Does the sidecar run"):
		ask(bench, ASK_ONLINE)
	bench.valkey.stop()
	with pytest.raises(SidecarUnavailable, match="redis_queue did not take"):
		ask(bench, ASK_ONLINE)
