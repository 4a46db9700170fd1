"""`frappe-realtime doctor`: why is realtime not working? Goes the way of an event, and says where it ends.

It asks what the sidecar asks and connects as a browser connects, as a Guest. Each line says what was tried; one that
failed says what to do. Nothing is changed, except that a missing shared secret is created as the sidecar would.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import aiohttp

from frappe_realtime.contract import APP_DEFAULTS, SITE_HEADER
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import USER_INFO
from ..access.permissions import ANYBODY
from ..access.sites import Sites
from ..bus.endpoint import RedisEndpoint
from ..bus.store import RedisStore, StoreDenied, StoreUnavailable
from ..config import KEYS, Config
from ..json_codec import dumps
from ..web.frappe_client import FrappeClient
from ..web.secret import SharedSecret

HANDSHAKE = "/socket.io/?EIO=4&transport="
TIMEOUT = 5.0
EVENT = "frappe_realtime:doctor"

OK, FAILED, NOTE = "ok", "FAILED", "note"


@dataclass(slots=True)
class Finding:
	"""One line: what was looked at, what was seen, and what to do about it."""

	state: str
	what: str
	advice: str = ""

	def __str__(self) -> str:
		lines = [f"{self.state:7} {self.what}"]
		lines += [f"        → {line}" for line in self.advice.splitlines()]
		return "\n".join(lines)


class Failed(Exception):
	"""A step that failed, with what to do."""

	def __init__(self, what: str, advice: str) -> None:
		super().__init__(what)
		self.advice = advice


def doctor(config: Config, site: str | None) -> None:
	"""Print the findings about the bench, or about one of its sites; exits with 1 when something failed."""
	findings = asyncio.run(examine(config, site))
	failed = sum(finding.state == FAILED for finding in findings)
	print(f"\n{failed} of {len(findings)} failed" if failed else "\nEverything that could be checked works.")
	sys.exit(1 if failed else 0)


async def examine(config: Config, site: str | None, say: Callable[[Finding], None] = print) -> list[Finding]:
	"""All findings, each given to `say` as it comes."""
	findings: list[Finding] = []

	def found(finding: Finding) -> None:
		findings.append(finding)
		say(finding)

	async with _doctor(config) as one:
		for check in (one.configuration(), one.redis(), one.publishers(), one.sidecar()):
			found(await _guarded(check))
		sites = [site] if site else one.sites.names()
		if not sites:
			found(Finding(FAILED, f"{config.sites} has no site", "create one: bench new-site NAME"))
		for name in sites:
			for check in (one.site(name), one.delivery(name), one.public(name)):
				found(await _guarded(check))
	return findings


async def _guarded(check: Awaitable[Finding]) -> Finding:
	try:
		return await check
	except Failed as failed:
		return Finding(FAILED, str(failed), failed.advice)


@asynccontextmanager
async def _doctor(config: Config) -> AsyncIterator[Doctor]:
	timeout = aiohttp.ClientTimeout(total=TIMEOUT)
	connector = aiohttp.UnixConnector(config.socketio_uds) if config.socketio_uds else None
	async with (
		aiohttp.ClientSession(timeout=timeout, connector=connector) as sidecar,
		aiohttp.ClientSession(timeout=timeout) as public,
	):
		one = Doctor(config, sidecar, public)
		try:
			yield one
		finally:
			await one.web.close()
			await one.store.close()


class Doctor:
	"""The checks. Each returns a finding or raises `Failed`."""

	def __init__(self, config: Config, sidecar: aiohttp.ClientSession, public: aiohttp.ClientSession) -> None:
		self.config = config
		self.sites = Sites(config)
		self.endpoint = RedisEndpoint(config)
		self.store = RedisStore(self.endpoint)
		# It is not waited for that something comes back which is away.
		impatient = replace(config, realtime_web_patience=0.0, realtime_web_timeout=TIMEOUT)
		self.web = FrappeClient(impatient, SharedSecret(self.store).get)
		self._sidecar = sidecar
		self._public = public
		host = config.realtime_host or "127.0.0.1"
		self._host = f"[{host}]" if ":" in host else host
		self._where = (
			f"the socket {config.socketio_uds} (socketio_uds)"
			if config.socketio_uds
			else f"port {config.socketio_port} (socketio_port)"
		)

	async def configuration(self) -> Finding:
		file = self.config.sites / "common_site_config.json"
		try:
			given = json.loads(file.read_text())
		except FileNotFoundError:
			given = {}
		unknown = sorted(key for key in given if key.startswith("realtime_") and key not in KEYS)
		unknown = [key for key in unknown if key not in APP_DEFAULTS]
		if unknown:
			return Finding(
				NOTE, f"{file} has keys that mean nothing: {', '.join(unknown)}", "see docs/configuration.md"
			)
		return Finding(OK, f"the configuration of {self.config.bench} can be read")

	async def redis(self) -> Finding:
		from redis.exceptions import RedisError

		try:
			await self.store.redis.ping()
			listening = dict(await self.store.redis.pubsub_numsub("events"))
		except (RedisError, OSError, WebUnavailable) as error:
			raise Failed(
				f"{self.endpoint} does not answer: {error}",
				"start Redis (bench start, or supervisorctl), or correct redis_queue in common_site_config.json",
			) from error
		if not listening.get(b"events"):
			raise Failed(
				f"nobody listens to the channel 'events' of {self.endpoint}",
				"start the sidecar, or give it the redis_queue that the web process and the workers use",
			)
		return Finding(
			OK, f"{self.endpoint} answers, and {listening[b'events']} server(s) listen to its events"
		)

	async def publishers(self) -> Finding:
		"""What web processes, workers and commands have reported: times in which they could not publish."""
		try:
			outages = await self.store.outages()
		except (StoreUnavailable, StoreDenied) as error:
			return Finding(NOTE, f"outage reports of publishing processes cannot be read: {error}")
		if not outages:
			return Finding(
				OK, "no process of Frappe has reported that it could not publish in the last 24 hours"
			)
		last = outages[0]
		dropped = sum(outage.dropped for outage in outages)
		return Finding(
			NOTE,
			f"{len(outages)} time(s) in the last 24 hours a process of Frappe could not publish; {dropped} event(s) were dropped. "
			f"The last: process {last.pid} on {last.host}, {_moment(last.since)} to {_moment(last.until)}, "
			f"held at most {last.held}, dropped {last.dropped}: {last.reason or 'over realtime_pending_count or 16 MB'}",
			"keep Redis (redis_queue) up; realtime_pending_count and realtime_pending_seconds say how much a process holds",
		)

	async def sidecar(self) -> Finding:
		try:
			async with self._sidecar.get(self._url("/health")) as answer:
				health = await answer.json(content_type=None)
				ours = isinstance(health, dict) and "redis" in health and "web" in health
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			raise Failed(
				f"nothing answers on {self._where}: {error}",
				"start it: frappe-realtime serve (the process manager's log says why it does not run)",
			) from error
		except ValueError:
			ours = False
		if not ours:
			raise Failed(
				f"what answers on {self._where} is not this sidecar",
				"it is probably Frappe's Node server: replace it with bench realtime setup, and restart",
			)
		if not health["redis"]["ok"]:
			raise Failed("the sidecar is not subscribed to Redis", "its log says why; see redis_queue")
		if not health["web"]["ok"]:
			raise Failed(
				f"the sidecar does not reach the web process at {health['web']['url']}",
				"start the web process, or correct webserver_host and webserver_port",
			)
		history = health.get("history") or {}
		if history and not history.get("ok", True):
			return Finding(
				NOTE,
				f"the sidecar runs, but Redis keeps no history: {history.get('refused') or history}",
				"missed events cannot be sent again; let the user of redis_queue run scripts and write streams",
			)
		return Finding(OK, f"the sidecar runs on {self._where}, with {health['connections']} connection(s)")

	async def site(self, site: str) -> Finding:
		if not self.sites.exists(site):
			known = ", ".join(self.sites.names()) or "none"
			raise Failed(
				f"{self.config.bench} has no site {site!r}", f"it has: {known}. The name of the folder counts"
			)
		try:
			answer = await self.web.call(site, USER_INFO, ANYBODY)
			if answer.message == {}:
				answer = await self.web.call(site, USER_INFO, ANYBODY, renew_secret=True)
		except WebUnavailable as error:
			raise Failed(
				f"{site}: the web process does not answer: {error}",
				"start it, or correct webserver_host and webserver_port: the sidecar calls no other address",
			) from error
		info = answer.message
		if info == {}:
			raise Failed(
				f"{site}: the web process does not accept the shared secret",
				"it reads another Redis than the sidecar: compare redis_queue of both",
			)
		if answer.status != 200 or not isinstance(info, dict) or "user" not in info:
			raise Failed(
				f"{site}: the web process answers HTTP {answer.status} to {USER_INFO}",
				"404: its bench has no such site. 403 or 401: an app or a proxy stands before it. Its log says more",
			)
		apps = info.get("installed_apps")
		if apps is None or "frappe_realtime" not in apps:
			return Finding(
				NOTE,
				f"{site}: the web process answers; the app is not installed on the site",
				f"for events that are not lost and access that ends at once: bench --site {site} install-app frappe_realtime",
			)
		return Finding(OK, f"{site}: the web process answers, and the app is installed")

	async def delivery(self, site: str) -> Finding:
		"""Connect as a browser does, publish as Frappe does, and see the event arrive."""
		headers = {
			"Host": site,
			SITE_HEADER: site,
			"Origin": f"http://{site}",
			"Cookie": "sid=Guest",
		}
		try:
			async with self._sidecar.ws_connect(
				self._url(f"{HANDSHAKE}websocket"), headers=headers
			) as socket:
				own = await self._join(socket, site)
				payload = {"event": EVENT, "message": own, "room": own, "namespace": site}
				await self.store.publish("events", dumps(payload))
				while EVENT not in await self._next(socket):
					pass
		except asyncio.TimeoutError:
			raise Failed(
				f"{site}: an event was published, and did not arrive at a browser",
				"the sidecar listens to another Redis: compare redis_queue of both, and FRAPPE_REDIS_QUEUE",
			) from None
		except (aiohttp.ClientError, OSError) as error:
			raise Failed(
				f"{site}: a browser cannot connect to {self._where}: {error}", "see the sidecar's log"
			) from error
		return Finding(OK, f"{site}: an event arrives at a browser that is connected to {self._where}")

	async def public(self, site: str) -> Finding:
		"""The way from outside: through the proxy, under the site's own address."""
		address = self.sites.address(site)
		if self.config.developer_mode and address is None:
			return Finding(
				NOTE, f"{site}: in developer mode browsers connect to {self._where} of the site's host"
			)
		address = address or f"http://{site}"
		try:
			async with self._public.get(
				f"{address}{HANDSHAKE}polling", allow_redirects=True, ssl=False
			) as answer:
				body = await answer.text()
				sent_to = f"{address} answers HTTP {answer.status}"
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			return Finding(
				NOTE,
				f"{site}: {address} cannot be reached from here ({str(error) or 'no answer'})",
				f'from a browser\'s machine, {address}{HANDSHAKE}polling must answer with 0{{"sid":…',
			)
		if not body.startswith("0{"):
			raise Failed(
				f"{site}: {sent_to} to /socket.io/, and not with a connection",
				f"the proxy does not pass /socket.io/ to {self._where}: bench setup nginx, and reload it",
			)
		return await self._public_websocket(site, address)

	async def _public_websocket(self, site: str, address: str) -> Finding:
		foreign = {"Origin": "https://elsewhere.invalid", "Cookie": "sid=Guest"}
		try:
			async with self._public.ws_connect(
				f"{address}{HANDSHAKE}websocket", headers=foreign, ssl=False
			) as socket:
				await self._join(socket, site)
		except Failed as failed:
			if "Invalid origin" in str(failed):
				return Finding(OK, f"{site}: {address} passes on WebSockets, and pages elsewhere are refused")
			raise
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			raise Failed(
				f"{site}: {address} passes on polling but no WebSocket: {error}",
				"the proxy drops the headers Upgrade and Connection: bench setup nginx, and reload it",
			) from error
		return Finding(
			NOTE,
			f"{site}: {address} passes on WebSockets, and hides which page a browser comes from",
			"the proxy replaces the header Origin; SECURITY.md says why and how to let it pass",
		)

	async def _join(self, socket: aiohttp.ClientWebSocketResponse[bool], site: str) -> str:
		"""The id of a socket on `site`."""
		await socket.send_str(f"40/{site},")
		while True:
			text = await self._next(socket)
			answer = text.partition(",")[2]
			if text.startswith(f"44/{site},"):
				error = json.loads(answer)
				reason = (error.get("data") or {}).get("reason", "see the sidecar's log")
				raise Failed(f"{site}: a browser is refused: {error.get('message')}", str(reason))
			if text.startswith(f"40/{site},"):
				return str(json.loads(answer)["sid"])

	@staticmethod
	async def _next(socket: aiohttp.ClientWebSocketResponse[bool]) -> str:
		message = await socket.receive(timeout=TIMEOUT)
		if message.type is not aiohttp.WSMsgType.TEXT:
			raise aiohttp.ClientConnectionError("the connection was closed")
		return str(message.data)

	def _url(self, path: str) -> str:
		return f"http://{self._host}:{self.config.socketio_port}{path}"


def _moment(seconds: float) -> str:
	return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
