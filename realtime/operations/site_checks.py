"""The doctor's checks of one site: the web process, a client on the sidecar's port, and one on the public address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import aiohttp
from yarl import URL

from frappe_realtime.contract import EVENTS_CHANNEL, GUEST
from frappe_realtime.errors import WebUnavailable

from ..access.authentication import USER_INFO
from ..access.permissions import GUEST_CREDENTIAL
from ..access.sites import Sites
from ..bus.store import RedisStore
from ..config import Config
from ..json_codec import dumps
from ..web.frappe_client import FrappeClient
from ..web.secret import SharedSecret
from .bench_checks import listening_address, read_health
from .findings import NOTE, OK, TIMEOUT, CheckFailed, Finding
from .socket_client import TRANSPORTS, Address, ConnectionFailed, ConnectionRejected, SocketClient

EVENT = "frappe_realtime:doctor"
"""The event that is published, to nobody but the doctor's own clients."""

EVENT_TIMEOUT = 3.0
"""Seconds in which it must arrive."""

GUEST_COOKIE = {"Cookie": f"sid={GUEST}"}

FOREIGN_ORIGIN = "https://elsewhere.invalid"
"""The origin of a page that must be refused."""


FORWARDED_FOR = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
"""The line of nginx that names the client's address."""


class EventLost(ConnectionFailed):
	"""The client connected, but an event for it did not arrive."""


class SiteChecks:
	"""Checks that return a `Finding` or raise `CheckFailed`.

	Args:
		config: The configuration of the bench.
		store: The Redis of the bench.
		http: Used for requests to public addresses.
	"""

	def __init__(self, config: Config, store: RedisStore, http: aiohttp.ClientSession) -> None:
		self._config = config
		self._store = store
		self._http = http
		self._sites = Sites(config)
		self._where = listening_address(config)
		self._transports = {
			name: transports
			for name, transports in TRANSPORTS.items()
			if set(transports) <= set(config.realtime_transports)
		}
		self._transport_names = ", ".join(self._transports)

	def names(self) -> list[str]:
		"""Return the sites of the bench."""
		return self._sites.names()

	async def folder(self, site: str) -> Finding:
		"""Check that the bench has the site."""
		if not self._sites.exists(site):
			known = ", ".join(self.names()) or "none"
			raise CheckFailed(
				f"{self._config.bench} has no site {site!r}",
				f"it has: {known}. A site is named by its folder",
				blocks=True,
			)
		return Finding(OK, f"{site}: the bench has this site")

	async def web_process(self, site: str) -> Finding:
		"""Ask the web process who a Guest is, as the sidecar does for each client."""
		# Do not wait until the web process comes back, as the sidecar does.
		config = replace(self._config, realtime_web_patience=0.0, realtime_web_timeout=TIMEOUT)
		web = FrappeClient(config, SharedSecret(self._store).get)
		try:
			answer = await asyncio.wait_for(web.call(site, USER_INFO, GUEST_CREDENTIAL), TIMEOUT + 1)
			if answer.message == {}:
				answer = await asyncio.wait_for(
					web.call(site, USER_INFO, GUEST_CREDENTIAL, renew_secret=True), TIMEOUT + 1
				)
		except (WebUnavailable, asyncio.TimeoutError) as error:
			raise CheckFailed(
				f"{site}: the web process does not answer: {str(error) or f'no answer within {TIMEOUT:g} s'}",
				"start it, or correct webserver_host and webserver_port: the sidecar calls no other address",
				blocks=True,
			) from error
		finally:
			await web.close()
		info = answer.message
		if info == {}:
			raise CheckFailed(
				f"{site}: the web process does not accept the shared secret",
				"it reads another Redis than the sidecar: compare redis_queue of both",
			)
		if answer.status != 200 or not isinstance(info, dict) or "user" not in info:
			raise CheckFailed(
				f"{site}: the web process answers HTTP {answer.status} to {USER_INFO}",
				"404: its bench has no such site. 401 or 403: an app or a proxy refuses the request. See its log",
			)
		apps = info.get("installed_apps")
		if apps is None or "frappe_realtime" not in apps:
			return Finding(
				NOTE,
				f"{site}: the web process answers; the app is not installed on the site",
				"install it, so that no event is lost and access ends at once: "
				f"bench --site {site} install-app frappe_realtime",
			)
		return Finding(OK, f"{site}: the web process answers, and the app is installed")

	async def delivery(self, site: str) -> Finding:
		"""Connect on the sidecar's port by each transport, publish an event as Frappe does, and wait for it."""
		# The sidecar counts the clients for which a proxy names no address: this one must not be among them.
		address = Address.of_sidecar(self._config, site, {**GUEST_COOKIE, "X-Real-IP": "127.0.0.1"})
		errors = await self._try_transports(partial(self._receive_event, address, site))
		if not errors:
			return Finding(
				OK, f"{site}: an event arrives at a browser on {self._where}, by {self._transport_names}"
			)
		error = next(iter(errors.values()))
		failed = " and ".join(errors)
		if isinstance(error, EventLost):
			raise CheckFailed(
				f"{site}: an event was published, and did not arrive at a browser by {failed}",
				"the sidecar is subscribed to another Redis: compare redis_queue of both, and FRAPPE_REDIS_QUEUE",
			)
		if isinstance(error, ConnectionRejected):
			raise CheckFailed(
				f"{site}: a browser is refused: {error}", error.reason or "see the sidecar's log"
			)
		raise CheckFailed(
			f"{site}: a browser cannot connect to {self._where} by {failed}: {error}",
			"see the sidecar's log",
		)

	async def public(self, site: str, works_locally: Callable[[], Awaitable[bool]]) -> Finding:
		"""Connect at the site's public address by each transport, and as a page of a foreign origin.

		Args:
			site: The name of the site's folder.
			works_locally: Returns True if clients connect on the sidecar's own port. If they do not, an error at the public
				address says nothing about the proxy, so no client is connected there.
		"""
		address = self._sites.address(site)
		if self._config.developer_mode and address is None:
			return Finding(
				NOTE, f"{site}: in developer mode browsers connect to {self._where} of the site's host"
			)
		address = address or f"http://{site}"
		try:
			status, origin, is_engine = await self._request(address)
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			return Finding(
				NOTE,
				f"{site}: {address} cannot be reached from here ({str(error) or 'no answer'})",
				f'on a browser\'s machine, {address}/socket.io/?EIO=4&transport=polling must answer with 0{{"sid":…',
			)
		if not is_engine:
			raise CheckFailed(
				f"{site}: {address} answers HTTP {status} to /socket.io/, and not as a realtime server does",
				f"the proxy does not pass /socket.io/ to {self._where}: run bench setup nginx, and reload nginx",
			)
		if not await works_locally():
			return Finding(
				NOTE,
				f"{site}: {origin} passes on /socket.io/; no client was connected there, because clients cannot connect on {self._where}",
			)
		return await self._connect_publicly(site, origin)

	async def _connect_publicly(self, site: str, origin: str) -> Finding:
		address = Address(origin, {"Origin": origin, **GUEST_COOKIE})
		foreign = Address(origin, {"Origin": FOREIGN_ORIGIN, **GUEST_COOKIE})
		before = await self._clients_without_address()
		errors, is_foreign_refused = await asyncio.gather(
			self._try_transports(partial(self._connect, address, site)), self._is_refused(foreign, site)
		)
		if errors:
			raise self._public_failure(site, origin, errors)
		hidden: dict[str, str] = {}
		if not is_foreign_refused:
			hidden["the origin of the page"] = (
				"the proxy replaces the header Origin; SECURITY.md says why this matters and what to change"
			)
		if not self._is_sidecar(origin) and await self._clients_without_address() > before:
			hidden["the address of the client"] = (
				"no limit by address applies, and users with an IP restriction are refused: add to the location "
				f"/socket.io of the proxy, in nginx: {FORWARDED_FOR}"
			)
		if hidden:
			return Finding(
				NOTE,
				f"{site}: {origin} passes on {self._transport_names}, but hides {' and '.join(hidden)}",
				"\n".join(hidden.values()),
			)
		return Finding(
			OK, f"{site}: {origin} passes on {self._transport_names}, and pages of other origins are refused"
		)

	def _is_sidecar(self, origin: str) -> bool:
		"""Return True if no proxy is at the public address, but the sidecar itself."""
		return not self._config.socketio_uds and URL(origin).port == self._config.socketio_port

	async def _clients_without_address(self) -> int:
		"""Return how many clients have connected so far for which no proxy named an address."""
		health = None
		with suppress(CheckFailed):
			health = await read_health(self._config)
		return int((health or {}).get("clients_without_address", 0))

	def _public_failure(self, site: str, origin: str, errors: dict[str, ConnectionFailed]) -> CheckFailed:
		error = next(iter(errors.values()))
		if isinstance(error, ConnectionRejected):
			return CheckFailed(f"{site}: at {origin} a browser is refused: {error}", error.reason)
		what = f"{site}: {origin} does not pass on {' and '.join(errors)}: {error}"
		if "WebSocket" not in errors:
			return CheckFailed(
				what, "several sidecars: the balancer must send all requests of a client to the same one"
			)
		if "polling" not in errors:
			return CheckFailed(
				what,
				"the proxy drops the headers Upgrade and Connection: run bench setup nginx, and reload nginx",
			)
		return CheckFailed(what, "see the log of the proxy")

	async def _request(self, address: str) -> tuple[int, str, bool]:
		"""Return the status of `/socket.io/`, the origin after redirects, and True if an Engine.IO server answers."""
		async with self._http.get(f"{address}/socket.io/", ssl=False) as answer:
			body: Any = None
			with suppress(ValueError):
				body = json.loads(await answer.text())
			# Without a transport in the query, Engine.IO answers with an error that opens no connection.
			is_engine = isinstance(body, dict) and body.keys() == {"code", "message"}
			return answer.status, str(answer.url.origin()), is_engine

	async def _try_transports(
		self, attempt: Callable[[Sequence[str]], Awaitable[None]]
	) -> dict[str, ConnectionFailed]:
		"""Make the attempt with all transports at the same time; return the errors by transport."""
		results = await asyncio.gather(
			*[attempt(each) for each in self._transports.values()], return_exceptions=True
		)
		errors: dict[str, ConnectionFailed] = {}
		for name, result in zip(self._transports, results, strict=True):
			if isinstance(result, ConnectionFailed):
				errors[name] = result
			elif result is not None:
				raise result
		return errors

	async def _connect(self, address: Address, site: str, transports: Sequence[str]) -> None:
		async with SocketClient(address, site, transports=transports) as client:
			await client.connect()
			_check_upgrade(client, transports)

	async def _is_refused(self, address: Address, site: str) -> bool:
		try:
			await self._connect(address, site, next(iter(self._transports.values())))
		except ConnectionRejected as error:
			return "Invalid origin" in str(error)
		except ConnectionFailed:
			return False
		return False

	async def _receive_event(self, address: Address, site: str, transports: Sequence[str]) -> None:
		arrived = asyncio.Event()

		def on_event(event: str, arguments: Sequence[Any]) -> None:
			if event == EVENT:
				arrived.set()

		async with SocketClient(address, site, on_event, transports) as client:
			own_room = await client.connect()
			_check_upgrade(client, transports)
			payload = {"event": EVENT, "message": None, "room": own_room, "namespace": site}
			await self._store.publish(EVENTS_CHANNEL, dumps(payload))
			try:
				await asyncio.wait_for(arrived.wait(), EVENT_TIMEOUT)
			except asyncio.TimeoutError:
				raise EventLost from None


def _check_upgrade(client: SocketClient, transports: Sequence[str]) -> None:
	"""Raise if the client offered WebSocket and is still polling; python-socketio then goes on with polling."""
	if "websocket" in transports and client.transport != "websocket":
		raise ConnectionFailed("the upgrade from polling failed")
