"""Access that is withdrawn and granted again while a client, or the sidecar, does not notice."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from hashlib import sha256

import pytest
from websockets.exceptions import ConnectionClosed

from frappe_realtime.contract.rooms import topic_room, user_room
from realtime.demo.model import User
from tests.hostile.test_recovery_access import Tab
from tests.wire.apps import install, write_handlers
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import MakeBench
from tests.wire.publisher import Publisher

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("enter")
def enter(socket, room):
	socket.join(room)
	return True
"""


def start(make_bench: MakeBench) -> Bench:
	"""Start a bench on which only a change of access ends an answer of the web process."""
	bench = make_bench(
		# Joined list updates would hide which of two was replayed.
		common={"realtime_cache_seconds": 600, "realtime_list_updates_per_second": 0},
		start=False,
	)
	write_handlers(bench, "alpha", HANDLERS)
	install(bench, "alpha")
	return bench.start()


class Attack:
	"""A user whose tab is in the room of a ToDo.

	Args:
		bench: The bench, without other clients.
	"""

	def __init__(self, bench: Bench) -> None:
		self.bench = bench
		self._tabs: list[Tab] = []
		until(lambda: self.sockets() == 0, "the end of earlier clients")
		self.publisher = Publisher(self.bench.valkey.url)
		self.user: User = self.bench.user()
		self.name = self.bench.document()
		self.room = f"doc:ToDo/{self.name}"
		self.tab = Tab(self.bench, self.user)
		self._tabs.append(self.tab)
		self.tab.subscribe(self.name)
		self.secret(1)
		self.tab.read_up_to("secret")

	def secret(self, number: int, room: str = "") -> None:
		"""Publish an event for those who may read the ToDo."""
		self.publisher.publish("secret", number, room or self.room)

	def forbid(self) -> None:
		"""Withdraw the share of the ToDo."""
		self.bench.site().forbid(self.user.name, "ToDo", self.name)
		self.publisher.announce("user", user=self.user.name)

	def allow(self) -> None:
		"""Share the ToDo again."""
		self.bench.site().allow(self.user.name, "ToDo", self.name)
		self.publisher.announce("user", user=self.user.name)

	def save(self) -> None:
		"""Save the ToDo."""
		self.publisher.announce("changed", doctype="ToDo", name=self.name)

	def leave(self) -> None:
		"""Lose the connection, and wait until the sidecar knows it."""
		self.tab.raw.close()
		until(lambda: self.sockets() == 0, "the disconnect")

	def metrics(self) -> str:
		"""Return the metrics."""
		return self.bench.sidecar.get("/metrics")[1]

	def sockets(self) -> float:
		"""Return the number of sockets."""
		lines = [line for line in self.metrics().splitlines() if line.startswith("frappe_realtime_sockets{")]
		return sum(float(line.rpartition(" ")[2]) for line in lines)

	def come_back(self) -> Tab:
		"""Reconnect with the newest offset."""
		self.publisher.flush()
		self._tabs.append(self.tab.reconnect(self.tab.offset))
		return self._tabs[-1]

	def close(self) -> None:
		"""Close all connections."""
		for tab in self._tabs:
			tab.raw.close()


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""A bench for the tests that interrupt nothing."""
	return start(make_shared_bench)


@pytest.fixture
def it(shared: Bench) -> Iterator[Attack]:
	"""A user on the shared bench."""
	one = Attack(shared)
	yield one
	one.close()
	shared.sidecar.check_log()


@pytest.fixture
def alone(make_bench: MakeBench) -> Iterator[Attack]:
	"""A user on a bench of its own: after an interruption, clients of others do not recover either."""
	one = Attack(start(make_bench))
	yield one
	one.close()


def test_withdrawn_and_granted_while_the_client_is_away(it: Attack) -> None:
	it.leave()
	it.forbid()
	it.secret(2)
	it.allow()
	it.secret(3)
	again = it.come_back()
	assert again.secrets == []
	assert not again.recovered


def test_withdrawn_and_granted_while_the_sidecar_is_down(alone: Attack) -> None:
	alone.leave()
	alone.bench.sidecar.kill()
	alone.forbid()
	alone.secret(2)
	alone.allow()
	alone.secret(3)
	alone.bench.sidecar.start()
	alone.bench.wait_until_subscribed()
	again = alone.come_back()
	assert again.secrets == []
	assert not again.recovered


def test_a_document_that_is_hidden_and_shown_again(it: Attack) -> None:
	it.leave()
	it.save()
	it.secret(2)
	it.save()
	again = it.come_back()
	assert again.secrets == []
	assert not again.recovered


def test_withdrawn_before_the_connection_was_lost(alone: Attack) -> None:
	"""The sidecar is killed before it has asked about the change."""
	it = alone
	it.bench.web.fail("has_permissions", hang=True)
	it.bench.web.fail("get_user_info", hang=True)
	it.forbid()
	it.publisher.publish("public", 1)
	it.tab.read_up_to("public")
	it.bench.sidecar.kill()
	it.secret(2)
	it.allow()
	it.bench.web.heal()
	it.bench.sidecar.start()
	it.bench.wait_until_subscribed()
	again = it.come_back()
	assert again.secrets == []
	assert not again.recovered


def test_system_users_events_while_the_user_was_none(it: Attack) -> None:
	it.leave()
	it.publisher.announce("user", user=it.user.name)
	it.secret(2, "all")
	it.publisher.announce("user", user=it.user.name)
	again = it.come_back()
	assert again.secrets == []
	assert not again.recovered


def test_a_session_that_ends_while_the_client_is_away(it: Attack) -> None:
	"""The same user logs in again, and presents the old session."""
	it.leave()
	for sid, user in it.bench.site().sessions.items():
		if user == it.user.name:
			it.publisher.announce("session", sid_hash=sha256(sid.encode()).hexdigest())
	it.secret(2, f"user:{it.user.name}")
	again = it.come_back()
	assert not again.recovered
	assert again.secrets == []


def test_one_change_while_the_client_is_away_costs_nothing(it: Attack) -> None:
	"""Before the change the client had access, and after it the permission is requested anew."""
	it.leave()
	it.secret(2)
	it.save()
	it.secret(3)
	again = it.come_back()
	assert again.recovered
	assert again.secrets == [2, 3]


def test_changes_of_others_cost_nothing(it: Attack) -> None:
	it.leave()
	for number in (2, 3, 4):
		it.publisher.announce("user", user="somebody.else@example.com")
		it.publisher.announce("changed", doctype="ToDo", name="another")
		it.publisher.announce("doctype", doctype="Note")
		it.secret(number)
	again = it.come_back()
	assert again.recovered
	assert again.secrets == [2, 3, 4]


def test_list_updates_do_not_name_a_document_that_was_hidden(it: Attack) -> None:
	it.tab.raw.send("42/" + APP_SITE + ',["doctype_subscribe","ToDo"]')
	it.bench.wait_until_asked("ToDo", user=it.user.name)
	it.tab.call("enter", "fence")
	it.leave()
	it.save()
	message = {"doctype": "ToDo", "name": it.name, "user": "x"}
	it.publisher.publish("list_update", message, "doctype:ToDo")
	it.save()
	it.publisher.publish("list_update", message, "doctype:ToDo")
	again = it.come_back()
	assert again.recovered
	found = [event[1] for event in again.events if event[0] == "list_update"]
	assert found == [{"doctype": "ToDo"}, message]


@pytest.mark.parametrize("granted", [True, False])
def test_a_topic_of_a_document_that_is_withdrawn_while_the_client_is_away(it: Attack, granted: bool) -> None:
	topic = topic_room("chat", "ToDo", it.name)
	it.tab.call("enter", topic)
	it.secret(2, topic)
	it.tab.read_up_to("secret")
	it.leave()
	it.forbid()
	it.secret(3, topic)
	if granted:
		it.allow()
	again = it.come_back()
	it.secret(4, topic)
	it.secret(5, user_room(it.user.name))
	again.read_up_to("secret")
	assert again.secrets == [5]
	assert again.recovered is not granted


@pytest.mark.parametrize("granted", [True, False])
def test_withdrawn_while_the_subscription_is_interrupted(alone: Attack, granted: bool) -> None:
	"""The client stays connected: events from the stream do not reach it before its access is checked."""
	it = alone
	it.bench.sidecar.signal(signal.SIGSTOP)
	try:
		it.bench.valkey.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
		it.forbid()
		it.secret(2)
		if granted:
			it.allow()
		it.publisher.flush()
	finally:
		it.bench.sidecar.signal(signal.SIGCONT)
	it.bench.wait_until_subscribed()
	with contextlib.suppress(ConnectionClosed):
		while True:
			# A client that stays connected receives this in the end.
			it.publisher.publish("public", 1)
			text = str(it.tab.raw.receive())
			assert "secret" not in text
			assert "public" not in text
	again = it.come_back()
	assert not again.recovered
	assert again.secrets == []
