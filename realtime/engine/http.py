"""The HTTP requests on the listening port: handles those for the engine, and passes the others on."""

from __future__ import annotations

import httptools

from .connection import Connection
from .errors import BAD_REQUEST, RequestRefused
from .http_connection import HTTPConnection, HTTPEngineContext
from .owners import LINK_PATH, owner_of
from .packets import PayloadError, TooManyPackets, decode_payload
from .polling import PollingConnection
from .request import parse_query
from .request_reader import MAX_HEAD
from .responses import PREFLIGHT_HEADERS

OK_HEADERS = b"Content-Type: text/html\r\n"
"""The headers of the response to a POST."""


class HTTPProtocol(HTTPConnection):
	"""Handles the HTTP requests of one TCP connection, one at a time, until another protocol takes the connection over."""

	__slots__ = ("_connection", "_payload_for", "_query", "_route")

	is_confirmed = False

	def __init__(self, engine: HTTPEngineContext, reused: bool = False) -> None:
		super().__init__(engine, reused)
		self._connection: Connection | None = None
		"""The connection whose pending GET this is."""
		self._payload_for: Connection | None = None
		"""The connection for which the last response was, if that was a payload."""
		self._route = ""
		"""What handles the request, once its head is complete: `engine`, `application`, `elsewhere`, `link` or `unknown`."""
		self._query: dict[str, str] = {}

	def _reset(self) -> None:
		super()._reset()
		self._route = ""
		self._query = {}

	# -- asyncio.Protocol

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
		try:
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
		except RequestRefused as refused:
			self._respond_with_error(refused)

	def connection_lost(self, error: Exception | None) -> None:
		super().connection_lost(error)
		if self._connection is not None:
			self._connection.on_poll_lost(self)
			self._connection = None

	def _detach(self) -> None:
		super()._detach()
		self._payload_for = None

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

	# -- requests that are passed on

	def _pass_to_application(self) -> None:
		"""Let the protocol of the application take over the TCP connection, with all bytes of this request."""
		self.engine.allow_fallback(self.handshake_request())
		protocol = self.engine.fallback_protocol()
		if protocol is None:
			self._respond_and_close(404)
			return
		received = bytes(self._received)
		self._detach()
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		protocol.data_received(received)

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
		if not self.engine.handover.send(owner_of(self._query["sid"]), self):
			self._responding = False
			self._route = "engine"
			self._send_continue()
			self.transport.resume_reading()
			return False
		self.engine.http_transports.discard(self.transport)
		return True

	def _accept_link(self) -> None:
		"""Pass on the TCP connection on which another sidecar opens a link."""
		assert self.engine.handover is not None
		self._responding = True
		self.engine.handover.accept_link(self._query, self)

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

	def _pass_handshake_on(self) -> bool:
		"""Pass a handshake on to another process, if this one stops; return False if the request is answered here."""
		return not self.engine.accepting and not self._query.get("sid") and self._pass_to_any()

	# -- requests for the engine

	def _on_upgrade(self, rest: bytes) -> None:
		"""Handle a request with an Upgrade header; `rest` follows its head."""
		# Whatever the outcome, no further HTTP request is read from this TCP connection.
		self._keep_alive = False
		if self._headers.get("upgrade", "").lower() != "websocket":
			# Some proxies offer HTTP/2 in this way with every request.
			self._on_request()
			return
		if self._pass_handshake_on():
			return
		self._responding = True
		protocol = self.engine.accept_websocket(self.handshake_request(), self._query, self.transport)
		self._detach()
		self.transport.set_protocol(protocol)
		if rest:
			protocol.data_received(rest)

	def _on_request(self) -> None:
		"""Handle a complete request of the polling transport."""
		if self._pass_handshake_on():
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
		connection = self.engine.polling_connection(method, self._query, self)
		if method == b"POST":
			self._on_post(connection)
			return
		if not connection.count_frames(1):
			raise RequestRefused(BAD_REQUEST, "Too many requests", 429)
		self._connection = connection
		if not connection.on_poll_request(self):
			self._connection = None
			connection.close("transport error")
			raise RequestRefused(BAD_REQUEST)

	def _on_post(self, connection: Connection) -> None:
		try:
			packets = decode_payload(bytes(self._body), self.engine.settings.max_packets)
		except TooManyPackets as error:
			self.engine.counters.too_many_packets += 1
			self.engine.on_limit("max_packets", connection)
			connection.close("transport error")
			raise RequestRefused(BAD_REQUEST, str(error).capitalize(), 413) from error
		except PayloadError as error:
			connection.close("transport error")
			raise RequestRefused(BAD_REQUEST) from error
		if not connection.count_frames(len(packets)):
			raise RequestRefused(BAD_REQUEST, "Too many packets", 429)
		self.respond(200, b"ok", OK_HEADERS)
		for packet_type, data in packets:
			connection.receive(packet_type, data)

	# -- the pending GET of a connection

	def unread(self, connection: PollingConnection) -> int:
		"""Return the number of bytes of the last payload for `connection` that are not read yet.

		A proxy sends the requests of many clients on one TCP connection, each when it has read the response before.
		"""
		return self.transport.get_write_buffer_size() if self._payload_for is connection else 0

	def respond_payload(self, payload: str) -> None:
		"""Respond to the pending GET with a polling payload."""
		if self.transport.is_closing():
			# The client cannot get it: `connection_lost`, which follows, ends the session.
			return
		self._payload_for, self._connection = self._connection, None
		self.respond(200, payload.encode(), b"Content-Type: text/plain; charset=UTF-8\r\n")
