"""A model of who may receive what, and random steps that are applied to a bench and to the model alike.

The model knows users, their tabs, documents and permissions. After each step the test waits until the sidecar has
processed it, so the model is exact: for each tab it has the events that must arrive, in order. One event too many, too
few, twice or out of order fails the test, with the steps that led to it.

A user may read a document that is public, or that is shared with the user.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import pytest
from websockets.exceptions import ConnectionClosed

from tests.hostile.tabs import Address, Tab
from tests.wire.conditions import until

TABS = 6
STEPS = {
	"subscribe": 8,
	"publish": 10,
	"share": 2,
	"unshare": 2,
	"save": 2,
	"unsubscribe": 2,
	"log_out": 1,
	"drop": 3,
	"come_back": 5,
	"restart": 0.4,
	"withdraw_and_grant": 1.5,
}
"""The steps, and how often each is chosen in relation to the others."""


def seeds(default: str) -> list[int]:
	"""Return the seeds to run; `MODEL_SEEDS` is a range such as 100-200."""
	first, _, last = os.environ.get("MODEL_SEEDS", default).partition("-")
	return list(range(int(first), int(last or first) + 1))


class Target(ABC):
	"""A bench to which the steps are applied.

	Args:
		address: A site with the app.
		doctype: The DocType of the documents.
		users: User names.
		documents: Names of documents that none of the users may read.
	"""

	def __init__(
		self, address: Address, doctype: str, users: Sequence[str], documents: Sequence[str]
	) -> None:
		self.address = address
		self.doctype = doctype
		self.users = users
		self.documents = documents

	@abstractmethod
	def log_in(self, user: str) -> str:
		"""Start a session of `user`; return its id."""

	@abstractmethod
	def log_out(self, user: str, sid: str) -> None:
		"""End a session of `user`."""

	@abstractmethod
	def publish(self, event: str, number: int, room: str) -> None:
		"""Publish an event with history. Redis has it when this returns."""

	@abstractmethod
	def set_share(self, user: str, document: str, shared: bool) -> None:
		"""Share a document with `user`, or end that. Redis has the message about it when this returns."""

	@abstractmethod
	def save(self, document: str, public: bool) -> None:
		"""Save a document, which everyone may read if it is `public`. Redis has the message about it when this returns."""

	def interrupted(self) -> AbstractContextManager[None]:
		"""Return a context in which the sidecar reads nothing, and loses its subscription to Redis."""
		raise NotImplementedError

	@abstractmethod
	def metrics(self) -> str:
		"""Return the metrics of the sidecar."""

	@abstractmethod
	def restart(self, kill: bool) -> None:
		"""Kill or stop the sidecar, and start it again."""


class World:
	"""A bench, the tabs and the model.

	Args:
		target: The bench.
		seed: Of the random numbers.
		kinds: The steps, and how often each is chosen in relation to the others.
	"""

	def __init__(self, target: Target, seed: int, kinds: Mapping[str, float] = STEPS) -> None:
		self.target = target
		self.kinds = kinds
		self.random = random.Random(seed)
		self.public: set[str] = set()
		self.shared: set[tuple[str, str]] = set()
		for document in target.documents:
			if self.random.random() < 0.4:
				self.public.add(document)
				target.save(document, public=True)
			for user in target.users:
				if self.random.random() < 0.5:
					self.shared.add((user, document))
					target.set_share(user, document, shared=True)
		self.number = 0
		self.steps: list[str] = []
		self.tabs: list[Tab] = []
		for number in range(TABS):
			user = target.users[number % len(target.users)]
			tab = Tab(target.address, user, target.log_in(user))
			self.tabs.append(tab)
			tab.open()
			self.fence(tab)

	def may_read(self, user: str, document: str) -> bool:
		"""Return whether a user may read a document."""
		return document in self.public or (user, document) in self.shared

	def fence(self, *tabs: Tab) -> None:
		"""Wait until the sidecar has handled what these tabs have sent, and they have received what it has sent."""
		connected = [tab for tab in self.tabs if tab.connection is not None]
		for tab in tabs or connected:
			tab.send("ping")
			tab.read_until("pong")
		self.number += 1
		self.target.publish("fence", self.number, "website")
		# Each connected tab receives it: none may keep one for a later fence.
		for tab in connected:
			tab.read_until("fence", self.number)

	def metric(self, name: str) -> float:
		"""Return the sum of a metric over its labels."""
		return _sum(self.target.metrics(), name)

	def settle(self) -> None:
		"""Wait until the sidecar has no request at the web process, and no user to check."""
		seen = -1.0

		def quiet() -> bool:
			nonlocal seen
			before, text = seen, self.target.metrics()
			seen = _sum(text, "web_requests_total")
			answered = _sum(text, "web_request_seconds_count")
			return seen == before == answered and not _sum(text, "recheck_waiting")

		until(quiet, "the answers of the web process")

	def change(self, change: Callable[[], None]) -> None:
		"""Change who may read what, and wait until the sidecar has withdrawn the rooms that nobody may stay in."""
		withdrawn = self.metric("rooms_withdrawn_total")
		change()
		# The rooms of a tab that is away are decided when it comes back.
		concerned = [
			(tab, document)
			for tab in self.tabs
			for document in tab.rooms
			if tab.connection is not None and not self.may_read(tab.user, document)
		]
		# The sidecar has read the message before the event that follows it.
		self.fence()
		until(
			lambda: self.metric("rooms_withdrawn_total") >= withdrawn + len(concerned),
			f"{len(concerned)} rooms are withdrawn",
		)
		for tab, document in concerned:
			tab.rooms.discard(document)

	# -- steps

	def subscribe(self) -> str | None:
		tab, document = self.pick(connected=True), self.random.choice(self.target.documents)
		if tab is None:
			return None
		tab.send("doc_subscribe", self.target.doctype, document)
		self.fence(tab)
		self.settle()
		if self.may_read(tab.user, document):
			tab.rooms.add(document)
		return f"{tab.user} subscribes to {document}"

	def unsubscribe(self) -> str | None:
		tab, document = self.pick(connected=True), self.random.choice(self.target.documents)
		if tab is None:
			return None
		tab.send("doc_unsubscribe", self.target.doctype, document)
		self.fence(tab)
		tab.rooms.discard(document)
		return f"{tab.user} unsubscribes from {document}"

	def publish(self, document: str = "") -> str:
		document = document or self.random.choice(self.target.documents)
		self.number += 1
		self.target.publish("news", self.number, f"doc:{self.target.doctype}/{document}")
		for tab in self.tabs:
			if document not in tab.rooms:
				continue
			if tab.connection is not None:
				tab.expected.append(self.number)
			elif self.may_read(tab.user, document):
				tab.missed.append((document, self.number))
		return f"event {self.number} for {document}"

	def share(self) -> str:
		user, document = self.random.choice(self.target.users), self.random.choice(self.target.documents)
		self.shared.add((user, document))
		self.change(lambda: self.target.set_share(user, document, shared=True))
		return f"{document} is shared with {user}"

	def unshare(self) -> str | None:
		if not self.shared:
			return None
		user, document = self.random.choice(sorted(self.shared))
		self.shared.discard((user, document))
		self.change(lambda: self.target.set_share(user, document, shared=False))
		return f"{document} is not shared with {user} any more"

	def withdraw_and_grant(self) -> str | None:
		"""Withdraw a share while a tab that is in the document's room is away, publish, grant it again, and publish."""
		away = [
			(tab.user, document)
			for tab in self.tabs
			if tab.connection is None
			for document in sorted(tab.rooms)
			if (tab.user, document) in self.shared
		]
		if not away:
			return None
		user, document = self.random.choice(away)
		steps = []
		for shared in (False, True):
			(self.shared.add if shared else self.shared.discard)((user, document))
			self.change(partial(self.target.set_share, user, document, shared))
			steps.append(f"{document} is {'shared again' if shared else 'not shared any more'} with {user}")
			steps.append(self.publish(document))
		return "; ".join(steps)

	def interrupt(self) -> str:
		"""Interrupt the subscription of the sidecar, and do the same meanwhile."""
		self.fence()
		user, document = self.random.choice(self.target.users), self.random.choice(self.target.documents)
		concerned = [tab for tab in self.tabs if tab.user == user and tab.connection is not None]
		for tab in concerned:
			tab.rooms.clear()
		with self.target.interrupted():
			for shared in (False, True):
				(self.shared.add if shared else self.shared.discard)((user, document))
				self.target.set_share(user, document, shared)
				event = self.publish(document)
		for tab in concerned:
			with pytest.raises(ConnectionClosed):
				tab.read_until("nothing")
			tab.cut()
		for tab in concerned:
			assert not tab.open(), "the session was recovered although changes were missed"
			self.fence(tab)
		return f"while the subscription is interrupted, {document} is withdrawn from {user} and shared again; {event}"

	def save(self) -> str:
		document, public = self.random.choice(self.target.documents), self.random.random() < 0.4
		(self.public.add if public else self.public.discard)(document)
		self.change(lambda: self.target.save(document, public))
		return f"{document} is saved, {'public' if public else 'private'}"

	def log_out(self) -> str | None:
		tab = self.pick(connected=True)
		if tab is None:
			return None
		self.fence()
		self.target.log_out(tab.user, tab.sid)
		with pytest.raises(ConnectionClosed):
			tab.read_until("nothing")
		tab.cut()
		tab.sid = self.target.log_in(tab.user)
		assert not tab.open(), "a session that has ended was recovered"
		tab.rooms.clear()
		tab.missed.clear()
		self.fence(tab)
		return f"{tab.user} logs out and in again"

	def drop(self) -> str | None:
		tab = self.pick(connected=True)
		if tab is None:
			return None
		sockets = self.metric("sockets{")
		tab.cut()
		until(lambda: self.metric("sockets{") < sockets, "the sidecar notices the loss")
		return f"{tab.user} loses a connection"

	def come_back(self) -> str | None:
		tab = self.pick(connected=False)
		if tab is None:
			return None
		recovered = tab.open()
		if recovered:
			tab.rooms = {document for document in tab.rooms if self.may_read(tab.user, document)}
			tab.expected += [number for document, number in tab.missed if document in tab.rooms]
		else:
			tab.rooms.clear()
		tab.missed.clear()
		self.fence(tab)
		return f"{tab.user} comes back{'' if recovered else ' to a new session'}"

	def restart(self) -> str:
		kill = self.random.random() < 0.5
		self.fence()
		self.target.restart(kill)
		for tab in self.tabs:
			if tab.connection is not None:
				tab.cut()
		return f"the sidecar is {'killed' if kill else 'restarted'}"

	def pick(self, connected: bool) -> Tab | None:
		"""Return a random tab that is connected, or one that is not; None if there is none."""
		tabs = [tab for tab in self.tabs if (tab.connection is not None) is connected]
		return self.random.choice(tabs) if tabs else None

	# -- a run

	def run(self, steps: int) -> None:
		"""Take random steps, and compare what all tabs have received with the model after each."""
		try:
			for _ in range(steps):
				self._step()
			while self.come_back():
				self.fence()
			for tab in self.tabs:
				assert tab.received == tab.expected, self.story(tab)
		finally:
			for tab in self.tabs:
				if tab.connection is not None:
					tab.cut()

	def _step(self) -> None:
		(kind,) = self.random.choices([*self.kinds], [*self.kinds.values()])
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
		return f"{tab.user} received {tab.received}, must receive {tab.expected}, after\n{steps}"


def _sum(text: str, name: str) -> float:
	"""Return the sum of a metric over its labels."""
	lines = [line for line in text.splitlines() if line.startswith(f"frappe_realtime_{name}")]
	return sum(float(line.rpartition(" ")[2]) for line in lines)
