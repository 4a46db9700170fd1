"""The web process, connections and sockets, for tests of what decides on access."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from frappe_realtime.contract.rooms import user_room
from realtime.access.authentication import Session
from realtime.config import Config
from realtime.engine import Encoded
from realtime.json_codec import dumps, loads
from realtime.signals import Signal
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.web.frappe_client import Credential, FrappeResponse

SITE = "one.test"
APPS = ("frappe", "frappe_realtime")


def config(**keys: Any) -> Config:
	"""Make a configuration from the defaults and `keys`."""
	return Config(bench=Path("/bench"), **keys)


def session(
	user: str = "ann@example.com",
	sid: str = "",
	apps: tuple[str, ...] | None = APPS,
	user_type: str = "System User",
	user_info_has_apps: bool = True,
	site: str = SITE,
) -> Session:
	"""Make a session; its session id is the user unless it is given."""
	return Session(site, Credential(sid=sid or user), user, user_type, user, apps, user_info_has_apps)


class FakeSessionCache:
	"""Frappe's cache of sessions: the session ids in `sids`, of any site."""

	def __init__(self) -> None:
		self.sids: set[str] = set()
		self.asked: list[str] = []

	async def has(self, site: str, sid: str) -> bool:
		self.asked.append(sid)
		return sid in self.sids


class Call(NamedTuple):
	"""A request to the web process."""

	site: str
	path: str
	credential: Credential
	params: Any
	json: Any
	options: dict[str, Any]
	renewed: bool = False
	"""True if the shared secret has been read anew for it."""

	@property
	def method(self) -> str:
		return self.path.rpartition(".")[2]


class FakeWeb:
	"""The client of the web process: records the calls, and answers with `answer`, or when the test says so.

	Args:
		answer: Returns the response to a call, or raises; None leaves the call to `pending`.
	"""

	def __init__(self, answer: Callable[[Call], FrappeResponse] | None = None) -> None:
		self.answer = answer
		self.calls: list[Call] = []
		self.pending: list[asyncio.Future[FrappeResponse]] = []
		self.unavailable: set[str] = set()

	async def call(
		self,
		site: str,
		path: str,
		credential: Credential,
		params: Any = None,
		json: Any = None,
		secret_rejected: Callable[[FrappeResponse], bool] | None = None,
		**options: Any,
	) -> FrappeResponse:
		call = Call(site, path, credential, params, json, options)
		response = await self._respond(call)
		if secret_rejected is not None and secret_rejected(response):
			response = await self._respond(call._replace(renewed=True))
		return response

	async def _respond(self, call: Call) -> FrappeResponse:
		self.calls.append(call)
		if self.answer is not None:
			await asyncio.sleep(0)
			return self.answer(call)
		self.pending.append(asyncio.get_running_loop().create_future())
		return await self.pending[-1]

	def is_unavailable(self, site: str) -> bool:
		return site in self.unavailable

	@property
	def methods(self) -> list[str]:
		return [call.method for call in self.calls]


def ok(message: Any) -> FrappeResponse:
	"""Return the response of a whitelisted method that returns `message`."""
	return FrappeResponse(200, {"message": message})


class FakeApps:
	"""The installed apps of sites with v15."""

	def __init__(self, apps: tuple[str, ...] | None = None) -> None:
		self.apps = apps
		self.asked: list[tuple[str, str]] = []
		self.learned: Signal[[str]] = Signal()

	async def ask(self, site: str, credential: Credential, user: str) -> tuple[str, ...] | None:
		self.asked.append((site, user))
		return self.apps


class FakeHost:
	"""The workers of a host, of which the first one is asked by the others."""

	def __init__(self) -> None:
		self.answers: dict[str, list[Callable[[Any], Awaitable[Any]]]] = {}
		self.is_silent = False
		"""True if no question gets an answer."""
		self._count = 0

	def worker(self) -> FakeWorker:
		"""Return the next worker."""
		self._count += 1
		return FakeWorker(self, self._count - 1)


class FakeWorker:
	"""One of the workers of a host."""

	def __init__(self, host: FakeHost, number: int) -> None:
		self._host = host
		self._number = number
		self.asks = 0
		"""The number of the worker that this one asks."""
		self.asked = 0

	async def ask(self, kind: str, subject: str, question: Any) -> Any:
		if self.asks == self._number or self._host.is_silent:
			return None
		self.asked += 1
		return loads(dumps(await self._host.answers[kind][self.asks](loads(dumps(question)))))

	def on_question(self, kind: str, answer: Callable[[Any], Awaitable[Any]]) -> None:
		self._host.answers.setdefault(kind, []).append(answer)


class FakeConnection:
	"""A connection that keeps what is sent and how it is closed."""

	def __init__(self, remote: str = "") -> None:
		self.request = FakeRequest(remote)
		self.data: Any = None
		self.sent: list[str] = []
		self.closed = ""
		self.trusted = False

	def send(self, encoded: Encoded) -> None:
		self.sent += [str(message) for message in encoded.messages]

	def trust(self) -> None:
		self.trusted = True

	def close(self, reason: str, abort: bool = False) -> None:
		self.closed = self.closed or reason


class FakeRequest:
	"""The request that opened a connection."""

	def __init__(self, remote: str = "", **headers: str) -> None:
		self.remote = remote
		self.proxied = False
		self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def connected(
	namespaces: Namespaces, user_session: Session | None, *rooms: str, remote: str = "", name: str = ""
) -> Any:
	"""Return a socket of `user_session` that is in its user's room and in `rooms`."""
	connection: Any = FakeConnection(remote)
	namespace = namespaces.open(name or f"/{user_session.site if user_session else ''}")
	socket = ServerSocket(namespace, connection, Admission(user_session))
	namespace.sockets[socket.id] = socket
	if user_session is not None:
		socket.join(user_room(user_session.user))
	for room in rooms:
		socket.join(room)
	return socket
