"""HTTP/1.1 to one address over connections that are kept open: heads and bodies are read by httptools.

A client for the web process alone: no redirects, cookies, proxies or compression. aiohttp's does all of that, and takes
four times as long for a request, which was a third of what it cost to let a browser in.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of an answer's body; one that is larger is an error."""

IDLE_SECONDS = 30.0
"""Connections that nobody has used for so long are closed."""

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again when a kept connection turns out to be closed (RFC 9110, 9.2.2)."""


class HTTPError(Exception):
	"""What came back is no answer of HTTP."""


class HTTPResponse(NamedTuple):
	"""One answer. Header names are as they came; the values of a repeated one are joined by a comma."""

	status: int
	headers: dict[str, str]
	body: bytes


class _Line(asyncio.Protocol):
	"""One TCP connection, for one request at a time."""

	def __init__(self, client: HTTPClient) -> None:
		self.idle_since = 0.0
		self._client = client
		self._transport: asyncio.Transport | None = None
		self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
		self._answer: asyncio.Future[HTTPResponse] | None = None
		self._headless = False
		self._begun = False
		self._headers: dict[str, str] = {}
		self._body: list[bytes] = []
		self._size = 0

	async def ask(self, head: bytes, body: bytes, headless: bool, timeout: float) -> HTTPResponse:
		"""Send a request and wait for its answer; `headless` for one that has no body whatever its head says.

		Raises `ConnectionError`, `asyncio.TimeoutError` and `HTTPError`; the connection is closed then.
		"""
		loop = asyncio.get_running_loop()
		if self._transport is None or self._transport.is_closing():
			raise StaleConnection("the connection was closed")
		self._answer = loop.create_future()
		self._headless = headless
		self._begun = False
		late = loop.call_later(timeout, self._fail, asyncio.TimeoutError(f"no answer within {timeout:g} s"))
		self._transport.write(head + body)
		try:
			return await self._answer
		except asyncio.CancelledError:
			# The answer would be taken for that of the next request.
			self.close()
			raise
		finally:
			late.cancel()
			self._answer = None

	def close(self) -> None:
		"""Close at once."""
		if self._transport is not None:
			self._transport.abort()

	@property
	def usable(self) -> bool:
		"""Whether another request can be sent."""
		return self._transport is not None and not self._transport.is_closing()

	def _fail(self, error: Exception) -> None:
		if self._answer is not None and not self._answer.done():
			self._answer.set_exception(error)
		self.close()

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports are asyncio's in all but their base class.
		self._transport = cast(asyncio.Transport, transport)

	def data_received(self, data: bytes) -> None:
		if self._answer is None or self._parser is None:
			# Nobody has asked.
			self.close()
			return
		self._begun = True
		try:
			self._parser.feed_data(data)
		except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
			self._fail(HTTPError(f"not an answer of HTTP: {error}"))

	def connection_lost(self, error: Exception | None) -> None:
		if self._answer is not None and not self._answer.done() and self._parser is not None:
			if self._ends_with_connection():
				self._complete(self._parser.get_status_code())
			elif self._begun:
				self._fail(ConnectionResetError("the connection was closed within an answer"))
			else:
				self._fail(StaleConnection(str(error or "the connection was closed without an answer")))
		# It holds this object.
		self._parser = None
		self._transport = None
		self._client.forget(self)

	def _ends_with_connection(self) -> bool:
		"""Whether the head of the answer has come, and says neither how long the body is nor how it ends."""
		names = {name.lower() for name in self._headers}
		return bool(names) and not names & {"content-length", "transfer-encoding"}

	# -- httptools

	def on_message_begin(self) -> None:
		self._headers = {}
		self._body = []
		self._size = 0

	def on_header(self, name: bytes, value: bytes) -> None:
		key, text = name.decode("latin-1"), value.decode("latin-1")
		known = self._headers.get(key)
		self._headers[key] = text if known is None else f"{known}, {text}"

	def on_headers_complete(self) -> None:
		assert self._parser is not None
		if self._headless:
			# The parser does not know that, and waits for a body.
			self._complete(self._parser.get_status_code())
			self.close()

	def on_body(self, body: bytes) -> None:
		self._size += len(body)
		if self._size > MAX_ANSWER:
			self._fail(HTTPError(f"an answer of more than {MAX_ANSWER} bytes"))
		else:
			self._body.append(body)

	def on_message_complete(self) -> None:
		assert self._parser is not None
		status = self._parser.get_status_code()
		if status < 200:
			# "Continue", and the like: the answer is still to come.
			return
		if not self._parser.should_keep_alive():
			self.close()
		self._complete(status)

	def _complete(self, status: int) -> None:
		if self._answer is not None and not self._answer.done():
			self._answer.set_result(HTTPResponse(status, self._headers, b"".join(self._body)))


class StaleConnection(ConnectionResetError):
	"""A connection that was closed before a word of an answer came."""


class HTTPClient:
	"""Sends requests to the server of `url`; each gets `timeout` seconds. A path in `url` stands before every target."""

	def __init__(self, url: str, timeout: float) -> None:
		parts = urlsplit(url)
		self._host = parts.hostname or ""
		self._tls = ssl.create_default_context() if parts.scheme == "https" else None
		self._port = parts.port or (443 if self._tls else 80)
		self._prefix = parts.path.rstrip("/")
		self._timeout = timeout
		# The one used last is used next: the others are idle, and go.
		self._idle: list[_Line] = []
		self._lines: set[_Line] = set()
		self._sweeping: asyncio.TimerHandle | None = None

	async def request(
		self,
		method: str,
		target: str,
		headers: Mapping[str, str],
		body: bytes = b"",
		timeout: float | None = None,
	) -> HTTPResponse:
		"""Send one request; `target` is path and query as they go out, `headers` has a Host.

		Raises ValueError for what no head can carry, `OSError` when nobody answers, `asyncio.TimeoutError` when nobody
		does so in time, and `HTTPError`.
		"""
		timeout = self._timeout if timeout is None else timeout
		head = _head(method, self._prefix + target, headers, len(body))
		kept = self._take()
		if kept is not None:
			try:
				return await self._ask(kept, head, body, method, timeout)
			except StaleConnection:
				# The other side has closed it just now, as it may do with one that is idle.
				if method not in REPEATABLE:
					raise
		return await self._ask(await self._connect(timeout), head, body, method, timeout)

	async def _ask(self, line: _Line, head: bytes, body: bytes, method: str, timeout: float) -> HTTPResponse:
		answer = await line.ask(head, body, method == "HEAD", timeout)
		if line.usable:
			loop = asyncio.get_running_loop()
			line.idle_since = loop.time()
			self._idle.append(line)
			if self._sweeping is None:
				self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep)
		return answer

	def _take(self) -> _Line | None:
		return self._idle.pop() if self._idle else None

	def _sweep(self) -> None:
		"""Close what has been idle for too long, and come again for the rest."""
		loop = asyncio.get_running_loop()
		while self._idle and self._idle[0].idle_since <= loop.time() - IDLE_SECONDS:
			self._idle.pop(0).close()
		self._sweeping = None
		if self._idle:
			self._sweeping = loop.call_at(self._idle[0].idle_since + IDLE_SECONDS, self._sweep)

	async def _connect(self, timeout: float) -> _Line:
		attempt = asyncio.get_running_loop().create_connection(
			lambda: _Line(self), self._host, self._port, ssl=self._tls
		)
		_, line = await asyncio.wait_for(attempt, timeout)
		self._lines.add(line)
		return line

	def forget(self, line: _Line) -> None:
		"""The connection is closed."""
		self._lines.discard(line)
		if line in self._idle:
			self._idle.remove(line)

	def close(self) -> None:
		"""Close all connections; requests under way fail."""
		if self._sweeping is not None:
			self._sweeping.cancel()
		for line in list(self._lines):
			line.close()


def _head(method: str, target: str, headers: Mapping[str, str], size: int) -> bytes:
	lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
	if size or method not in ("GET", "HEAD"):
		lines.append(f"Content-Length: {size}")
	text = "\r\n".join([*lines, "", ""])
	# A line break or a space more than these would be another header, or another request.
	if text.count("\n") != len(lines) + 1 or text.count("\r") != len(lines) + 1 or lines[0].count(" ") != 2:
		raise ValueError("a method, path or header with a line break or a space in it")
	return text.encode("latin-1")
