"""Random sequences of what users, administrators and outages do, against a model of who may receive what.

The model knows users, their tabs, documents and permissions. After each step the test waits until the sidecar has
processed it, so the model is exact: for each tab it has the events that must arrive, in order. One event too many, too
few, twice or out of order fails the test, with the seed and the steps that led to it.

`MODEL_SEEDS=100-200` runs other sequences.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from realtime.demo.model import User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher
from tests.wire.raw import HANDSHAKE

STEPS = 40
DOCTYPE = "ToDo"


def seeds() -> list[int]:
	"""Return the seeds to run; `MODEL_SEEDS` is a range such as 100-200."""
	first, _, last = os.environ.get("MODEL_SEEDS", "1-6").partition("-")
	return list(range(int(first), int(last or first) + 1))


@dataclass
class Tab:
	"""A browser's tab: what it has received, and what the model says that it must receive."""

	user: User
	sid: str
	connection: ClientConnection | None = None
	id: str = ""
	pid: str = ""
	offset: str = ""
	rooms: set[str] = field(default_factory=set)
	"""The documents that the tab is subscribed to, as the model knows it."""
	received: list[int] = field(default_factory=list)
	expected: list[int] = field(default_factory=list)
	missed: list[tuple[str, int]] = field(default_factory=list)
	"""Document and number of the events that were published while the tab was away and its user might read them."""
	_stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

	def open(self, bench: Bench) -> bool:
		"""Connect, with the recovery data of the connection before; return whether the session was recovered."""
		host = f"{APP_SITE}:{bench.sidecar.port}"

		def attempt() -> ClientConnection | None:
			with contextlib.suppress(OSError, InvalidHandshake, ConnectionClosed):
				return self._stack.enter_context(
					connect(
						f"ws://{host}{HANDSHAKE}websocket",
						sock=socket.create_connection(("127.0.0.1", bench.sidecar.port)),
						origin=Origin(f"http://{host}"),
						additional_headers={"Cookie": f"sid={self.sid}", "User-Agent": "Mozilla/5.0"},
						compression=None,
						proxy=None,
					)
				)
			return None

		before = self.id
		while True:
			self.connection = connection = until(attempt, "a connection")
			assert connection
			auth = json.dumps({"pid": self.pid, "offset": self.offset}) if self.pid else ""
			try:
				connection.send(f"40/{APP_SITE},{auth}")
				while not (answer := str(connection.recv(30))).startswith("4"):
					self._handle(answer)
				break
			except ConnectionClosed:
				# Asked to come back later, as socket.io-client does.
				continue
		prefix = f"40/{APP_SITE},"
		assert answer.startswith(prefix), answer
		data = json.loads(answer.removeprefix(prefix))
		self.id, self.pid = data["sid"], data["pid"]
		return self.id == before

	def send(self, event: str, *arguments: Any) -> None:
		"""Send an event."""
		assert self.connection is not None
		self.connection.send(f"42/{APP_SITE},{json.dumps([event, *arguments])}")

	def read_until(self, event: str, number: int | None = None) -> None:
		"""Read until an event arrives, whose first argument is `number` if that is given."""
		while True:
			assert self.connection is not None
			found = self._handle(str(self.connection.recv(30)))
			if found and found[0] == event and (number is None or found[1] == number):
				return

	def _handle(self, message: str) -> list[Any] | None:
		"""Handle one message, and return the event in it with its arguments."""
		if message == "2":
			assert self.connection is not None
			self.connection.send("3")
		prefix = f"42/{APP_SITE},"
		if not message.startswith(prefix):
			return None
		event: list[Any] = json.loads(message.removeprefix(prefix))
		if isinstance(event[-1], str) and len(event) > 1:
			self.offset = event[-1]
		if event[0] == "news":
			self.received.append(event[1])
		return event

	def cut(self) -> None:
		"""Lose the connection without closing it."""
		assert self.connection is not None
		with contextlib.suppress(OSError):
			# Wakes the thread that reads; closing would otherwise wait for it.
			self.connection.socket.shutdown(socket.SHUT_RDWR)
		self._stack.close()
		self.connection = None


class World:
	"""The bench, the tabs and the model."""

	def __init__(self, bench: Bench, seed: int) -> None:
		self.bench = bench
		self.random = random.Random(seed)
		self.publisher = Publisher(bench.valkey.url)
		self.users = [bench.user() for _ in range(3)]
		self.documents = [bench.document() for _ in range(3)]
		self.allowed = {
			(user.name, document): self.random.random() < 0.7
			for user in self.users
			for document in self.documents
		}
		for (user, document), allowed in self.allowed.items():
			(bench.site().allow if allowed else bench.site().forbid)(user, DOCTYPE, document)
		self.tabs = [Tab(user, bench.site().login(user.name)) for user in self.users for _ in range(2)]
		self.number = 0
		self.steps: list[str] = []
		for tab in self.tabs:
			tab.open(bench)
			self.fence(tab)

	def fence(self, *tabs: Tab) -> None:
		"""Wait until the sidecar has handled what these tabs have sent, and they have received what it has sent."""
		connected = [tab for tab in self.tabs if tab.connection is not None]
		for tab in tabs or connected:
			tab.send("ping")
			tab.read_until("pong")
		self.number += 1
		self.publisher.publish("fence", self.number, "website")
		# Each connected tab receives it: none may keep one for a later fence.
		for tab in connected:
			tab.read_until("fence", self.number)

	def metric(self, name: str) -> float:
		"""Return the sum of a metric over its labels."""
		_, text = self.bench.sidecar.get("/metrics")
		lines = [line for line in text.splitlines() if line.startswith(f"frappe_realtime_{name}")]
		return sum(float(line.rpartition(" ")[2]) for line in lines)

	def announce(self, kind: str, withdrawn: int = 0, **what: str) -> None:
		"""Publish a change of access, and wait until the sidecar has read it and withdrawn so many rooms from sockets."""
		read, rooms = self.metric("access_messages_total"), self.metric("rooms_withdrawn_total")
		self.publisher.announce(kind, **what)
		until(lambda: self.metric("access_messages_total") > read, "the message is read")
		until(
			lambda: self.metric("rooms_withdrawn_total") >= rooms + withdrawn,
			f"{withdrawn} rooms are withdrawn",
		)

	# -- steps

	def subscribe(self) -> str | None:
		tab, document = self.pick(connected=True), self.random.choice(self.documents)
		if tab is None:
			return None
		before = {id(request) for request in list(self.bench.web.requests) if request.status}
		tab.send("doc_subscribe", DOCTYPE, document)
		if document not in tab.rooms:
			until(
				lambda: any(
					[DOCTYPE, document] in request.questions()
					and request.status
					and id(request) not in before
					for request in list(self.bench.web.requests)
				),
				"the question about the permission",
			)
		self.fence(tab)
		if self.allowed[tab.user.name, document]:
			tab.rooms.add(document)
		return f"{tab.user.name} subscribes to {document}"

	def unsubscribe(self) -> str | None:
		tab, document = self.pick(connected=True), self.random.choice(self.documents)
		if tab is None:
			return None
		tab.send("doc_unsubscribe", DOCTYPE, document)
		self.fence(tab)
		tab.rooms.discard(document)
		return f"{tab.user.name} unsubscribes from {document}"

	def publish(self, document: str = "") -> str:
		document = document or self.random.choice(self.documents)
		self.number += 1
		self.publisher.publish("news", self.number, f"doc:{DOCTYPE}/{document}")
		for tab in self.tabs:
			if document not in tab.rooms:
				continue
			if tab.connection is not None:
				tab.expected.append(self.number)
			elif self.allowed[tab.user.name, document]:
				tab.missed.append((document, self.number))
		return f"event {self.number} for {document}"

	def forbid(self, user: User | None = None, document: str = "") -> str:
		user, document = (
			user or self.random.choice(self.users),
			document or self.random.choice(self.documents),
		)
		self.allowed[user.name, document] = False
		self.bench.site().forbid(user.name, DOCTYPE, document)
		# The rooms of a tab that is away are decided when it comes back.
		concerned = [
			tab
			for tab in self.tabs
			if tab.user is user and tab.connection is not None and document in tab.rooms
		]
		self.announce("user", len(concerned), user=user.name)
		for tab in concerned:
			tab.rooms.discard(document)
		return f"{user.name} may not read {document}"

	def allow(self, user: User | None = None, document: str = "") -> str:
		user, document = (
			user or self.random.choice(self.users),
			document or self.random.choice(self.documents),
		)
		self.allowed[user.name, document] = True
		self.bench.site().allow(user.name, DOCTYPE, document)
		self.announce("user", user=user.name)
		return f"{user.name} may read {document}"

	def withdraw_and_grant(self) -> str | None:
		"""Withdraw the access to a document while a tab that is in its room is away, publish, and grant it again."""
		tabs = [tab for tab in self.tabs if tab.connection is None and tab.rooms]
		if not tabs:
			return None
		tab = self.random.choice(tabs)
		document = self.random.choice(sorted(tab.rooms))
		steps = [
			self.forbid(tab.user, document),
			self.publish(document),
			self.allow(tab.user, document),
			self.publish(document),
		]
		return "; ".join(steps)

	def interrupt(self) -> str:
		"""Interrupt the subscription of the sidecar, and do the same meanwhile."""
		self.fence()
		user, document = self.random.choice(self.users), self.random.choice(self.documents)
		concerned = [tab for tab in self.tabs if tab.user is user and tab.connection is not None]
		for tab in concerned:
			tab.rooms.clear()
		self.bench.sidecar.signal(signal.SIGSTOP)
		try:
			self.bench.valkey.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
			for allowed in (False, True):
				self.allowed[user.name, document] = allowed
				(self.bench.site().allow if allowed else self.bench.site().forbid)(
					user.name, DOCTYPE, document
				)
				self.publisher.announce("user", user=user.name)
				event = self.publish(document)
			self.publisher.flush()
		finally:
			self.bench.sidecar.signal(signal.SIGCONT)
		self.bench.wait_until_subscribed()
		for tab in concerned:
			with pytest.raises(ConnectionClosed):
				tab.read_until("nothing")
			tab.cut()
		for tab in concerned:
			assert not tab.open(self.bench), "the session was recovered although changes were missed"
			self.fence(tab)
		return f"the subscription is interrupted; {user.name} may not read {document}, and may again; {event}"

	def log_out(self) -> str | None:
		tab = self.pick(connected=True)
		if tab is None:
			return None
		self.fence()
		del self.bench.site().sessions[tab.sid]
		sid_hash = sha256(tab.sid.encode()).hexdigest()
		self.announce("session", sid_hash=sid_hash)
		with pytest.raises(ConnectionClosed):
			tab.read_until("nothing")
		tab.cut()
		tab.sid = self.bench.site().login(tab.user.name)
		assert not tab.open(self.bench), "a session that has ended was recovered"
		tab.rooms.clear()
		tab.missed.clear()
		self.fence(tab)
		return f"{tab.user.name} logs out and in again"

	def drop(self) -> str | None:
		tab = self.pick(connected=True)
		if tab is None:
			return None
		sockets = self.metric("sockets{")
		tab.cut()
		until(lambda: self.metric("sockets{") < sockets, "the sidecar notices the loss")
		return f"{tab.user.name} loses a connection"

	def come_back(self) -> str | None:
		tab = self.pick(connected=False)
		if tab is None:
			return None
		recovered = tab.open(self.bench)
		if recovered:
			tab.rooms = {document for document in tab.rooms if self.allowed[tab.user.name, document]}
			tab.expected += [number for document, number in tab.missed if document in tab.rooms]
		else:
			tab.rooms.clear()
		tab.missed.clear()
		self.fence(tab)
		return f"{tab.user.name} comes back{'' if recovered else ' to a new session'}"

	def restart(self) -> str:
		kill = self.random.random() < 0.5
		self.fence()
		if kill:
			self.bench.sidecar.kill()
			self.bench.sidecar.start()
		else:
			self.bench.sidecar.restart()
		self.bench.wait_until_subscribed()
		for tab in self.tabs:
			if tab.connection is not None:
				tab.cut()
		return f"the sidecar is {'killed' if kill else 'restarted'}"

	def pick(self, connected: bool) -> Tab | None:
		"""Return a random tab that is connected, or one that is not; None if there is none."""
		tabs = [tab for tab in self.tabs if (tab.connection is not None) is connected]
		return self.random.choice(tabs) if tabs else None

	def step(self) -> None:
		"""Do one random step, and compare what all tabs have received with the model."""
		kind = self.random.choices(
			(
				"subscribe",
				"publish",
				"forbid",
				"allow",
				"unsubscribe",
				"log_out",
				"drop",
				"come_back",
				"restart",
				"withdraw_and_grant",
				"interrupt",
			),
			(8, 10, 2, 2, 2, 1, 3, 5, 0.4, 1.5, 0.4),
		)[0]
		done = getattr(self, kind)()
		if done is None:
			return
		self.steps.append(done)
		self.fence()
		for tab in self.tabs:
			if tab.connection is not None:
				assert tab.received == tab.expected, self.story(tab)

	def story(self, tab: Tab) -> str:
		"""Return what has happened, for the report of a failure."""
		steps = "\n".join(self.steps)
		return f"{tab.user.name} received {tab.received}, must receive {tab.expected}, after\n{steps}"

	def close(self) -> None:
		"""Close all connections."""
		for tab in self.tabs:
			if tab.connection is not None:
				tab.cut()


@pytest.mark.parametrize("seed", seeds())
def test_each_tab_receives_what_it_may_and_nothing_else(make_bench: MakeBench, seed: int) -> None:
	bench = make_bench(common={"realtime_cache_seconds": 0})
	world = World(bench, seed)
	try:
		for _ in range(STEPS):
			world.step()
		while world.come_back():
			world.fence()
		for tab in world.tabs:
			assert tab.received == tab.expected, world.story(tab)
	finally:
		world.close()
