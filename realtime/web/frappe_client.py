"""The one way to call the web process: always the configured address, never one that a request names."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter
from typing import Any
from urllib.parse import quote, unquote, urlencode

from frappe_realtime.contract import SECRET_HEADER, SITE_HEADER
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..histogram import Histogram
from ..json_codec import dumps, loads
from .http_client import HTTPClient, HTTPError, HTTPResponse

logger = logging.getLogger("realtime.web")

ACCEPT = {"Accept": "application/json", "User-Agent": "frappe-realtime"}

HANDLERS = "handlers"
"""Stands for the path in `FrappeClient.latencies`, because handlers make up paths."""

RETRIED = frozenset({429, 502, 503, 504})
"""Statuses that say that nobody has answered yet: a web process that starts, restarts or is overloaded. A 500 mostly does."""


@dataclass(frozen=True, slots=True)
class Credential:
	"""What a client proves its user with, forwarded as it came. Exactly one of the two is set."""

	sid: str = ""
	authorization: str = ""

	@property
	def sid_hash(self) -> str:
		"""By which Redis names a session without telling its id; empty for an Authorization header."""
		return sha256(unquote(self.sid).encode()).hexdigest() if self.sid else ""

	@property
	def headers(self) -> dict[str, str]:
		if self.authorization:
			return {"Authorization": self.authorization}
		return {"Cookie": f"sid={self.sid}"}


@dataclass(frozen=True, slots=True)
class FrappeResponse:
	"""A status and what the body holds as JSON; None when it holds none."""

	status: int
	data: Any

	@property
	def message(self) -> Any:
		"""The `message` of a whitelisted method's answer."""
		return self.data.get("message") if isinstance(self.data, dict) else None


class FrappeClient:
	"""Calls the web process of the bench.

	`secret` gives the shared secret that Frappe demands of its realtime server; it is asked for each call, and again
	with True when the web process did not accept it.
	"""

	def __init__(self, config: Config, secret: Callable[[bool], Awaitable[str]]) -> None:
		self.url = config.web_url
		self.calls = 0
		self.latencies: dict[str, Histogram] = {}
		"""Seconds from a request to its response or timeout, by path; `HANDLERS` for those of handlers."""
		self.away = False
		"""Whether the last attempt found nobody."""
		self._client = HTTPClient(self.url, config.realtime_web_timeout)
		self._patience = config.realtime_web_patience
		self._slots = asyncio.Semaphore(config.realtime_web_connections)
		self._secret = secret
		self._back: asyncio.Event | None = None
		self._probe: asyncio.Task[None] | None = None
		self._closed = False

	async def close(self) -> None:
		"""Let go of all connections; calls under way end with `WebUnavailable`."""
		self._closed = True
		if self._probe is not None:
			self._probe.cancel()
		self._client.close()

	async def call(
		self,
		site: str,
		path: str,
		credential: Credential,
		params: Mapping[str, str] | None = None,
		json: Any = None,
		renew_secret: bool = False,
		retries_failure: bool = True,
	) -> FrappeResponse:
		"""GET `path` as `site`, with the client's credential and the shared secret.

		Waits while the web process, or Redis with the secret, is away; raises `WebUnavailable` when that takes longer than
		`realtime_web_patience`. A 4xx is an answer, and returned; so is a 500 without `retries_failure`.
		"""
		loop = asyncio.get_running_loop()
		deadline = loop.time() + self._patience
		delay = 0.2
		while not self._closed:
			if self._back is not None:
				try:
					await asyncio.wait_for(self._back.wait(), deadline - loop.time())
				except asyncio.TimeoutError:
					raise WebUnavailable(f"no answer from {self.url}") from None
			reason = f"no answer from {self.url}{path}"
			try:
				headers = {SECRET_HEADER: await self._secret(renew_secret), **credential.headers}
				answer = await self._attempt(site, path, headers, params, json)
				if answer is not None and not (answer.status == 500 and retries_failure):
					return answer
			except WebUnavailable as error:
				reason = str(error)
			if loop.time() + delay > deadline:
				raise WebUnavailable(reason)
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 3)
		raise WebUnavailable("the sidecar is stopping")

	async def request(
		self,
		site: str,
		path: str,
		headers: Mapping[str, str],
		method: str = "GET",
		params: Mapping[str, str] | None = None,
		body: bytes | None = None,
		measured_as: str = HANDLERS,
	) -> HTTPResponse:
		"""One request of a handler, as it is; raises `WebUnavailable` when nobody answers, ValueError for what cannot be sent."""
		named = {**ACCEPT, **headers, "Host": site, SITE_HEADER: site}
		try:
			return await self._send(measured_as, method, _target(path, params), named, body or b"")
		except (OSError, asyncio.TimeoutError, HTTPError) as error:
			raise WebUnavailable(f"{method} {self.url}{path} failed: {error!r}") from error

	async def answers(self, site: str, timeout: float = 2.0) -> bool:
		"""Whether the web process answers at all, for `/health`."""
		headers = {**ACCEPT, "Host": site or "localhost"}
		try:
			answer = await self._client.request("GET", "/api/method/ping", headers, timeout=timeout)
		except (OSError, asyncio.TimeoutError, HTTPError):
			return False
		return answer.status not in (502, 503, 504)

	async def _attempt(
		self, site: str, path: str, headers: dict[str, str], params: Mapping[str, str] | None, json: Any
	) -> FrappeResponse | None:
		headers |= {**ACCEPT, "Host": site, SITE_HEADER: site}
		body = b""
		if json is not None:
			body = dumps(json).encode()
			headers["Content-Type"] = "application/json"
		try:
			answer = await self._send(path, "GET", _target(path, params), headers, body)
		except (asyncio.TimeoutError, HTTPError) as error:
			logger.warning("%s%s for %s gave no answer: %s", self.url, path, site, error)
			return None
		except OSError as error:
			self._gone(str(error))
			return None
		if answer.status in RETRIED:
			if answer.status in (502, 503, 504):
				self._gone(f"HTTP {answer.status}")
			return None
		self.away = False
		try:
			return FrappeResponse(answer.status, loads(answer.body))
		except ValueError:
			return FrappeResponse(answer.status, None)

	async def _send(
		self, measured_as: str, method: str, target: str, headers: dict[str, str], body: bytes
	) -> HTTPResponse:
		"""Send a request, and measure how long it waits for a connection and for the response."""
		started = perf_counter()
		try:
			async with self._slots:
				self.calls += 1
				response = await self._client.request(method, target, headers, body)
		except (asyncio.TimeoutError, HTTPError):
			self._observe(measured_as, perf_counter() - started)
			raise
		self._observe(measured_as, perf_counter() - started)
		return response

	def _observe(self, measured_as: str, seconds: float) -> None:
		latency = self.latencies.get(measured_as)
		if latency is None:
			latency = self.latencies[measured_as] = Histogram()
		latency.observe(seconds)

	def _gone(self, reason: str) -> None:
		"""Let all calls wait for one that finds the web process back, instead of each trying by itself."""
		if self._back is None and not self._closed:
			logger.warning(
				"the web process at %s is away (%s); clients wait. Set webserver_host and webserver_port if it is elsewhere",
				self.url,
				reason,
			)
			self.away = True
			self._back = asyncio.Event()
			self._probe = asyncio.get_running_loop().create_task(self._await_return(self._back))

	async def _await_return(self, back: asyncio.Event) -> None:
		delay = 0.2
		while not await self.answers(""):
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 2)
		logger.info("the web process at %s is back", self.url)
		self.away = False
		self._back = None
		back.set()


def _target(path: str, params: Mapping[str, str] | None) -> str:
	"""`path`, which may have a query already, with `params`."""
	# What a path is made of, and what is escaped already, stays as it is.
	target = quote(path, safe="/%?&=:@+,;!$'()*~-._[]")
	if not params:
		return target
	return f"{target}{'&' if '?' in target else '?'}{urlencode(params)}"
