"""The listening side: reads the head of a request and gives it to the engine, or to the application for other paths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from .connection import Connection, EngineContext
from .errors import RequestRefused
from .packets import PayloadError, TooManyPackets, decode_payload
from .request import Request, add_header, parse_query

MAX_HEAD = 32 * 1024
"""Bytes of a request's head; browsers and nginx stay below 16 KiB with all their cookies."""

# Only what clients of Socket.IO send: a page elsewhere must not be able to set a proxy's headers.
PREFLIGHT = (
	b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
	b"Access-Control-Allow-Headers: Authorization, Content-Type\r\n"
	b"Access-Control-Max-Age: 600\r\n"
)

STATUS = {
	200: "OK",
	204: "No Content",
	400: "Bad Request",
	403: "Forbidden",
	404: "Not Found",
	413: "Payload Too Large",
	429: "Too Many Requests",
	431: "Request Header Fields Too Large",
	503: "Service Unavailable",
}


class Handshakes(EngineContext, Protocol):
	"""The engine, as those see it who read requests; `polling` and `websocket` raise `RequestRefused`."""

	path: bytes
	connections: dict[str, Connection]
	transports: set[asyncio.Transport]

	@property
	def application(self) -> Callable[[], asyncio.Protocol | None]: ...

	def polling(self, method: str, query: dict[str, str], http: HTTPProtocol) -> Connection: ...

	def websocket(
		self, request: Request, query: dict[str, str], transport: asyncio.Transport
	) -> asyncio.Protocol: ...


class HTTPProtocol(asyncio.Protocol):
	"""Reads HTTP/1.1 requests of one TCP connection, one at a time, until a WebSocket or the application takes it over."""

	__slots__ = (
		"_body",
		"_body_size",
		"_busy",
		"_complete",
		"_connection",
		"_head_size",
		"_headers",
		"_keep_alive",
		"_parser",
		"_pipelined",
		"_posting",
		"_query",
		"_raw",
		"_raw_size",
		"_route",
		"_target",
		"engine",
		"slot",
		"transport",
	)

	def __init__(self, engine: Handshakes) -> None:
		self.engine = engine
		self.slot: int | None = None
		self.transport: asyncio.Transport
		self._connection: Connection | None = None
		self._posting: Connection | None = None
		self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
		self._busy = False
		self._reset()

	def _reset(self) -> None:
		self._target = b""
		self._query: dict[str, str] = {}
		self._headers: dict[str, str] = {}
		self._head_size = 0
		self._raw: list[bytes] = []
		self._raw_size = 0
		self._body: list[bytes] = []
		self._body_size = 0
		self._keep_alive = True
		self._route = ""
		self._complete = False
		self._pipelined = False

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports are asyncio's in all but their base class.
		self.transport = cast(asyncio.Transport, transport)
		self.engine.transports.add(self.transport)
		self.engine.wheel.schedule(self, self.engine.settings.head_timeout)

	def data_received(self, data: bytes) -> None:
		if self._busy:
			# Pipelining: no client of Engine.IO does it, and its answers would wait behind a poll.
			self._abandon(400)
			return
		if not self._route:
			self._raw.append(data)
			self._raw_size += len(data)
		assert self._parser is not None
		upgraded_at = -1
		try:
			self._parser.feed_data(data)
		except httptools.HttpParserUpgrade as upgrade:
			upgraded_at = upgrade.args[0]
		except httptools.HttpParserError:
			if self._route != "application":
				self._abandon(400)
				return
		if self._head_size > MAX_HEAD:
			self._abandon(431)
		elif self._route == "application":
			self._hand_over()
		elif self._pipelined:
			self._abandon(400)
		elif upgraded_at >= 0:
			self._upgrade(data[upgraded_at:])
		elif self._body_size > self.engine.settings.max_payload:
			self.engine.counters.too_large += 1
			self._abandon(413)
		elif self._complete:
			self._dispatch()
		elif not self._route and self._raw_size > MAX_HEAD:
			self._abandon(431)

	def connection_lost(self, error: Exception | None) -> None:
		self.engine.wheel.cancel(self)
		self.engine.transports.discard(self.transport)
		if self._connection is not None:
			self._connection.poll_lost(self)
			self._connection = None
		self._stop_posting()
		self._parser = None

	def pause_writing(self) -> None:
		# Who reads no answers gets no more of them: what waits here is bounded by the longest one.
		if not self.transport.is_closing():
			self.transport.pause_reading()

	def resume_writing(self) -> None:
		if not self.transport.is_closing():
			self.transport.resume_reading()

	def on_timer(self) -> None:
		"""No complete request in time, a keep-alive connection that nobody uses any more, or an answer that nobody reads."""
		self.transport.abort()

	# -- httptools

	def on_message_begin(self) -> None:
		self._pipelined = self._complete

	def on_url(self, url: bytes) -> None:
		self._head_size += len(url)
		self._target += url

	def on_header(self, name: bytes, value: bytes) -> None:
		self._head_size += len(name) + len(value) + len(": \r\n")
		# Those that come after the body are not of the head: no proxy has looked at them.
		if not self._route and self._head_size <= MAX_HEAD:
			add_header(self._headers, name, value)

	def on_headers_complete(self) -> None:
		assert self._parser is not None
		path = self._target.partition(b"?")[0]
		self._keep_alive = self._parser.should_keep_alive()
		self._route = "engine" if path.rstrip(b"/") == self.engine.path else "application"
		if self._route == "engine":
			self._query = parse_query(self._target)
			if self._parser.get_method() == b"POST":
				self._start_posting()

	def _start_posting(self) -> None:
		"""Only a connection has a body kept, and one at a time: its client sends the next when this one is answered."""
		connection = self.engine.connections.get(self._query.get("sid", ""))
		if connection is not None and connection.posting:
			# Which of the two is the first, nobody can know.
			connection.close("transport error")
		elif connection is not None:
			connection.posting = True
			self._posting = connection

	def _stop_posting(self) -> None:
		if self._posting is not None:
			self._posting.posting = False
			self._posting = None

	def on_body(self, body: bytes) -> None:
		self._body_size += len(body)
		if self._posting is not None and self._body_size <= self.engine.settings.max_payload:
			self._body.append(body)

	def on_message_complete(self) -> None:
		self._complete = True

	# -- routes

	def _hand_over(self) -> None:
		"""Give the connection, with all that came of this request, to the application."""
		protocol = self.engine.application()
		if protocol is None:
			self._abandon(404)
			return
		raw = b"".join(self._raw)
		self._let_go()
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		protocol.data_received(raw)

	def _let_go(self) -> None:
		"""Another protocol takes the transport over; the parser, which holds this object, would keep both alive."""
		self.engine.wheel.cancel(self)
		self.engine.transports.discard(self.transport)
		self._parser = None
		self._reset()

	def open_request(self) -> Request:
		"""The request as a connection that it opens keeps it."""
		assert self._parser is not None
		# Empty lines before a request are allowed, and would be the end of a head that is parsed again.
		raw = b"".join(self._raw).lstrip(b"\r\n")
		end = raw.find(b"\r\n\r\n")
		peer = self.transport.get_extra_info("peername")
		remote = peer[0] if isinstance(peer, tuple) else ""
		method = self._parser.get_method().decode("ascii")
		return Request(method, self._target, self._headers, raw if end < 0 else raw[: end + 4], remote)

	def _upgrade(self, rest: bytes) -> None:
		# Whatever comes of it, no further HTTP request can be read from this TCP connection.
		self._keep_alive = False
		if self._headers.get("upgrade", "").lower() != "websocket":
			# Some proxies offer HTTP/2 in this way with every request.
			self._dispatch()
			return
		self._busy = True
		try:
			protocol = self.engine.websocket(self.open_request(), self._query, self.transport)
		except RequestRefused as refused:
			self._refuse(refused)
			return
		self._let_go()
		self.transport.set_protocol(protocol)
		if rest:
			protocol.data_received(rest)

	def _dispatch(self) -> None:
		assert self._parser is not None
		self._busy = True
		self.engine.wheel.cancel(self)
		method = self._parser.get_method()
		if method == b"OPTIONS":
			self.respond(204, b"", PREFLIGHT)
			return
		try:
			connection = self.engine.polling(method.decode("ascii"), self._query, self)
		except RequestRefused as refused:
			self._refuse(refused)
			return
		if method == b"POST":
			self._post(connection)
			return
		self._connection = connection
		if not connection.poll(self):
			self._connection = None
			connection.close("transport error")
			self._refuse(RequestRefused(3, "Bad request"))

	def _post(self, connection: Connection) -> None:
		try:
			packets = decode_payload(b"".join(self._body), self.engine.settings.max_packets)
		except TooManyPackets as error:
			self.engine.counters.too_many_packets += 1
			connection.close("transport error")
			self._refuse(RequestRefused(3, str(error).capitalize(), 413))
			return
		except PayloadError:
			connection.close("transport error")
			self._refuse(RequestRefused(3, "Bad request"))
			return
		self.respond(200, b"ok", b"Content-Type: text/html\r\n")
		for kind, data in packets:
			connection.receive(kind, data)

	# -- answers

	def respond_payload(self, payload: str) -> None:
		"""Answer the waiting GET with `payload`."""
		self._connection = None
		self.respond(200, payload.encode(), b"Content-Type: text/plain; charset=UTF-8\r\n")

	def _refuse(self, refused: RequestRefused) -> None:
		self.engine.counters.refused += 1
		body = f'{{"code":{refused.code},"message":"{refused.message}"}}'.encode()
		self.respond(refused.status, body, b"Content-Type: application/json\r\n")

	def respond(self, status: int, body: bytes, headers: bytes) -> None:
		"""Answer the request, and be ready for the next on this TCP connection."""
		self._stop_posting()
		head = [f"HTTP/1.1 {status} {STATUS[status]}\r\n".encode(), headers]
		if status != 204:
			head.append(b"Content-Length: %d\r\n" % len(body))
		head.append(b"Cache-Control: no-store\r\n")
		origin = self._headers.get("origin")
		if origin:
			# Any origin may read these answers; whether it may connect is decided with the namespace.
			head.append(
				f"Access-Control-Allow-Origin: {origin}\r\n"
				"Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n".encode("latin-1")
			)
		if not self._keep_alive:
			head.append(b"Connection: close\r\n")
			self.engine.wheel.schedule(self, self.engine.settings.flush_timeout)
		if self.transport.is_closing():
			return
		self.transport.write(b"".join([*head, b"\r\n", body]))
		if not self._keep_alive:
			self.transport.close()
			return
		self._busy = False
		self._reset()
		self.engine.wheel.schedule(self, self.engine.settings.keep_alive_timeout)

	def _abandon(self, status: int) -> None:
		"""Answer what cannot be gone on with, and close."""
		self._keep_alive = False
		self._busy = True
		self.respond(status, b"", b"")
