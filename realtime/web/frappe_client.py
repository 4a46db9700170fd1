"""The HTTP client for the web process: always the configured address, never one that a request names."""

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

UNAVAILABLE = frozenset({502, 503, 504})
"""Statuses of a web process that starts, restarts or is in maintenance, mostly sent by a proxy or by Frappe itself."""

RETRIED = UNAVAILABLE | {429}
"""Statuses that are no answer of the endpoint. A 500 mostly is one."""


@dataclass(frozen=True, slots=True)
class Credential:
	"""What a client authenticates with, forwarded unchanged. Exactly one of the two is set.

	Args:
		sid: The value of the cookie `sid`.
		authorization: The value of the Authorization header.
	"""

	sid: str = ""
	authorization: str = ""

	@property
	def sid_hash(self) -> str:
		"""The SHA-256 of the session id, which names the session on the access channel; empty without a session id."""
		return sha256(unquote(self.sid).encode()).hexdigest() if self.sid else ""

	@property
	def headers(self) -> dict[str, str]:
		"""The request header that carries the credential."""
		if self.authorization:
			return {"Authorization": self.authorization}
		return {"Cookie": f"sid={self.sid}"}


@dataclass(frozen=True, slots=True)
class FrappeResponse:
	"""A response of the web process.

	Args:
		status: The HTTP status.
		data: The body as JSON; None if it is not JSON.
	"""

	status: int
	data: Any

	@property
	def message(self) -> Any:
		"""The return value of a whitelisted method (`{"message": …}`); None if there is none."""
		return self.data.get("message") if isinstance(self.data, dict) else None


class FrappeClient:
	"""Sends requests to the web process of the bench.

	Args:
		config: The configuration.
		secret: Returns the shared secret that Frappe requires of its realtime server; called with True to read it anew.
	"""

	def __init__(self, config: Config, secret: Callable[[bool], Awaitable[str]]) -> None:
		self.url = config.web_url
		self.requests = 0
		"""Requests since the start, without the probes of a web process that is unavailable."""
		self.latencies: dict[str, Histogram] = {}
		"""Seconds from a request to its response or timeout, by path; `HANDLERS` for those of handlers."""
		self.unavailable = False
		"""True if the last attempt reached no web process."""
		self._client = HTTPClient(self.url, config.realtime_web_timeout)
		self._patience = config.realtime_web_patience
		self._slots = asyncio.Semaphore(config.realtime_web_connections)
		self._secret = secret
		self._back: asyncio.Event | None = None
		self._probe: asyncio.Task[None] | None = None
		self._closed = False

	async def close(self) -> None:
		"""Close all connections; pending calls end with `WebUnavailable`."""
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
		retry_failures: bool = True,
	) -> FrappeResponse:
		"""GET `path` with a client's credential and the shared secret; wait while the web process is unavailable.

		Args:
			site: The site that the request is for.
			path: The path, with its leading slash.
			credential: The client's credential.
			params: The query.
			json: The body, as JSON; None for none.
			renew_secret: Read the shared secret anew: the last one was not accepted.
			retry_failures: Retry an HTTP 500, which is returned otherwise.

		Returns:
			The response; a 4xx is returned, not raised.

		Raises:
			WebUnavailable: No response within `realtime_web_patience`, or Redis with the secret does not answer.
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
				response = await self._attempt(site, path, headers, params, json)
				if response is not None and not (response.status == 500 and retry_failures):
					return response
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
		"""Send one request of a handler, without retries.

		Raises:
			WebUnavailable: No response.
			ValueError: The method, path or a header cannot be sent.
		"""
		all_headers = {**ACCEPT, **headers, "Host": site, SITE_HEADER: site}
		try:
			return await self._send(measured_as, method, _target(path, params), all_headers, body or b"")
		except (OSError, asyncio.TimeoutError, HTTPError) as error:
			raise WebUnavailable(f"{method} {self.url}{path} failed: {error!r}") from error

	async def ping(self, site: str, timeout: float = 2.0) -> bool:
		"""Return True if the web process answers within `timeout` seconds."""
		headers = {**ACCEPT, "Host": site or "localhost"}
		try:
			response = await self._client.request("GET", "/api/method/ping", headers, timeout=timeout)
		except (OSError, asyncio.TimeoutError, HTTPError):
			return False
		return response.status not in UNAVAILABLE

	async def _attempt(
		self, site: str, path: str, headers: dict[str, str], params: Mapping[str, str] | None, json: Any
	) -> FrappeResponse | None:
		headers |= {**ACCEPT, "Host": site, SITE_HEADER: site}
		body = b""
		if json is not None:
			body = dumps(json).encode()
			headers["Content-Type"] = "application/json"
		try:
			response = await self._send(path, "GET", _target(path, params), headers, body)
		except (asyncio.TimeoutError, HTTPError) as error:
			logger.warning("%s%s for %s gave no answer: %s", self.url, path, site, error)
			return None
		except OSError as error:
			self._on_unavailable(str(error))
			return None
		if response.status in RETRIED:
			if response.status in UNAVAILABLE:
				self._on_unavailable(f"HTTP {response.status}")
			return None
		self.unavailable = False
		try:
			return FrappeResponse(response.status, loads(response.body))
		except ValueError:
			return FrappeResponse(response.status, None)

	async def _send(
		self, measured_as: str, method: str, target: str, headers: dict[str, str], body: bytes
	) -> HTTPResponse:
		"""Send a request, and measure how long it waits for a connection and for the response."""
		started = perf_counter()
		try:
			async with self._slots:
				self.requests += 1
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

	def _on_unavailable(self, reason: str) -> None:
		"""Start one probe; all calls wait for it instead of retrying each by itself."""
		if self._back is None and not self._closed:
			logger.warning(
				"the web process at %s is unavailable (%s); clients wait. Set webserver_host and webserver_port if it is elsewhere",
				self.url,
				reason,
			)
			self.unavailable = True
			self._back = asyncio.Event()
			self._probe = asyncio.get_running_loop().create_task(self._probe_until_back(self._back))

	async def _probe_until_back(self, back: asyncio.Event) -> None:
		delay = 0.2
		while not await self.ping(""):
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 2)
		logger.info("the web process at %s is back", self.url)
		self.unavailable = False
		self._back = None
		back.set()


def _target(path: str, params: Mapping[str, str] | None) -> str:
	"""Return `path`, which may have a query already, with `params`."""
	# Reserved characters and percent-encoding of the path are kept.
	target = quote(path, safe="/%?&=:@+,;!$'()*~-._[]")
	if not params:
		return target
	return f"{target}{'&' if '?' in target else '?'}{urlencode(params)}"
