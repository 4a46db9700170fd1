"""A recovery whose neighbours are fakes, for the tests of connection state recovery."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.contract.redis_keys import session_key
from realtime.access.list_update_joiner import ListUpdateJoiner
from realtime.bus.events import StreamPosition
from realtime.bus.kept_events import KeptEvent
from realtime.config import Config
from realtime.recovery.forced_ends import ForcedEnds
from realtime.recovery.history import History
from realtime.recovery.recovery import Recovery
from realtime.recovery.replay_limit import ReplayLimit
from realtime.recovery.room_access import RoomAccess
from realtime.recovery.sessions import SessionStore
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from tests.unit.recovery.fakes import FakeStore
from tests.unit.recovery.session_stores import FakeRedis
from tests.unit.socketio.fakes import SITE, add_socket

PID = "p" * 24
USER = "ann@example.com"
BASE = {f"user:{USER}", "website", "all"}


class FakePermissions:
	"""Answers at once for `known`, later for `asked`, and no for the rest."""

	def __init__(self) -> None:
		self.invalidations = 0
		self.known: set[tuple[str, str]] = set()
		self.asked: set[tuple[str, str]] = set()
		self.failure: Exception | None = None

	def has_permission(self, session: Any, doctype: str, name: str) -> bool | Awaitable[bool]:
		if (doctype, name) in self.known:
			return True
		return self._answer((doctype, name))

	async def _answer(self, question: tuple[str, str]) -> bool:
		await asyncio.sleep(0)
		if self.failure is not None:
			raise self.failure
		return question in self.asked


class FakeListUpdates:
	"""Marks the events that pass through it; `pending` is the position of the first one that is held back."""

	def __init__(self) -> None:
		self.pending: StreamPosition | None = None
		self.learned: list[Any] = []
		self.while_learning: Callable[[], None] = lambda: None

	def first_pending(self, site: str) -> StreamPosition | None:
		return self.pending

	async def query_permissions(self, events: Iterable[KeptEvent], session: Any) -> None:
		self.learned += [event.position[0] for event in events]
		await asyncio.sleep(0)
		self.while_learning()

	def filtered(self, event: KeptEvent, session: Any, may_name: Callable[[str, str], bool]) -> KeptEvent:
		message = event.message
		if isinstance(message, dict) and not may_name(message["doctype"], message["name"]):
			return event.with_message("unnamed")
		return event


class Setting:
	"""A recovery with fakes for Redis and the web process."""

	def __init__(self, **config: Any) -> None:
		self.stream = FakeStore()
		self.redis = FakeRedis()
		self.namespaces = Namespaces()
		self.namespaces.open(f"/{SITE}")
		self.history = History(self.stream, lambda events: None, self.namespaces, 120)  # type: ignore[arg-type]
		self.sessions = SessionStore(self.redis, self.namespaces, 100)  # type: ignore[arg-type]
		self.permissions = FakePermissions()
		self.list_updates = FakeListUpdates()
		self.tasks: set[str] = set()
		self.owner_errors: list[Exception] = []
		"""Raised by the next questions about tasks."""
		self.limits: list[str] = []
		"""The limits that were reached."""
		self.joined_at: dict[str, str] = {}
		"""The offsets at which the saved session has joined rooms; otherwise 0-0."""
		permissions: Any = self.permissions
		list_updates: Any = self.list_updates
		self.unchecked = False
		revalidator: Any = SimpleNamespace(is_pending=lambda session, rooms: self.unchecked)

		async def may_stay(session: Any, room: str) -> bool:
			if self.owner_errors:
				raise self.owner_errors.pop()
			return room in self.tasks

		self.may_stay: Callable[[Any, str], Awaitable[bool]] = may_stay
		tasks: Any = SimpleNamespace(may_stay=lambda session, room: self.may_stay(session, room))
		ForcedEnds(self.namespaces, self.history, self.sessions)
		self.recovery = Recovery(
			Config(bench=Path(), **config),
			self.namespaces,
			self.history,
			self.sessions,
			permissions,
			RoomAccess(permissions, tasks),
			list_updates,
			ListUpdateJoiner(Config(bench=Path()), self.namespaces, list_updates),
			revalidator,
			ReplayLimit(Config(bench=Path(), **config), self.limits.append),
		)
		self.session: Any = SimpleNamespace(site=SITE, user=USER, user_type="System User", has_app=True)

	def publish(self, *numbers: int, room: str = "website") -> None:
		"""Publish events; the number is the message and the time of its position."""
		for number in numbers:
			self.history.take([self.stream.append(number, room)])

	def change(self, kind: str, **fields: str) -> None:
		"""Announce a change of access."""
		self.history.take_access(self.stream.announce(kind, **fields))

	def save(self, *rooms: str, user: str = USER) -> None:
		"""Store a session in Redis."""
		positions = dict.fromkeys((*rooms, "website"), "0-0") | self.joined_at
		record = {"id": "socket", "user": user, "rooms": positions}
		self.redis.values[session_key(SITE, PID)] = (json.dumps(record), 100)

	async def admit(self, offset: Any = "1-0", pid: Any = PID, recoverable: bool = True) -> Admission:
		"""Connect with a pid and an offset."""
		admission = self.recovery.admit(
			self.session, {"pid": pid, "offset": offset}, recoverable, "192.0.2.1"
		)
		return admission if isinstance(admission, Admission) else await admission

	def restore(self, admission: Admission) -> tuple[ServerSocket, list[Any]]:
		"""Create the socket of an admission; return it and the messages that are replayed to it."""
		socket = add_socket(self.namespaces, USER, admission.pid, id=admission.id or "")
		replayed = self.recovery.restore(socket, admission)
		return socket, [json.loads(str(one.messages[0]).partition(",")[2])[1] for one in replayed]


def closed(socket: ServerSocket) -> list[str]:
	"""Return the reasons with which the connection of a socket was closed."""
	connection: Any = socket.connection
	reasons: list[str] = connection.closed
	return reasons


def run(test: Callable[[Setting], Coroutine[Any, Any, None]], **config: Any) -> None:
	async def body() -> None:
		await test(Setting(**config))

	asyncio.run(asyncio.wait_for(body(), 20))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
	"""Retry without a pause."""
	monkeypatch.setattr(random, "uniform", lambda low, high: 0)
