"""HTTP/1.1 on the listening port: reads requests for the engine, and passes those for other paths to the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from .connection import Connection, EngineContext
from .errors import BAD_REQUEST, RequestRefused
from .owners import LINK_PATH, Handover, owner_of
from .packets import PayloadError, TooManyPackets, decode_payload
from .request import Request, parse_query
from .request_reader import MAX_HEAD, RequestReader
from .responses import PREFLIGHT_HEADERS, REASON_PHRASES, response

OK_HEADERS = b"Content-Type: text/html\r\n"
"""The headers of the response to a POST."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HTTPEngineContext(EngineContext, Protocol):
	"""What `HTTPProtocol` uses of the engine; see `Engine`."""

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

	def polling_connection(self, method: str, query: dict[str, str], http: HTTPProtocol) -> Connection: ...

	def accept_websocket(
		self, request: Request, query: dict[str, str], transport: asyncio.Transport
	) -> asyncio.Protocol: ...


class HTTPProtocol(RequestReader, asyncio.Protocol):
	"""Reads the HTTP requests of one TCP connection, one at a time, until another protocol takes the connection over.

	Args:
		engine: The engine.
		reused: Whether there may have been requests on the TCP connection before.
	"""

	__slots__ = (
		"_connection",
		"_payload_for",
		"_posting",
		"_query",
		"_responding",
		"_reused",
		"_route",
		"engine",
		"timer_slot",
		"transport",
	)

	is_confirmed = False
	_leaves_with_process = True
	"""True if no other process reads the TCP connection when this one stops."""

	def __init__(self, engine: HTTPEngineContext, reused: bool = False) -> None:
		super().__init__()
		self.engine = engine
		self._reused = reused
		self.timer_slot: int | None = None
		self.transport: asyncio.Transport
		self._connection: Connection | None = None
		"""The connection whose pending GET this is."""
		self._payload_for: Connection | None = None
		"""The connection for which the last response was, if that was a payload."""
		self._posting: Connection | None = None
		"""The connection whose POST is being received."""
		self._responding = False
		"""True from the end of a request until its response is written."""
		self._route = ""
		"""What handles the request, once its head is complete: `engine`, `application`, `elsewhere`, `link` or `unknown`."""
		self._query: dict[str, str] = {}

	def _reset(self) -> None:
		super()._reset()
		self._route = ""
		self._query = {}

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

	def data_received(self, data: bytes) -> None:
		if self._responding:
			# Pipelining: no Engine.IO client does it, and its responses would wait behind a poll.
			self._respond_and_close(400)
			return
		begins = not self._received
		upgraded_at = -1
		try:
			self._feed(data)
		except httptools.HttpParserUpgrade as upgrade:
			upgraded_at = upgrade.args[0]
		except httptools.HttpParserError:
			if self._route != "application":
				self._respond_and_close(400)
				return
		if self._head_size > MAX_HEAD:
			self._respond_and_close(431)
		elif self._route == "elsewhere" and self._hand_over():
			return
		elif self._route == "unknown":
			self._respond_and_close(404)
		elif self._route == "application":
			self._pass_to_application()
		elif self._route == "link":
			self._accept_link()
		elif self._pipelined:
			self._respond_and_close(400)
		elif upgraded_at >= 0:
			self._on_upgrade(data[upgraded_at:])
		elif self._body_size > self.engine.settings.max_payload:
			self.engine.counters.too_large += 1
			self.engine.on_limit("max_payload", self._posting)
			self._respond_and_close(413)
		elif self._complete:
			self._on_request()
		elif not self._route and len(self._received) > MAX_HEAD:
			self._respond_and_close(431)
		elif begins:
			# The rest has as much time again: the client may have begun when hardly any was left.
			self._wait_for_request()

	def connection_lost(self, error: Exception | None) -> None:
		self.engine.timers.cancel(self)
		self.engine.http_transports.discard(self.transport)
		if self._connection is not None:
			self._connection.on_poll_lost(self)
			self._connection = None
		self._end_post()
		self._parser = self._payload_for = None

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

	# -- the head of a request

	def _on_head(self, path: bytes) -> None:
		if path in self.engine.fallback_paths:
			self._route = "application"
		elif path == LINK_PATH and self.engine.handover is not None:
			self._route = "link"
			self._query = parse_query(self._target)
		elif path.rstrip(b"/") != self.engine.path:
			self._route = "unknown"
		else:
			self._route = "engine"
			self._query = parse_query(self._target)
			method = self._method
			if self._is_elsewhere() and method in (b"GET", b"POST"):
				self._route = "elsewhere"
			elif method == b"POST" and self._query.get("transport") == "polling":
				self._begin_post()
				self._send_continue()

	def _is_elsewhere(self) -> bool:
		"""Return True if the id of the session names another process, whether or not that exists."""
		handover = self.engine.handover
		if handover is None:
			return False
		owner = owner_of(self._query.get("sid", ""))
		return owner not in ("", handover.name)

	def _begin_post(self) -> None:
		"""Reserve the connection for this POST. Protocol v4 allows one at a time; without a connection no body is kept."""
		connection = self.engine.connections.get(self._query.get("sid", ""))
		if connection is not None and connection.post_in_progress:
			# The order of two concurrent payloads is unknown.
			connection.close("transport error")
		elif connection is not None:
			connection.post_in_progress = True
			self._posting = connection
			self._max_body = self.engine.settings.max_payload

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
		if self._posting is not None:
			self._posting.post_in_progress = False
			self._posting = None

	# -- requests

	def _pass_to_application(self) -> None:
		"""Let the protocol of the application take over the TCP connection, with all bytes of this request."""
		try:
			self.engine.allow_fallback(self.handshake_request())
		except RequestRefused as refused:
			self._respond_with_error(refused)
			return
		protocol = self.engine.fallback_protocol()
		if protocol is None:
			self._respond_and_close(404)
			return
		received = bytes(self._received)
		self._detach()
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		protocol.data_received(received)

	def _detach(self) -> None:
		"""Release the TCP connection to another protocol. The parser refers to this object and would keep both alive."""
		self.engine.timers.cancel(self)
		self.engine.http_transports.discard(self.transport)
		self._parser = self._payload_for = None
		self._reset()

	def _hand_over(self) -> bool:
		"""Pass the TCP connection, with all bytes of this request, to the owner of its session.

		Returns:
			False if the owner does not exist. The request is then read to its end, and refused as any unknown session.
		"""
		assert self.engine.handover is not None
		if self.transport.get_write_buffer_size():
			# A client that has not read its last response: the owner would write into the middle of it.
			self._respond_and_close(400)
			return True
		self.transport.pause_reading()
		self.engine.timers.schedule(self, self.engine.settings.head_timeout)
		self._responding = True
		try:
			sent = self.engine.handover.send(owner_of(self._query["sid"]), self)
		except RequestRefused as refused:
			self._respond_with_error(refused)
			return True
		if not sent:
			self._responding = False
			self._route = "engine"
			self.transport.resume_reading()
			return False
		self.engine.http_transports.discard(self.transport)
		return True

	def _accept_link(self) -> None:
		"""Pass on the TCP connection on which another sidecar opens a link."""
		assert self.engine.handover is not None
		self._responding = True
		try:
			self.engine.handover.accept_link(self._query, self)
		except RequestRefused as refused:
			self._respond_with_error(refused)

	def leave_to_any(self) -> bool:
		"""Pass the TCP connection to any other process, if no request on it is being handled here.

		Returns:
			False if it stays here.
		"""
		return not self._responding and not self._route and self._pass_to_any()

	def _pass_to_any(self) -> bool:
		"""Pass the TCP connection to any other process of the host; return False if there is none."""
		handover = self.engine.handover
		if handover is None or self.transport.get_write_buffer_size():
			return False
		self.transport.pause_reading()
		if handover.send_to_any(self):
			self._responding = True
			self.engine.http_transports.discard(self.transport)
			return True
		self.transport.resume_reading()
		return False

	def _leaves(self) -> bool:
		"""Return True if this was a handshake that another process has to answer, because this one stops."""
		return not self.engine.accepting and not self._query.get("sid") and self._pass_to_any()

	def handed_over(self) -> None:
		"""Release the TCP connection, of which another process has a descriptor: it stays open."""
		self.transport.abort()

	def release(self, protocol: asyncio.Protocol) -> None:
		"""Let `protocol` read the TCP connection from now on; it is responsible for it."""
		self._send_continue()
		self.engine.timers.cancel(self)
		self.engine.http_transports.discard(self.transport)
		# The parser refers to this object and would keep both alive. What `protocol` writes is no payload of the engine. The headers
		# stay, for `refuse`.
		self._parser = self._payload_for = None
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		self.transport.resume_reading()

	def refuse(self, refused: RequestRefused) -> None:
		"""Respond with an error, and close the TCP connection."""
		self.transport.set_protocol(self)
		self._respond_with_error(refused)

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

	def _on_upgrade(self, rest: bytes) -> None:
		"""Handle a request with an Upgrade header; `rest` follows its head."""
		# Whatever the outcome, no further HTTP request is read from this TCP connection.
		self._keep_alive = False
		if self._headers.get("upgrade", "").lower() != "websocket":
			# Some proxies offer HTTP/2 in this way with every request.
			self._on_request()
			return
		if self._leaves():
			return
		self._responding = True
		try:
			protocol = self.engine.accept_websocket(self.handshake_request(), self._query, self.transport)
		except RequestRefused as refused:
			self._respond_with_error(refused)
			return
		self._detach()
		self.transport.set_protocol(protocol)
		if rest:
			protocol.data_received(rest)

	def _on_request(self) -> None:
		"""Handle a complete request of the polling transport."""
		if self._leaves():
			return
		self._responding = True
		self._payload_for = None
		self.engine.timers.cancel(self)
		method = self._method
		if method == b"OPTIONS":
			# Browsers cache it; kept open, the TCP connection could be used for any number of requests that no session counts.
			self._keep_alive = False
			self.respond(204, b"", PREFLIGHT_HEADERS)
			return
		if method == b"POST" and self._query.get("sid", "") in self.engine.left:
			# The client has sent this before it has read the close packet.
			self.respond(200, b"ok", OK_HEADERS)
			return
		try:
			connection = self.engine.polling_connection(method.decode("ascii"), self._query, self)
		except RequestRefused as refused:
			self._respond_with_error(refused)
			return
		if method == b"POST":
			self._on_post(connection)
			return
		if not connection.count_frames(1):
			self._respond_with_error(RequestRefused(BAD_REQUEST, "Too many requests", 429))
			return
		self._connection = connection
		if not connection.on_poll_request(self):
			self._connection = None
			connection.close("transport error")
			self._respond_with_error(RequestRefused(BAD_REQUEST))

	def _on_post(self, connection: Connection) -> None:
		try:
			packets = decode_payload(bytes(self._body), self.engine.settings.max_packets)
		except TooManyPackets as error:
			self.engine.counters.too_many_packets += 1
			self.engine.on_limit("max_packets", connection)
			connection.close("transport error")
			self._respond_with_error(RequestRefused(BAD_REQUEST, str(error).capitalize(), 413))
			return
		except PayloadError:
			connection.close("transport error")
			self._respond_with_error(RequestRefused(BAD_REQUEST))
			return
		if not connection.count_frames(len(packets)):
			self._respond_with_error(RequestRefused(BAD_REQUEST, "Too many packets", 429))
			return
		self.respond(200, b"ok", OK_HEADERS)
		for packet_type, data in packets:
			connection.receive(packet_type, data)

	# -- responses

	def unread(self, connection: Connection) -> int:
		"""Return the number of bytes of the last payload for `connection` that are not read yet.

		A proxy sends the requests of many clients on one TCP connection, each when it has read the response before.
		"""
		return self.transport.get_write_buffer_size() if self._payload_for is connection else 0

	def respond_payload(self, payload: str) -> None:
		"""Respond to the pending GET with a polling payload."""
		self._payload_for, self._connection = self._connection, None
		self.respond(200, payload.encode(), b"Content-Type: text/plain; charset=UTF-8\r\n")

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

	def _respond_and_close(self, status: int) -> None:
		"""Respond to bytes after which the TCP connection cannot be used any more, and close it."""
		self._keep_alive = False
		self._responding = True
		# A browser shows an error page of its own for a response without a body.
		body = f"{status} {REASON_PHRASES[status]}\n".encode()
		self.respond(status, body, b"Content-Type: text/plain\r\n")
