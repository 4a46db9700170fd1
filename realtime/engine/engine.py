"""The table of connections, and the handshakes that add to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from .connection import STOPPING, Connection, ConnectionListener
from .errors import (
	BAD_HANDSHAKE_METHOD,
	BAD_REQUEST,
	UNKNOWN_SID,
	UNKNOWN_TRANSPORT,
	UNSUPPORTED_PROTOCOL_VERSION,
	RequestRefused,
)
from .http import HTTPProtocol
from .http_connection import HTTPConnection
from .owners import Handover, new_sid
from .packets import OPEN, text_frame
from .request import Request
from .settings import EngineCounters, EngineSettings
from .timer_wheel import TimerWheel
from .waiting import wait_while
from .websocket import CLOSE_FRAME, WebSocketProtocol, handshake_response

logger = logging.getLogger("realtime.engine")

LINGER_SECONDS = 1.0
"""Seconds in which requests arrive that clients on polling have sent before they have read the close packet."""


@dataclass(slots=True)
class Engine:
	"""An Engine.IO server.

	Args:
		settings: The settings, which must not change afterwards.
		listener: The layer above, called with the events of all connections.
		fallback_protocol: Returns the protocol that takes over a TCP connection whose request is for one of
			`fallback_paths`, or None to respond with 404.
		allow_request: Called with the request of each handshake; raises `RequestRefused` to reject it (the option
			`allowRequest` of Engine.IO).
		on_limit: Called with the name of a setting that a client has reached, and the client's connection if it is known.
		fallback_paths: The other paths; requests for any path but these and the engine's are answered with 404.
		allow_fallback: Called with each request for one of them; raises `RequestRefused` to reject it.
		handover: Passes requests for the sessions of other processes on; None if no other process listens on the port.
	"""

	settings: EngineSettings
	listener: ConnectionListener
	fallback_protocol: Callable[[], asyncio.Protocol | None] = lambda: None
	allow_request: Callable[[Request], None] = lambda request: None
	on_limit: Callable[[str, Connection | None], None] = lambda setting, connection: None
	fallback_paths: frozenset[bytes] = frozenset()
	allow_fallback: Callable[[Request], None] = lambda request: None
	handover: Handover | None = None
	connections: dict[str, Connection] = field(default_factory=dict)
	"""All open connections by their session id."""
	http_transports: set[asyncio.Transport] = field(default_factory=set)
	"""TCP connections that are read as HTTP: not yet, or not, upgraded to WebSocket, and not passed on to another process."""
	counters: EngineCounters = field(default_factory=EngineCounters)
	accepting: bool = True
	left: set[str] = field(default_factory=set)
	"""The session ids of connections that were closed since this process has begun to stop."""
	_closing_transports: list[asyncio.Transport] = field(default_factory=list)
	timers: TimerWheel = field(init=False)
	path: bytes = field(init=False)
	_open_settings: str = field(init=False)
	"""The end of every open packet."""

	def __post_init__(self) -> None:
		self.path = self.settings.path.rstrip("/").encode()
		shortest = min(self.settings.ping_interval, self.settings.ping_timeout)
		self.timers = TimerWheel(shortest / 1000)
		self._open_settings = (
			f'"pingInterval":{round(self.settings.ping_interval * 1000)},'
			f'"pingTimeout":{round(self.settings.ping_timeout * 1000)},"maxPayload":{self.settings.max_payload}'
		)

	def protocol(self) -> HTTPProtocol:
		"""Return the protocol of a new TCP connection; the protocol factory of `loop.create_server`."""
		return HTTPProtocol(self)

	def next_protocol(self) -> HTTPProtocol:
		"""Return the protocol of a TCP connection that another process has accepted, or another protocol has read before."""
		return HTTPProtocol(self, reused=True)

	def remove(self, connection: Connection) -> None:
		"""Remove a closed connection from the table."""
		self.timers.cancel(connection)
		self.connections.pop(connection.id, None)
		if not self.accepting:
			self.left.add(connection.id)
			if connection.transport is not None:
				self._closing_transports.append(connection.transport)

	async def drain(self, timeout: float) -> None:
		"""Reject new connections, and close those on polling in a way that no request fails; wait for that at most `timeout` seconds.

		A client between two polls gets the close packet with its next poll. Requests that it has sent on another TCP connection before it
		has read that are answered for `LINGER_SECONDS` more. Clients on WebSocket stay connected meanwhile, so that their reconnects do not
		delay these polls. A TCP connection between two requests, or whose first request has not arrived, belongs to no client yet: another
		process takes it over, if one listens on the port.
		"""
		self.accepting = False
		polling = self._polling()
		for connection in polling:
			connection.leave()
		for transport in list(self.http_transports):
			self._leave_to_any(transport)
		if not await wait_while(self._polling, timeout):
			logger.info(
				"%d clients have not polled within %.0f s: their next request fails",
				len(self._polling()),
				timeout,
			)
		if polling:
			await asyncio.sleep(LINGER_SECONDS)

	def _polling(self) -> list[Connection]:
		return [connection for connection in self.connections.values() if connection.transport is None]

	def close(self) -> None:
		"""Reject new connections and close all others, for a reason after which clients reconnect."""
		self.accepting = False
		for connection in list(self.connections.values()):
			connection.close(STOPPING)
		for transport in list(self.http_transports):
			if not self._leave_to_any(transport):
				self._closing_transports.append(transport)
				transport.close()
		self.timers.stop()

	def _leave_to_any(self, transport: asyncio.Transport) -> bool:
		protocol = transport.get_protocol()
		return isinstance(protocol, HTTPProtocol) and protocol.leave_to_any()

	async def flush(self, timeout: float) -> None:
		"""Wait until the clients have been sent what was written before `close`, at most `timeout` seconds."""
		await wait_while(
			lambda: any(transport.get_write_buffer_size() for transport in self._closing_transports), timeout
		)
		self._closing_transports.clear()

	# -- handshakes

	def polling_connection(self, method: bytes, query: dict[str, str], http: HTTPConnection) -> Connection:
		"""Return the connection of a polling request, a new one for a handshake ("Handshake", "HTTP long-polling").

		Args:
			method: The HTTP method.
			query: The query parameters.
			http: The TCP connection on which it was received.

		Raises:
			RequestRefused: If the protocol or `allow_request` does not allow the request.
		"""
		sid, transport = query.get("sid", ""), query.get("transport")
		if transport not in self.settings.transports:
			raise RequestRefused(UNKNOWN_TRANSPORT)
		connection = self.connections.get(sid)
		if sid and connection is None:
			raise RequestRefused(UNKNOWN_SID)
		if transport != "polling":
			# A proxy has removed the Upgrade header. The session that the client wanted to upgrade stays on polling.
			raise RequestRefused(BAD_REQUEST)
		if connection is not None:
			if connection.transport_name != "polling" or method not in (b"GET", b"POST"):
				raise RequestRefused(BAD_REQUEST)
			return connection
		if method != b"GET":
			raise RequestRefused(BAD_HANDSHAKE_METHOD)
		if query.get("EIO") != "4":
			raise RequestRefused(UNSUPPORTED_PROTOCOL_VERSION)
		if not self.accepting:
			raise RequestRefused(BAD_REQUEST, status=503)
		connection = self._open(http.handshake_request())
		connection.send_packet(self._open_packet(connection, ("websocket",)))
		self.listener.on_open(connection)
		return connection

	def accept_websocket(
		self, request: Request, query: dict[str, str], transport: asyncio.Transport
	) -> WebSocketProtocol:
		"""Respond to a WebSocket handshake, of a new client or for the upgrade of a polling one.

		Args:
			request: The request.
			query: Its query parameters.
			transport: The TCP connection on which it was received.

		Returns:
			The protocol that reads the TCP connection from now on.

		Raises:
			RequestRefused: If the protocol or `allow_request` does not allow the request.
		"""
		if query.get("transport") != "websocket" or "websocket" not in self.settings.transports:
			raise RequestRefused(UNKNOWN_TRANSPORT)
		response = handshake_response(request.headers)
		if response is None or request.headers.get("upgrade", "").lower() != "websocket":
			raise RequestRefused(BAD_REQUEST)
		if query.get("EIO") != "4":
			raise RequestRefused(UNSUPPORTED_PROTOCOL_VERSION)
		sid = query.get("sid", "")
		if sid:
			connection = self.connections.get(sid)
			if connection is None and sid not in self.left:
				raise RequestRefused(UNKNOWN_SID)
			if connection is None or connection.transport_name != "polling" or connection.probe_in_progress:
				# Like Node: the handshake succeeds and the new WebSocket is closed; the transport in use is not affected.
				transport.write(response + CLOSE_FRAME)
				transport.close()
				raise RequestRefused(BAD_REQUEST)
			if not connection.count_frames(1):
				raise RequestRefused(BAD_REQUEST, "Too many requests", 429)
			self.counters.upgrades += 1
			transport.write(response)
			return WebSocketProtocol(self, transport, connection, probing=True)
		if not self.accepting:
			raise RequestRefused(BAD_REQUEST, status=503)
		connection = self._open(request)
		# The response and the open packet share one write: one system call and one TCP segment.
		transport.write(response + text_frame(self._open_packet(connection, ())))
		protocol = WebSocketProtocol(self, transport, connection, probing=False)
		self.listener.on_open(connection)
		return protocol

	def _open(self, request: Request) -> Connection:
		self.allow_request(request)
		connection = Connection(self, new_sid("" if self.handover is None else self.handover.name), request)
		self.connections[connection.id] = connection
		self.counters.handshakes += 1
		return connection

	def _open_packet(self, connection: Connection, upgrades: tuple[str, ...]) -> str:
		offered = ",".join([f'"{name}"' for name in upgrades if name in self.settings.transports])
		return f'{OPEN}{{"sid":"{connection.id}","upgrades":[{offered}],{self._open_settings}}}'
