"""The event that tells the sockets in a place who its members are.

Each member of a place sees the same: the first `realtime_presence_roster` members and the number of all. A message holds the
difference to what was sent before (`ChangeSender` sends it), so that nothing is sent while nothing changes, and a member that goes and
comes back in between is not mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from heapq import nsmallest
from typing import Any

from frappe_realtime.contract.presence import PRESENCE
from frappe_realtime.contract.rooms import presence_room
from frappe_realtime.contract.users import GUEST

from ..config import Config
from .members import NOTHING, Member, Place, PresenceTable
from .sender import ChangeSender
from .states import changed_keys


class View:
	"""What the sockets of one place have been sent.

	Args:
		members: The listed members, by id.
		count: The number of all members.
		is_complete: True if all members are listed, with their states.
	"""

	__slots__ = ("count", "is_complete", "members")

	def __init__(self, members: dict[str, Member], count: int, is_complete: bool) -> None:
		self.members = members
		self.count = count
		self.is_complete = is_complete


class PresenceFeed:
	"""Makes the event `PRESENCE`, and answers who is in a place.

	Args:
		config: The limits `realtime_presence_…`.
		table: The members. Their changes in this process are published to the other sidecars once in each interval.
		sender: Sends the messages.
	"""

	event = PRESENCE

	def __init__(self, config: Config, table: PresenceTable, sender: ChangeSender) -> None:
		self._table = table
		self._roster: int = config.realtime_presence_roster
		self._states: int = config.realtime_presence_states
		self._guest_states: int = config.realtime_presence_guest_states
		self._views: dict[Place, View] = {}
		table.changed.connect(partial(sender.add, self))
		sender.due.connect(table.publish.send)

	def roster(self, place: Place) -> dict[str, Any]:
		"""Return what a new member is sent, `{members, count}`.

		The messages that follow continue from there, so members that have come within the interval are in the next one.
		"""
		view = self._views.get(place)
		if view is None:
			view = self._views[place] = self._current(place)
		members = [member.public() for member in view.members.values()]
		return {"members": members, "count": self._table.count(place)}

	def current(self, place: Place) -> dict[str, Any]:
		"""Return the members of a place as they are now, `{members, count}`, for somebody who gets no messages."""
		view = self._current(place)
		return {"members": [member.public() for member in view.members.values()], "count": view.count}

	# -- messages: see `PlaceMessages`

	def room(self, place: Place) -> str:
		"""Return the room of a place."""
		return presence_room(place.name)

	def forget(self, place: Place) -> None:
		"""Forget what was sent about a place: no socket of this process is in it any more."""
		self._views.pop(place, None)

	def message(self, place: Place, changed: set[str]) -> dict[str, Any] | None:
		"""Return the message about the members that have changed; None if the difference to what was sent is nothing.

		Args:
			place: The place.
			changed: The ids of these members.
		"""
		view = self._views.get(place)
		if view is None:
			view = self._views[place] = View({}, 0, False)
		return self._difference(place, view, changed)

	def _difference(self, place: Place, view: View, ids: set[str]) -> dict[str, Any] | None:
		"""Bring `view` up to date, and return the message about what has changed; None if nothing has."""
		now: Mapping[str, Member]
		is_complete = self._is_small(place)
		if is_complete and view.is_complete:
			now = {id: member for id in ids if (member := self._table.get(place, id)) is not None}
		else:
			now = self._listed(place)
			ids = {*now, *view.members}
		joins, updates, leaves = [], [], []
		for id in ids:
			before, after = view.members.get(id), now.get(id)
			if after is None:
				if before is not None:
					del view.members[id]
					leaves.append(id)
			elif before is None:
				view.members[id] = after
				joins.append(after.public())
			elif after.version >= before.version:
				# An older version may be the newest that is left of a sidecar that has ended: nobody goes back to it.
				view.members[id] = after
				if changes := changed_keys(before.state, after.state):
					updates.append({"id": id, "version": after.version, "state": changes})
		count = self._table.count(place)
		if not (joins or updates or leaves) and count == view.count:
			return None
		view.count, view.is_complete = count, is_complete
		message: dict[str, Any] = {"place": place.name, "count": count}
		message |= {
			key: value for key, value in (("joins", joins), ("updates", updates), ("leaves", leaves)) if value
		}
		return message

	# -- who is listed

	def _current(self, place: Place) -> View:
		return View(self._listed(place), self._table.count(place), self._is_small(place))

	def _is_small(self, place: Place) -> bool:
		"""Return True if all members of a place are listed with their states."""
		return (
			self._table.count(place) <= min(self._roster, self._states)
			and self._table.guests(place) <= self._guest_states
		)

	def _listed(self, place: Place) -> dict[str, Member]:
		"""Return the members that are listed, by id: those who came first, and the states of the first that have one."""
		first = nsmallest(
			self._roster, self._table.members(place), key=lambda member: (member.joined_at, member.id)
		)
		states, guest_states = self._states, self._guest_states
		listed = {}
		for member in first:
			if member.state:
				is_guest = member.user == GUEST
				if states > 0 and (not is_guest or guest_states > 0):
					states -= 1
					guest_states -= is_guest
				else:
					member = member._replace(state=NOTHING)
			listed[member.id] = member
		return listed
