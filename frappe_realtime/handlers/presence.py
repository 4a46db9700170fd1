"""Presence for handlers: who is in a place, and the handler's socket as one of them.

place = socket.presence("Task", "TASK-0001")
place.join({"reviews": True}, ttl=3600)
users = {member.user for member in place.members()}
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.rooms import ROOM_PLACE, SITE_PLACE, doc_room, doctype_room, presence_room
from .broadcast import COMPLETED

if TYPE_CHECKING:
	from .runtime import Runtime


@dataclass(frozen=True, slots=True)
class Member:
	"""One socket in a place; a user with two connections is two members.

	Attributes:
		id: The id of the socket.
		user: The user.
		full_name: The full name of the user.
		joined_at: When it joined, in seconds since 1970.
		state: What it says about itself. Must not be changed.
	"""

	id: str
	user: str
	full_name: str
	joined_at: float
	state: Mapping[str, Any]

	@classmethod
	def of(cls, values: Mapping[str, Any]) -> Member:
		"""Return a member as the sidecar describes it (contract/presence.py)."""
		return cls(values["id"], values["user"], values["full_name"], values["joined_at"], values["state"])


@dataclass(frozen=True, slots=True)
class PresentMembers:
	"""The members of a place.

	Attributes:
		members: The members, those who came first at the beginning: `realtime_presence_roster` at most.
		count: The number of all.
	"""

	members: list[Member]
	count: int

	@property
	def users(self) -> list[str]:
		"""The users among `members`, each once."""
		return list(dict.fromkeys(member.user for member in self.members))


def place_of(doctype: str | None, name: str | int | None, room: str | None) -> str:
	"""Return the name of a place: a document, a DocType, a room, or without arguments the site.

	Raises:
		TypeError: Both a DocType and a room are given, or a document without its DocType.
	"""
	if room is not None:
		if doctype is not None or name is not None:
			raise TypeError("presence(…) takes a DocType and a document, or a room, and not both")
		return ROOM_PLACE + room
	if doctype is None:
		if name is not None:
			raise TypeError("presence(…) of a document needs its DocType")
		return SITE_PLACE
	return doctype_room(doctype) if name is None else doc_room(doctype, str(name))


class Presence:
	"""A place, for the socket of a handler. `join`, `set` and `leave` are done when they return, and may be awaited."""

	__slots__ = ("_runtime", "_server_socket", "place")

	def __init__(self, runtime: Runtime, server_socket: Any, place: str) -> None:
		self._runtime = runtime
		self._server_socket = server_socket
		self.place = place

	def join(self, state: Mapping[str, Any] | None = None, *, ttl: float | None = None) -> Awaitable[None]:
		"""Let the socket be a member. Needs no permission, but the place of a document ends with the permission to read it.

		Args:
			state: What the others see of it; JSON.
			ttl: Seconds after which these keys are removed, a day at most; None: never.

		Raises:
			frappe_realtime.errors.PresenceRefused: The state or the place is invalid, or a limit is reached.
		"""
		self._runtime.presence_join(self._server_socket, self.place, state, ttl)
		return COMPLETED

	def set(self, state: Mapping[str, Any], *, ttl: float | None = None) -> Awaitable[None]:
		"""Change the state of the socket.

		Args:
			state: The keys to change; the value None removes a key.
			ttl: As for `join`.

		Raises:
			frappe_realtime.errors.PresenceRefused: The socket is not a member, the state is invalid, or a limit is reached.
		"""
		self._runtime.presence_set(self._server_socket, self.place, state, ttl)
		return COMPLETED

	def leave(self) -> Awaitable[None]:
		"""Let the socket be no member any more."""
		self._server_socket.leave(presence_room(self.place))
		return COMPLETED

	def members(self) -> list[Member]:
		"""Return the members on all sidecars, those who came first at the beginning: `realtime_presence_roster` at most.

		Raises:
			frappe_realtime.errors.PresenceRefused: There is no such kind of place.
		"""
		members, _ = self._runtime.presence_members(self._server_socket.namespace, self.place)
		return [Member.of(one) for one in members]

	def count(self) -> int:
		"""Return the number of all members; the exception is that of `members`."""
		return self._runtime.presence_members(self._server_socket.namespace, self.place)[1]


class SyncPresence:
	"""A place, for a plain handler; see `Presence`."""

	__slots__ = ("_presence", "_runtime")

	def __init__(self, runtime: Runtime, presence: Presence) -> None:
		self._runtime = runtime
		self._presence = presence

	@property
	def place(self) -> str:
		"""The name of the place."""
		return self._presence.place

	def join(self, state: Mapping[str, Any] | None = None, *, ttl: float | None = None) -> None:
		"""Let the socket be a member; see `Presence.join`."""
		return self._runtime.run_in_loop(lambda: self._presence.join(state, ttl=ttl))

	def set(self, state: Mapping[str, Any], *, ttl: float | None = None) -> None:
		"""Change the state of the socket; see `Presence.set`."""
		return self._runtime.run_in_loop(lambda: self._presence.set(state, ttl=ttl))

	def leave(self) -> None:
		"""Let the socket be no member any more."""
		return self._runtime.run_in_loop(self._presence.leave)

	def members(self) -> list[Member]:
		"""Return the members on all sidecars; see `Presence.members`."""
		return self._runtime.run_in_loop(self._presence.members)

	def count(self) -> int:
		"""Return the number of all members."""
		return self._runtime.run_in_loop(self._presence.count)
