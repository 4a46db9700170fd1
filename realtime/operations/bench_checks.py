"""The doctor's checks of what all sites of a bench share: configuration, Redis and the sidecar."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import aiohttp

from frappe_realtime import __version__
from frappe_realtime.contract import APP_DEFAULTS, EVENTS_CHANNEL
from frappe_realtime.errors import WebUnavailable

from ..bus.endpoint import RedisEndpoint
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..config import KEYS, Config
from ..web.secret import SharedSecret
from .findings import NOTE, OK, TIMEOUT, CheckFailed, Finding
from .socket_client import Address


def listening_address(config: Config) -> str:
	"""Return where the sidecar listens, in words and with the key that sets it."""
	if config.socketio_uds:
		return f"the socket {config.socketio_uds} (socketio_uds)"
	return f"port {config.socketio_port} (socketio_port)"


async def read_health(config: Config) -> dict[str, Any] | None:
	"""Return the body of the sidecar's `/health`; None if another server answers.

	Raises:
		CheckFailed: Nothing answers.
	"""
	address = Address.of_sidecar(config, "localhost", {})
	try:
		async with (
			aiohttp.ClientSession(
				connector=address.connector(), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
			) as http,
			http.get(f"{address.url}/health") as answer,
		):
			health = await answer.json(content_type=None)
	except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
		raise CheckFailed(
			f"nothing answers on {listening_address(config)}: {str(error) or f'no answer within {TIMEOUT:g} s'}",
			"start it: frappe-realtime serve (the process manager's log has the reason if it does not run)",
			blocks=True,
		) from error
	except ValueError:
		return None
	return health if isinstance(health, dict) and {"redis", "web", "history"} <= health.keys() else None


class BenchChecks:
	"""Checks that return a `Finding` or raise `CheckFailed`."""

	def __init__(self, config: Config) -> None:
		self.store = RedisStore(RedisEndpoint(config))
		self._config = config

	async def configuration(self) -> Finding:
		"""Read common_site_config.json, and report keys that are not known."""
		file = self._config.sites / "common_site_config.json"
		try:
			given = json.loads(file.read_text())
		except FileNotFoundError:
			given = {}
		known = {*KEYS, *APP_DEFAULTS}
		unknown = sorted(key for key in given if key.startswith("realtime_") and key not in known)
		if unknown:
			return Finding(
				NOTE,
				f"{file} has unknown keys: {', '.join(unknown)}",
				"docs/configuration.md lists the keys",
			)
		return Finding(OK, f"the configuration in {file} is valid")

	async def redis(self) -> Finding:
		"""Ask Redis for the shared secret and for the subscribers of the events."""
		endpoint = self.store.endpoint
		try:
			subscribers = await asyncio.wait_for(self._subscribers(), TIMEOUT)
		except (StoreUnavailable, StoreDenied, WebUnavailable, asyncio.TimeoutError) as error:
			raise CheckFailed(
				f"{endpoint} does not answer: {str(error) or f'no answer within {TIMEOUT:g} s'}",
				"start Redis (bench start, or supervisorctl), or correct redis_queue in common_site_config.json",
				blocks=True,
			) from error
		if not subscribers:
			raise CheckFailed(
				f"no server is subscribed to the channel {EVENTS_CHANNEL!r} of {endpoint}",
				"start the sidecar, or let it use the redis_queue of the web process and the workers",
			)
		return Finding(OK, f"{endpoint} answers; servers that are subscribed to its events: {subscribers}")

	async def _subscribers(self) -> int:
		subscribers = await self.store.subscribers(EVENTS_CHANNEL)
		# Writes, if there is no secret yet.
		await SharedSecret(self.store).get()
		return subscribers

	async def publishers(self) -> Finding:
		"""Read what processes of Frappe reported about times in which they could not publish."""
		try:
			outages = await asyncio.wait_for(self.store.outages(), TIMEOUT)
		except (StoreUnavailable, StoreDenied, asyncio.TimeoutError) as error:
			reason = str(error) or f"no answer within {TIMEOUT:g} s"
			return Finding(NOTE, f"the outage reports of publishing processes cannot be read: {reason}")
		if not outages:
			return Finding(OK, "no process of Frappe reported in the last 24 hours that it could not publish")
		last = outages[0]
		dropped = sum(outage.dropped for outage in outages)
		return Finding(
			NOTE,
			f"outages in the last 24 hours in which a process of Frappe could not publish: {len(outages)}; "
			f"events dropped: {dropped}. The last: process {last.pid} on {last.host}, "
			f"{_local_time(last.since)} to {_local_time(last.until)}, held at most {last.held}, dropped {last.dropped}: "
			f"{last.reason or 'more than realtime_pending_count or 16 MB'}",
			"keep Redis (redis_queue) running; realtime_pending_count and realtime_pending_seconds set how many events a process holds",
		)

	async def sidecar(self) -> Finding:
		"""Ask the sidecar for its health."""
		where = listening_address(self._config)
		health = await read_health(self._config)
		if health is None:
			raise CheckFailed(
				f"the server on {where} is not this sidecar",
				"it is probably Frappe's Node server: replace it with bench realtime setup, and restart",
			)
		if not health["redis"]["ok"]:
			raise CheckFailed(
				"the sidecar is not subscribed to Redis", "see its log for the reason, and redis_queue"
			)
		if not health["web"]["ok"]:
			raise CheckFailed(
				f"the sidecar does not reach the web process at {health['web']['url']}",
				"start the web process, or correct webserver_host and webserver_port",
			)
		running = health.get("version")
		if running != __version__:
			return Finding(
				NOTE,
				f"the sidecar on {where} has the version {running}, installed is {__version__}",
				"restart it: bench restart",
			)
		history = health["history"]
		if not history["ok"]:
			return Finding(
				NOTE,
				f"the sidecar runs, but Redis keeps no history: {history['refused'] or history['sessions_refused']}",
				"clients do not get missed events; let the user of redis_queue run scripts and write streams",
			)
		return Finding(
			OK, f"the sidecar {running} runs on {where}; open connections: {health['connections']}"
		)


def _local_time(seconds: float) -> str:
	return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
