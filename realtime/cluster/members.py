"""The members of rooms on other sidecars, as replicated by their messages. Empty while there is one sidecar only.

The rooms that handlers create, those of open documents, and those of sockets that may change a document or follow a field of it are
replicated. The other rooms of the core (`all`, `website`, `user:`, `doctype:`, `doc:`, `task_progress:`, `shared:`) are not: nearly
every socket is in some of them, and their members are never listed. The members of places are replicated with their states
(realtime/presence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from frappe_realtime.contract.rooms import (
	DOC_ROOM,
	DOCTYPE_ROOM,
	PRESENCE_ROOM,
	SHARED_ROOM,
	SITE_ROOM,
	TASK_ROOM,
	USER_ROOM,
	WEBSITE_ROOM,
)

from ..signals import Signal
from .messages import MAX_NAME, MembershipChange

NOT_REPLICATED = (USER_ROOM, DOCTYPE_ROOM, DOC_ROOM, TASK_ROOM, PRESENCE_ROOM, SHARED_ROOM)

Room = tuple[str, str]
"""A namespace and a room in it."""

Changed = dict[Room, set[str]]
"""The rooms that sockets have joined or left, and the users of these sockets."""


def is_replicated(room: str) -> bool:
	"""Return True if the members of `room` are replicated to the other sidecars."""
	return (
		not room.startswith(NOT_REPLICATED)
		and room != SITE_ROOM
		and room != WEBSITE_ROOM
		and 0 < len(room) <= MAX_NAME
	)


class RemoteMembers:
	"""Replicated memberships, by sidecar.

	Args:
		max_members: Memberships that are kept; further ones are ignored.
		on_full: Called for each membership that is ignored.
	"""

	def __init__(self, max_members: int = 0, on_full: Callable[[], None] = lambda: None) -> None:
		self._max_members = max_members
		self._on_full = on_full
		self._rooms: dict[Room, dict[str, dict[str, str]]] = {}
		"""For each room, the users of its sockets by sidecar and socket id."""
		self._rooms_of: dict[tuple[str, str], tuple[str, ...]] = {}
		"""For each namespace and socket id, the rooms that the socket is in, one entry for each sidecar."""
		self.moved: Signal[[str, str, str, bool]] = Signal()
		"""Sent with the namespace, the id and the room of a socket that has joined (True) or left (False) a room."""
		self.count = 0
		"""The number of memberships."""

	def ids(self, namespace: str, room: str) -> Iterator[str]:
		"""Return the ids of the sockets in `room`."""
		for members in self._rooms.get((namespace, room), {}).values():
			yield from members

	def users(self, namespace: str, room: str) -> Iterator[str]:
		"""Return the users of the sockets in `room`, with repetitions."""
		for members in self._rooms.get((namespace, room), {}).values():
			yield from members.values()

	def rooms_of(self, namespace: str, id: str) -> tuple[str, ...]:
		"""Return the replicated rooms of a socket, one twice while two sidecars have the socket."""
		return self._rooms_of.get((namespace, id), ())

	def rooms(self, namespace: str) -> Iterator[str]:
		"""Return the replicated rooms of a namespace."""
		return (room for name, room in self._rooms if name == namespace)

	def apply(self, sidecar: str, changes: Iterable[MembershipChange]) -> Changed:
		"""Apply changes of `sidecar`, and return what has changed."""
		changed: Changed = {}
		for namespace, room, id, user in changes:
			if user is None:
				moved = self._leave(sidecar, namespace, room, id)
			else:
				moved = user if self._join(sidecar, namespace, room, id, user) else None
			if moved is not None:
				changed.setdefault((namespace, room), set()).add(moved)
		return changed

	def replace(self, sidecar: str, members: Iterable[MembershipChange]) -> Changed:
		"""Replace all memberships of `sidecar`, and return what has changed."""
		members = list(members)
		stay = {(namespace, room, id) for namespace, room, id, _ in members}
		gone: list[MembershipChange] = [
			(namespace, room, id, None)
			for (namespace, room), sidecars in self._rooms.items()
			for id in sidecars.get(sidecar, ())
			if (namespace, room, id) not in stay
		]
		return self.apply(sidecar, [*gone, *members])

	def socket_moved(self, sidecar: str, namespace: str, id: str) -> Changed:
		"""Remove the memberships of a socket on other sidecars than `sidecar`, at which its client has recovered; return what has changed."""
		changed: Changed = {}
		for room in set(self.rooms_of(namespace, id)):
			for other in list(self._rooms[namespace, room]):
				if other != sidecar:
					changed |= self.apply(other, [(namespace, room, id, None)])
		return changed

	def forget(self, sidecar: str) -> Changed:
		"""Remove all memberships of `sidecar`, and return what has changed."""
		return self.replace(sidecar, ())

	def _join(self, sidecar: str, namespace: str, room: str, id: str, user: str) -> bool:
		"""Add a membership; return False if it is there already, or there are too many."""
		members = self._rooms.get((namespace, room), {}).get(sidecar, {})
		if id in members:
			return False
		if self.count >= self._max_members:
			self._on_full()
			return False
		self._rooms.setdefault((namespace, room), {}).setdefault(sidecar, {})[id] = user
		rooms = self.rooms_of(namespace, id)
		self._rooms_of[namespace, id] = (*rooms, room)
		self.count += 1
		if room not in rooms:
			self.moved.send(namespace, id, room, True)
		return True

	def _leave(self, sidecar: str, namespace: str, room: str, id: str) -> str | None:
		"""Remove a membership, and return its user; None if there is none."""
		sidecars = self._rooms.get((namespace, room), {})
		user = sidecars.get(sidecar, {}).pop(id, None)
		if user is None:
			return None
		if not sidecars[sidecar]:
			del sidecars[sidecar]
		if not sidecars:
			del self._rooms[namespace, room]
		rooms = list(self._rooms_of.pop((namespace, id)))
		rooms.remove(room)
		if rooms:
			self._rooms_of[namespace, id] = tuple(rooms)
		self.count -= 1
		if room not in rooms:
			self.moved.send(namespace, id, room, False)
		return user
