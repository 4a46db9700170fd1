"""Joins that ask for earlier events of the room: of clients, with `{"rewind": …}` as an additional argument, and of handlers.

The events come as ordinary events, in order, in the step in which the socket joins the room: before all live events, and
without a gap. Then comes the answer; for a client the acknowledgement, `{"rewound": n}`, or `{"error": {"code", "message"}}`
if nothing was sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from frappe_realtime.contract.events import LIMIT_REACHED
from frappe_realtime.contract.rooms import USER_ROOM
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import RewindRefused, WebUnavailable

from ..access.authentication import Session
from ..access.rewind_request import RewindRequest
from ..engine import Encoded
from ..socketio.namespace import ServerSocket, joined
from ..socketio.server import Ack

logger = logging.getLogger("realtime.handlers")

MAX_PENDING = 20
"""Requests of one socket that are answered at the same time."""


Answer = Callable[["int | RewindRefused"], None]
"""Takes the number of events that were sent, or the reason why none was. It is not called if the client has gone."""


class RewindSource(Protocol):
	"""Reads the earlier events of rooms (`RewindReader`)."""

	async def read(
		self, socket: ServerSocket, request: RewindRequest, is_permitted: Callable[[], Awaitable[bool]]
	) -> Callable[[], list[Encoded]]:
		"""Return a function that returns what is sent to `socket`, called in the same turn of the event loop."""


class Rewinds:
	"""Answers the requests of sockets, those of one room one after the other.

	Args:
		source: Reads the earlier events of rooms.
		most: `realtime_rewind_events`.
	"""

	def __init__(self, source: RewindSource, most: int) -> None:
		self._source = source
		self._most = most
		self._running: dict[ServerSocket, dict[str, list[asyncio.Task[None]]]] = {}
		"""For each socket, the requests by room."""

	def start(
		self,
		socket: ServerSocket,
		rooms: Sequence[str],
		rewind: Any,
		answer: Answer,
		is_permitted: Callable[[], Awaitable[bool]],
		join: Callable[[], bool],
		event: str = "",
	) -> asyncio.Task[None] | None:
		"""Send the earlier events of `rooms`, and answer.

		Args:
			socket: The socket.
			rooms: The room that it joins, or those that it is in.
			rewind: What it asks for.
			answer: Called in the step in which the events are sent.
			is_permitted: Asks for the permission.
			join: Joins the room if a limit allows it, and returns whether it did.
			event: Only events of this name.

		Returns:
			The work; None if it is refused already.
		"""
		try:
			request = RewindRequest.parse(rooms, rewind, self._most, event)
			running = self._running.setdefault(socket, {})
			if sum(map(len, running.values())) >= MAX_PENDING:
				raise RewindRefused(
					LIMIT_REACHED, f"{MAX_PENDING} requests of this client wait for an answer"
				)
		except RewindRefused as error:
			answer(error)
			return None
		of_room = running.setdefault(rooms[0], [])
		work = self._rewind(socket, request, answer, is_permitted, join, of_room[-1] if of_room else None)
		task = asyncio.get_running_loop().create_task(work)
		of_room.append(task)
		task.add_done_callback(partial(self._ended, socket, rooms[0], answer))
		return task

	def cancel(self, socket: ServerSocket, room: str) -> None:
		"""End the requests for a room that the socket leaves."""
		for task in list(self._running.get(socket, {}).get(room, ())):
			task.cancel()

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""End all requests of a socket."""
		for room in list(self._running.get(socket, ())):
			self.cancel(socket, room)

	def _ended(self, socket: ServerSocket, room: str, answer: Answer, task: asyncio.Task[None]) -> None:
		if task.cancelled() and socket.connected:
			answer(RewindRefused("unsubscribed", "the client has left the room meanwhile"))
		running = self._running.get(socket, {})
		of_room = running.get(room, [])
		if task in of_room:
			of_room.remove(task)
		if not of_room:
			running.pop(room, None)
		if not running:
			self._running.pop(socket, None)

	async def _rewind(
		self,
		socket: ServerSocket,
		request: RewindRequest,
		answer: Answer,
		is_permitted: Callable[[], Awaitable[bool]],
		join: Callable[[], bool],
		earlier: asyncio.Task[None] | None,
	) -> None:
		try:
			if earlier is not None:
				await asyncio.wait([earlier])
			collect = await self._source.read(socket, request, is_permitted)
			# No other event is sent to the socket from here to the answer.
			if not socket.connected:
				return
			if not join():
				raise RewindRefused(LIMIT_REACHED, "the client is in too many rooms")
			events = collect()
			if events:
				socket.send(joined(events))
			answer(len(events))
		except RewindRefused as error:
			answer(error)
		except WebUnavailable as error:
			answer(RewindRefused("unavailable", f"the permission is unknown: {error}"))


def may_rewind(session: Session, room: str) -> bool:
	"""Return False for a room that all Guests share: what was meant for one of them is not shown to others."""
	return session.user != GUEST or not room.startswith(USER_ROOM)


def acknowledge(ack: Ack | None, answer: int | RewindRefused) -> None:
	"""Acknowledge the event of a client that asked for earlier events of a room; see `Answer`."""
	if ack is None:
		return
	if isinstance(answer, RewindRefused):
		ack({"error": {"code": answer.code, "message": str(answer)}})
	else:
		ack({"rewound": answer})
