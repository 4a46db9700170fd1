"""Clients that present an old offset to read events from before they had access."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.demo.model import User
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher
from tests.wire.raw import WebSocketSession

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("enter")
def enter(socket, room):
	socket.join(room)
	return True

@realtime.on("exit")
def exit(socket, room):
	socket.leave(room)
	return True
"""


@pytest.fixture(scope="module", name="shared")
def shared_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench with handlers that join and leave rooms, whose permissions are cached for a moment only."""
	bench = make_shared_bench(start=False, common={"realtime_cache_seconds": 0.001})
	write_handlers(bench, "alpha", HANDLERS)
	install(bench, "alpha")
	return bench.start()


class Tab:
	"""A browser's tab that keeps every offset that it has seen.

	Args:
		bench: The bench.
		user: The user of its session.
		auth: The payload of CONNECT: `{pid, offset}` to recover.
		address: The address of the client, as a proxy names it.
	"""

	def __init__(
		self,
		bench: Bench,
		user: User | str,
		auth: dict[str, Any] | None = None,
		address: str | None = None,
	) -> None:
		self.bench = bench
		self.user = user
		self.address = address
		more = {"User-Agent": "Mozilla/5.0", "X-Forwarded-For": address}
		self.raw = WebSocketSession(bench, bench.headers(user, more=more))
		self.raw.send(f"40/{APP_SITE},{json.dumps(auth or {})}")
		answer = str(self.raw.receive())
		assert answer.startswith(f"40/{APP_SITE},"), answer
		self.pid: str = json.loads(answer.partition(",")[2])["pid"]
		self.recovered = self.pid == (auth or {}).get("pid")
		self.events: list[list[Any]] = []
		self.read_up_to("frappe_realtime:offset")

	def read_up_to(self, name: str) -> None:
		"""Read events up to one of this name."""
		while not self.events or self.events[-1][0] != name:
			text = str(self.raw.receive())
			assert text.startswith("42"), text
			self.events.append(json.loads(text.partition(",")[2]))

	@property
	def offset(self) -> str:
		"""The newest offset."""
		return str(self.events[-1][-1])

	@property
	def secrets(self) -> list[int]:
		"""The messages of the event `secret`."""
		return [event[1] for event in self.events if event[0] == "secret"]

	def call(self, *event: Any) -> None:
		"""Send an event, and wait until it has been handled."""
		self.raw.send(f"42/{APP_SITE},1{json.dumps(event)}")
		while not (text := str(self.raw.receive())).startswith(f"43/{APP_SITE},1["):
			self.events.append(json.loads(text.partition(",")[2]))

	def subscribe(self, name: str) -> None:
		"""Subscribe to a ToDo, and wait until it is in the room."""
		self.raw.send(f'42/{APP_SITE},["doc_subscribe","ToDo","{name}"]')
		self.bench.wait_until_asked("ToDo", name)
		self.call("enter", "fence")

	def reconnect(self, offset: str) -> Tab:
		"""Lose the connection, and recover with an offset."""
		self.raw.close()
		return Tab(self.bench, self.user, {"pid": self.pid, "offset": offset}, self.address)


def test_events_from_before_a_document_was_shared(shared: Bench) -> None:
	publisher = Publisher(shared.valkey.url)
	user, name = shared.user(), shared.document()
	room = f"doc:ToDo/{name}"
	shared.site().forbid(user.name, "ToDo", name)
	tab = Tab(shared, user)
	old = tab.offset
	publisher.publish("secret", 1, room)
	publisher.publish("public", 1)
	tab.read_up_to("public")
	shared.site().allow(user.name, "ToDo", name)
	tab.subscribe(name)
	publisher.publish("secret", 2, room)
	tab.read_up_to("secret")
	again = tab.reconnect(old)
	assert again.recovered
	assert again.secrets == [2]
	publisher.publish("secret", 3, room)
	again.read_up_to("secret")
	# The positions outlive the recovery.
	assert again.reconnect(old).secrets == [2, 3]


def test_events_from_before_a_handler_joined_the_room(shared: Bench) -> None:
	"""Also while the socket was out of the room in between."""
	publisher = Publisher(shared.valkey.url)
	user, room = shared.user(), shared.document()
	tab = Tab(shared, user)
	old = tab.offset
	publisher.publish("secret", 1, room)
	publisher.publish("public", 1)
	tab.read_up_to("public")
	tab.call("enter", room)
	publisher.publish("secret", 2, room)
	tab.read_up_to("secret")
	tab.call("exit", room)
	publisher.publish("secret", 3, room)
	publisher.publish("public", 2)
	tab.read_up_to("public")
	tab.call("enter", room)
	publisher.publish("secret", 4, room)
	tab.read_up_to("secret")
	again = tab.reconnect(old)
	assert again.recovered
	assert again.secrets == [4]


@pytest.mark.parametrize("room", ["user", "website", "all", None], ids=str)
def test_events_from_before_the_session_began(shared: Bench, room: str | None) -> None:
	"""In the rooms that every socket joins, and without a room."""
	publisher = Publisher(shared.valkey.url)
	user = shared.user()
	target: Any = f"user:{user.name}" if room == "user" else room
	earlier = Tab(shared, user)
	old = earlier.offset
	publisher.publish("secret", 1, target)
	earlier.read_up_to("secret")
	tab = Tab(shared, user)
	publisher.publish("secret", 2, target)
	tab.read_up_to("secret")
	again = tab.reconnect(old)
	assert again.recovered
	assert again.secrets == [2]


def test_events_of_system_users_from_before_the_user_was_one(shared: Bench) -> None:
	publisher = Publisher(shared.valkey.url)
	user = shared.user(user_type="Website User")
	tab = Tab(shared, user)
	publisher.publish("secret", 1, "all")
	publisher.publish("public", 1)
	tab.read_up_to("public")
	user.user_type = "System User"
	tab.raw.close()
	again = tab.reconnect(tab.events[0][-1])
	assert again.recovered
	assert again.secrets == []
	publisher.publish("secret", 2, "all")
	again.read_up_to("secret")
	assert again.secrets == [2]


def test_a_session_without_positions_is_not_recovered(shared: Bench) -> None:
	"""An older version wrote it: since when the client was in its rooms is unknown."""
	user = shared.user()
	tab = Tab(shared, user)
	tab.call("enter", "room")
	key = f"frappe_realtime:{APP_SITE}:session:{tab.pid}"
	tab.raw.close()
	record = {"id": "x" * 20, "user": user.name, "rooms": ["website", "room"]}
	pid = "p" * 24
	shared.valkey.client.set(key.replace(tab.pid, pid), json.dumps(record))
	again = Tab(shared, user, {"pid": pid, "offset": tab.offset})
	assert not again.recovered


def test_a_document_that_an_earlier_client_may_read_is_not_named_to_the_next_one(
	make_bench: MakeBench,
) -> None:
	"""Both recover the same `list_update`, which is encoded once."""
	bench = make_bench(start=False)
	write_handlers(bench, "alpha", HANDLERS)
	install(bench, "alpha")
	bench.start()
	publisher = Publisher(bench.valkey.url)
	name = bench.document()
	reader, other = bench.user(), bench.user()
	bench.site().forbid(other.name, "ToDo", name)
	tabs = [Tab(bench, user) for user in (reader, other)]
	for tab in tabs:
		tab.call("enter", "doctype:ToDo")
		tab.raw.close()
	witness = Tab(bench, bench.user())
	publisher.publish("list_update", {"doctype": "ToDo", "name": name}, "doctype:ToDo")
	# What the sidecar has not read yet, the first client would get live.
	publisher.publish("public", 1)
	witness.read_up_to("public")
	named = []
	for tab in tabs:
		again = Tab(bench, tab.user, {"pid": tab.pid, "offset": tab.offset})
		assert again.recovered
		named += [event[1].get("name") for event in again.events if event[0] == "list_update"]
	assert named == [name, None]
