"""The doctor's checks of the sidecar: what listens on its port, and whether it uses the Redis and the web process of the bench."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from socket import gethostname
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from frappe_realtime import __version__
from frappe_realtime.contract.channels import EVENTS_CHANNEL, SIDECARS_CHANNEL

from ..bus.endpoint import safe_url
from ..bus.store import RedisStore
from ..bus.subscription import EventSubscriber
from ..cluster import message_reader, messages
from ..config import Config
from .bench_checks import listening_address
from .bench_files import BenchFiles
from .findings import FAILED, NOTE, OK, TIMEOUT, Finding
from .health_checks import SIDECAR, Health, HealthChecks
from .socket_client import Address

HEARTBEAT_TIMEOUT = 5.0
"""Seconds in which a running sidecar publishes a heartbeat, also on a busy host; it publishes one every two seconds."""

HEALTH_CACHE_SECONDS = 1.2
"""Seconds after which `/health` shows a new state; the sidecar caches it for one second."""

ANOTHER_SERVER = "another server answers there"


class SidecarReport(NamedTuple):
	"""The findings about the sidecar, and its health, which is empty if no sidecar answers on its port."""

	findings: list[Finding]
	health: Health


async def read_health(config: Config) -> Health:
	"""Return the body of the sidecar's `/health`; empty if another server answers.

	Raises:
		aiohttp.ClientError, asyncio.TimeoutError, OSError: Nothing answers.
	"""
	address = Address.of_sidecar(config, "localhost", {})
	async with (
		aiohttp.ClientSession(
			connector=address.connector(), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
		) as http,
		http.get(f"{address.url}/health") as answer,
	):
		try:
			health = await answer.json(content_type=None)
		except ValueError:
			return {}
	if not isinstance(health, dict):
		return {}
	parts = [health.get(part) for part in ("redis", "web", "history")]
	return health if all(isinstance(part, dict) and "ok" in part for part in parts) else {}


class SidecarChecks:
	"""Checks of the sidecar.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
		store: redis_queue.
	"""

	def __init__(self, config: Config, files: BenchFiles, store: RedisStore) -> None:
		self._config = config
		self._files = files
		self._store = store
		self._health = HealthChecks(config, files, store)
		self._where = listening_address(config)
		self._key = "socketio_uds" if config.socketio_uds else "socketio_port"
		"""The key that says where the sidecar listens."""

	async def sidecar(self, subscribers: Awaitable[int | None]) -> SidecarReport:
		"""Ask the sidecar for its health; if it does not answer, find out what is on its port, and where it runs.

		Args:
			subscribers: Returns how many servers are subscribed to the events; None if Redis does not say.
		"""
		try:
			health = await read_health(self._config)
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			reason = str(error) or f"no answer within {TIMEOUT:g} s"
			return SidecarReport([await self._missing(reason)], {})
		if not health:
			return SidecarReport([await self._missing(ANOTHER_SERVER)], {})
		return SidecarReport(
			[self._running(health), *self._version(health), *await self._details(health, await subscribers)],
			health,
		)

	# -- no sidecar on the port

	async def _missing(self, reason: str) -> Finding:
		elsewhere, engine = await asyncio.gather(self._find_elsewhere(), self._is_engine())
		if elsewhere is not None and elsewhere[1]:
			return self._elsewhere(*elsewhere, reason)
		if engine:
			return Finding(
				"sidecar.node",
				FAILED,
				f"the server on {self._where} is not this sidecar, but another Socket.IO server: Frappe's Node server",
				"the entry of the realtime server in Procfile, supervisor or systemd; "
				+ self._files.place(self._key),
				self._files.set_up,
			)
		if elsewhere is not None:
			return Finding(
				"sidecar.remote",
				FAILED,
				f"a sidecar of this bench runs on {elsewhere[0]}, and not here: no sidecar answers on {self._where}: {reason}",
				self._files.place(self._key),
				"frappe-realtime doctor",
				f"run it on {elsewhere[0].partition(':')[0]}, or in the container of the sidecar\n"
				f"if a sidecar should run here too, start it: {self._start_command}",
			)
		if reason == ANOTHER_SERVER:
			shows = f"sudo ss -ltnp 'sport = :{self._config.socketio_port}'"
			if self._config.socketio_uds:
				shows = f"sudo ss -lxp src {shlex.quote(self._config.socketio_uds)}"
			return Finding(
				"sidecar.foreign",
				FAILED,
				f"the server on {self._where} is not this sidecar, and no Socket.IO server",
				self._files.place(self._key),
				shows,
				f"the command shows the process; stop it, or choose another {self._key} for the sidecar",
			)
		return Finding(
			"sidecar.down",
			FAILED,
			f"the sidecar does not run: nothing answers on {self._where}: {reason}",
			self._files.place(self._key),
			self._start_command,
			"or by hand: frappe-realtime serve (the process manager's log has the reason if it does not run)",
		)

	@property
	def _start_command(self) -> str:
		"""The command that starts a sidecar here, where none runs."""
		if self._files.starts_node:
			return self._files.set_up
		return self._files.restart_sidecar

	async def _is_engine(self) -> bool:
		"""Return True if a Socket.IO server answers on the port; this opens no connection there."""
		address = Address.of_sidecar(self._config, "localhost", {})
		with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
			async with (
				aiohttp.ClientSession(
					connector=address.connector(), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
				) as http,
				http.get(f"{address.url}/socket.io/") as answer,
			):
				body = json.loads(await answer.text())
				return isinstance(body, dict) and body.keys() == {"code", "message"}
		return False

	async def _find_elsewhere(self) -> tuple[str, Health] | None:
		"""Return the address and the health of a sidecar that publishes heartbeats; None if there is none.

		The health is empty if the sidecar is on another machine.
		"""
		addresses: asyncio.Queue[str] = asyncio.Queue()

		def on_message(payload: bytes) -> None:
			with suppress(ValueError, TypeError):
				message = message_reader.read(payload)
				if isinstance(message, messages.Heartbeat):
					addresses.put_nowait(message.at)

		subscriber = EventSubscriber(
			self._store.endpoint, lambda events: None, {SIDECARS_CHANNEL: on_message}
		)
		subscriber.start()
		try:
			at = await asyncio.wait_for(addresses.get(), HEARTBEAT_TIMEOUT)
		except asyncio.TimeoutError:
			return None
		finally:
			await subscriber.stop()
		host, _, place = at.partition(":")
		if host != gethostname():
			return at, {}
		if at == f"{host}:{self._config.socketio_uds or self._config.socketio_port}":
			return None
		there = (
			replace(self._config, socketio_uds="", socketio_port=int(place))
			if place.isdigit()
			else replace(self._config, socketio_uds=place)
		)
		with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
			if health := await read_health(there):
				return listening_address(there).partition(" (")[0], health
		return None

	def _elsewhere(self, address: str, health: Health, reason: str) -> Finding:
		overrides = health.get("overrides", {})
		key = "socketio_port" if address.startswith("port ") else "socketio_uds"
		own = self._config.origins.get(key)
		in_file = self._files.read_json(self._files.common).get(key)
		if own and in_file and address in (f"port {in_file}", f"the socket {in_file}"):
			where, command, advice = self._files.place(key), f"unset {own}", ""
		else:
			where, command, advice = self._overridden(overrides, key)
		return Finding(
			"sidecar.elsewhere",
			FAILED,
			f"the sidecar runs on {address}, and browsers, nginx and this command use {self._where}: {reason}",
			where,
			command,
			advice,
		)

	def _overridden(self, overrides: Mapping[str, str], key: str) -> tuple[str, str, str]:
		"""Return where the sidecar has the value of a key from, the command that restarts it with that of the file, and advice."""
		origin = overrides.get(key, "")
		if not origin:
			command = self._files.restart_sidecar
		elif origin.isupper():
			command = self._files.restart_sidecar_without(origin)
		else:
			command = self._files.set_up
		return self._files.place(key, overrides, SIDECAR), command, self._files.left_in_files(key, origin)

	# -- the health of the sidecar

	def _running(self, health: Health) -> Finding:
		return Finding(
			"sidecar.ok",
			OK,
			f"the sidecar {health.get('version', '(without a version)')} runs on {self._where}; "
			f"open connections: {health.get('connections', 'unknown')}",
		)

	def _version(self, health: Health) -> Iterator[Finding]:
		running = health.get("version")
		if running != __version__:
			yield Finding(
				"version.old",
				NOTE,
				f"the sidecar on {self._where} has the version {running or 'of before 0.1.0'}, installed is {__version__}",
				"the process of the sidecar, which was started before the update",
				self._files.restart_sidecar,
			)

	async def _details(self, health: Health, subscribers: int | None) -> list[Finding]:
		return [
			*await self._subscription(health, subscribers),
			*self._web(health),
			*self._health.findings(health),
		]

	async def _subscription(self, health: Health, subscribers: int | None) -> list[Finding]:
		if not health["redis"]["ok"]:
			# A sidecar whose Redis has just come back says so in its next answer.
			await asyncio.sleep(HEALTH_CACHE_SECONDS)
			with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
				health = await read_health(self._config) or health
		if health["redis"]["ok"] and subscribers != 0:
			return []
		if difference := self.redis_difference(health):
			return [difference]
		return [
			Finding(
				"subscription.missing",
				FAILED,
				f"the sidecar is not subscribed to the channel {EVENTS_CHANNEL!r} of {self._store.endpoint}",
				self._files.place(self._files.redis_key, health.get("overrides"), SIDECAR),
				self._files.restart_sidecar,
				"the log of the sidecar has the reason",
			)
		]

	def redis_difference(self, health: Health) -> Finding | None:
		"""Return a failure if the sidecar uses another Redis than this process; None if it uses the same."""
		theirs, own = health["redis"].get("url"), safe_url(self._config.redis_queue)
		if theirs is None or self._config.redis_queue_sentinel_enabled or _same(theirs, own):
			return None
		return self._difference("subscription.redis", "redis_queue", f"the Redis at {theirs}", own, health)

	def web_difference(self, health: Health) -> Finding | None:
		"""Return a failure if the sidecar calls another web process than this process; None if it calls the same."""
		theirs, own = health["web"].get("url"), self._config.web_url
		if theirs is None or _same(theirs, own):
			return None
		key = "webserver_port" if "webserver_port" in health.get("overrides", {}) else "webserver_host"
		if _host(theirs) == _host(own):
			key = "webserver_port"
		return self._difference("reach.web", key, f"the web process at {theirs}", own, health)

	def _difference(self, code: str, key: str, theirs: str, own: str, health: Health) -> Finding:
		overrides = health.get("overrides", {})
		what = f"the sidecar uses {theirs}, and this bench {own}"
		mine = self._config.origins.get(key)
		advice = ""
		if key in overrides:
			where, command, advice = self._overridden(overrides, key)
		elif mine:
			where, command = self._files.place(key), f"unset {mine}"
		else:
			where = f"{self._files.place(key)}, which was changed after the start of the sidecar"
			command = self._files.restart_sidecar
		return Finding(code, FAILED, what, where, command, advice)

	def _web(self, health: Health) -> Iterator[Finding]:
		"""Report a difference that matters; a site in maintenance mode is unavailable at the same web process."""
		difference = self.web_difference(health)
		if difference and not health["web"]["ok"]:
			yield difference

	def unreached_web(self, health: Health) -> Finding | None:
		"""Return a failure if the sidecar does not reach the web process, or calls another one; None otherwise."""
		if difference := self.web_difference(health):
			return difference
		if health["web"]["ok"]:
			return None
		return Finding(
			"reach.web",
			FAILED,
			f"the sidecar does not reach the web process at {health['web'].get('url', self._config.web_url)}",
			self._files.place(self._files.web_key, health.get("overrides"), SIDECAR),
			self._files.restart_sidecar,
		)


def _host(url: str) -> str:
	host = urlsplit(url).hostname or ""
	return "127.0.0.1" if host in ("localhost", "::1") else host


def _same(one: str, other: str) -> bool:
	"""Return True if two URLs name the same server, as far as their text shows it."""
	parts = [urlsplit(url) for url in (one, other)]
	first, second = [
		(part.scheme, _host(part.geturl()), part.port, part.path.strip("/") or "0") for part in parts
	]
	return first == second
