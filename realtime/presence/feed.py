"""Sends the changes of places to the sockets in them, combined: one message for each place that has changed, in each interval.

Each member of a place sees the same: the first `realtime_presence_roster` members and the number of all. A message holds the
difference to what was sent before, so that nothing is sent while nothing changes, and a member that goes and comes back in between
is not mentioned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from heapq import nsmallest
from typing import Any

from frappe_realtime.contract import GUEST, PRESENCE, presence_room

from ..config import Config
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespaces
from .members import Member, Place, PresenceTable
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
	"""Sends `PRESENCE`, and lets the changes of this process be published to the other sidecars, once in each interval.

	Args:
		config: The limits `realtime_presence_…`.
		table: The members.
		namespaces: The sockets of this process.
		fanout: Sends the messages.
	"""

	def __init__(self, config: Config, table: PresenceTable, namespaces: Namespaces, fanout: Fanout) -> None:
		self.messages = 0
		"""Messages about changes, one for each place and interval."""
		self.writes = 0
		"""Sockets to which they were written."""
		self.delayed = 0
		"""Places that had to wait for `realtime_presence_writes_per_second`."""
		self._table = table
		self._namespaces = namespaces
		self._fanout = fanout
		self._interval: float = config.realtime_presence_interval
		self._roster: int = config.realtime_presence_roster
		self._states: int = config.realtime_presence_states
		self._guest_states: int = config.realtime_presence_guest_states
		self._rate: float = config.realtime_presence_writes_per_second
		self._most = max(1.0, self._rate * self._interval)
		self._budget = self._most
		self._views: dict[Place, View] = {}
		self._changed: dict[Place, set[str]] = {}
		"""Places with changes that were not sent, the oldest first, and the ids of the members."""
		self._timer: asyncio.TimerHandle | None = None
		self._last = -self._interval
		table.changed.connect(self._on_changed)

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

	def stop(self) -> None:
		"""Send nothing any more."""
		if self._timer is not None:
			self._timer.cancel()

	# -- sending

	def _on_changed(self, place: Place, id: str) -> None:
		self._changed.setdefault(place, set()).add(id)
		if self._timer is None:
			loop = asyncio.get_running_loop()
			self._timer = loop.call_at(max(loop.time(), self._last + self._interval), self._send_changes)

	def _send_changes(self) -> None:
		loop = asyncio.get_running_loop()
		now = loop.time()
		self._budget = min(self._most, self._budget + self._rate * (now - self._last))
		self._last = now
		self._timer = None
		self._table.publish.send()
		for place in list(self._changed):
			if self._budget <= 0:
				self.delayed += len(self._changed)
				if self._timer is None:
					self._timer = loop.call_at(now + self._interval, self._send_changes)
				return
			self._budget -= self._send(place, self._changed.pop(place))

	def _send(self, place: Place, ids: set[str]) -> int:
		"""Send the changes of one place; return to how many sockets."""
		namespace = self._namespaces.get(place.namespace)
		room = presence_room(place.name)
		sockets = 0 if namespace is None else len(namespace.rooms.get(room, ()))
		if namespace is None or not sockets:
			self._views.pop(place, None)
			return 0
		view = self._views.get(place)
		if view is None:
			view = self._views[place] = View({}, 0, False)
		message = self._difference(place, view, ids)
		if message is None:
			return 0
		self._fanout.emit_local(namespace, room, PRESENCE, message)
		self.messages += 1
		self.writes += sockets
		return sockets

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
					member = replace(member, state={})
			listed[member.id] = member
		return listed
