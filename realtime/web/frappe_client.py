"""The HTTP client for the web process: always the configured address, never one that a request names."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

from frappe_realtime.contract.http import SECRET_HEADER, SITE_HEADER
from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..histogram import Histogram
from ..json_codec import dumps, loads
from ..log_budget import LogBudget
from ..log_format import log_fields
from .http_client import HTTPClient, HTTPError, HTTPResponse
from .outages import ALL_SITES, FIRST_PAUSE, GROWTH, MAINTENANCE, MAX_PAUSE, UNAVAILABLE, Outages

logger = logging.getLogger("realtime.web")

ACCEPT = {"Accept": "application/json", "User-Agent": "frappe-realtime"}

HANDLERS = "handlers"
"""Stands for the path in `FrappeClient.latencies`, because handlers make up paths."""

RETRIED = UNAVAILABLE | {429, 500}
"""Statuses that are no answer of the endpoint."""

PING_SECONDS = 2.0
"""Seconds that the web process has to answer a ping."""


class WebFailed(WebUnavailable):
	"""The web process fails at a request.

	Args:
		message: Which request, and how it failed.
		begins_outage: True if the status says that the web process does not serve the site at all.
	"""

	def __init__(self, message: str, begins_outage: bool = False) -> None:
		super().__init__(message)
		self.begins_outage = begins_outage


class Credential(NamedTuple):
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


GUEST_CREDENTIAL = Credential(sid=GUEST)
"""The credential of requests that are authorized by the shared secret alone."""


class FrappeResponse(NamedTuple):
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


def is_forbidden(response: FrappeResponse) -> bool:
	"""Return True for HTTP 403, with which endpoints that only the sidecar may call refuse the shared secret."""
	return response.status == 403


class FrappeClient:
	"""Sends requests to the web process of the bench.

	Args:
		config: The configuration.
		secret: Returns the shared secret that Frappe requires of its realtime server; called with True to read it anew.
	"""

	def __init__(self, config: Config, secret: Callable[[bool], Awaitable[str]]) -> None:
		self._url = config.web_url
		self.requests = 0
		"""Requests since the start, without the probes of a web process that is unavailable."""
		self.latencies: dict[str, Histogram] = {}
		"""Seconds from a request to its response or timeout, by path; `HANDLERS` for those of handlers."""
		self._client = HTTPClient(self._url, config.realtime_web_timeout)
		self._patience = config.realtime_web_patience
		self._slots = asyncio.Semaphore(config.realtime_web_connections)
		self._secret = secret
		self._outages = Outages(self._url, self._ping)
		self.outage_began = self._outages.began
		"""Sent with the site (empty for all sites) and the reason when the web process becomes unavailable."""
		self._log_budget = LogBudget()
		self._closed = False

	@property
	def unavailable(self) -> bool:
		"""True while the web process cannot be reached, or does not serve some site."""
		return bool(self._outages)

	def is_unavailable(self, site: str) -> bool:
		"""Return True while the web process cannot be reached or does not serve `site`."""
		return self._outages.affect(site)

	def outage(self, site: str) -> str:
		"""Return why the web process does not serve `site`; empty while it does."""
		return self._outages.reason(site)

	def any_outage(self) -> str:
		"""Return why the web process does not serve some site, or all; empty while it serves all that were asked about."""
		return self._outages.any_reason()

	async def close(self) -> None:
		"""Close all connections; pending calls end with `WebUnavailable`."""
		self._closed = True
		self._outages.close()
		self._client.close()

	async def call(
		self,
		site: str,
		path: str,
		credential: Credential,
		params: Mapping[str, str] | None = None,
		json: Any = None,
		secret_rejected: Callable[[FrappeResponse], bool] | None = None,
		max_failures: int | None = None,
	) -> FrappeResponse:
		"""GET `path` with a client's credential and the shared secret; wait while the web process is unavailable.

		The shared secret may have been changed: if the response says so, the secret is read anew, and the request repeated once.

		Args:
			site: The site that the request is for.
			path: The path, with its leading slash.
			credential: The client's credential.
			params: The query.
			json: The body, as JSON; None for none.
			secret_rejected: Returns True for a response that can mean that the secret was not accepted; None if none can.
			max_failures: Attempts at which the web process may fail (HTTP 500 and the like, no answer in time, the
				connection closed) before `WebFailed` is raised; None for as many as there is time for. With 1, an
				answer that begins an outage is not counted, so that the request is repeated when the outage is over.

		Returns:
			The response; a 4xx is returned, not raised.

		Raises:
			WebFailed: The web process failed `max_failures` times at this request.
			WebUnavailable: No response, or no free connection, within `realtime_web_patience`, or Redis with the secret does not
				answer.
		"""
		response = await self._call(site, path, credential, params, json, False, max_failures)
		if secret_rejected is not None and secret_rejected(response):
			response = await self._call(site, path, credential, params, json, True, max_failures)
		return response

	async def _call(
		self,
		site: str,
		path: str,
		credential: Credential,
		params: Mapping[str, str] | None,
		json: Any,
		renew_secret: bool,
		max_failures: int | None,
	) -> FrappeResponse:
		"""Send a request until there is a response; read the shared secret anew for it if `renew_secret`."""
		loop = asyncio.get_running_loop()
		deadline = loop.time() + self._patience
		delay = FIRST_PAUSE
		failures, repeated = 0, False
		while not self._closed:
			if self._outages:
				await self._outages.wait(site, deadline)
			reason = f"no answer from {self._url}{path}"
			try:
				headers = {SECRET_HEADER: await self._secret(renew_secret), **credential.headers}
				return await self._attempt(site, path, headers, params, json, deadline)
			except WebFailed as error:
				failures += not (error.begins_outage and max_failures == 1 and not repeated)
				repeated = True
				reason = str(error)
				if max_failures is not None and failures >= max_failures:
					raise
			except WebUnavailable as error:
				reason = str(error)
			if loop.time() + delay > deadline:
				raise WebUnavailable(reason)
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * GROWTH, MAX_PAUSE)
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
			WebUnavailable: No response, or no free connection within `realtime_web_patience`.
			ValueError: The method, path or a header cannot be sent.
		"""
		all_headers = {**ACCEPT, **headers, "Host": site, SITE_HEADER: site}
		deadline = asyncio.get_running_loop().time() + self._patience
		try:
			return await self._send(
				measured_as, method, _target(path, params), all_headers, body or b"", deadline
			)
		except (OSError, asyncio.TimeoutError, HTTPError) as error:
			raise WebUnavailable(f"{method} {self._url}{path} failed: {error!r}") from error

	async def ping(self, site: str) -> bool:
		"""Return True if the web process answers within `PING_SECONDS`."""
		status = await self._ping(site or "localhost")
		return status is not None and status not in UNAVAILABLE

	async def _ping(self, site: str) -> int | None:
		"""Return the status of the answer to a ping; None without an answer."""
		try:
			response = await self._client.request(
				"GET", "/api/method/ping", {**ACCEPT, "Host": site, SITE_HEADER: site}, timeout=PING_SECONDS
			)
		except (OSError, asyncio.TimeoutError, HTTPError):
			return None
		return response.status

	async def _attempt(
		self,
		site: str,
		path: str,
		headers: dict[str, str],
		params: Mapping[str, str] | None,
		json: Any,
		deadline: float,
	) -> FrappeResponse:
		"""Send a request; raise `WebFailed` or `WebUnavailable` if there is no answer of the endpoint."""
		headers |= {**ACCEPT, "Host": site, SITE_HEADER: site}
		body = b""
		if json is not None:
			body = dumps(json).encode()
			headers["Content-Type"] = "application/json"
		try:
			response = await self._send(path, "GET", _target(path, params), headers, body, deadline)
		except (asyncio.TimeoutError, HTTPError, ConnectionResetError) as error:
			raise self._failed(site, path, str(error) or type(error).__name__) from error
		except OSError as error:
			self._outages.begin(ALL_SITES, site, str(error))
			raise WebUnavailable(f"no answer from {self._url}{path}: {error}") from error
		if response.status in UNAVAILABLE:
			reason = MAINTENANCE if _is_maintenance(response) else f"HTTP {response.status}"
			self._outages.begin(site, site, reason)
			if reason == MAINTENANCE:
				raise WebUnavailable(f"{site} is in maintenance mode")
		if response.status in RETRIED:
			raise self._failed(
				site, path, f"HTTP {response.status}", begins_outage=response.status in UNAVAILABLE
			)
		try:
			return FrappeResponse(response.status, loads(response.body))
		except ValueError:
			return FrappeResponse(response.status, None)

	async def _send(
		self,
		measured_as: str,
		method: str,
		target: str,
		headers: dict[str, str],
		body: bytes,
		deadline: float,
	) -> HTTPResponse:
		"""Send a request, and measure how long it waits for a connection, until `deadline` (loop time), and for the response."""
		started = perf_counter()
		try:
			await self._take_slot(deadline)
			try:
				self.requests += 1
				response = await self._client.request(method, target, headers, body)
			finally:
				self._slots.release()
		except (asyncio.TimeoutError, HTTPError, WebUnavailable):
			self._observe(measured_as, perf_counter() - started)
			raise
		self._observe(measured_as, perf_counter() - started)
		return response

	async def _take_slot(self, deadline: float) -> None:
		if not self._slots.locked():
			# It does not wait. `wait_for` would create a task, and without time left refuse even a free slot.
			await self._slots.acquire()
			return
		left = deadline - asyncio.get_running_loop().time()
		try:
			await asyncio.wait_for(self._slots.acquire(), left)
		except asyncio.TimeoutError:
			raise WebUnavailable(
				f"no connection to {self._url} became free (realtime_web_connections, realtime_web_patience)"
			) from None

	def _observe(self, measured_as: str, seconds: float) -> None:
		latency = self.latencies.get(measured_as)
		if latency is None:
			latency = self.latencies[measured_as] = Histogram()
		latency.observe(seconds)

	def _failed(self, site: str, path: str, reason: str, begins_outage: bool = False) -> WebFailed:
		self._log_budget.write(
			logger.warning,
			"%s%s for %s gave no answer: %s",
			self._url,
			path,
			site,
			reason,
			extra=log_fields(site),
		)
		return WebFailed(f"no answer from {self._url}{path} for {site}: {reason}", begins_outage)


def _is_maintenance(response: HTTPResponse) -> bool:
	"""Return True for Frappe's answer in maintenance mode: `SessionStopped` in JSON, or a page that says so."""
	body = response.body[:20_000]
	return response.status == 503 and (b"SessionStopped" in body or b"maintenance" in body.lower())


def _target(path: str, params: Mapping[str, str] | None) -> str:
	"""Return `path`, which may have a query already, with `params`."""
	# Reserved characters and percent-encoding of the path are kept.
	target = quote(path, safe="/%?&=:@+,;!$'()*~-._[]")
	if not params:
		return target
	return f"{target}{'&' if '?' in target else '?'}{urlencode(params)}"
