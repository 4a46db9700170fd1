"""The doctor's clients on the public address of a site: what a proxy in between does to them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from ..access.sites import Sites, hostname
from ..config import Config
from .bench_checks import listening_address
from .bench_files import SETUP_NGINX, BenchFiles
from .client_checks import GUEST_COOKIE, Transports
from .findings import FAILED, NOTE, OK, CheckFailed, Finding
from .sidecar_checks import read_health
from .socket_client import Address, ConnectionFailed, ConnectionRejected

FOREIGN_ORIGIN = "https://elsewhere.invalid"
"""The origin of a page that must be refused."""

FORWARDED_FOR = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
"""The line of nginx that names the client's address."""

LOCATION = "the location /socket.io of the proxy"

_REQUESTED = re.compile(r"the request is for '([^']*)'")
_PAGE = re.compile(r"the page is from '([^']*)'")
"""In the sidecar's reason for a refusal."""


class PublicAddress(NamedTuple):
	"""Where browsers reach a site.

	Args:
		url: Scheme, host and port to connect to.
		origin: The origin of the site's pages.
	"""

	url: str
	origin: str

	@property
	def host(self) -> str:
		"""The value of the header Host that a browser sends."""
		return self.origin.partition("://")[2]

	def headers(self, origin: str = "") -> dict[str, str]:
		"""Return the headers of a Guest's browser on a page of `origin`, by default of the site."""
		return {"Host": self.host, "Origin": origin or self.origin, **GUEST_COOKIE}

	def __str__(self) -> str:
		return self.origin


class PublicChecks:
	"""Checks at the public address.

	Args:
		config: The configuration of the bench.
		files: The files of the bench.
		http: Used for requests that open no connection.
		transports: The transports that clients may use.
	"""

	def __init__(
		self, config: Config, files: BenchFiles, http: aiohttp.ClientSession, transports: Transports
	) -> None:
		self._config = config
		self._files = files
		self._http = http
		self._transports = transports
		self._sites = Sites(config)
		self._where = listening_address(config)

	async def public(self, site: str, works_locally: Callable[[], Awaitable[bool]]) -> Finding:
		"""Connect at the site's public address by each transport, and as a page of a foreign origin.

		Args:
			site: The name of the site's folder.
			works_locally: Returns True if clients connect on the sidecar's own port. If they do not, an error at the public
				address says nothing about the proxy, so no client is connected there.
		"""
		address = self._address(site)
		if address is None and (self._config.developer_mode or self._files.has_no_proxy):
			return Finding(
				"public.development",
				NOTE,
				f"without a proxy, browsers connect to {self._where} of the site's host",
				site=site,
			)
		address = address or PublicAddress(f"http://{site}", f"http://{site}")
		try:
			status, origin, is_engine = await self._request(address)
		except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
			return Finding(
				"public.unreachable",
				NOTE,
				f"{address} cannot be reached from here ({str(error) or 'no answer'})",
				advice=f'on a browser\'s machine, {address}/socket.io/?EIO=4&transport=polling must answer with 0{{"sid":…\n'
				f"browsers use another address? bench --site {site} set-config host_name https://ADDRESS",
				site=site,
			)
		if not is_engine:
			raise CheckFailed(self._no_engine(site, address, status))
		if not await works_locally():
			return Finding(
				"public.left_out",
				NOTE,
				f"{origin} passes on /socket.io/; no client was connected there, because clients cannot connect on {self._where}",
				site=site,
			)
		if address.url == address.origin:
			address = PublicAddress(origin, origin)
		return await self._connect(site, address)

	def _address(self, site: str) -> PublicAddress | None:
		"""Return the address by the site's `host_name`, or else by config/nginx.conf; None if neither has one."""
		if (address := self._sites.address(site)) is not None:
			return PublicAddress(address, address)
		for server in self._files.nginx_servers():
			if server.site == site or (not server.site and site in server.names):
				scheme = "https" if server.port == 443 else "http"
				default = {"http": 80, "https": 443}[scheme]
				port = "" if server.port == default else f":{server.port}"
				return PublicAddress(f"{scheme}://127.0.0.1{port}", f"{scheme}://{server.names[0]}{port}")
		return None

	async def _request(self, address: PublicAddress) -> tuple[int, str, bool]:
		"""Return the status of `/socket.io/`, the origin after redirects, and True if an Engine.IO server answers."""
		headers = {} if address.url == address.origin else {"Host": address.host}
		async with self._http.get(f"{address.url}/socket.io/", headers=headers, ssl=False) as answer:
			body: Any = None
			with suppress(ValueError):
				body = json.loads(await answer.text(errors="replace"))
			# Without a transport in the query, Engine.IO answers with an error that opens no connection.
			is_engine = isinstance(body, dict) and body.keys() == {"code", "message"}
			return answer.status, str(answer.url.origin()), is_engine

	def _no_engine(self, site: str, address: PublicAddress, status: int) -> Finding:
		if status in (502, 503, 504):
			return Finding(
				"public.port",
				FAILED,
				f"{address} answers HTTP {status} to /socket.io/: the proxy passes it to a port on which no sidecar answers; "
				f"the sidecar listens on {self._where}",
				f"proxy_pass in {LOCATION}",
				SETUP_NGINX,
				site=site,
			)
		return Finding(
			"public.path",
			FAILED,
			f"{address} answers HTTP {status} to /socket.io/, and not as a realtime server does: "
			f"the proxy does not pass it to {self._where}",
			f"{LOCATION}, which is missing or leads elsewhere",
			SETUP_NGINX,
			site=site,
		)

	async def _connect(self, site: str, address: PublicAddress) -> Finding:
		page = Address(address.url, address.headers())
		foreign = Address(address.url, address.headers(FOREIGN_ORIGIN))
		before = await self._clients_without_address()
		errors, is_foreign_refused = await asyncio.gather(
			self._transports.attempt(partial(self._transports.receive, page, site)),
			self._is_refused(foreign, site),
		)
		if errors:
			raise CheckFailed(self._failure(site, address, errors))
		hidden: dict[str, str] = {}
		if not is_foreign_refused:
			hidden["the origin of the page"] = (
				"the proxy replaces the header Origin; SECURITY.md says why this matters and what to change"
			)
		if not self._is_sidecar(address) and await self._clients_without_address() > before:
			hidden["the address of the client"] = (
				"no limit by address applies, and users with an IP restriction are refused: add to the location "
				f"/socket.io of the proxy, in nginx: {FORWARDED_FOR}"
			)
		passes = f"{address} passes on {self._transports.names}"
		if hidden:
			return Finding(
				"public.hides",
				NOTE,
				f"{passes}, but hides {' and '.join(hidden)}",
				advice="\n".join(hidden.values()),
				site=site,
			)
		return Finding("public.ok", OK, f"{passes}, and pages of other origins are refused", site=site)

	def _is_sidecar(self, address: PublicAddress) -> bool:
		"""Return True if no proxy is at the public address, but the sidecar itself."""
		return not self._config.socketio_uds and URL(address.url).port == self._config.socketio_port

	async def _clients_without_address(self) -> int:
		"""Return how many clients have connected so far for which no proxy named an address."""
		with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
			return int((await read_health(self._config)).get("clients_without_address", 0))
		return 0

	async def _is_refused(self, address: Address, site: str) -> bool:
		try:
			await self._transports.receive(address, site, self._transports.first)
		except ConnectionRejected as error:
			return "Invalid origin" in str(error)
		except ConnectionFailed:
			return False
		return False

	# -- what an error means

	def _failure(self, site: str, address: PublicAddress, errors: Mapping[str, ConnectionFailed]) -> Finding:
		error = next(iter(errors.values()))
		if isinstance(error, ConnectionRejected):
			return self._rejected(site, address, error)
		what = f"{address} does not pass on {' and '.join(errors)}: {error}"
		if "WebSocket" in errors and "polling" not in errors:
			return Finding(
				"public.upgrade",
				FAILED,
				f"{what}: the proxy drops the headers Upgrade and Connection",
				f"proxy_set_header Upgrade and Connection in {LOCATION}",
				SETUP_NGINX,
				site=site,
			)
		if "polling" in errors and "WebSocket" not in errors:
			if "HTTP 4" in str(error):
				return Finding(
					"public.sticky",
					FAILED,
					f"{what}: the balancer sends the requests of a client to several sidecars, which do not reach each other",
					"unreachable_sidecars in /health; realtime_peer_address of each host",
					"bench set-config -g realtime_websocket_only 1",
					"it helps the Desk and website pages of sites with the app. For all clients, let the sidecars reach each other "
					"(docs/scaling.md), or let the balancer send each client to one host (sticky sessions)",
					site=site,
				)
			return Finding(
				"public.buffered",
				FAILED,
				f"{what}: the proxy holds back the answers to polling requests",
				f"proxy_buffering in {LOCATION}",
				SETUP_NGINX,
				"in nginx: proxy_buffering off; and no proxy_cache",
				site=site,
			)
		return Finding("public.failed", FAILED, what, "the log of the proxy", SETUP_NGINX, site=site)

	def _rejected(self, site: str, address: PublicAddress, error: ConnectionRejected) -> Finding:
		what = f"at {address} a browser is refused: {error}" + (f" ({error.reason})" if error.reason else "")
		if "Invalid origin" in str(error):
			page = match[1] if (match := _PAGE.search(error.reason)) else "another host"
			return Finding(
				"public.origin",
				FAILED,
				f"{what}: the proxy replaces the page's Origin by that of {page}",
				f"proxy_set_header Origin in {LOCATION}",
				SETUP_NGINX,
				"in nginx: proxy_set_header Origin $http_origin;",
				site=site,
			)
		requested = match[1] if (match := _REQUESTED.search(error.reason)) else ""
		default = self._config.default_site
		if (
			requested
			and requested == default != site
			and hostname(address.origin) in ("localhost", "127.0.0.1")
		):
			return Finding(
				"public.default_site",
				FAILED,
				f"{what}: default_site is {default}, so requests to {hostname(address.origin)} are never for {site}",
				self._files.place("default_site"),
				self._files.then(
					"bench config remove-common-config default_site", self._files.restart_sidecar
				),
				"or give the site a host of its own",
				site=site,
			)
		if requested and requested == default != site:
			return Finding(
				"public.default_site",
				FAILED,
				f"{what}: the proxy names default_site {default} for all hosts",
				f"X-Frappe-Site-Name in {LOCATION}; {self._files.place('default_site')}",
				f"bench config dns_multitenant on && {SETUP_NGINX}",
				site=site,
			)
		if requested:
			return Finding(
				"public.host",
				FAILED,
				f"{what}: the proxy names {requested!r} instead of the site",
				f"X-Frappe-Site-Name in {LOCATION}",
				SETUP_NGINX,
				site=site,
			)
		return Finding(
			"public.rejected", FAILED, what, "the log of the sidecar", self._files.restart_sidecar, site=site
		)
