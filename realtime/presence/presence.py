"""The members of this process: sockets join places, change their states, and leave.

A socket is a member while it is in the room of the place (`presence_room`). So a place ends with access, as every room does, and a
session that is recovered is in its places again. A socket whose connection is lost stays a member for
`realtime_presence_grace_seconds`: when its client recovers in this time, here or on another sidecar, nobody sees it leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from time import time
from typing import Any

from frappe_realtime.contract.presence import (
	PRESENCE_END,
	PRESENCE_LIMIT,
	PRESENCE_NOT_MEMBER,
	PRESENCE_NOT_PERMITTED,
)
from frappe_realtime.contract.rooms import PRESENCE_ROOM, ROOM_PLACE, presence_room
from frappe_realtime.errors import PresenceRefused

from ..config import Config
from ..socketio.namespace import ServerSocket
from .members import Member, Place, PresenceTable
from .states import check_changes, check_seconds, merged

_ROOM_OF_ROOM = presence_room(ROOM_PLACE)


class LocalMember:
	"""A member of this process, with its timers.

	Args:
		place: The place.
		socket: The socket; the last one while the connection is lost.
		member: What the other processes know of it.
	"""

	__slots__ = ("away", "expiry", "member", "place", "socket")

	def __init__(self, place: Place, socket: ServerSocket, member: Member) -> None:
		self.place = place
		self.socket = socket
		self.member = member
		self.away: asyncio.TimerHandle | None = None
		"""Removes the member at the end of the grace."""
		self.expiry: asyncio.TimerHandle | None = None
		"""Removes keys of the state whose time to live is over."""

	def cancel_timers(self) -> None:
		"""Cancel both timers."""
		for timer in (self.away, self.expiry):
			if timer is not None:
				timer.cancel()
		self.away = self.expiry = None


class Presence:
	"""The members of this process; an observer of rooms (`RoomObserver`).

	Args:
		config: The limits `realtime_presence_…`.
		table: Where the members are kept and published from.
		clock: Returns the time in seconds since 1970, by which the processes order the versions of a state.
	"""

	def __init__(self, config: Config, table: PresenceTable, clock: Callable[[], float] = time) -> None:
		self.changes = 0
		"""Joins and changes of members of this process since the start."""
		self.table = table
		self._clock = clock
		self._max_places: int = config.realtime_presence_places
		self._max_bytes: int = config.realtime_presence_state_bytes
		self._grace: float = config.realtime_presence_grace_seconds
		self._members: dict[tuple[Place, str], LocalMember] = {}
		self._of_socket: dict[ServerSocket, dict[str, LocalMember]] = {}
		"""For each connected socket, its members by the name of the place."""
		table.moved.connect(self._on_moved)

	# -- what sockets do

	def is_member(self, socket: ServerSocket, name: str) -> bool:
		"""Return True if `socket` is a member of the place `name`."""
		return name in self._of_socket.get(socket, ())

	def check_join(self, socket: ServerSocket, name: str) -> None:
		"""Check the limits before `socket` joins the place `name`.

		Raises:
			PresenceRefused: It is in too many places.
		"""
		places = self._of_socket.get(socket, {})
		if name not in places and len(places) >= self._max_places:
			raise PresenceRefused(
				PRESENCE_LIMIT,
				f"{name} is not joined: realtime_presence_places is {self._max_places}",
				"realtime_presence_places",
			)

	def join(self, socket: ServerSocket, name: str, state: Any = None, seconds: Any = None) -> Member:
		"""Let `socket` join the place `name`, or change its state if it is a member already.

		Args:
			socket: A socket that may be there: that is decided by the caller.
			name: The name of the place.
			state: The changes of its state, which is empty for a new member.
			seconds: Time to live of the keys in `state`; None for none.

		Raises:
			PresenceRefused: The state is invalid, or a limit is reached.
		"""
		self.check_join(socket, name)
		changes = check_changes(state)
		# Before the socket is a member: a refused join has no effect.
		merged({}, changes, self._max_bytes)
		check_seconds(seconds)
		if not self.is_member(socket, name):
			socket.join(presence_room(name))
		if changes:
			return self.set(socket, name, changes, seconds)
		return self._of_socket[socket][name].member

	def set(self, socket: ServerSocket, name: str, state: Any, seconds: Any = None) -> Member:
		"""Change the state of `socket` in the place `name`.

		Args:
			socket: The socket.
			name: The name of the place.
			state: The keys to change; the value None removes a key.
			seconds: Time to live of these keys; None for none.

		Raises:
			PresenceRefused: The socket is not a member, the state is invalid, or a limit is reached.
		"""
		local = self._of_socket.get(socket, {}).get(name)
		if local is None:
			raise PresenceRefused(
				PRESENCE_NOT_MEMBER, f"the state is not changed: this client is not present in {name}"
			)
		changes = check_changes(state)
		ttl = check_seconds(seconds)
		before = local.member
		after = merged(before.state, changes, self._max_bytes)
		now = self._now()
		expires = before.expires
		if expires:
			expires = _without(expires, changes)
		if ttl is not None:
			expires = {**expires, **{key: now + round(ttl * 1000) for key in changes if key in after}}
		version = before.version
		if after != before.state:
			version = max(version + 1, now)
		self._put(local, before.with_state(version, after, expires))
		self._schedule_expiry(local)
		return local.member

	def leave(self, socket: ServerSocket, name: str) -> None:
		"""Let `socket` leave the place `name`."""
		socket.leave(presence_room(name))

	# -- rooms (RoomObserver)

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Make `socket` a member if `room` is that of a place; it keeps the state of a session that it has recovered."""
		if not room.startswith(PRESENCE_ROOM) or socket.session is None:
			return
		place = Place(socket.namespace.name, room.removeprefix(PRESENCE_ROOM))
		local = self._members.get((place, socket.id))
		if local is not None:
			local.cancel_timers()
			local.socket = socket
			member = local.member._replace(away=False)
		else:
			known = self.table.get(place, socket.id)
			now = self._now()
			if known is not None:
				# A sidecar that this one has not heard of yet may have shown a later version.
				member = known._replace(version=max(known.version + 1, now), away=False)
			else:
				session = socket.session
				member = Member(socket.id, session.user, session.full_name, now, now)
			local = self._members[place, socket.id] = LocalMember(place, socket, member)
		self._of_socket.setdefault(socket, {})[place.name] = local
		self._put(local, member)
		self._schedule_expiry(local)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""End the membership of a socket that leaves a place, or the room that the place belongs to."""
		if not socket.connected:
			# `on_disconnect` decides.
			return
		if not room.startswith(PRESENCE_ROOM):
			place_room = _ROOM_OF_ROOM + room
			if place_room in socket.rooms:
				socket.leave(place_room)
				self.send_end(socket, place_room)
			return
		name = room.removeprefix(PRESENCE_ROOM)
		places = self._of_socket.get(socket)
		local = None if places is None else places.pop(name, None)
		if not places:
			self._of_socket.pop(socket, None)
		if local is not None:
			self._remove(local)

	def send_end(self, socket: ServerSocket, room: str) -> None:
		"""Tell a client that it was made to leave the place of `room`."""
		if room.startswith(PRESENCE_ROOM) and socket.connected:
			name = room.removeprefix(PRESENCE_ROOM)
			socket.emit(PRESENCE_END, {"place": name, "code": PRESENCE_NOT_PERMITTED})

	def on_disconnect(self, socket: ServerSocket, may_return: bool) -> None:
		"""Handle the end of a socket.

		Args:
			socket: The socket, which has left its rooms.
			may_return: True if its client may recover its session: then its members stay for the grace.
		"""
		for local in self._of_socket.pop(socket, {}).values():
			if local.socket is not socket:
				# The client has recovered meanwhile.
				continue
			if not (may_return and self._grace):
				self._remove(local)
				continue
			self._put(local, local.member._replace(away=True))
			newest = self.table.get(local.place, socket.id)
			if newest is not None and not newest.away:
				# The client is connected to another sidecar.
				self._remove(local)
			else:
				loop = asyncio.get_running_loop()
				local.away = loop.call_later(self._grace, self._remove, local)

	def places_of(self, socket: ServerSocket) -> Iterator[tuple[Place, Member]]:
		"""Return the places of a socket, each with its member."""
		for local in list(self._of_socket.get(socket, {}).values()):
			yield local.place, local.member

	def stop(self) -> None:
		"""Cancel all timers."""
		for local in self._members.values():
			local.cancel_timers()

	def _on_moved(self, place: Place, id: str) -> None:
		local = self._members.get((place, id))
		# A socket that is connected is ended by the server.
		if local is not None and local.member.away:
			self._remove(local)

	# -- changes of members

	def _put(self, local: LocalMember, member: Member) -> None:
		self.changes += 1
		local.member = member
		self.table.put(local.place, member)

	def _remove(self, local: LocalMember) -> None:
		local.cancel_timers()
		if self._members.get((local.place, local.member.id)) is local:
			del self._members[local.place, local.member.id]
			self.table.remove(local.place, local.member.id)

	def _now(self) -> int:
		return round(self._clock() * 1000)

	def _schedule_expiry(self, local: LocalMember) -> None:
		if local.expiry is not None:
			local.expiry.cancel()
			local.expiry = None
		if local.member.expires:
			delay = max(0, min(local.member.expires.values()) - self._now()) / 1000
			local.expiry = asyncio.get_running_loop().call_later(delay, self._expire, local)

	def _expire(self, local: LocalMember) -> None:
		local.expiry = None
		now = self._now()
		member = local.member
		# A timer may be early by the resolution of the clock.
		over = {key for key, at in member.expires.items() if at <= now + 1}
		state = _without(member.state, over)
		expires = _without(member.expires, over)
		if over:
			version = max(member.version + 1, now)
			self._put(local, member.with_state(version, state, expires))
		self._schedule_expiry(local)


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
	return {key: value for key, value in values.items() if key not in keys}
