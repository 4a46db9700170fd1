"""The table of connections, and the handshakes that lead into it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .connection import Connection, Listener
from .errors import RequestRefused
from .http import HTTPProtocol
from .packets import OPEN, text_frame
from .request import Request
from .settings import EngineCounters, EngineSettings
from .timer_wheel import TimerWheel
from .websocket import CLOSE_FRAME, WebSocketProtocol, handshake_answer


@dataclass(slots=True)
class Engine:
	"""Makes connections of requests.

	`application` makes the protocol that takes over requests for other paths, or returns None when there is none.
	`admit` is asked about each new connection, and raises `RequestRefused`.
	"""

	settings: EngineSettings
	listener: Listener
	application: Callable[[], asyncio.Protocol | None] = lambda: None
	admit: Callable[[Request], None] = lambda request: None
	connections: dict[str, Connection] = field(default_factory=dict)
	transports: set[asyncio.Transport] = field(default_factory=set)
	counters: EngineCounters = field(default_factory=EngineCounters)
	accepting: bool = True
	_closing: list[asyncio.Transport] = field(default_factory=list)
	wheel: TimerWheel = field(init=False)
	path: bytes = field(init=False)

	def __post_init__(self) -> None:
		self.path = self.settings.path.rstrip("/").encode()
		shortest = min(self.settings.ping_interval, self.settings.ping_timeout)
		self.wheel = TimerWheel(shortest / 1000)

	def protocol(self) -> HTTPProtocol:
		"""The protocol of a new TCP connection."""
		return HTTPProtocol(self)

	def forget(self, connection: Connection) -> None:
		"""Take a closed connection out of the table."""
		self.wheel.cancel(connection)
		self.connections.pop(connection.id, None)

	def close(self) -> None:
		"""Take no new connection, and close all there are, so that their clients reconnect at once."""
		self.accepting = False
		for connection in list(self.connections.values()):
			wire = connection.transport
			if wire is not None:
				self._closing.append(wire)
			connection.close("server shutting down")
		for transport in list(self.transports):
			self._closing.append(transport)
			transport.close()
		self.wheel.stop()

	async def flush(self, timeout: float) -> None:
		"""After `close`: wait until the clients have been sent what was written for them, `timeout` seconds at most."""
		deadline = asyncio.get_running_loop().time() + timeout
		while any(transport.get_write_buffer_size() for transport in self._closing):
			if asyncio.get_running_loop().time() > deadline:
				break
			await asyncio.sleep(0.02)
		self._closing.clear()

	# -- handshakes

	def polling(self, method: str, query: dict[str, str], http: HTTPProtocol) -> Connection:
		"""The connection that a polling request belongs to, a new one for a handshake; raises `RequestRefused`."""
		sid = query.get("sid", "")
		if query.get("transport") not in self.settings.transports:
			raise RequestRefused(0, "Transport unknown")
		if sid:
			connection = self.connections.get(sid)
			if connection is None:
				raise RequestRefused(1, "Session ID unknown")
			if connection.transport_name != "polling" or method not in ("GET", "POST"):
				raise RequestRefused(3, "Bad request")
			return connection
		if query.get("transport") != "polling":
			raise RequestRefused(3, "Bad request")
		if method != "GET":
			raise RequestRefused(2, "Bad handshake method")
		if query.get("EIO") != "4":
			raise RequestRefused(5, "Unsupported protocol version")
		if not self.accepting:
			raise RequestRefused(3, "Bad request", 503)
		connection = self._open(http.open_request())
		connection.send_packet(self._open_packet(connection, ("websocket",)))
		self.listener.on_open(connection)
		return connection

	def websocket(
		self, request: Request, query: dict[str, str], transport: asyncio.Transport
	) -> WebSocketProtocol:
		"""The protocol that takes over after a WebSocket handshake; raises `RequestRefused`."""
		if query.get("transport") != "websocket" or "websocket" not in self.settings.transports:
			raise RequestRefused(0, "Transport unknown")
		answer = handshake_answer(request.headers)
		if answer is None or request.headers.get("upgrade", "").lower() != "websocket":
			raise RequestRefused(3, "Bad request")
		if query.get("EIO") != "4":
			raise RequestRefused(5, "Unsupported protocol version")
		sid = query.get("sid", "")
		if sid:
			connection = self.connections.get(sid)
			if connection is None:
				raise RequestRefused(1, "Session ID unknown")
			if connection.transport_name != "polling" or connection.upgrading:
				# As Node does: the handshake succeeds and the WebSocket closes; the one in use is not touched.
				transport.write(answer + CLOSE_FRAME)
				transport.close()
				raise RequestRefused(3, "Bad request")
			self.counters.upgrades += 1
			transport.write(answer)
			return WebSocketProtocol(self, transport, connection, probing=True)
		if not self.accepting:
			raise RequestRefused(3, "Bad request", 503)
		connection = self._open(request)
		# The answer and the open packet share one write: one system call and one TCP segment.
		transport.write(answer + text_frame(self._open_packet(connection, ())))
		protocol = WebSocketProtocol(self, transport, connection, probing=False)
		self.listener.on_open(connection)
		return protocol

	def _open(self, request: Request) -> Connection:
		self.admit(request)
		connection = Connection(self, secrets.token_urlsafe(15), request)
		self.connections[connection.id] = connection
		self.counters.handshakes += 1
		return connection

	def _open_packet(self, connection: Connection, upgrades: tuple[str, ...]) -> str:
		offered = ",".join(f'"{name}"' for name in upgrades if name in self.settings.transports)
		settings = self.settings
		return (
			f'{OPEN}{{"sid":"{connection.id}","upgrades":[{offered}],'
			f'"pingInterval":{round(settings.ping_interval * 1000)},'
			f'"pingTimeout":{round(settings.ping_timeout * 1000)},"maxPayload":{settings.max_payload}}}'
		)
