"""One Engine.IO client from its handshake to its close, whatever carries it: polling, WebSocket, or one becoming the other."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from .packets import CLOSE, MESSAGE, NOOP, PING, PONG, SEPARATOR, Encoded, Message, text_frame
from .request import Request
from .settings import EngineCounters, EngineSettings
from .timer_wheel import TimerWheel

PING_FRAME = text_frame(PING)


class Listener(Protocol):
	"""The layer above the engine. Calls come in order for each connection; none may block."""

	def on_open(self, connection: Connection) -> None: ...

	def on_message(self, connection: Connection, message: Message) -> None: ...

	def on_ping(self, connection: Connection) -> None:
		"""The connection is pinged: the moment for what may wait."""

	def on_close(self, connection: Connection, reason: str) -> None: ...


class EngineContext(Protocol):
	"""The engine, as its connections and what carries them see it."""

	settings: EngineSettings
	counters: EngineCounters
	listener: Listener
	wheel: TimerWheel

	def forget(self, connection: Connection) -> None: ...


class Poll(Protocol):
	"""A polling GET that waits for its answer."""

	def respond_payload(self, payload: str) -> None: ...


class WebSocket(Protocol):
	"""What carries a connection that is on WebSocket."""

	transport: asyncio.Transport
	congested: bool

	def close(self, abort: bool = False) -> None: ...


class Connection:
	"""A client of the engine.

	`wire` is the hot path of every fan-out: the asyncio transport to write frames to, set only while the client is on
	WebSocket and reads fast enough. When it is None, `send` finds the right way.
	"""

	__slots__ = (
		"_awaiting_pong",
		"_outbox",
		"_outbox_size",
		"_poll",
		"_websocket",
		"closed",
		"data",
		"engine",
		"id",
		"posting",
		"request",
		"slot",
		"upgrading",
		"wire",
	)

	def __init__(self, engine: EngineContext, id: str, request: Request) -> None:
		self.engine = engine
		self.id = id
		self.request = request
		self.data: Any = None
		"""What the layer above keeps for this connection."""
		self.wire: asyncio.WriteTransport | None = None
		self.slot: int | None = None
		self.closed = False
		self.upgrading = False
		self.posting = False
		"""Whether a POST of this client is being read."""
		self._websocket: WebSocket | None = None
		self._poll: Poll | None = None
		self._outbox: list[Encoded | str] | None = None
		self._outbox_size = 0
		self._awaiting_pong = False
		engine.wheel.schedule(self, engine.settings.ping_interval)

	@property
	def transport_name(self) -> str:
		"""`websocket` or `polling`, as Engine.IO names them."""
		return "polling" if self._websocket is None else "websocket"

	@property
	def unsent(self) -> int:
		"""Bytes that wait for this client to read, as long as it is not closed."""
		if self._websocket is not None:
			return self._websocket.transport.get_write_buffer_size()
		return self._outbox_size

	@property
	def transport(self) -> asyncio.Transport | None:
		"""What carries the WebSocket; None while the client is polling."""
		return None if self._websocket is None else self._websocket.transport

	# -- out

	def send(self, encoded: Encoded) -> None:
		"""Send one message, or several that belong together; on a closed connection nothing happens."""
		if self.wire is not None:
			self.wire.write(encoded.frames)
		elif not self.closed:
			if self._websocket is not None:
				self._send_congested(encoded)
			else:
				self._queue(encoded, len(encoded.packets))

	def send_packet(self, packet: str) -> None:
		"""Send a packet of the engine's own."""
		if self._websocket is not None:
			self._websocket.transport.write(text_frame(packet))
		else:
			self._queue(packet, len(packet))

	def _send_congested(self, encoded: Encoded) -> None:
		assert self._websocket is not None
		if not self.close_if_too_slow():
			self._websocket.transport.write(encoded.frames)

	def close_if_too_slow(self) -> bool:
		"""Close the connection when more waits for its client than may; tells whether."""
		if self.unsent <= self.engine.settings.max_unsent:
			return False
		self.engine.counters.slow_clients += 1
		self.close("transport error", abort=True)
		return True

	def _queue(self, packet: Encoded | str, size: int) -> None:
		if self.close_if_too_slow():
			return
		if self._outbox is None:
			self._outbox = []
		self._outbox.append(packet)
		self._outbox_size += size
		if self._poll is not None:
			self._answer_poll()

	def _answer_poll(self) -> None:
		assert self._poll is not None
		outbox, self._outbox, self._outbox_size = self._outbox or [NOOP], None, 0
		poll, self._poll = self._poll, None
		poll.respond_payload(
			SEPARATOR.join([item if isinstance(item, str) else item.packets for item in outbox])
		)

	# -- in

	def receive(self, kind: str, data: Message) -> None:
		"""Take one packet from the client, in order, from whichever transport carries it now."""
		if self.closed:
			return
		if kind == MESSAGE:
			self.engine.listener.on_message(self, data)
		elif kind == PONG:
			self._awaiting_pong = False
			self.engine.wheel.schedule(self, self.engine.settings.ping_interval)
		elif kind == CLOSE:
			if self._poll is not None:
				self._answer_poll()
			self.close("transport close")
		elif kind == PING:
			# Since Engine.IO 4 only the server pings.
			self.close("transport error")

	def on_timer(self) -> None:
		"""A ping is due, or its answer is overdue."""
		if self._awaiting_pong:
			self.close("ping timeout", abort=True)
			return
		self._awaiting_pong = True
		self.engine.wheel.schedule(self, self.engine.settings.ping_timeout)
		if self._websocket is not None:
			self._websocket.transport.write(PING_FRAME)
		else:
			self.send_packet(PING)
		if not self.closed:
			self.engine.listener.on_ping(self)

	# -- polling

	def poll(self, http: Poll) -> bool:
		"""Answer a polling GET, now or when there is something to say; False when another one waits, or all is over."""
		if self._poll is not None or self.closed:
			return False
		self._poll = http
		if self._outbox or self.upgrading:
			self._answer_poll()
		return True

	def poll_lost(self, http: Poll) -> None:
		"""The TCP connection of a waiting GET is gone, and the client with it."""
		if self._poll is http:
			self._poll = None
			self.close("transport error")

	# -- WebSocket

	def attach(self, websocket: WebSocket) -> None:
		"""From now on `websocket` carries this connection; what polling has not taken yet goes out first."""
		self._websocket = websocket
		self.upgrading = False
		outbox, self._outbox, self._outbox_size = self._outbox, None, 0
		if outbox:
			websocket.transport.write(
				b"".join([text_frame(item) if isinstance(item, str) else item.frames for item in outbox])
			)
		self.congested(websocket.congested)

	def start_upgrade(self) -> None:
		"""A probe has come: let go of the waiting GET, so that the client can move."""
		self.upgrading = True
		if self._poll is not None:
			self._answer_poll()

	def congested(self, state: bool) -> None:
		"""The client has stopped reading, or has caught up: takes the connection off the hot path, or puts it back."""
		if self._websocket is not None and not self.closed:
			self.wire = None if state else self._websocket.transport

	# -- end

	def close(self, reason: str, abort: bool = False) -> None:
		"""End the connection; the listener hears `reason` in Socket.IO's words. With `abort` nothing unsent is flushed."""
		if self.closed:
			return
		self.closed = True
		self.wire = None
		self.engine.forget(self)
		if self._websocket is not None:
			self._websocket.close(abort)
		elif self._poll is not None:
			if self._outbox is None:
				self._outbox = []
			self._outbox.append(CLOSE)
			self._answer_poll()
		self._outbox = None
		self._outbox_size = 0
		self.engine.listener.on_close(self, reason)
