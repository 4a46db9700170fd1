"""Presence with real clients: one sidecar and two, connections that break, and access that ends."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from frappe_realtime.contract import (
	ASK_ONLINE,
	ASK_PRESENCE,
	ASK_USERS,
	PRESENCE,
	PRESENCE_JOIN,
	PRESENCE_LEAVE,
	PRESENCE_SET,
	PRESENCE_SYNC,
	session_key,
)
from frappe_realtime.errors import PresenceRefused, SidecarUnavailable
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.questions import ask_sidecars
from realtime.demo.model import WEBSITE_USER, User
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, SITES, Bench
from tests.wire.clients import POLLING, WEBSOCKET
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW
from tests.wire.presence import Watcher
from tests.wire.recoveries import answer as connect_answer
from tests.wire.recoveries import event as event_of
from tests.wire.recoveries import first as connect_first
from tests.wire.recoveries import recover
from tests.wire.sidecars import MakePair, Pair, metric, others
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


@pytest.mark.parametrize("how", ["permission", "logout"])
@pytest.mark.parametrize("kind", ["document", "doctype", "site", "room"])
def test_withdrawn_access_ends_each_kind_of_place(
	make_bench: MakeBench, connect: Connect, connect_node: ConnectNode, kind: str, how: str
) -> None:
	"""At once, although a member that has lost its connection would stay for the grace."""
	bench = make_bench(start=False, common={"realtime_presence_grace_seconds": 600})
	write_handlers(bench, "lobby", LOBBY)
	install(bench, "lobby")
	bench.start()
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


# -- two sidecars


def both(pair: Pair, connect: Connect, place: str) -> tuple[User, User, Watcher, Watcher]:
	"""Return two users, each present through one of the sidecars."""
	ann, ben = pair.first.user(), pair.first.user()
	here = Watcher(connect(pair.first, ann), place, {"at": "first"})
	there = Watcher(connect(pair.second, ben), place, {"at": "second"})
	for one in (here, there):
		one.sees(ann.name, ben.name)
		one.sees_state(here.id, {"at": "first"})
		one.sees_state(there.id, {"at": "second"})
	return ann, ben, here, there


def test_two_sidecars_and_one_is_killed(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, here, there = both(pair, connect, place)
	there.client.emit(PRESENCE_SET, place, {"page": 7})
	here.sees_state(there.id, {"at": "second", "page": 7})
	pair.second.sidecar.kill()
	here.sees(ann.name)
	pair.second.sidecar.start()
	pair.wait_until_together()
	late = Watcher(connect(pair.second, ben), place)
	late.sees(ann.name, ben.name)
	here.sees(ann.name, ben.name)
	late.sees_state(here.id, {"at": "first"})


def test_a_client_of_the_killed_sidecar_comes_back_through_the_other(
	make_pair: MakePair, connect: Connect
) -> None:
	pair = make_pair(realtime_presence_grace_seconds=60)
	place, ann, ben = place_of(pair.first), pair.first.user(), pair.first.user()
	here = Watcher(connect(pair.first, ann), place)
	old, known, offset = connect_first(pair.second, ben)
	joined = json.dumps([PRESENCE_JOIN, place, {"page": 1}])
	old.send(f"42/{APP_SITE},{joined}")
	here.sees_state(known["sid"], {"page": 1})
	pair.second.sidecar.kill()
	new = recover(pair.first, ben, known["pid"], offset)
	assert connect_answer(new) == known
	events: Iterator[Any] = iter(lambda: event_of(new), None)
	sync = next(event[1] for event in events if event[0] == PRESENCE_SYNC)
	assert (sync["me"]["id"], sync["me"]["state"]) == (known["sid"], {"page": 1})
	until(lambda: others(pair.first) == [], "the end of the other sidecar")
	changed = json.dumps([PRESENCE_SET, place, {"page": 2}])
	new.send(f"42/{APP_SITE},{changed}")
	here.sees_state(known["sid"], {"page": 2})
	assert here.roster.left == []
	assert here.roster.users() == sorted([ann.name, ben.name])


def test_a_sidecar_stops_and_its_client_comes_back_through_the_other(
	make_pair: MakePair, connect: Connect
) -> None:
	pair = make_pair(realtime_presence_grace_seconds=60)
	place, ben = place_of(pair.first), pair.first.user()
	here = Watcher(connect(pair.first, pair.first.user()), place)
	old, known, offset = connect_first(pair.second, ben)
	joined = json.dumps([PRESENCE_JOIN, place, {"page": 1}])
	old.send(f"42/{APP_SITE},{joined}")
	here.sees_state(known["sid"], {"page": 1})
	pair.second.sidecar.stop()
	until(lambda: others(pair.first) == [], "the end of the other sidecar")
	new = recover(pair.first, ben, known["pid"], offset)
	assert connect_answer(new) == known
	new.send(f"42/{APP_SITE},{json.dumps([PRESENCE_SET, place, {'page': 2}])}")
	here.sees_state(known["sid"], {"page": 2})
	assert here.roster.left == []


def test_messages_that_are_lost_between_sidecars(make_pair: MakePair, connect: Connect) -> None:
	"""A peer that misses a message requests a snapshot."""
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, here, there = both(pair, connect, place)
	pair.first.valkey.client.client_kill_filter(_type="pubsub", skipme=True)
	there.client.emit(PRESENCE_SET, place, {"page": 1})
	here.client.emit(PRESENCE_SET, place, {"page": 2})
	here.sees_state(there.id, {"at": "second", "page": 1})
	there.sees_state(here.id, {"at": "first", "page": 2})
	assert here.roster.users() == there.roster.users() == sorted([ann.name, ben.name])


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


def test_a_process_of_frappe_asks_one_of_two_sidecars(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	place = place_of(pair.first)
	ann, ben, *_ = both(pair, connect, place)
	assert ask(pair.first, ASK_PRESENCE, place=place)["count"] == 2
	users = sorted(ask(pair.first, ASK_ONLINE))
	assert users == sorted([ann.name, ben.name])
	pair.second.sidecar.kill()
	until(lambda: ask(pair.first, ASK_ONLINE) == [ann.name], "the end of the other sidecar")


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
