"""The clients that watch their site: their permission, their queries, and the snapshots that they get."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from time import time
from typing import Any

from frappe_realtime.contract.monitoring import MONITOR, MONITOR_SNAPSHOT
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import Session
from ..access.client_questions import is_name
from ..access.limits import ClientLimits
from ..access.monitor_access import MonitorAccess
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..socketio import packets
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack
from .bench import INTERVAL, BenchMonitor
from .events import MonitorEvents

logger = logging.getLogger("realtime.monitor")

MAX_WATCHERS = 100
"""Clients of this process that watch at a time."""

MAX_REQUESTS = 8
"""Requests of one socket that are being answered at a time."""

CHECK_SECONDS = 60.0
"""Seconds after which a watcher's permission is checked again, for changes that the app does not report."""


class MonitorRefused(Exception):
	"""Answers a request of a watcher with an error.

	Args:
		code: `not_permitted`, `bad_request` or `unavailable`.
		message: A sentence.
	"""

	def __init__(self, code: str, message: str) -> None:
		super().__init__(message)
		self.code = code

	@property
	def answer(self) -> dict[str, Any]:
		"""The acknowledgement."""
		return {"error": {"code": self.code, "message": str(self)}}


NOT_PERMITTED = "Only users with the role System Manager may see this, on sites with the app frappe_realtime."


class Watchers:
	"""Answers `MONITOR` and `MONITOR_QUERY`, and sends `MONITOR_SNAPSHOT` every `INTERVAL` seconds.

	A client stops to watch when it asks for that, when it disconnects, and when its user may not monitor the site any more.

	Args:
		events: Passes on the requests of clients.
		bench: The state of the sites.
		access: Answers whether a session may monitor its site.
		limits: Bounds the questions to the web process that a client causes.
	"""

	def __init__(
		self, events: MonitorEvents, bench: BenchMonitor, access: MonitorAccess, limits: ClientLimits
	) -> None:
		self._bench = bench
		self._access = access
		self._limits = limits
		self._watching: dict[ServerSocket, float] = {}
		"""When the permission of each watcher was checked last (time of the loop)."""
		self._checking: set[ServerSocket] = set()
		"""Watchers that get no snapshot until their permission is confirmed."""
		self._wanted: set[ServerSocket] = set()
		"""Clients that have asked to watch, and not to stop since; their request may not be answered yet."""
		self._requests: Counter[ServerSocket] = Counter()
		self._tasks: set[asyncio.Task[None]] = set()
		self._sending: asyncio.Task[None] | None = None
		self._log_budget = LogBudget()
		access.invalidated.connect(self._on_invalidated)
		events.requested.connect(self._on_request)
		events.disconnected.connect(self._unwatch)

	def __len__(self) -> int:
		"""Return the number of watchers."""
		return len(self._watching)

	def stop(self) -> None:
		"""Answer nothing any more."""
		for task in [*self._tasks, *([] if self._sending is None else [self._sending])]:
			task.cancel()

	def _on_request(self, socket: ServerSocket, event: str, payload: Any, ack: Ack) -> None:
		self._start(self._answer(socket, event, payload, ack))

	def _unwatch(self, socket: ServerSocket) -> None:
		self._wanted.discard(socket)
		self._watching.pop(socket, None)
		self._checking.discard(socket)

	# -- requests

	async def _answer(self, socket: ServerSocket, event: str, payload: Any, ack: Ack) -> None:
		try:
			if self._requests[socket] >= MAX_REQUESTS:
				raise MonitorRefused("unavailable", "Earlier requests of this client are not answered yet.")
			self._requests[socket] += 1
			try:
				if not isinstance(payload, dict):
					raise MonitorRefused("bad_request", "The payload is not an object.")
				if event == MONITOR:
					await self._watch(socket, payload, ack)
				else:
					ack(await self._query(socket, payload))
			finally:
				self._requests[socket] -= 1
				if not self._requests[socket]:
					del self._requests[socket]
		except MonitorRefused as error:
			ack(error.answer)
		except Exception:
			session: Session = socket.session
			self._log_budget.write(
				logger.exception,
				"a request to monitor %s failed",
				session.site,
				extra=log_fields(session.site, session.user, socket.id),
			)
			ack(MonitorRefused("unavailable", "The sidecar failed to answer. Its log has the reason.").answer)

	async def _watch(self, socket: ServerSocket, payload: dict[str, Any], ack: Ack) -> None:
		watch = payload.get("watch")
		if not isinstance(watch, bool):
			raise MonitorRefused("bad_request", "`watch` is neither true nor false.")
		if not watch:
			self._unwatch(socket)
			ack({})
			return
		if not socket.connected:
			return
		self._wanted.add(socket)
		await self._check(socket)
		site: str = socket.session.site
		history = await self._bench.history(site)
		# It may have been withdrawn meanwhile.
		await self._check(socket)
		if not socket.connected:
			return
		if socket not in self._wanted:
			ack({})
			return
		if socket not in self._watching and len(self._watching) >= MAX_WATCHERS:
			raise MonitorRefused("unavailable", f"{MAX_WATCHERS} clients watch already.")
		self._watching[socket] = asyncio.get_running_loop().time()
		ack({"interval": INTERVAL, "history": history})
		await self._send_snapshot(site, [socket])
		self._start_sending()

	async def _query(self, socket: ServerSocket, payload: dict[str, Any]) -> dict[str, Any]:
		await self._check(socket)
		site: str = socket.session.site
		kind = payload.get("kind")
		if kind == "ping":
			return {"time": time()}
		if kind == "room":
			return await self._bench.room(site, _name(payload, "room"))
		if kind == "user":
			return await self._bench.user(site, _name(payload, "user"))
		if kind == "disconnect":
			user = _name(payload, "user")
			session: Session = socket.session
			self._log_budget.write(
				logger.info,
				"%s ends the sockets of %s on %s",
				session.user,
				user,
				site,
				extra=log_fields(site, session.user, socket.id),
			)
			return await self._bench.disconnect(site, user)
		raise MonitorRefused("bad_request", "`kind` is none of room, user, disconnect and ping.")

	# -- permission

	async def _check(self, socket: ServerSocket) -> None:
		"""Raise `MonitorRefused` unless the user of `socket` may monitor its site."""
		if not self._access.is_cached(socket.session) and not self._limits.allows_question(socket):
			raise MonitorRefused("unavailable", "This client has asked too much. Try again in some seconds.")
		if not await self._may_monitor(socket):
			raise MonitorRefused("not_permitted", NOT_PERMITTED)

	async def _may_monitor(self, socket: ServerSocket) -> bool:
		try:
			return await self._access.is_allowed(socket.session)
		except WebUnavailable as error:
			raise MonitorRefused(
				"unavailable", "The web process does not answer whether this user may see this."
			) from error

	def _on_invalidated(self, is_concerned: Callable[[str, str], bool]) -> None:
		for socket in list(self._watching):
			session: Session = socket.session
			if is_concerned(session.site, session.user):
				self._recheck(socket)

	def _recheck(self, socket: ServerSocket) -> None:
		"""Send no snapshot to `socket` until the web process has confirmed its permission."""
		del self._watching[socket]
		self._checking.add(socket)
		self._start(self._resume(socket))

	async def _resume(self, socket: ServerSocket) -> None:
		try:
			allowed = await self._may_monitor(socket)
		except MonitorRefused:
			allowed = False
		# The client may have stopped to watch meanwhile.
		if allowed and socket in self._checking:
			self._watching[socket] = asyncio.get_running_loop().time()
			self._start_sending()
		self._checking.discard(socket)

	# -- snapshots

	def _start_sending(self) -> None:
		if self._sending is None or self._sending.done():
			self._sending = asyncio.get_running_loop().create_task(self._send_snapshots())

	async def _send_snapshots(self) -> None:
		while True:
			await asyncio.sleep(INTERVAL)
			due = asyncio.get_running_loop().time() - CHECK_SECONDS
			for socket, checked in list(self._watching.items()):
				if checked < due:
					self._recheck(socket)
			sites: dict[str, list[ServerSocket]] = {}
			for socket in self._watching:
				sites.setdefault(socket.session.site, []).append(socket)
			if not sites:
				return
			await asyncio.gather(*[self._send_snapshot(*item) for item in sites.items()])

	async def _send_snapshot(self, site: str, sockets: list[ServerSocket]) -> None:
		try:
			snapshot = await self._bench.snapshot(site)
		except Exception:
			self._log_budget.write(logger.exception, "a snapshot of %s failed", site, extra=log_fields(site))
			return
		encoded = packets.encode_event(f"/{site}", (MONITOR_SNAPSHOT, snapshot))
		for socket in sockets:
			# The permission may have been withdrawn meanwhile.
			if socket in self._watching:
				socket.send_event(encoded)

	def _start(self, work: Coroutine[Any, Any, None]) -> None:
		task = asyncio.get_running_loop().create_task(work)
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)


def _name(payload: dict[str, Any], key: str) -> str:
	value: Any = payload.get(key)
	if not is_name(value):
		raise MonitorRefused("bad_request", f"`{key}` is not a name.")
	return str(value)
