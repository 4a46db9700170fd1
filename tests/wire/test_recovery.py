"""Socket.IO's connection state recovery, with the stock JavaScript client and by hand."""

from __future__ import annotations

import json

import pytest

from frappe_realtime.contract.redis_keys import session_key
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import POLLING, WEBSOCKET
from tests.wire.conditions import until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nodejs import NEW, VERSIONS
from tests.wire.publisher import Publisher
from tests.wire.recoveries import (
	AWAY,
	answer,
	disconnected,
	event,
	first,
	messages,
	receives,
	reconnect,
	recover,
)


@pytest.fixture
def publisher(bench: Bench) -> Publisher:
	"""Return a publisher with history on the shared bench."""
	return Publisher(bench.valkey.url)


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING, ("polling", "websocket")], ids=str)
def test_missed_events_are_replayed_once_and_in_order(
	bench: Bench,
	publisher: Publisher,
	connect_node: ConnectNode,
	node_version: str,
	transports: tuple[str, ...],
) -> None:
	user = bench.user()
	client = connect_node(bench, node_version, user, transports=transports, options=AWAY)
	room = f"user:{user.name}"
	publisher.publish("step", 1, room)
	client.next("step")
	id = client.state()["id"]
	disconnected(client)
	publisher.publish("step", 2, room)
	publisher.publish("step", "for another user", "user:somebody@example.com")
	publisher.publish("step", 3, room)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	publisher.publish("step", 4, room)
	until(lambda: 4 in messages(client, "step"), "the live event")
	assert messages(client, "step") == [1, 2, 3, 4]
	assert client.state()["recovered"] is True
	assert client.state()["id"] == id


def test_a_client_without_events_can_recover(
	bench: Bench, publisher: Publisher, connect_node: ConnectNode
) -> None:
	"""It has got an offset with its CONNECT."""
	user = bench.user()
	client = connect_node(bench, NEW, user, options=AWAY)
	disconnected(client)
	publisher.publish("first", 1, f"user:{user.name}")
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert messages(client, "first") == [1]
	assert client.state()["recovered"] is True


def test_rooms_are_restored(bench: Bench, publisher: Publisher, connect_node: ConnectNode) -> None:
	user, name = bench.user(), bench.document()
	client = connect_node(bench, NEW, user, options=AWAY)
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	disconnected(client)
	publisher.publish("missed", 1, f"doc:ToDo/{name}")
	publisher.flush()
	reconnect(client)
	client.connect(2)
	publisher.publish("live", 1, f"doc:ToDo/{name}")
	assert client.next("missed") == (1,)
	assert client.next("live") == (1,)


def test_a_room_without_permission_is_not_restored(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	bench = make_bench(common={"realtime_cache_seconds": 0.001})
	user, name = bench.user(), bench.document()
	client = connect_node(bench, NEW, user, options=AWAY)
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	disconnected(client)
	bench.site().forbid(user.name, "ToDo", name)
	publisher = Publisher(bench.valkey.url)
	publisher.publish("secret", 1, f"doc:ToDo/{name}")
	publisher.publish("public", 1)
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.next("public")
	publisher.publish("secret", 2, f"doc:ToDo/{name}")
	publisher.publish("public", 2)
	client.next("public")
	assert not client.all("secret")


def test_a_permission_that_is_revoked_during_the_recovery(
	make_bench: MakeBench, connect_node: ConnectNode
) -> None:
	"""The rules of the DocType change after the permission was requested and before the client joins the room."""
	bench = make_bench(common={"realtime_cache_seconds": 600})
	publisher = Publisher(bench.valkey.url)
	user = bench.user()
	client = connect_node(bench, NEW, user, options=AWAY)
	bench.join(client, "doc:ToDo/1", "doc_subscribe", "ToDo", "1")
	bench.join(client, "doctype:Note", "doctype_subscribe", "Note")
	disconnected(client)
	# The permission for this note is requested last, and not answered.
	publisher.publish("list_update", {"doctype": "Note", "name": "N"}, "doctype:Note")
	publisher.flush()
	bench.web.fail("has_permissions", hang=True)
	reconnect(client)
	until(
		lambda: ["Note", "N"] in [one for request in list(bench.web.requests) for one in request.questions()],
		"it",
	)
	bench.site().forbid(user.name, "ToDo", "1")
	bench.valkey.client.publish(
		"frappe_realtime:access", json.dumps({"site": APP_SITE, "kind": "doctype", "doctype": "ToDo"})
	)
	until(
		lambda: 'access_messages_total{kind="doctype"} 1' in bench.sidecar.get("/metrics")[1], "the message"
	)
	bench.web.heal()
	client.connect(2)
	assert client.state()["recovered"] is True
	until(lambda: "rooms_withdrawn_total 1" in bench.sidecar.get("/metrics")[1], "the withdrawal")


def test_across_two_kills_in_a_row(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	user, name = bench.user(), bench.document()
	room = f"doc:ToDo/{name}"
	clients = [connect_node(bench, NEW, user, transports=transports) for transports in (WEBSOCKET, POLLING)]
	for client in clients:
		bench.join(client, room, "doc_subscribe", "ToDo", name)
	publisher.publish("step", 1, room)
	for client in clients:
		client.next("step")
	# The second process ends before the clients have reconnected, or just after.
	for number in (2, 3):
		bench.sidecar.kill()
		publisher.publish("step", number, room)
		bench.sidecar.start()
	for client in clients:
		client.connect(2)
	bench.sidecar.kill()
	publisher.publish("step", 4, room)
	bench.sidecar.start()
	for client in clients:
		until(lambda client=client: 4 in messages(client, "step"), "what it has missed")  # type: ignore[misc]
		assert messages(client, "step") == [1, 2, 3, 4]
		assert client.state()["recovered"] is True


def test_two_clients_with_one_session(make_bench: MakeBench) -> None:
	"""The later one recovers it; the other is closed."""
	bench = make_bench()
	publisher, user = Publisher(bench.valkey.url), bench.user()
	old, known, offset = first(bench, user)
	old.close()
	publisher.publish("missed", 1, f"user:{user.name}")
	both = [recover(bench, user, known["pid"], offset) for _ in range(2)]
	# Both have been admitted once both are counted.
	until(lambda: "recovered_total 2" in bench.sidecar.get("/metrics")[1], "both")
	for number in (1, 2):
		publisher.publish("live", number, f"user:{user.name}")
	[winner] = [one for one in both if receives(one, "live", 2)]
	winner.close()
	last = recover(bench, user, known["pid"], offset)
	assert answer(last)["sid"] == known["sid"]
	assert [event(last)[0] for _ in range(3)] == ["missed", "live", "live"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_across_a_restarted_sidecar(make_bench: MakeBench, connect_node: ConnectNode, how: str) -> None:
	bench = make_bench()
	publisher = Publisher(bench.valkey.url)
	name = bench.document()
	room = f"doc:ToDo/{name}"
	clients = [
		connect_node(bench, version, bench.user(), transports=transports)
		for version in VERSIONS
		for transports in (WEBSOCKET, POLLING)
	]
	for client in clients:
		bench.join(client, room, "doc_subscribe", "ToDo", name)
	publisher.publish("step", 1, room)
	for client in clients:
		client.next("step")
	getattr(bench.sidecar, how)()
	publisher.publish("step", 2, room)
	bench.sidecar.start()
	for client in clients:
		client.connect(2)
	publisher.publish("step", 3, room)
	for client in clients:
		until(lambda client=client: 3 in messages(client, "step"), "the live event")  # type: ignore[misc]
		assert messages(client, "step") == [1, 2, 3]
		assert client.state()["recovered"] is True


def test_a_session_that_was_recovered_elsewhere_meanwhile(bench: Bench) -> None:
	"""By a process of which this one has not heard: its socket ends, and does not replace what is kept of the client."""
	old, known, _ = first(bench, bench.user())
	key = session_key(APP_SITE, known["pid"])
	text = until(lambda: bench.valkey.client.get(key), "the session")
	record = {**json.loads(str(text)), "recoveries": 1}
	bench.valkey.client.set(key, json.dumps(record, separators=(",", ":")), keepttl=True)
	old.send(f'42/{APP_SITE},["doc_subscribe","ToDo","{bench.document()}"]')
	assert old.ends()
	assert json.loads(str(bench.valkey.client.get(key))) == record


def test_the_old_connection_is_still_open(bench: Bench, publisher: Publisher, connect: Connect) -> None:
	"""The server has not detected its loss: it is closed, and the user is listed once."""
	user, name = bench.user(), bench.document()
	old, known, offset = first(bench, user)
	room = f"open_doc:ToDo/{name}"
	old.send(f'42/{APP_SITE},["doc_open","ToDo","{name}"]')
	other = connect(bench, bench.user())
	other.emit("doc_open", "ToDo", name)
	until(lambda: other.all("doc_viewers"), "who views it")
	publisher.publish("missed", 1, room)
	until(lambda: other.all("missed"), "the event")
	new = recover(bench, user, known["pid"], offset)
	assert answer(new) == known
	assert event(new)[:2] == ["missed", 1]
	assert old.ends()
	viewers = other.all("doc_viewers")[-1][0]["users"]
	assert sorted(viewers) == sorted(set(viewers))
	assert user.name in viewers


def test_a_session_of_another_user_is_not_recovered(bench: Bench, publisher: Publisher) -> None:
	user = bench.user()
	old, known, offset = first(bench, user)
	publisher.publish("private", 1, f"user:{user.name}")
	assert event(old)[0] == "private"
	stranger = recover(bench, bench.user(), known["pid"], offset)
	theirs = answer(stranger)
	assert theirs["pid"] != known["pid"]
	assert theirs["sid"] != known["sid"]
	assert event(stranger)[0] == "frappe_realtime:offset"


GARBAGE = [
	"",
	"x",
	"1",
	"-1",
	"1-",
	"\u0661-\u0662",
	"1-2-3",
	"9" * 60 + "-0",
	"99999999999999-0",
	7,
	None,
	{"a": 1},
	["1-0"],
]


@pytest.mark.parametrize("offset", GARBAGE, ids=str)
def test_an_invalid_offset(bench: Bench, publisher: Publisher, offset: object) -> None:
	user = bench.user()
	publisher.publish("some", 1)
	old, known, _ = first(bench, user)
	old.close()
	new = recover(bench, user, known["pid"], offset)
	assert answer(new)["pid"] != known["pid"]


@pytest.mark.parametrize(
	"pid", ["", "x" * 24, "*", "a" * 1000, 5, None, ["x"]], ids=lambda pid: repr(pid)[:20]
)
def test_an_invalid_pid(bench: Bench, pid: object) -> None:
	user = bench.user()
	old, _, offset = first(bench, user)
	old.close()
	assert answer(recover(bench, user, pid, offset))["pid"] != pid


def test_no_recovery_after_a_disconnect_by_the_client(bench: Bench, connect_node: ConnectNode) -> None:
	client = connect_node(bench, NEW, bench.user())
	client.disconnect()
	client.wait_for("disconnect")
	client.reconnect()
	client.connect(2)
	assert not client.state()["recovered"]


def test_a_gap_older_than_the_history(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	"""The client gets a new session, and the events that are published from then on."""
	bench = make_bench()
	publisher = Publisher(bench.valkey.url, history_count=10)
	client = connect_node(bench, NEW, bench.user())
	publisher.publish("step", 0)
	client.next("step")
	bench.sidecar.stop()
	for number in range(1, 400):
		publisher.publish("step", number)
	publisher.flush()
	bench.sidecar.start()
	client.connect(2)
	assert not client.state()["recovered"]
	publisher.publish("step", 1000)
	until(lambda: 1000 in messages(client, "step"), "the live event")
	assert messages(client, "step") == [0, 1000]


def test_more_missed_bytes_than_the_limit(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	bench = make_bench(common={"realtime_max_unsent": 20_000})
	publisher = Publisher(bench.valkey.url)
	client = connect_node(bench, NEW, bench.user(), options=AWAY)
	disconnected(client)
	for number in range(30):
		publisher.publish("big", "x" * 1000 + str(number))
	publisher.flush()
	reconnect(client)
	client.connect(2)
	client.fence()
	assert not client.state()["recovered"]
	assert not client.all("big")


def test_how_long_a_session_is_kept(bench: Bench) -> None:
	"""While the client is connected longer than `realtime_recovery_seconds`, afterwards for that time."""
	raw, known, _ = first(bench, bench.user())
	key = f"frappe_realtime:{APP_SITE}:session:{known['pid']}"
	until(lambda: bench.valkey.client.ttl(key) > 120, "the session of a live client")
	raw.close()
	until(lambda: 0 < bench.valkey.client.ttl(key) <= 120, "the session of a client that has gone")


def test_no_session_is_kept_after_a_disconnect(bench: Bench) -> None:
	raw, known, _ = first(bench, bench.user())
	key = f"frappe_realtime:{APP_SITE}:session:{known['pid']}"
	until(lambda: bench.valkey.client.exists(key), "the session")
	raw.send(f"41/{APP_SITE},")
	until(lambda: not bench.valkey.client.exists(key), "the end of the session")
