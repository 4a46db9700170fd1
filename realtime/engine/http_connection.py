"""A TCP connection that is read as HTTP/1.1: its time limits, its responses, and its release to other protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from .connection import Connection, EngineContext
from .errors import BAD_REQUEST, RequestRefused
from .owners import Handover
from .request import Request
from .request_reader import RequestReader
from .responses import REASON_PHRASES, response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HTTPEngineContext(EngineContext, Protocol):
	"""What `HTTPConnection` and `HTTPProtocol` use of the engine; see `Engine`."""

	path: bytes
	fallback_paths: frozenset[bytes]
	connections: dict[str, Connection]
	http_transports: set[asyncio.Transport]
	handover: Handover | None
	accepting: bool
	left: set[str]

	@property
	def fallback_protocol(self) -> Callable[[], asyncio.Protocol | None]: ...

	@property
	def allow_fallback(self) -> Callable[[Request], None]: ...

	def polling_connection(
		self, method: bytes, query: dict[str, str], http: HTTPConnection
	) -> Connection: ...

	def accept_websocket(
		self, request: Request, query: dict[str, str], transport: asyncio.Transport
	) -> asyncio.Protocol: ...


class HTTPConnection(RequestReader, asyncio.Protocol):
	"""One TCP connection, for one request at a time. A subclass decides what is done with a request.

	Args:
		engine: The engine.
		reused: Whether there may have been requests on the TCP connection before.
	"""

	__slots__ = ("_posting", "_responding", "_reused", "engine", "timer_slot", "transport")

	_leaves_with_process = True
	"""True if no other process reads the TCP connection when this one stops."""

	def __init__(self, engine: HTTPEngineContext, reused: bool = False) -> None:
		super().__init__()
		self.engine = engine
		self._reused = reused
		self.timer_slot: int | None = None
		self.transport: asyncio.Transport
		self._posting: Connection | None = None
		"""The connection whose POST is being received."""
		self._responding = False
		"""True from the end of a request until its response is written."""

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# The transports of uvloop have the methods of asyncio.Transport, but not the base class.
		self.transport = cast(asyncio.Transport, transport)
		self.engine.http_transports.add(self.transport)
		self._wait_for_request()

	def _wait_for_request(self) -> None:
		settings = self.engine.settings
		self.engine.timers.schedule(
			self, settings.keep_alive_timeout if self._reused else settings.head_timeout
		)

	def connection_lost(self, error: Exception | None) -> None:
		self._detach()
		self._end_post()

	def pause_writing(self) -> None:
		# A client that does not read its responses is not read either, so that they cannot pile up.
		if not self.transport.is_closing():
			self.transport.pause_reading()

	def resume_writing(self) -> None:
		if not self.transport.is_closing():
			self.transport.resume_reading()

	def on_timer(self) -> None:
		"""Abort: the request was not complete in time, no other one followed, or the last response was not read."""
		self.transport.abort()

	# -- the current request

	def handshake_request(self) -> Request:
		"""Return the current request, for the connection that it opens.

		Raises:
			RequestRefused: The client has left before its TCP connection was accepted, and nothing tells its address any more.
		"""
		# Empty lines before the request line are allowed (RFC 9112, section 2.2), but would end the head when it is parsed again.
		received = bytes(self._received).lstrip(b"\r\n")
		end = received.find(b"\r\n\r\n")
		head = received if end < 0 else received[: end + 4]
		# The connection keeps the request: a constant takes no memory for each of them.
		method = "GET" if self._method == b"GET" else self._method.decode("ascii")
		peer = self.transport.get_extra_info("peername")
		if peer is None:
			# Not that of a Unix socket, which is a text: a peer without an address would count as a trusted proxy.
			raise RequestRefused(BAD_REQUEST)
		remote = peer[0] if isinstance(peer, tuple) else ""
		return Request(method, self._target, self._headers, head, remote)

	def _send_continue(self) -> None:
		"""Let a client send the body of a POST, if it waits to be told so (RFC 9110, section 10.1.1)."""
		if (
			self._method == b"POST"
			and self._headers.get("expect", "").lower() == "100-continue"
			and self._parser is not None
			and self._parser.get_http_version() == "1.1"
			and not self._complete
		):
			self.transport.write(CONTINUE)

	def _end_post(self) -> None:
		"""Let the client send another POST."""
		if self._posting is not None:
			self._posting.post_in_progress = False
			self._posting = None

	# -- responses

	def _respond_with_error(self, refused: RequestRefused) -> None:
		"""Refuse the request and close the TCP connection, on which invalid requests would cost the client the least."""
		self._keep_alive = False
		self._responding = True
		self.engine.counters.refused[refused.message] += 1
		body = f'{{"code":{refused.code},"message":"{refused.message}"}}'.encode()
		headers = b"Content-Type: application/json\r\n"
		if refused.retry_after:
			headers += b"Retry-After: %d\r\n" % refused.retry_after
		self.respond(refused.status, body, headers)

	def _respond_and_close(self, status: int) -> None:
		"""Respond to bytes after which the TCP connection cannot be used any more, and close it."""
		self._keep_alive = False
		self._responding = True
		# A browser shows an error page of its own for a response without a body.
		body = f"{status} {REASON_PHRASES[status]}\n".encode()
		self.respond(status, body, b"Content-Type: text/plain\r\n")

	def respond(self, status: int, body: bytes, headers: bytes) -> None:
		"""Respond to the request, then wait for the next one on this TCP connection or close it.

		Args:
			status: The HTTP status, a key of `REASON_PHRASES`.
			body: The body; empty for 204.
			headers: Complete header lines that are added to those of every response.
		"""
		self._end_post()
		if self._leaves_with_process and not self.engine.accepting:
			# The next request of the client finds another process.
			self._keep_alive = False
		if not self._keep_alive:
			self.engine.timers.schedule(self, self.engine.settings.flush_timeout)
		if self.transport.is_closing():
			return
		origin = self._headers.get("origin")
		written = response(status, body, headers, origin, self._keep_alive)
		if self._method == b"HEAD":
			# The headers of the response to GET, without its body (RFC 9110, section 9.3.2).
			written = written[: len(written) - len(body)]
		self.transport.write(written)
		if not self._keep_alive:
			self.transport.close()
			return
		self._responding = False
		self._reused = True
		self._reset()
		self._wait_for_request()

	# -- other protocols and processes

	def _detach(self) -> None:
		"""Leave the TCP connection, to another protocol or for good. The parser refers to this object and would keep both alive."""
		self.engine.timers.cancel(self)
		self.engine.http_transports.discard(self.transport)
		self._parser = None

	def release(self, protocol: asyncio.Protocol) -> None:
		"""Let `protocol` read the TCP connection from now on; it is responsible for it."""
		self._send_continue()
		# The headers stay, for `refuse`.
		self._detach()
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		self.transport.resume_reading()

	def handed_over(self) -> None:
		"""Release the TCP connection, of which another process has a descriptor: it stays open."""
		self.transport.abort()

	def refuse(self, refused: RequestRefused) -> None:
		"""Respond with an error, and close the TCP connection."""
		self.transport.set_protocol(self)
		self._respond_with_error(refused)
