"""The cluster adapter, over a channel that loses messages: the members of rooms converge."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime.cluster import publish_queue, publisher
from realtime.cluster.adapter import MISSED_HEARTBEATS
from realtime.socketio.namespace import ServerSocket
from tests.unit.cluster.processes import SITE, Channel, Process, beat, settle


@pytest.fixture(autouse=True, scope="module")
def no_pause() -> Iterator[None]:
	"""Retry at once after Redis was unavailable."""
	with pytest.MonkeyPatch.context() as patch:
		patch.setattr(publish_queue, "RETRY_PAUSE", 0)
		yield


MOVES = st.lists(
	st.one_of(
		st.tuples(st.just("move"), st.integers(0, 5), st.sampled_from("xyz")),
		st.tuples(st.just("say"), st.integers(0, 5), st.sampled_from("xyz")),
		st.tuples(st.just("come or go"), st.integers(0, 5), st.just("")),
		st.tuples(st.just("pass"), st.just(0), st.just("")),
		st.tuples(st.just("beat"), st.just(0), st.just("")),
		st.tuples(st.just("away"), st.just(0), st.just("")),
	),
	max_size=30,
)


@settings(deadline=None)
@given(MOVES, st.integers(0), st.floats(0, 0.7))
# Parts of two snapshots arrive, and the others are lost.
@example([("say", 0, "x"), ("beat", 0, ""), ("move", 0, "x"), ("beat", 0, "")], 196, 0.125)
def test_members_converge(moves: Any, seed: int, lossy: float) -> None:
	async def test() -> None:
		# Not hypothesis's own dice: how often they are thrown depends on the sockets' ids, which differ each time.
		dice = Random(seed)
		channel = Channel()
		processes = [Process(channel) for _ in range(3)]
		sockets = [process.socket(f"user {n}") for n in range(2) for process in processes]
		extra: dict[int, ServerSocket] = {}
		channel.loses = lambda: dice.random() < lossy
		for what, number, room in moves:
			if what == "move":
				socket = sockets[number]
				(socket.leave if room in socket.rooms else socket.join)(room)
			elif what == "say":
				processes[number % 3].say(f"user {number}", room)
			elif what == "come or go":
				process = processes[number % 3]
				if number in extra:
					process.go(extra.pop(number))
				else:
					extra[number] = process.come(f"extra {number}")
					extra[number].join("x")
			elif what == "away":
				channel.away = not channel.away
			elif what == "beat":
				await beat(*processes)
			else:
				await settle()
		channel.away, channel.loses = False, lambda: False
		await beat(*processes, times=4)
		for process in processes:
			expected: dict[str, list[str]] = {}
			for other in processes:
				if other is not process:
					for room, users in other.rooms().items():
						expected[room] = sorted(expected.get(room, []) + users)
			assert process.rooms_elsewhere() == expected
			assert process.listed_elsewhere() == {
				id: user for one in processes if one is not process for id, user in one.listed().items()
			}
			said = {
				(*place, id): member
				for one in processes
				for *place, id, member in one.presence.local_members()
			}
			assert process.said() == said

	asyncio.run(test())


def test_a_process_is_announced_when_it_and_all_others_know_each_other() -> None:
	async def test() -> None:
		channel = Channel()
		first, second = Process(channel), Process(channel)
		await beat(first, second)
		new = Process(channel)
		announced: list[int] = []
		new.adapter.announced.connect(lambda: announced.append(len(new.adapter.peers)))
		# The heartbeat of the new process is received, and the answers of the others are lost.
		losses = iter([False])
		channel.loses = lambda: next(losses, True)
		await beat(new)
		assert (len(first.adapter.peers), announced) == (2, [])
		losses = iter([False])
		await beat(first)
		assert (len(new.adapter.peers), announced) == (1, [])
		channel.loses = lambda: False
		await beat(second)
		assert announced[0] == 2

	asyncio.run(test())


def test_a_process_without_others_is_announced_at_once() -> None:
	async def test() -> None:
		alone = Process(Channel())
		announced: list[bool] = []
		alone.adapter.announced.connect(lambda: announced.append(True))
		await beat(alone)
		assert announced

	asyncio.run(test())


def test_a_silent_peer_is_removed_and_its_members_are_reported() -> None:
	async def test() -> None:
		channel = Channel()
		stays, dies = Process(channel), Process(channel)
		dies.socket("ann").join("room")
		await beat(stays, dies, times=2)
		assert stays.rooms_elsewhere() == {"room": ["ann"]}
		channel.adapters.remove(dies.adapter)
		stays.changes.clear()
		await beat(stays, times=MISSED_HEARTBEATS)
		assert stays.rooms_elsewhere() == {"room": ["ann"]}
		assert stays.listed_elsewhere() == dies.listed() != {}
		await beat(stays)
		assert stays.rooms_elsewhere() == {}
		assert stays.listed_elsewhere() == {}
		assert stays.changes == [(SITE, "room", {"ann"})]
		assert not stays.publisher.present
		assert stays.namespaces._observers == stays.namespaces[SITE].observers == ()

	asyncio.run(test())


def test_what_a_killed_peer_had_of_a_client_ends_when_it_recovers_elsewhere() -> None:
	"""For a third process, and for the one that has the client now; nobody sees the socket leave."""

	async def test() -> None:
		channel = Channel()
		killed, here, third = Process(channel), Process(channel), Process(channel)
		ann, ben = killed.come("ann"), killed.come("ben")
		for socket in (ann, ben):
			socket.join("room")
		await beat(killed, here, third, times=2)
		channel.adapters.remove(killed.adapter)
		third.changes.clear()
		left: list[bool] = []
		third.members.moved.connect(lambda namespace, id, room, inside: left.append(not inside))
		again = here.come("ann", ann.id)
		again.join("room")
		here.publisher.socket_moved(again)
		await settle()
		assert third.rooms_elsewhere() == {"room": ["ann", "ben"]}
		assert third.listed_elsewhere() == {ann.id: "ann", ben.id: "ben"}
		assert here.rooms_elsewhere() == {"room": ["ben"]}
		assert here.listed_elsewhere() == {ben.id: "ben"}
		assert left == []
		here.go(again)
		await settle()
		assert third.rooms_elsewhere() == {"room": ["ben"]}
		assert third.listed_elsewhere() == {ben.id: "ben"}
		assert left == [True]

	asyncio.run(test())


def test_a_socket_is_listed_before_and_after_its_rooms() -> None:
	"""A handler that finds an id in a room finds its socket too."""

	async def test() -> None:
		channel = Channel()
		one, other = Process(channel), Process(channel)
		await beat(one, other, times=2)
		seen: list[tuple[bool, bool]] = []
		other.members.moved.connect(
			lambda namespace, id, room, inside: seen.append(
				(inside, other.sockets.get(namespace, id) is not None)
			)
		)
		socket = one.come("ann")
		socket.join("room")
		await settle()
		one.go(socket)
		await settle()
		assert seen == [(True, True), (False, True)]
		assert other.listed_elsewhere() == {}

	asyncio.run(test())


def test_a_command_reaches_the_process_of_the_socket() -> None:
	async def test() -> None:
		channel = Channel()
		one, other = Process(channel), Process(channel)
		await beat(one, other, times=2)
		socket = one.come("ann")
		await settle()
		other.sockets.command(SITE, socket.id, "join", "room")
		await settle()
		assert socket.rooms == {"room"}
		assert other.members.rooms_of(SITE, socket.id) == ("room",)
		other.sockets.command(SITE, socket.id, "leave", "room")
		await settle()
		assert socket.rooms == set()
		published = len(channel.published)
		one.sockets.command(SITE, socket.id, "join", "here")
		assert socket.rooms == {"here"}
		await settle()
		assert [payload.split(b" ")[1] for payload in channel.published[published:]] == [b"changes"]

	asyncio.run(test())


def test_no_peer_is_removed_while_redis_is_unavailable() -> None:
	async def test() -> None:
		channel = Channel()
		one, other = Process(channel), Process(channel)
		await beat(one, other, times=2)
		channel.away = True
		await beat(one, other, times=10)
		assert one.adapter.peers
		channel.away = False
		await beat(one, other)
		assert one.adapter.peers

	asyncio.run(test())


def test_a_burst_of_heartbeats_counts_once() -> None:
	"""A process whose event loop was blocked receives all of its own at once, before those of its peers."""

	async def test() -> None:
		channel = Channel()
		one, other = Process(channel), Process(channel)
		await beat(one, other, times=2)
		own = [payload for payload in channel.published if payload.startswith(one.publisher.id.encode())]
		alive = next(payload for payload in own if b" alive " in payload)
		for _ in range(10):
			one.adapter.take(alive)
		assert one.adapter.peers

	asyncio.run(test())


def test_a_single_sidecar_publishes_heartbeats_only() -> None:
	async def test() -> None:
		channel = Channel()
		process = Process(channel)
		await beat(process)
		socket = process.socket("ann")
		socket.join("room")
		process.fanout.emit(socket.namespace, ["room"], "event", (1,))
		await settle()
		assert process.namespaces[SITE].observers == ()
		assert [payload.split(b" ")[1] for payload in channel.published] == [b"alive"]

	asyncio.run(test())


def test_too_many_changes_are_replaced_by_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
	most = 1000
	monkeypatch.setattr(publisher, "MAX_CHANGES", most)

	async def test() -> None:
		channel = Channel()
		one, other = Process(channel), Process(channel)
		await beat(one, other, times=2)
		socket = one.socket("ann")
		for number in range(most + 10):
			socket.join(str(number))
			assert len(one.publisher._changes) <= most
		await beat(one, other, times=3)
		assert other.members.count == most + 10

	asyncio.run(test())


def test_the_publish_queue_is_bounded() -> None:
	async def test() -> None:
		channel = Channel()
		one, other = Process(channel, realtime_sidecar_unsent=10_000), Process(channel)
		await beat(one, other)
		socket = one.socket("ann")
		for _ in range(20):
			one.fanout.emit(socket.namespace, None, "event", ("x" * 1000,))
		assert one.publisher.queue._size <= 10_000
		assert len(one.limits) >= 10
		assert set(one.limits) == {"realtime_sidecar_unsent"}

	asyncio.run(test())


def test_a_sidecar_is_announced_when_its_heartbeat_has_come_back() -> None:
	"""From then on it may create sessions: the others know where to forward their requests."""

	async def test() -> None:
		channel = Channel()
		old, new = Process(channel), Process(channel)
		announced: list[bool] = []
		new.adapter.announced.connect(lambda: announced.append(new.publisher.id in old.adapter.peers))
		channel.away = True
		await beat(new)
		assert announced == []
		channel.away = False
		await beat(new)
		assert announced[0] is True

	asyncio.run(test())
