"""The events of clients about presence: join, set and leave; and what ends a membership."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from frappe_realtime.contract.presence import (
	PRESENCE_JOIN,
	PRESENCE_LEAVE,
	PRESENCE_LIMIT,
	PRESENCE_NOT_PERMITTED,
	PRESENCE_SET,
	PRESENCE_SYNC,
	PRESENCE_UNAVAILABLE,
)
from frappe_realtime.contract.rooms import ROOM_PLACE, SITE_PLACE, SITE_ROOM, presence_room, room_subject
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import PresenceRefused, WebUnavailable

from ..access.client_questions import allows_permission_question
from ..access.limit_source import Source
from ..access.limits import BURST_SECONDS, ClientLimits
from ..access.pending_answers import PendingAnswers
from ..access.permission_requests import log_unanswered
from ..access.permissions import Permissions
from ..access.revalidation import Revalidator
from ..config import Config
from ..log_budget import LogBudget
from ..socketio.namespace import RECOVERABLE_REASONS, ServerSocket
from ..socketio.server import Ack, ignore_answer
from ..token_buckets import ReportedBuckets
from .feed import PresenceFeed
from .members import Member, Place
from .online import OnlineUsers
from .places import check_place
from .presence import Presence

logger = logging.getLogger("realtime.presence")


class PresenceEvents:
	"""Handles the events of clients (`EventHandler`).

	Args:
		config: `realtime_presence_changes_per_second`.
		presence: The members of this process.
		online: The users with a socket.
		feed: What members are sent.
		permissions: Answers whether a user may read a document or a DocType.
		limits: Bounds the rooms of a client, and the questions that it causes.
		revalidator: Removes sockets from places that their users may no longer read.
	"""

	def __init__(
		self,
		config: Config,
		presence: Presence,
		online: OnlineUsers,
		feed: PresenceFeed,
		permissions: Permissions,
		limits: ClientLimits,
		revalidator: Revalidator,
	) -> None:
		self._rate: float = config.realtime_presence_changes_per_second
		self._changes = ReportedBuckets(self._rate, self._rate * BURST_SECONDS)
		self._presence = presence
		self._online = online
		self._feed = feed
		self._permissions = permissions
		self._limits = limits
		self._pending: PendingAnswers[str] = PendingAnswers()
		"""The joins that wait for the web process, by the name of the place."""
		self._log_budget = LogBudget()
		self._handlers: dict[str, Callable[..., None]] = {
			PRESENCE_JOIN: self._join,
			PRESENCE_SET: self._set,
			PRESENCE_LEAVE: self._leave,
		}
		self.events = self._handlers.keys()
		revalidator.room_withdrawn.connect(presence.send_end)

	# -- events of sockets: see `EventHandler`

	def on_connect(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Send a client that has recovered its session who is where now."""
		for place, member in self._presence.places_of(socket):
			if socket.connected:
				socket.emit(PRESENCE_SYNC, {"place": place.name, **self._answer(place, member)})

	def on_event(self, socket: ServerSocket, event: str, arguments: list[Any], ack: Ack | None) -> None:
		"""Handle an event about presence."""
		answer = ack or ignore_answer
		try:
			self._handlers[event](socket, answer, *[*arguments, None, None, None][:3])
		except PresenceRefused as refused:
			self._refuse(socket, answer, refused)

	def on_disconnect(self, socket: ServerSocket, reason: str, rooms: Collection[str]) -> None:
		"""Cancel joins that wait; end the memberships of the socket, at once or after the grace."""
		self._pending.on_disconnect(socket)
		self._changes.forget(socket)
		self._online.on_disconnect(socket, reason)
		self._presence.on_disconnect(socket, socket.offsets and reason in RECOVERABLE_REASONS)

	# -- the three events

	def _join(self, socket: ServerSocket, ack: Ack, name: Any, state: Any, seconds: Any) -> None:
		name = check_place(name)
		self._count_change(socket)
		if self._presence.is_member(socket, name):
			self._complete(socket, ack, name, state, seconds)
			return
		self._presence.check_join(socket, name)
		self._pending.cancel(socket, name)
		permitted = self._is_permitted(socket, name)
		if not isinstance(permitted, bool):
			self._pending.start(socket, name, self._join_later(socket, ack, name, state, seconds, permitted))
		elif permitted:
			self._complete(socket, ack, name, state, seconds)
		else:
			raise _not_permitted(name)

	def _is_permitted(self, socket: ServerSocket, name: str) -> bool | Awaitable[bool]:
		"""Return whether the user may be in a place, or an awaitable of the answer."""
		if name == SITE_PLACE:
			return SITE_ROOM in socket.rooms
		if name.startswith(ROOM_PLACE):
			return name.removeprefix(ROOM_PLACE) in socket.rooms
		subject = room_subject(presence_room(name))
		assert subject is not None
		if not self._limits.allows_room(socket, presence_room(name)):
			raise PresenceRefused(PRESENCE_LIMIT, _room_limit(socket, name))
		if not allows_permission_question(self._permissions, self._limits, socket, *subject):
			raise PresenceRefused(
				PRESENCE_LIMIT,
				f"{name} is not joined: this client causes too many requests (realtime_questions_per_second)",
			)
		return self._permissions.has_permission(socket.session, *subject)

	async def _join_later(
		self, socket: ServerSocket, ack: Ack, name: str, state: Any, seconds: Any, permitted: Awaitable[bool]
	) -> None:
		try:
			if not await permitted:
				raise _not_permitted(name)
			if socket.connected:
				self._complete(socket, ack, name, state, seconds)
		except PresenceRefused as refused:
			self._refuse(socket, ack, refused)
		except WebUnavailable as error:
			log_unanswered(
				logger,
				self._log_budget,
				error,
				"a place was not joined because the web process did not answer: %s",
			)
			self._refuse(
				socket,
				ack,
				PresenceRefused(
					PRESENCE_UNAVAILABLE, f"{name} is not joined: the web process did not answer"
				),
			)

	def _complete(self, socket: ServerSocket, ack: Ack, name: str, state: Any, seconds: Any) -> None:
		member = self._presence.join(socket, name, state, seconds)
		ack(self._answer(Place(socket.namespace.name, name), member))

	def _set(self, socket: ServerSocket, ack: Ack, name: Any, state: Any, seconds: Any) -> None:
		if not (isinstance(name, str) and self._presence.is_member(socket, name)):
			name = check_place(name)
		self._count_change(socket)
		member = self._presence.set(socket, name, state, seconds)
		ack({"version": member.version})

	def _leave(self, socket: ServerSocket, ack: Ack, name: Any, *_: Any) -> None:
		name = check_place(name)
		self._pending.cancel(socket, name)
		self._presence.leave(socket, name)
		ack({})

	def _answer(self, place: Place, member: Member) -> dict[str, Any]:
		return {"me": member.public(), **self._feed.roster(place)}

	def _count_change(self, socket: ServerSocket) -> None:
		if self._changes.take(socket):
			return
		limit = key = "realtime_presence_changes_per_second"
		if not self._changes.is_first_refusal(socket):
			self._limits.record(key, f" by {socket.session.user}", Source.of_socket(socket))
			limit = ""
		raise PresenceRefused(PRESENCE_LIMIT, f"too many changes: {key} is {self._rate:g}", limit)

	def _refuse(self, socket: ServerSocket, ack: Ack, refused: PresenceRefused) -> None:
		if refused.limit:
			self._limits.on_client_limit(socket, refused.limit, str(refused))
		ack({"error": {"code": refused.code, "message": str(refused)}})


def _not_permitted(name: str) -> PresenceRefused:
	return PresenceRefused(PRESENCE_NOT_PERMITTED, f"{name} is not joined: this user may not be there")


def _room_limit(socket: ServerSocket, name: str) -> str:
	key = "realtime_rooms_per_socket"
	if socket.session.user == GUEST:
		key = "realtime_guest_rooms and realtime_guest_rooms_per_socket"
	return f"{name} is not joined: {key}"
