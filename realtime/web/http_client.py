"""An HTTP/1.1 client for one server, with persistent connections; httptools parses the responses.

It has no redirects, cookies, proxies or compression. aiohttp's client has them, and takes four times as long for a
request, which was a third of the cost of a connect.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

MAX_BODY = 32 * 1024 * 1024
"""Bytes of the body of a response; a larger one is an error."""

IDLE_SECONDS = 30.0
"""Seconds after which an unused connection is closed."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be repeated if a persistent connection turns out to be closed (RFC 9110, 9.2.2)."""


class HTTPError(Exception):
	"""The server's response is not valid HTTP, or is too large."""


class HTTPResponse(NamedTuple):
	"""A response.

	Args:
		status: The HTTP status.
		fields: The names and values of the headers as received.
		body: The body.
	"""

	status: int
	fields: Sequence[tuple[bytes, bytes]]
	body: bytes

	@property
	def headers(self) -> dict[str, str]:
		"""The headers by name, as received; the values of a repeated one are joined by a comma.

		Only handlers and the doctor read them, so they are not decoded for each answer.
		"""
		headers: dict[str, str] = {}
		for name, value in self.fields:
			key, text = name.decode("latin-1"), value.decode("latin-1")
			known = headers.get(key)
			headers[key] = text if known is None else f"{known}, {text}"
		return headers


class _Connection(asyncio.Protocol):
	"""One TCP connection, for one request at a time."""

	def __init__(self, client: HTTPClient) -> None:
		self.idle_since = 0.0
		self._client = client
		self._transport: asyncio.Transport | None = None
		self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
		self._loop = asyncio.get_running_loop()
		self._response: asyncio.Future[HTTPResponse] | None = None
		self._timeout = 0.0
		self._deadline = inf
		"""When the response must be complete (loop time)."""
		self._timer: asyncio.TimerHandle | None = None
		"""Set for the deadline or earlier; it outlasts a request, so that most requests set none."""
		self._bodiless = False
		self._begun = False
		self._has_head = False
		"""True when the head of the response is complete."""
		self._fields: list[tuple[bytes, bytes]] = []
		self._body: list[bytes] = []
		self._size = 0

	async def send(self, head: bytes, body: bytes, bodiless: bool, timeout: float) -> HTTPResponse:
		"""Send a request and return its response.

		Args:
			head: The request line and the headers.
			body: The body.
			bodiless: True if the response has no body whatever its headers say, as that of a HEAD request.
			timeout: Seconds until the response must be complete.

		Raises:
			ConnectionError, asyncio.TimeoutError, HTTPError: No response; the connection is closed.
		"""
		if self._transport is None or self._transport.is_closing():
			raise StaleConnection("the connection was closed")
		self._response = self._loop.create_future()
		self._bodiless = bodiless
		self._begun = self._has_head = False
		self._timeout = timeout
		self._deadline = self._loop.time() + timeout
		if self._timer is None or self._timer.when() > self._deadline:
			self._set_timer()
		self._transport.write(head + body)
		try:
			return await self._response
		except asyncio.CancelledError:
			# Its response would be taken for that of the next request.
			self.close()
			raise
		finally:
			self._response = None

	def _set_timer(self) -> None:
		if self._timer is not None:
			self._timer.cancel()
		self._timer = self._loop.call_at(self._deadline, self._on_timer)

	def _on_timer(self) -> None:
		"""Fail if the request is overdue; wait on if it is a later one than that for which the timer was set."""
		self._timer = None
		if self._response is None:
			return
		if self._deadline > self._loop.time():
			self._set_timer()
		else:
			self._fail(asyncio.TimeoutError(f"no answer within {self._timeout:g} s"))

	def close(self) -> None:
		"""Close the connection without flushing."""
		if self._transport is not None:
			self._transport.abort()

	@property
	def usable(self) -> bool:
		"""True if another request can be sent."""
		return self._transport is not None and not self._transport.is_closing()

	def _fail(self, error: Exception) -> None:
		if self._response is not None and not self._response.done():
			self._response.set_exception(error)
		self.close()

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports do not inherit from asyncio's.
		self._transport = cast(asyncio.Transport, transport)

	def data_received(self, data: bytes) -> None:
		if self._response is None or self._parser is None:
			# No request is pending.
			self.close()
			return
		self._begun = True
		try:
			self._parser.feed_data(data)
		except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
			self._fail(HTTPError(f"the response is not valid HTTP: {error}"))

	def connection_lost(self, error: Exception | None) -> None:
		if self._response is not None and not self._response.done() and self._parser is not None:
			if self._ends_with_connection():
				self._complete(self._parser.get_status_code())
			elif self._begun:
				self._fail(ConnectionResetError("the connection was closed within a response"))
			else:
				self._fail(StaleConnection(str(error or "the connection was closed without a response")))
		if self._timer is not None:
			self._timer.cancel()
			self._timer = None
		# The parser has a reference to this object.
		self._parser = None
		self._transport = None
		self._client.discard(self)

	def _ends_with_connection(self) -> bool:
		"""Return True if the headers are complete and the end of the connection is the end of the body (RFC 9112, 6.3)."""
		names = {name.lower() for name, _ in self._fields}
		return self._has_head and not names & {b"content-length", b"transfer-encoding"}

	# -- httptools

	def on_message_begin(self) -> None:
		self._fields = []
		self._body = []
		self._size = 0

	def on_header(self, name: bytes, value: bytes) -> None:
		self._fields.append((name, value))

	def on_headers_complete(self) -> None:
		assert self._parser is not None
		self._has_head = True
		if self._bodiless:
			# The parser would wait for a body.
			self._complete(self._parser.get_status_code())
			self.close()

	def on_body(self, body: bytes) -> None:
		self._size += len(body)
		if self._size > MAX_BODY:
			self._fail(HTTPError(f"a response of more than {MAX_BODY} bytes"))
		else:
			self._body.append(body)

	def on_message_complete(self) -> None:
		assert self._parser is not None
		status = self._parser.get_status_code()
		if status < 200:
			# An interim response, such as 100 Continue: the final one follows.
			self._has_head = False
			return
		if not self._parser.should_keep_alive():
			self.close()
		self._complete(status)

	def _complete(self, status: int) -> None:
		if self._response is not None and not self._response.done():
			self._response.set_result(HTTPResponse(status, self._fields, b"".join(self._body)))


class StaleConnection(ConnectionResetError):
	"""The connection was closed before any byte of the response arrived."""


class HTTPClient:
	"""Sends requests to one server.

	Args:
		url: The server; a path in it is prepended to every target.
		timeout: Seconds for one request.
	"""

	def __init__(self, url: str, timeout: float) -> None:
		parts = urlsplit(url)
		self._host = parts.hostname or ""
		self._tls = ssl.create_default_context() if parts.scheme == "https" else None
		self._port = parts.port or (443 if self._tls else 80)
		self._prefix = parts.path.rstrip("/")
		self._timeout = timeout
		# Used as a stack, so that connections that are not needed become idle and are closed.
		self._idle: list[_Connection] = []
		self._connections: set[_Connection] = set()
		self._sweeping: asyncio.TimerHandle | None = None

	async def request(
		self,
		method: str,
		target: str,
		headers: Mapping[str, str],
		body: bytes = b"",
		timeout: float | None = None,
	) -> HTTPResponse:
		"""Send one request and return its response.

		Args:
			method: The HTTP method.
			target: Path and query, percent-encoded.
			headers: All headers but Content-Length; must include Host.
			body: The body.
			timeout: Seconds; None for the timeout of the client.

		Raises:
			ValueError: The method, target or a header cannot be sent.
			OSError, asyncio.TimeoutError, HTTPError: No response.
		"""
		timeout = self._timeout if timeout is None else timeout
		head = _head(method, self._prefix + target, headers, len(body))
		idle = self._idle.pop() if self._idle else None
		if idle is not None:
			try:
				return await self._send(idle, head, body, method, timeout)
			except StaleConnection:
				# The server has closed the idle connection at the same moment.
				if method not in IDEMPOTENT:
					raise
		return await self._send(await self._connect(timeout), head, body, method, timeout)

	async def _send(
		self, connection: _Connection, head: bytes, body: bytes, method: str, timeout: float
	) -> HTTPResponse:
		response = await connection.send(head, body, method == "HEAD", timeout)
		if connection.usable:
			loop = asyncio.get_running_loop()
			connection.idle_since = loop.time()
			self._idle.append(connection)
			if self._sweeping is None:
				self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep)
		return response

	def _sweep(self) -> None:
		"""Close connections that are idle for too long, and schedule the next sweep."""
		loop = asyncio.get_running_loop()
		while self._idle and self._idle[0].idle_since <= loop.time() - IDLE_SECONDS:
			self._idle.pop(0).close()
		self._sweeping = None
		if self._idle:
			self._sweeping = loop.call_at(self._idle[0].idle_since + IDLE_SECONDS, self._sweep)

	async def _connect(self, timeout: float) -> _Connection:
		attempt = asyncio.get_running_loop().create_connection(
			lambda: _Connection(self), self._host, self._port, ssl=self._tls
		)
		_, connection = await asyncio.wait_for(attempt, timeout)
		# Otherwise it was closed before this turn of the loop, and has been discarded.
		if connection.usable:
			self._connections.add(connection)
		return connection

	def discard(self, connection: _Connection) -> None:
		"""Remove a closed connection."""
		self._connections.discard(connection)
		if connection in self._idle:
			self._idle.remove(connection)

	def close(self) -> None:
		"""Close all connections; pending requests fail."""
		if self._sweeping is not None:
			self._sweeping.cancel()
		for connection in list(self._connections):
			connection.close()


def _head(method: str, target: str, headers: Mapping[str, str], size: int) -> bytes:
	lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
	if size or method not in ("GET", "HEAD"):
		lines.append(f"Content-Length: {size}")
	text = "\r\n".join([*lines, "", ""])
	# An additional line break or space would start another header or another request.
	if text.count("\n") != len(lines) + 1 or text.count("\r") != len(lines) + 1 or lines[0].count(" ") != 2:
		raise ValueError("a method, path or header contains a line break or a space")
	return text.encode("latin-1")
