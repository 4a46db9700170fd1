"""`rewind` of handlers, in Python and in JavaScript: a socket joins a room, and is sent first the earlier events of the room.

A handler decides who may be in a room of its own. What is in Frappe's rooms is decided as for clients that ask for it: the room of a
document or a DocType needs the permission to read, that of a task its owner, and the rooms that every socket joins are for the
sockets in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from frappe_realtime.contract.rooms import SITE_ROOM, TASK_ROOM, USER_ROOM, WEBSITE_ROOM, room_subject
from frappe_realtime.errors import RewindRefused

from ..access.authentication import Session
from ..access.permissions import answer_of
from ..socketio.namespace import ServerSocket
from .rewinds import Rewinds, may_rewind


class AppRewinds:
	"""Lets handlers join rooms whose earlier events are sent first.

	Args:
		rewinds: Reads the earlier events of rooms, and joins the rooms.
		has_permission: Returns whether the user of a socket may read a document, or a DocType if the name is empty.
		may_follow_task: Returns whether the user of a session may be in the room of a task.
	"""

	def __init__(
		self,
		rewinds: Rewinds,
		has_permission: Callable[[ServerSocket, str, str], bool | Awaitable[bool]],
		may_follow_task: Callable[[Session, str], Awaitable[bool]],
	) -> None:
		self._rewinds = rewinds
		self._has_permission = has_permission
		self._may_follow_task = may_follow_task

	def rewind(self, socket: ServerSocket, room: str, rewind: Any) -> Coroutine[Any, Any, int]:
		"""Let `socket` join `room`, and send it first the earlier events of the room. The work begins before the result is awaited.

		Args:
			socket: The socket.
			room: The room.
			rewind: `latest` or a number, as of a client.

		Returns:
			The number of events; 0 if the client has gone.

		Raises:
			RewindRefused: When awaited: the socket has not joined the room, and nothing is sent.
		"""

		def join() -> bool:
			# As with `socket.join`, no limit of rooms applies: it bounds what clients ask for.
			socket.join(room)
			return True

		async def is_permitted() -> bool:
			return await self._is_permitted(socket, room)

		answers: list[int | RewindRefused] = []
		# After the disconnect there is nothing to join, as for `socket.join`.
		if not socket.connected:
			return _result(None, answers)
		return _result(
			self._rewinds.start(socket, [room], rewind, answers.append, is_permitted, join), answers
		)

	def cancel(self, socket: ServerSocket, room: str) -> None:
		"""Cancel the pending join of a socket that leaves `room`, if there is one."""
		self._rewinds.cancel(socket, room)

	async def _is_permitted(self, socket: ServerSocket, room: str) -> bool:
		session: Session = socket.session
		if room.startswith(USER_ROOM) or room in (SITE_ROOM, WEBSITE_ROOM):
			return room in socket.rooms and may_rewind(session, room)
		if room.startswith(TASK_ROOM):
			return await self._may_follow_task(session, room.removeprefix(TASK_ROOM))
		subject = room_subject(room)
		if subject is None:
			return True
		return await answer_of(self._has_permission(socket, *subject))


async def _result(task: asyncio.Task[None] | None, answers: list[int | RewindRefused]) -> int:
	"""Wait for the work, and return or raise the answer; there is none if the client has gone."""
	if task is not None:
		await asyncio.wait([task])
		if not task.cancelled():
			task.result()
	for answer in answers:
		if isinstance(answer, RewindRefused):
			raise answer
		return answer
	return 0
