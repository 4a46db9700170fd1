"""Joined list updates and recovery: whatever a client had received, it gets the rest once, in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.contract.events import LIST_UPDATE, OFFSET_EVENT
from realtime.access.list_update_filter import ListUpdateFilter
from realtime.access.list_update_joiner import ListUpdateJoiner
from realtime.bus.events import PublishedEvent
from realtime.bus.store import Entry
from realtime.config import Config
from realtime.recovery.history import History
from realtime.recovery.positions import START, ClientPosition, parse_client_offset
from realtime.recovery.recovered import Recovered
from realtime.recovery.recovery import Recovery
from realtime.recovery.replay_limit import ReplayLimit
from realtime.recovery.room_access import RoomAccess
from realtime.recovery.sessions import SessionStore
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from tests.unit.recovery.fakes import FakeStore
from tests.unit.recovery.session_stores import FakeRedis
from tests.unit.socketio.fakes import SITE, FakeConnection, add_socket, remove_socket
from tests.unit.virtual_time import in_virtual_time, turns

USER = "ann@example.com"
PID = "p" * 24
LISTS = ("doctype:ToDo", "doctype:Note")

MANY_EVENTS = pytest.mark.no_cover
"""Each line would be measured for each of hundreds of events, and the tests of the joiner and of recovery run the same lines."""


class SlowPermissions:
	"""The user may read everything; the web process takes some time to say so."""

	def __init__(self, chance: random.Random) -> None:
		self.invalidations = self.pending = 0
		self._chance = chance
		self._known: set[str] = set()

	def cached_read(self, site: str, user: str, doctype: str, name: str) -> bool | None:
		return True if name in self._known else None

	def is_unavailable(self, site: str) -> bool:
		return False

	async def query_readers(self, site: str, doctype: str, name: str, users: Iterable[str]) -> None:
		await asyncio.sleep(self._chance.choice((0.01, 0.3)))
		self._known.add(name)

	def has_permission(self, session: Any, doctype: str, name: str) -> bool:
		self._known |= {name} if name else set()
		return True


class Process:
	"""One sidecar from the bus to the sockets, which receives the events with a delay of its own."""

	def __init__(self, store: FakeStore, redis: FakeRedis, chance: random.Random, most: int) -> None:
		config = Config(bench=Path(), realtime_list_updates_per_second=most)
		permissions: Any = SlowPermissions(chance)
		others: Any = SimpleNamespace(
			is_pending=lambda session, rooms: False, is_allowed=lambda session, room: True
		)
		self.namespaces = Namespaces()
		self.filter = ListUpdateFilter(self.namespaces, Fanout(self.namespaces), permissions)
		self.joiner = ListUpdateJoiner(config, self.namespaces, self.filter)
		self.history = History(store, self.joiner.deliver, self.namespaces, 120)  # type: ignore[arg-type]
		self.sessions = SessionStore(redis, self.namespaces, 100)  # type: ignore[arg-type]
		self.recovery = Recovery(
			config,
			self.namespaces,
			self.history,
			self.sessions,
			permissions,
			RoomAccess(permissions, others),
			self.filter,
			self.joiner,
			others,
			ReplayLimit(config, lambda key: None),
		)
		self._chance = chance
		self._queue: list[PublishedEvent] = []
		self._timer: asyncio.TimerHandle | None = None

	def receive(self, event: PublishedEvent) -> None:
		self._queue.append(event)
		if self._timer is None:
			delay = self._chance.choice((0, 0.002, 0.1))
			self._timer = asyncio.get_running_loop().call_later(delay, self._take)

	def _take(self) -> None:
		self._timer, events, self._queue = None, self._queue, []
		self.history.take(events)


class Browser:
	"""A client that knows what it has received, and nothing else."""

	def __init__(self) -> None:
		self.events: list[tuple[str, Any]] = []
		self.offset = ""

	def read(self, messages: Iterable[str | bytes]) -> None:
		for message in messages:
			packet = str(message).partition(",")[2]
			if packet.startswith("{"):
				continue
			name, *arguments, self.offset = json.loads(packet)
			if name != OFFSET_EVENT:
				self.events.append((name, arguments[0]))


class Setting:
	"""Two sidecars, a stream, and a client that moves between them."""

	def __init__(self, seed: int, most: int) -> None:
		self.chance = random.Random(seed)
		self.stream = FakeStore()
		redis = FakeRedis()
		self.processes = [Process(self.stream, redis, self.chance, most) for _ in range(2)]
		self.browser = Browser()
		self.number = 0
		self.published = asyncio.Event()
		self.session: Any = SimpleNamespace(site=SITE, user=USER, user_type="System User", has_app=True)

	def publish(self, event: str, room: str, **fields: Any) -> None:
		self.number += 1
		message = {**fields, "number": self.number}
		payload = {"event": event, "message": message, "room": room, "namespace": SITE}
		id = f"{self.number}-0"
		self.stream.entries.append(Entry(id, json.dumps(payload).encode(), self.stream.last or "0-0"))
		self.stream.last = id
		for process in self.processes:
			published = PublishedEvent(f"/{SITE}", room, event, message, id, site=SITE, size=50)
			published.payload = json.dumps(payload).encode()
			process.receive(published)

	async def publish_randomly(self, count: int, names: int) -> None:
		for _ in range(count):
			room = self.chance.choice((*LISTS, "website"))
			if room == "website" or self.chance.random() < 0.05:
				self.publish("news", room)
			else:
				self.publish(LIST_UPDATE, room, doctype=room[8:], name=str(self.chance.randrange(names)))
			await asyncio.sleep(self.chance.choice((0, 0, 0.01, 0.05, 0.4)))
		self.published.set()

	async def connect(self, process: Process) -> ServerSocket:
		"""Connect the client, with its offset if it has one."""
		auth = {"pid": PID, "offset": self.browser.offset} if self.browser.offset else {}
		await process.history.follow(SITE)
		decision = process.recovery.admit(self.session, auth, True, "192.0.2.1")
		admission = decision if isinstance(decision, Admission) else await decision
		assert bool(auth) == isinstance(admission, Recovered), "the client gets a new session"
		socket = add_socket(process.namespaces, USER, PID, id="socket")
		socket.send_connect(process.recovery.restore(socket, admission))
		for room in ("website", *LISTS):
			socket.join(room)
		return socket

	def receive(self, socket: ServerSocket, count: int) -> None:
		connection: FakeConnection = socket.connection  # type: ignore[assignment]
		self.browser.read(connection.sent[:count])
		del connection.sent[:count]

	async def move(self, moves: int) -> None:
		"""Lose the connection again and again, and reconnect to one of the sidecars."""
		process = self.processes[0]
		socket = await self.connect(process)
		for _ in range(moves):
			await asyncio.sleep(self.chance.choice((0.05, 0.5, 1.3)))
			sent = len(socket.connection.sent)  # type: ignore[attr-defined]
			self.receive(socket, max(2, sent - self.chance.choice((0, 0, 1, 2, 5))))
			await asyncio.sleep(self.chance.choice((0, 0.02, 0.6)))
			rooms = remove_socket(socket)
			process.recovery.on_disconnect(socket, "transport close", rooms)
			await asyncio.sleep(self.chance.choice((0, 0.02, 0.6, 2)))
			process = self.chance.choice(self.processes)
			socket = await self.connect(process)
		await self.published.wait()
		await asyncio.sleep(5)
		self.receive(socket, 1 << 30)


@MANY_EVENTS
@pytest.mark.parametrize("names", [4, 200], ids=["few documents", "many documents"])
@pytest.mark.parametrize("seed", range(30))
def test_a_client_that_moves_gets_everything_once(
	seed: int, names: int, monkeypatch: pytest.MonkeyPatch
) -> None:
	monkeypatch.setattr(random, "uniform", lambda low, high: low)

	@in_virtual_time
	async def test() -> None:
		it = Setting(seed, most=300)
		moving = asyncio.ensure_future(it.move(12))
		await turns(100)
		await it.publish_randomly(300, names)
		await moving
		numbers = [message["number"] for _, message in it.browser.events]
		assert len(numbers) == len(set(numbers)), "no event twice"
		news = [message["number"] for name, message in it.browser.events if name == "news"]
		published = [json.loads(entry.payload) for entry in it.stream.entries]
		assert set(news) == {one["message"]["number"] for one in published if one["event"] == "news"}
		for room in (*LISTS, "website"):
			of_room = {one["message"]["number"] for one in published if one["room"] == room}
			received = [number for number in numbers if number in of_room]
			assert received == sorted(received), f"the order of {room}"
		newest = {
			(message["doctype"], message["name"]): message["number"]
			for one in published
			if one["event"] == LIST_UPDATE
			for message in [one["message"]]
		}
		assert set(newest.values()) <= set(numbers), "the newest update of each document"

	test()


@MANY_EVENTS
@pytest.mark.parametrize("seed", range(20))
def test_the_newest_documents_of_a_large_burst(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(random, "uniform", lambda low, high: low)

	@in_virtual_time
	async def test() -> None:
		it = Setting(seed, most=3)
		moving = asyncio.ensure_future(it.move(6))
		await turns(100)
		await it.publish_randomly(300, names=50)
		await moving
		# An update that the client has missed can lose its name, if the updates to be replayed change meanwhile.
		numbers = [message["number"] for _, message in it.browser.events if "number" in message]
		assert len(numbers) == len(set(numbers))
		assert any(message.get("more") for _, message in it.browser.events)
		for room in LISTS:
			published = [json.loads(entry.payload) for entry in it.stream.entries]
			last = [one["message"]["number"] for one in published if one["room"] == room][-1]
			assert last in numbers, "the last event of the burst"

	test()


@pytest.mark.parametrize(
	("text", "position", "held"),
	[
		("7-1", (7, 1), {}),
		("7-1;5-0=doctype%3AToDo", (7, 1), {"doctype:ToDo": (5, 0)}),
		("7-1;5-0=a%3Bb%3Dc;6-2=d", (7, 1), {"a;b=c": (5, 0), "d": (6, 2)}),
	],
)
def test_the_offset_of_a_client(text: str, position: Any, held: dict[Any, Any]) -> None:
	assert parse_client_offset(text) == ClientPosition(position, held)
	assert ClientPosition(START).after(position, held) == text


@pytest.mark.parametrize("text", [None, "", "7", "7-1;", "7-1;x=room", "7-1;5-0", "7-1" + ";5-0=r" * 65])
def test_an_invalid_offset_of_a_client(text: object) -> None:
	assert parse_client_offset(text) is None
