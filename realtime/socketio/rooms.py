"""The members of the rooms of one namespace."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
	from .namespace import ServerSocket


class Rooms(Mapping[str, "Collection[ServerSocket]"]):
	"""The members of each room that has any, in the order in which they joined, as in Node.

	Most rooms have one member, such as the room of a user with one page open. Such a room is kept as the socket itself,
	which saves a quarter of a kilobyte for each connection.
	"""

	__slots__ = ("_members",)

	def __init__(self) -> None:
		self._members: dict[str, ServerSocket | dict[ServerSocket, None]] = {}

	def __getitem__(self, room: str) -> Collection[ServerSocket]:
		members = self._members[room]
		return members if isinstance(members, dict) else (members,)

	def members(self, room: str) -> Collection[ServerSocket]:
		"""Return the members of `room`, which may be none."""
		members = self._members.get(room)
		if members is None:
			return ()
		return members if isinstance(members, dict) else (members,)

	def __contains__(self, room: object) -> bool:
		return room in self._members

	def __iter__(self) -> Iterator[str]:
		return iter(self._members)

	def __len__(self) -> int:
		return len(self._members)

	def add(self, room: str, socket: ServerSocket) -> None:
		"""Add `socket`, which is not in `room`."""
		members = self._members.get(room)
		if members is None:
			self._members[room] = socket
		elif isinstance(members, dict):
			members[socket] = None
		else:
			self._members[room] = {members: None, socket: None}

	def remove(self, room: str, socket: ServerSocket) -> None:
		"""Remove `socket`, which is in `room`; a room without members ends."""
		members = self._members[room]
		if isinstance(members, dict):
			del members[socket]
			if members:
				return
		del self._members[room]
