"""The channel of the sidecars: what does not go over it, what comes over it and is no sidecar's, and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.sidecars import CHANNEL, PYTHON, MakePair, Pair, metric, others
from tests.wire.two_sidecars.clients import passed

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
	"a socket without a name": forged("returned", [], json.dumps([[f"/{APP_SITE}", ""]])),
	"many sockets": forged("returned", [], json.dumps([["/a", str(n)] for n in range(1001)])),
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
		forged("returned", [], json.dumps([["/elsewhere.test", "x"], [f"/{APP_SITE}", "x"]])),
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
