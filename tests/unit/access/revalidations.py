"""A revalidator whose web process is a fake."""

from __future__ import annotations

import asyncio
from typing import Any

from realtime.access.authentication import Session
from realtime.access.revalidation import Revalidator
from realtime.signals import Signal
from realtime.socketio.namespace import Namespaces
from realtime.web.cache import SingleFlightCache
from realtime.web.frappe_client import Credential
from tests.unit.access.fakes import config, connected, session
from tests.unit.virtual_time import turns

ANN = session("ann")


class FakeAuthenticator:
	"""Answers after a turn of the loop, and records the queries and how many were pending at once."""

	def __init__(self) -> None:
		self.sessions: SingleFlightCache[tuple[str, Credential], Session] = SingleFlightCache(60, 100)
		self.answers: dict[str, Session | Exception] = {}
		self.asked: list[str] = []
		self.pending = self.most = 0

	async def authenticate(self, site: str, credential: Credential) -> Session:
		self.asked.append(credential.sid)
		self.pending += 1
		self.most = max(self.most, self.pending)
		await asyncio.sleep(0)
		self.pending -= 1
		answer = self.answers.get(credential.sid, session(credential.sid))
		if isinstance(answer, Exception):
			raise answer
		return answer


class FakePermissions:
	"""Grants what is not in `answers`, where a test denies it, or has an exception or a function."""

	def __init__(self) -> None:
		self.session_ended: Signal[[Session]] = Signal()
		self.answers: dict[tuple[str, str], Any] = {}
		self.asked: list[tuple[str, str, str]] = []
		self.at_once = True

	def has_permission(self, user: Session, doctype: str, name: str, ptype: str = "read") -> Any:
		self.asked.append((user.credential.sid, doctype, name))
		answer = self.answers.get((doctype, name), True)
		if callable(answer):
			answer = answer(user)
		if isinstance(answer, bool) and self.at_once:
			return answer
		return self._later(answer)

	async def _later(self, answer: Any) -> bool:
		await asyncio.sleep(0)
		if isinstance(answer, Exception):
			raise answer
		return bool(answer)


class Setting:
	"""A revalidator, and the fakes that it asks."""

	def __init__(self, seconds: float = 0) -> None:
		self.namespaces = Namespaces()
		self.authenticator = FakeAuthenticator()
		self.permissions = FakePermissions()
		fakes: Any = (self.authenticator, self.permissions)
		self.revalidator = Revalidator(config(realtime_recheck_seconds=seconds), self.namespaces, *fakes)
		self.withdrawn: list[tuple[str, str]] = []
		self.revalidator.room_withdrawn.connect(
			lambda socket, room: self.withdrawn.append((socket.session.user, room))
		)
		self.revalidator.start()

	def socket(self, user: Session, *rooms: str) -> Any:
		"""Connect a socket, and let it join rooms."""
		return connected(self.namespaces, user, *rooms)

	async def done(self) -> None:
		"""Wait until all is checked."""
		for _ in range(50):
			await turns()
		assert self.revalidator.pending == 0
