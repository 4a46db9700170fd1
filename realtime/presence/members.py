"""The members of places: those of this process, and those that the other sidecars have published.

A member has one record in each process that knows its socket. Normally this is one; when the client recovers at another sidecar there are
two for a moment, until that sidecar has published that the socket has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from frappe_realtime.contract.presence import ONLINE_PLACE
from frappe_realtime.contract.users import GUEST

from ..signals import Signal

NOTHING: Final[Mapping[str, Any]] = {}
"""An empty state."""

LOCAL = ""
"""The origin of the members of this process; that of others is the id of their sidecar."""


class Place(NamedTuple):
	"""Where members are.

	Args:
		namespace: The namespace of the site.
		name: The name of the place (frappe_realtime/contract/presence.py).
	"""

	namespace: str
	name: str


class Member(NamedTuple):
	"""One socket in one place, at one time.

	Args:
		id: The id of the socket; it stays the same when the client recovers its session.
		user: The user of the socket.
		full_name: The full name of the user.
		joined_at: When the socket joined the place, in milliseconds since 1970.
		version: Grows with each change of the state.
		state: What the client, or a handler, says about itself.
		expires: When a key of the state is removed, in milliseconds since 1970; only keys with a time to live.
		away: True while the connection is lost and the member may come back.
	"""

	id: str
	user: str
	full_name: str
	joined_at: int
	version: int
	state: Mapping[str, Any] = NOTHING
	expires: Mapping[str, int] = NOTHING
	away: bool = False

	def with_state(self, version: int, state: Mapping[str, Any], expires: Mapping[str, int]) -> Member:
		"""Return this member with another state. Less general than `_replace`, and three times as fast."""
		return Member(self.id, self.user, self.full_name, self.joined_at, version, state, expires, self.away)

	def public(self) -> dict[str, Any]:
		"""Return what clients see of this member."""
		return {
			"id": self.id,
			"user": self.user,
			"full_name": self.full_name,
			"joined_at": self.joined_at / 1000,
			"version": self.version,
			"state": self.state,
		}


PresenceChange = tuple[str, str, str, Member | None]
"""Namespace, place, the id of a member, and the member; None if it has left."""


class _Members:
	"""The members of one place: by id, their records by origin; and how many of them are Guests."""

	__slots__ = ("guests", "records")

	def __init__(self) -> None:
		self.records: dict[str, dict[str, Member]] = {}
		self.guests = 0


class PresenceTable:
	"""The members of all places on all sidecars.

	Args:
		max_remote: Members of other sidecars that are kept (`realtime_sidecar_members`); further ones are ignored.
		on_full: Called for each member that is ignored.
	"""

	def __init__(self, max_remote: int, on_full: Callable[[], None] = lambda: None) -> None:
		self.changed: Signal[[Place, str]] = Signal()
		"""Sent with the place and the id of a member that has come, changed or gone."""
		self.moved: Signal[[Place, str]] = Signal()
		"""Sent with the place and the id of a member of this process whose client has recovered at another sidecar."""
		self.publish: Signal[[]] = Signal()
		"""Sent when the changes of this process are to be published to the other sidecars."""
		self.remote_count = 0
		"""Members of other sidecars, and their users who are online."""
		self.local_count = 0
		"""Members of this process, without those of `ONLINE_PLACE`."""
		self._max_remote = max_remote
		self._on_full = on_full
		self._places: dict[Place, _Members] = {}
		self._places_of: dict[tuple[str, str], tuple[Place, ...]] = {}
		"""For each namespace and id of a socket, the places that it is in."""
		self._unpublished: dict[tuple[Place, str], Member | None] = {}
		"""The members of this process that have changed; None for one that has left."""

	# -- reading

	def get(self, place: Place, id: str) -> Member | None:
		"""Return the newest record of a member."""
		members = self._places.get(place)
		records = None if members is None else members.records.get(id)
		return None if records is None else _newest(records)

	def of(self, origin: str, place: Place, id: str) -> Member | None:
		"""Return the record of a member in one process."""
		members = self._places.get(place)
		return None if members is None else members.records.get(id, {}).get(origin)

	def members(self, place: Place) -> Iterator[Member]:
		"""Return the members of a place."""
		members = self._places.get(place)
		return iter(()) if members is None else map(_newest, members.records.values())

	def count(self, place: Place) -> int:
		"""Return the number of members of a place."""
		members = self._places.get(place)
		return 0 if members is None else len(members.records)

	def guests(self, place: Place) -> int:
		"""Return how many of them are Guests."""
		members = self._places.get(place)
		return 0 if members is None else members.guests

	def places(self) -> int:
		"""Return the number of places with members, without those of `ONLINE_PLACE`."""
		return sum(place.name != ONLINE_PLACE for place in self._places)

	# -- members of this process

	def put(self, place: Place, member: Member) -> None:
		"""Add or replace a member of this process."""
		self._put(LOCAL, place, member)
		self._unpublished[place, member.id] = member

	def remove(self, place: Place, id: str) -> None:
		"""Remove a member of this process."""
		if self._remove(LOCAL, place, id):
			self._unpublished[place, id] = None

	def take_unpublished(self) -> list[PresenceChange]:
		"""Return the changes of this process since the last call."""
		changes: list[PresenceChange] = [
			(*place, id, member) for (place, id), member in self._unpublished.items()
		]
		self._unpublished.clear()
		return changes

	def local_members(self) -> Iterator[PresenceChange]:
		"""Return all members of this process."""
		for place, members in self._places.items():
			for id, records in members.records.items():
				if LOCAL in records:
					yield (*place, id, records[LOCAL])

	# -- members of other sidecars

	def apply(self, sidecar: str, changes: Iterable[PresenceChange]) -> None:
		"""Apply changes that `sidecar` has published."""
		for namespace, name, id, member in changes:
			place = Place(namespace, name)
			if member is None:
				self._remove(sidecar, place, id)
				continue
			members = self._places.get(place)
			known = members is not None and sidecar in members.records.get(id, ())
			if not known and self.remote_count >= self._max_remote:
				self._on_full()
				continue
			self._put(sidecar, place, member)

	def replace(self, sidecar: str, changes: Iterable[PresenceChange]) -> None:
		"""Replace all members of `sidecar`."""
		changes = list(changes)
		stay = {(namespace, name, id) for namespace, name, id, _ in changes}
		gone = [
			(place, id)
			for place, members in self._places.items()
			for id, records in members.records.items()
			if sidecar in records and (*place, id) not in stay
		]
		for place, id in gone:
			self._remove(sidecar, place, id)
		self.apply(sidecar, changes)

	def socket_moved(self, origin: str, namespace: str, id: str) -> None:
		"""Remove the records of a socket that processes other than `origin` have: its client has recovered at `origin`.

		The record of this process is removed by the receiver of `moved`, which has added it.
		"""
		for place in self._places_of.get((namespace, id), ()):
			for other in list(self._places[place].records[id]):
				if other == origin:
					continue
				if other == LOCAL:
					self.moved.send(place, id)
				else:
					self._remove(other, place, id)

	def forget(self, sidecar: str) -> None:
		"""Remove all members of `sidecar`."""
		self.replace(sidecar, ())

	# -- all members

	def _put(self, origin: str, place: Place, member: Member) -> None:
		members = self._places.setdefault(place, _Members())
		records = members.records.setdefault(member.id, {})
		if not records:
			members.guests += member.user == GUEST
			if place.name != ONLINE_PLACE:
				socket = place.namespace, member.id
				self._places_of[socket] = (*self._places_of.get(socket, ()), place)
		if origin not in records:
			self._count(origin, place, 1)
		records[origin] = member
		self.changed.send(place, member.id)

	def _remove(self, origin: str, place: Place, id: str) -> bool:
		members = self._places.get(place)
		records = {} if members is None else members.records.get(id, {})
		member = records.pop(origin, None)
		if members is None or member is None:
			return False
		self._count(origin, place, -1)
		if not records:
			del members.records[id]
			members.guests -= member.user == GUEST
			if place.name != ONLINE_PLACE:
				socket = place.namespace, id
				others = tuple(other for other in self._places_of.pop(socket) if other != place)
				if others:
					self._places_of[socket] = others
			if not members.records:
				del self._places[place]
		self.changed.send(place, id)
		return True

	def _count(self, origin: str, place: Place, change: int) -> None:
		if origin != LOCAL:
			self.remote_count += change
		elif place.name != ONLINE_PLACE:
			self.local_count += change


def _newest(records: Mapping[str, Member]) -> Member:
	"""Return the record of a socket that is connected, rather than of one that was lost; then the latest version."""
	if len(records) == 1:
		return next(iter(records.values()))
	return max(records.values(), key=lambda member: (not member.away, member.version))
