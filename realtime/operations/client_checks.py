"""The doctor's clients on the sidecar's own port: they connect by each transport, and receive events of each publisher."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.events import DOCTOR_EVENT
from frappe_realtime.contract.http import METHOD_PREFIX
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..bus.events import PublishedEvent
from ..bus.store import RedisStore
from ..bus.subscription import EventSubscriber
from ..config import Config
from ..json_codec import dumps
from ..web.frappe_client import GUEST_CREDENTIAL, FrappeClient
from ..web.secret import SharedSecret
from .bench_checks import listening_address
from .bench_files import BenchFiles
from .findings import FAILED, NOTE, OK, TIMEOUT, CheckFailed, Finding
from .health_checks import Health
from .session_maker import SessionMaker, SessionUnavailable
from .sidecar_checks import SidecarChecks
from .socket_client import TRANSPORTS, Address, ConnectionFailed, ConnectionRejected, SocketClient

PUBLISH_PROBE = f"{METHOD_PREFIX}publish_probe"

EVENT_TIMEOUT = 3.0
"""Seconds in which an event must arrive."""

WORKER_TIMEOUT = 5.0
"""The same for an event that a background worker publishes: its queue may be busy."""

GUEST_COOKIE = {"Cookie": f"sid={GUEST}"}

Connect = Callable[[Sequence[str]], Awaitable[None]]
"""Connects with the given transports; raises `ConnectionFailed`."""


class EventLost(ConnectionFailed):
	"""The client connected, but an event for it did not arrive."""


class Transports:
	"""The transports that clients may use here, and attempts with all of them.

	Args:
		config: The configuration of the bench.
		store: redis_queue.
	"""

	def __init__(self, config: Config, store: RedisStore) -> None:
		self._store = store
		self._transports = {
			name: transports
			for name, transports in TRANSPORTS.items()
			if set(transports) <= set(config.realtime_transports)
		}
		self.names = ", ".join(self._transports)

	@property
	def first(self) -> Sequence[str]:
		"""The transports of one of the ways to connect."""
		return next(iter(self._transports.values()))

	async def attempt(self, connect: Connect) -> dict[str, ConnectionFailed]:
		"""Connect in all ways at the same time; return the errors by the name of the way."""
		results = await asyncio.gather(
			*[connect(each) for each in self._transports.values()], return_exceptions=True
		)
		errors: dict[str, ConnectionFailed] = {}
		for name, result in zip(self._transports, results, strict=True):
			if isinstance(result, ConnectionFailed):
				errors[name] = result
			elif result is not None:
				raise result
		return errors

	async def receive(self, address: Address, site: str, transports: Sequence[str]) -> None:
		"""Connect, publish an event to this client as Frappe does, and wait for it.

		Raises:
			EventLost: It does not arrive in `EVENT_TIMEOUT` seconds.
			ConnectionFailed: The client cannot connect.
		"""
		arrived = asyncio.Event()

		def on_event(event: str, arguments: Sequence[Any]) -> None:
			if event == DOCTOR_EVENT:
				arrived.set()

		async with SocketClient(address, site, on_event, transports) as client:
			own_room = await client.connect()
			if "websocket" in transports and client.transport != "websocket":
				# python-socketio goes on with polling if the upgrade fails.
				raise ConnectionFailed("the upgrade from polling failed")
			payload = {"event": DOCTOR_EVENT, "message": None, "room": own_room, "namespace": site}
			await self._store.publish(EVENTS_CHANNEL, dumps(payload))
			try:
				await asyncio.wait_for(arrived.wait(), EVENT_TIMEOUT)
			except asyncio.TimeoutError:
				raise EventLost("an event did not arrive") from None


class ClientChecks:
	"""Checks with clients on the sidecar's own port; each returns a `Finding` or raises `CheckFailed`.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
		store: redis_queue.
		sidecar: Explains failures by differences between the sidecar and this process.
	"""

	def __init__(self, config: Config, files: BenchFiles, store: RedisStore, sidecar: SidecarChecks) -> None:
		self._config = config
		self._files = files
		self._store = store
		self._sidecar = sidecar
		self._where = listening_address(config)
		self.transports = Transports(config, store)

	async def delivery(self, site: str, health: Health) -> Finding:
		"""Connect as a Guest by each transport, publish an event as Frappe does, and wait for it.

		Args:
			site: The site.
			health: The health of the sidecar.
		"""
		errors = await self.transports.attempt(partial(self.transports.receive, self._address(site), site))
		if errors:
			raise CheckFailed(self._failure("delivery", site, errors, health))
		what = f"an event arrives at a browser on {self._where}, by {self.transports.names}"
		return Finding("delivery.ok", OK, what, site=site)

	async def session(self, site: str, sessions: SessionMaker, health: Health) -> Finding:
		"""Do the same with a session of Administrator, which is made for this check and deleted after it."""
		try:
			async with sessions.session(site) as sid:
				address = self._address(site, {"Cookie": f"sid={sid}"})
				errors = await self.transports.attempt(partial(self.transports.receive, address, site))
		except SessionUnavailable as reason:
			return Finding(
				"session.left_out", NOTE, f"no client with a session was connected: {reason}", site=site
			)
		if errors:
			raise CheckFailed(self._failure("session", site, errors, health))
		return Finding(
			"session.ok", OK, "an event arrives at a browser with a session of Administrator", site=site
		)

	def _address(self, site: str, credential: Mapping[str, str] = GUEST_COOKIE) -> Address:
		# The sidecar counts the clients for which a proxy names no address: this one must not be among them.
		return Address.of_sidecar(self._config, site, {**credential, "X-Real-IP": "127.0.0.1"})

	def _failure(
		self, check: str, site: str, errors: Mapping[str, ConnectionFailed], health: Health
	) -> Finding:
		error = next(iter(errors.values()))
		failed = " and ".join(errors)
		if difference := self._sidecar.redis_difference(health):
			return difference
		if isinstance(error, EventLost):
			return Finding(
				f"{check}.lost",
				FAILED,
				f"an event was published, and did not arrive at a browser by {failed}",
				self._files.place(self._files.redis_key),
				self._files.restart_sidecar,
				"the sidecar may be subscribed to another Redis: compare redis_queue of both, and FRAPPE_REDIS_QUEUE",
				site=site,
			)
		if difference := self._sidecar.unreached_web(health):
			return difference
		if isinstance(error, ConnectionRejected):
			return Finding(
				f"{check}.rejected",
				FAILED,
				f"a browser is refused: {error}" + (f" ({error.reason})" if error.reason else ""),
				"the log of the sidecar",
				self._files.restart_sidecar,
				site=site,
			)
		return Finding(
			f"{check}.failed",
			FAILED,
			f"a browser cannot connect to {self._where} by {failed}: {error}",
			"the log of the sidecar",
			self._files.restart_sidecar,
			site=site,
		)

	# -- the app's half

	async def publish(self, site: str, with_worker: bool) -> list[Finding]:
		"""Let the web process publish to a client, and wait for the event and its place in the history.

		Args:
			site: A site with the app.
			with_worker: True to let a background worker publish too.
		"""
		sources = [("the web process", 0, EVENT_TIMEOUT), ("a worker", 1, WORKER_TIMEOUT)]
		return [await self._publish_from(site, *source) for source in sources[: 1 + with_worker]]

	async def _publish_from(self, site: str, source: str, worker: int, timeout: float) -> Finding:
		arrived = asyncio.Event()
		seen: list[PublishedEvent] = []

		def on_event(event: str, arguments: Sequence[Any]) -> None:
			if event == DOCTOR_EVENT:
				arrived.set()

		subscriber = EventSubscriber(self._store.endpoint, seen.extend, {})
		subscriber.start()
		try:
			async with SocketClient(self._address(site), site, on_event) as client:
				room = await client.connect()
				if reason := await self._ask(site, room, worker):
					return Finding(
						"publish.left_out", NOTE, f"{source} was not asked to publish: {reason}", site=site
					)
				try:
					await asyncio.wait_for(arrived.wait(), timeout)
				except asyncio.TimeoutError:
					return self._not_published(site, source, worker, timeout, room, seen)
		except ConnectionFailed as error:
			return Finding("publish.left_out", NOTE, f"no client was connected: {error}", site=site)
		finally:
			await subscriber.stop()
		own = [event for event in seen if event.room == room]
		if own and own[-1].unrecorded:
			return Finding(
				"history.unrecorded",
				NOTE,
				f"an event that {source} publishes arrives without a place in the history: {own[-1].unrecorded}",
				site=site,
			)
		history = ", with its place in the history" if own and own[-1].offset else ""
		return Finding("publish.ok", OK, f"an event that {source} publishes arrives{history}", site=site)

	def _not_published(
		self, site: str, source: str, worker: int, timeout: float, room: str, seen: Sequence[PublishedEvent]
	) -> Finding:
		if any(event.room == room for event in seen):
			return Finding(
				"publish.lost",
				FAILED,
				f"an event that {source} published is in Redis, and did not arrive at a browser",
				"the log of the sidecar",
				self._files.restart_sidecar,
				site=site,
			)
		if worker:
			return Finding(
				"publish.worker",
				NOTE,
				f"no background worker published an event within {timeout:g} s: none runs, or the queue 'short' is full",
				"the background workers of the bench",
				self._files.restart,
				site=site,
			)
		return Finding(
			"publish.web",
			FAILED,
			"an event that the web process published did not reach the Redis of the sidecar",
			f"{self._files.place(self._files.redis_key)}; FRAPPE_REDIS_QUEUE in the environment of the web process",
			self._files.restart,
			site=site,
		)

	async def _ask(self, site: str, room: str, worker: int) -> str:
		"""Ask the web process to publish to a room; return why it does not, empty if it does."""
		config = replace(self._config, realtime_web_patience=0.0, realtime_web_timeout=TIMEOUT)
		web = FrappeClient(config, SharedSecret(self._store).get)
		try:
			answer = await asyncio.wait_for(
				web.call(site, PUBLISH_PROBE, GUEST_CREDENTIAL, {"room": room, "worker": str(worker)}),
				TIMEOUT + 1,
			)
		except (WebUnavailable, asyncio.TimeoutError) as error:
			return str(error) or f"no answer within {TIMEOUT:g} s"
		finally:
			await web.close()
		return (
			"" if answer.status == 200 else f"the web process answers HTTP {answer.status} to {PUBLISH_PROBE}"
		)
