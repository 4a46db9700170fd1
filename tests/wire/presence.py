"""What a client knows of a place: computed from the answer to its join and from all that it has received since."""

from __future__ import annotations

from typing import Any

from frappe_realtime.contract.presence import PRESENCE, PRESENCE_END, PRESENCE_JOIN, PRESENCE_SYNC
from tests.wire.bench import AnyClient
from tests.wire.clients import Client
from tests.wire.conditions import until


class Roster:
	"""The members of a place, as one client sees them.

	Args:
		place: The name of the place.
		answer: The answer to its join.
	"""

	def __init__(self, place: str, answer: dict[str, Any]) -> None:
		self.place = place
		self.members: dict[str, dict[str, Any]] = {}
		self.count = 0
		self.ended = ""
		"""The code with which the server has ended the membership."""
		self.went_back = 0
		"""How often a state was replaced by one with a lower version."""
		self.left: list[str] = []
		"""The ids of all members that have left, in order."""
		self.shown: list[tuple[str, dict[str, Any]]] = []
		"""All states that it has seen, in order, with the id of the member."""
		self.sync(answer)

	def sync(self, answer: dict[str, Any]) -> None:
		"""Replace all members."""
		self.members = {member["id"]: dict(member) for member in [*answer["members"], answer["me"]]}
		self.count = answer["count"]

	def apply(self, event: str, message: Any) -> None:
		"""Apply one event, if it is about this place."""
		if not isinstance(message, dict) or message.get("place") != self.place:
			return
		if event == PRESENCE_SYNC:
			self.sync(message)
		elif event == PRESENCE_END:
			self.members, self.ended = {}, message["code"]
		elif event == PRESENCE:
			self._apply_changes(message)

	def _apply_changes(self, message: dict[str, Any]) -> None:
		self.count = message["count"]
		for id in message.get("leaves", ()):
			self.members.pop(id, None)
			self.left.append(id)
		for member in message.get("joins", ()):
			self.members[member["id"]] = dict(member)
		for update in message.get("updates", ()):
			member = self.members[update["id"]]
			self.went_back += update["version"] < member["version"]
			state = {**member["state"], **update["state"]}
			member["state"] = {key: value for key, value in state.items() if value is not None}
			member["version"] = update["version"]
			self.shown.append((update["id"], member["state"]))

	def states(self) -> dict[str, dict[str, Any]]:
		"""Return the states, by the id of the member."""
		return {id: member["state"] for id, member in self.members.items()}

	def users(self) -> list[str]:
		"""Return the users, sorted, with repetitions."""
		return sorted(member["user"] for member in self.members.values())


class Watcher:
	"""A client in a place.

	Args:
		client: The client.
		place: The name of the place.
		state: Its state.
	"""

	def __init__(self, client: AnyClient, place: str, state: dict[str, Any] | None = None) -> None:
		self.client = client
		self.place = place
		self._position = self._length()
		answer: Any = client.call(PRESENCE_JOIN, place, state)
		self.answer: dict[str, Any] = answer if isinstance(client, Client) else answer[0]
		assert "error" not in self.answer, self.answer
		self.id: str = self.answer["me"]["id"]

	def _length(self) -> int:
		return len(self.client.events if isinstance(self.client, Client) else self.client.lines)

	@property
	def roster(self) -> Roster:
		"""What the client knows now."""
		roster = Roster(self.place, self.answer)
		if isinstance(self.client, Client):
			events = [(event, args) for event, args in self.client.events[self._position :]]
		else:
			lines = self.client.lines[self._position :]
			events = [(line["event"], tuple(line["args"])) for line in lines if "event" in line]
		for event, args in events:
			roster.apply(event, args[0] if args else None)
		return roster

	def sees(self, *users: str) -> None:
		"""Wait until the client sees exactly these users."""
		until(lambda: self.roster.users() == sorted(users), f"{sorted(users)}; seen: {self.roster.users()}")

	def sees_state(self, id: str, state: dict[str, Any]) -> None:
		"""Wait until the client sees this state of a member."""
		until(
			lambda: self.roster.states().get(id) == state,
			f"the state {state} of {id}; seen: {self.roster.states()}",
		)

	def has_seen_state(self, id: str, state: dict[str, Any]) -> None:
		"""Wait until the client has seen this state of a member, which may have gone on since."""
		until(
			lambda: (id, state) in self.roster.shown, f"the state {state} of {id}; seen: {self.roster.shown}"
		)
