"""Answers questions of Frappe's processes: who is in a place, and which users are online."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from frappe_realtime.contract.channels import QUESTIONS_CHANNEL
from frappe_realtime.contract.presence import (
	ASK_ONLINE,
	ASK_PRESENCE,
	ASK_USERS,
	MAX_ASKED_PLACES,
	MAX_PLACE_USERS,
	PRESENCE_BAD_REQUEST,
)
from frappe_realtime.contract.redis_keys import ANSWER_SECONDS, answer_key
from frappe_realtime.errors import PresenceRefused

from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..json_codec import dumps, loads
from ..log_budget import LogBudget
from .feed import PresenceFeed
from .members import Place
from .online import OnlineUsers
from .places import check_place

logger = logging.getLogger("realtime.presence")

MAX_PENDING = 1000
"""Answers that wait for Redis; further questions are not answered, and their processes wait for their timeout."""

BATCH = 100
"""Answers that are written in one round trip."""

MAX_ID = 64
"""Characters of the id of a question."""


class PresenceQuestions:
	"""Reads `QUESTIONS_CHANNEL` and writes the answers to Redis.

	Args:
		store: redis_queue.
		feed: Lists the members of places.
		online: The users with a socket.
		is_ready: Returns True if this process knows the clients of all sidecars.
	"""

	def __init__(
		self, store: RedisStore, feed: PresenceFeed, online: OnlineUsers, is_ready: Callable[[], bool]
	) -> None:
		self.answered = 0
		"""Questions that were answered since the start."""
		self.dropped = 0
		"""Questions that were not answered, because too many were waiting or Redis did not take the answer."""
		self._store = store
		self._feed = feed
		self._online = online
		self._is_ready = is_ready
		self._pending: deque[tuple[str, str]] = deque()
		self._writing: asyncio.Task[None] | None = None
		self._log_budget = LogBudget()

	def on_message(self, payload: bytes) -> None:
		"""Answer one message of the channel."""
		try:
			question = loads(payload)
			id, answer = question["id"], self._answer(question)
			if not isinstance(id, str) or not 0 < len(id) <= MAX_ID:
				raise ValueError("invalid id")
		except (ValueError, KeyError, TypeError, AttributeError):
			self._log_budget.write(
				logger.warning,
				"invalid message of %d bytes on the channel %r",
				len(payload),
				QUESTIONS_CHANNEL,
			)
			return
		if len(self._pending) >= MAX_PENDING:
			self.dropped += 1
			return
		self._pending.append((answer_key(id), dumps({"ready": self._is_ready(), **answer})))
		if self._writing is None:
			self._writing = asyncio.get_running_loop().create_task(self._write())

	def stop(self) -> None:
		"""Write no more answers."""
		if self._writing is not None:
			self._writing.cancel()

	def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
		namespace = "/" + question["site"]
		try:
			if question["kind"] == ASK_PRESENCE:
				return {"answer": self._feed.current(Place(namespace, check_place(question["place"])))}
			if question["kind"] == ASK_USERS:
				return {"answer": self._users(namespace, question["places"])}
		except PresenceRefused as refused:
			return {"error": {"code": PRESENCE_BAD_REQUEST, "message": str(refused)}}
		if question["kind"] != ASK_ONLINE:
			raise ValueError("unknown kind of question")
		users = question.get("users")
		if users is None:
			return {"answer": list(self._online.users(namespace))}
		return {"answer": [user for user in users if self._online.is_online(namespace, user)]}

	def _users(self, namespace: str, names: list[Any]) -> dict[str, Any]:
		if len(names) > MAX_ASKED_PLACES:
			raise ValueError("too many places")
		answer = {}
		for name in names:
			members = self._feed.current(Place(namespace, check_place(name)))["members"]
			users = {member["user"]: member["full_name"] for member in members}
			if users:
				first = [{"user": user, "full_name": users[user]} for user in list(users)[:MAX_PLACE_USERS]]
				answer[name] = {"users": first, "count": len(users)}
		return answer

	async def _write(self) -> None:
		try:
			while self._pending:
				batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
				try:
					await self._store.append(batch, ANSWER_SECONDS)
					self.answered += len(batch)
				except StoreUnavailable:
					self.dropped += len(batch)
				except StoreDenied as error:
					self.dropped += len(batch)
					self._log_budget.write(
						logger.error,
						"%s does not let this sidecar answer questions about presence: %s. %s",
						self._store.endpoint,
						error,
						error.advice,
					)
		finally:
			self._writing = None
