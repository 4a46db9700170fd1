"""Random sequences of what users, administrators and outages do, on a real site (`tests/hostile/model.py`).

`MODEL_SEEDS=100-200` runs other sequences.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.bench.installation import Bench, Person
from tests.bench.test_access import log_out
from tests.hostile.model import Target, World, seeds
from tests.hostile.tabs import Address
from tests.wire.conditions import PATIENCE, until

STEPS = 40
READERS = ("reader", "colleague")


class RealSite(Target):
	"""A real site: users log in and save by HTTP, and Frappe's function publishes.

	Args:
		bench: The bench.
		console: Runs functions of inside.py.
		messages: A subscription to the access messages.
		documents: Notes of the manager that are private and not shared.
	"""

	def __init__(
		self,
		bench: Bench,
		console: Callable[..., Any],
		messages: redis.client.PubSub,
		documents: list[str],
	) -> None:
		people = [bench.person(role) for role in READERS]
		super().__init__(
			Address(bench.site, bench.port, bench.web_port),
			"Note",
			[person.name for person in people],
			documents,
		)
		self._bench = bench
		self._console = console
		self._messages = messages
		self._people: dict[str, Person] = {person.name: person for person in people}

	def log_in(self, user: str) -> str:
		return self._bench.log_in(self._people[user])

	def log_out(self, user: str, sid: str) -> None:
		log_out(self._bench, self._people[user], sid)

	def publish(self, event: str, number: int, room: str) -> None:
		self._console("publish", event=event, message=number, room=room)

	def set_share(self, user: str, document: str, shared: bool) -> None:
		what = {"doctype": self.doctype, "name": document, "user": user}
		if shared:
			path, what["read"] = "frappe.share.add", "1"
		else:
			# What the Desk calls when a user is removed from the list of a document's shares.
			path, what["permission_to"], what["value"] = "frappe.share.set_permission", "read", "0"
		self._forget_messages()
		self._bench.request(self._bench.person("manager"), f"/api/method/{path}", what)
		self._wait_for_message(kind="user", user=user)

	def save(self, document: str, public: bool) -> None:
		self._forget_messages()
		path = f"/api/resource/{self.doctype}/{document}"
		self._bench.request(self._bench.person("manager"), path, {"public": int(public)}, "PUT")
		self._wait_for_message(kind="changed", doctype=self.doctype, name=document)

	def metrics(self) -> str:
		return self._bench.metrics()

	def restart(self, kill: bool) -> None:
		if kill:
			self._bench.sidecar.signal(signal.SIGKILL)
		self._bench.sidecar.stop()
		self._bench.start_sidecar()

	def _forget_messages(self) -> None:
		while self._messages.get_message():
			pass

	def _wait_for_message(self, **what: str) -> None:
		"""Wait until an access message has been published."""
		expected = {"site": self.address.site, **what}
		while True:
			message = self._messages.get_message(timeout=PATIENCE)
			assert message is not None, f"no message {expected}"
			# Redis has added the place of the message among the events.
			if message["type"] == "message" and expected.items() <= json.loads(message["data"]).items():
				return


@pytest.mark.parametrize("seed", seeds("1-4"))
def test_each_tab_receives_what_it_may_and_nothing_else(own_processes: Bench, seed: int) -> None:
	bench = own_processes
	# Its counters begin anew: one of requests that were abandoned in an earlier test would never be answered.
	bench.sidecar.stop()
	bench.start_sidecar()
	manager = bench.person("manager")
	documents = [bench.insert(manager, "Note", title=f"Model {bench.event()}", public=0) for _ in range(3)]
	with bench.events.pubsub() as messages, bench.console() as console:
		messages.subscribe("frappe_realtime:access")
		until(messages.get_message, "the subscription to access messages")
		World(RealSite(bench, console, messages, documents), seed).run(STEPS)
