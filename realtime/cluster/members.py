"""Who is in which room on the other sidecars, as they have told it. Empty where there is one sidecar only.

Told are the rooms that handlers make and those of open documents. The others that the core makes (`all`, `website`,
`user:`, `doctype:`, `doc:`, `task_progress:`) are not: nearly every socket is in some of them, and nobody asks who.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from frappe_realtime.contract import DOC_ROOM, DOCTYPE_ROOM, SITE_ROOM, TASK_ROOM, USER_ROOM, WEBSITE_ROOM

from .messages import MAX_NAME, Change

NOT_TOLD = (USER_ROOM, DOCTYPE_ROOM, DOC_ROOM, TASK_ROOM)

Room = tuple[str, str]
"""A namespace and a room in it."""

Changed = dict[Room, set[str]]
"""Rooms that sockets have entered or left, and their users."""


def is_told(room: str) -> bool:
	"""Whether sidecars tell each other who is in `room`."""
	return (
		not room.startswith(NOT_TOLD)
		and room != SITE_ROOM
		and room != WEBSITE_ROOM
		and 0 < len(room) <= MAX_NAME
	)


class RemoteMembers:
	"""Memberships by the sidecar that has told them; at most `most` together, `full` is called for each beyond."""

	def __init__(self, most: int = 0, full: Callable[[], None] = lambda: None) -> None:
		self._most = most
		self._full = full
		self._rooms: dict[Room, dict[str, dict[str, str]]] = {}
		"""For each room the users of its sockets, by sidecar and the socket's id."""
		self._users: dict[tuple[str, str], tuple[str, int]] = {}
		"""For each namespace and id the user, and in how many rooms the socket is."""
		self.count = 0
		"""Memberships."""

	def ids(self, namespace: str, room: str) -> Iterator[str]:
		"""The ids of the sockets in `room`."""
		for members in self._rooms.get((namespace, room), {}).values():
			yield from members

	def users(self, namespace: str, room: str) -> Iterator[str]:
		"""Their users, some of them more than once."""
		for members in self._rooms.get((namespace, room), {}).values():
			yield from members.values()

	def user_of(self, namespace: str, id: str) -> str | None:
		"""The user of a socket that is in some room; None for an id that is unknown."""
		user = self._users.get((namespace, id))
		return None if user is None else user[0]

	def apply(self, sidecar: str, changes: Iterable[Change]) -> Changed:
		"""Sockets of `sidecar` have entered or left rooms; returns what is different now."""
		changed: Changed = {}
		for namespace, room, id, user in changes:
			one = self._leave(sidecar, namespace, room, id) if user is None else user
			if one is None or (user is not None and not self._join(sidecar, namespace, room, id, user)):
				continue
			changed.setdefault((namespace, room), set()).add(one)
		return changed

	def replace(self, sidecar: str, members: Iterable[Change]) -> Changed:
		"""These are all memberships of `sidecar`; returns what is different now."""
		members = list(members)
		stay = {(namespace, room, id) for namespace, room, id, _ in members}
		gone: list[Change] = [
			(namespace, room, id, None)
			for (namespace, room), sidecars in self._rooms.items()
			for id in sidecars.get(sidecar, ())
			if (namespace, room, id) not in stay
		]
		return self.apply(sidecar, [*gone, *members])

	def forget(self, sidecar: str) -> Changed:
		"""`sidecar` is no more; returns what is different now."""
		return self.replace(sidecar, ())

	def _join(self, sidecar: str, namespace: str, room: str, id: str, user: str) -> bool:
		members = self._rooms.get((namespace, room), {}).get(sidecar, {})
		if id in members:
			return False
		if self.count >= self._most:
			self._full()
			return False
		self._rooms.setdefault((namespace, room), {}).setdefault(sidecar, {})[id] = user
		_, rooms = self._users.get((namespace, id), (user, 0))
		self._users[namespace, id] = (user, rooms + 1)
		self.count += 1
		return True

	def _leave(self, sidecar: str, namespace: str, room: str, id: str) -> str | None:
		sidecars = self._rooms.get((namespace, room), {})
		user = sidecars.get(sidecar, {}).pop(id, None)
		if user is None:
			return None
		if not sidecars[sidecar]:
			del sidecars[sidecar]
		if not sidecars:
			del self._rooms[namespace, room]
		rooms = self._users[namespace, id][1]
		if rooms > 1:
			self._users[namespace, id] = (user, rooms - 1)
		else:
			del self._users[namespace, id]
		self.count -= 1
		return user
