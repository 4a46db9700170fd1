"""Decides which rooms of its session a client that recovers may still be in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from frappe_realtime.contract.rooms import (
	SITE_PLACE,
	SITE_ROOM,
	TASK_ROOM,
	USER_ROOM,
	WEBSITE_ROOM,
	presence_room,
	room_subject,
	user_room,
)
from frappe_realtime.contract.users import SYSTEM_USER

from ..access.authentication import Session
from ..access.permissions import Permissions
from ..access.tasks import TaskAccess

SITE_PRESENCE = presence_room(SITE_PLACE)
"""The room of the members of the site's place, who are System Users."""


class RoomAccess:
	"""Decides on the rooms of sessions.

	Args:
		permissions: Decides on the rooms of documents and DocTypes.
		tasks: Decides on the rooms of background tasks.
	"""

	def __init__(self, permissions: Permissions, tasks: TaskAccess) -> None:
		self._permissions = permissions
		self._tasks = tasks

	async def permitted(self, session: Session, rooms: Iterable[str]) -> set[str]:
		"""Return those of `rooms` that the user may still be in, and the rooms that every socket of the user joins.

		Raises:
			WebFailed, Unsettled: The web process fails at the question about one of the rooms, or access to it changes all the time.
			WebUnavailable: The web process gives no answer.
			StoreUnavailable: Redis does not answer whose a task is.
		"""
		permitted = {user_room(session.user), WEBSITE_ROOM}
		if session.user_type == SYSTEM_USER:
			permitted.add(SITE_ROOM)
		queries: dict[str, Awaitable[bool]] = {}
		for room in rooms:
			subject = room_subject(room)
			if subject is None:
				# A task, or a room of a handler, which has decided already. The rooms of the user and the site are those above.
				if room.startswith(TASK_ROOM):
					queries[room] = self._tasks.may_stay(session, room)
				elif room == SITE_PRESENCE:
					if SITE_ROOM in permitted:
						permitted.add(room)
				elif room not in (SITE_ROOM, WEBSITE_ROOM) and not room.startswith(USER_ROOM):
					permitted.add(room)
				continue
			answer = self._permissions.has_permission(session, *subject)
			if not isinstance(answer, bool):
				queries[room] = answer
			elif answer:
				permitted.add(room)
		if queries:
			answers = await asyncio.gather(*queries.values(), return_exceptions=True)
			for room, given in zip(queries, answers, strict=True):
				if isinstance(given, BaseException):
					raise given
				if given:
					permitted.add(room)
		return permitted
