"""One Engine.IO client from its handshake to its close, over polling, WebSocket or the upgrade between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from websockets.frames import CloseCode

from .packets import CLOSE, MESSAGE, PING, PONG, Encoded, Message, text_frame
from .polling import PollingConnection
from .request import Request
from .settings import FRAME_BURST, EngineCounters, EngineSettings
from .timer_wheel import TimerWheel
from .unread import UnreadFrames

PING_FRAME = text_frame(PING)

STOPPING = "server shutting down"
"""The reason for which connections are closed when the process stops."""


class ConnectionListener(Protocol):
	"""The layer above the engine. The calls for one connection come in order; none may block."""

	def on_open(self, connection: Connection) -> None:
		"""Handle a new connection."""

	def on_message(self, connection: Connection, message: Message) -> None:
		"""Handle a message of the client."""

	def on_ping(self, connection: Connection) -> None:
		"""Handle that a ping was just sent: the time to send what is not urgent."""

	def on_close(self, connection: Connection, reason: str) -> None:
		"""Handle the close, with a reason of Socket.IO (`transport close`, `ping timeout`, …)."""


class EngineContext(Protocol):
	"""What connections and protocols use of the engine."""

	settings: EngineSettings
	counters: EngineCounters
	listener: ConnectionListener
	timers: TimerWheel

	@property
	def on_limit(self) -> Callable[[str, Connection | None], None]: ...

	def remove(self, connection: Connection) -> None:
		"""Remove a closed connection."""


class WebSocket(Protocol):
	"""The WebSocket of a connection."""

	transport: asyncio.Transport
	write_paused: bool
	"""True while the client does not read what is written to it."""

	def close(self, abort: bool = False, code: int = CloseCode.NORMAL_CLOSURE) -> None:
		"""Close after a close frame with `code`, or with `abort` at once."""


class Connection(PollingConnection):
	"""A client of the engine.

	Args:
		engine: The engine that the connection belongs to.
		id: The session id (`sid`).
		request: The request that opened the connection.
	"""

	__slots__ = (
		"_awaiting_pong",
		"_credit_time",
		"_frame_rate",
		"_unread",
		"_websocket",
		"data",
		"engine",
		"frame_credit",
		"id",
		"post_in_progress",
		"probe_in_progress",
		"request",
		"timer_slot",
		"writable_transport",
	)

	def __init__(self, engine: EngineContext, id: str, request: Request) -> None:
		super().__init__()
		self.engine = engine
		self.id = id
		self.request = request
		self.data: Any = None
		"""Owned by the layer above."""
		self.writable_transport: asyncio.WriteTransport | None = None
		"""The hot path of every fan-out: where to write frames while the client is on WebSocket and reads fast enough.

		None otherwise; then `send` has to be used.
		"""
		self.timer_slot: int | None = None
		self.probe_in_progress = False
		"""True while a WebSocket is open that is to become the transport of this client."""
		self.post_in_progress = False
		"""True while the body of a POST of this client is being received."""
		self._websocket: WebSocket | None = None
		self._unread: UnreadFrames | None = None
		"""Frames for a client on WebSocket that does not read, until it reads again."""
		self._awaiting_pong = False
		self._frame_rate = min(engine.settings.initial_frames_per_second, engine.settings.frames_per_second)
		self.frame_credit = int(self._frame_rate * FRAME_BURST)
		"""How many frames the client may still send before the clock is read. An integer: it is subtracted from faster than a float."""
		self._credit_time = monotonic()
		engine.timers.schedule(self, engine.settings.ping_interval)

	@property
	def transport_name(self) -> str:
		"""The transport in use, by its Engine.IO name: `websocket` or `polling`."""
		return "polling" if self._websocket is None else "websocket"

	@property
	def unsent(self) -> int:
		"""The number of bytes that the client has not read yet."""
		if self._websocket is not None:
			waiting = 0 if self._unread is None else self._unread.size
			return self._websocket.transport.get_write_buffer_size() + waiting
		return self._write_buffer_size + (0 if self._last_poll is None else self._last_poll.unread(self))

	@property
	def transport(self) -> asyncio.Transport | None:
		"""The asyncio transport of the WebSocket; None while the client is polling."""
		return None if self._websocket is None else self._websocket.transport

	# -- sending

	def send(self, encoded: Encoded) -> None:
		"""Send one or more messages; does nothing on a closed connection."""
		if self.writable_transport is not None:
			self.writable_transport.write(encoded.frames)
		elif not self.closed:
			if self._websocket is not None:
				self.send_to_slow_client(encoded.frames)
			else:
				self._buffer(encoded, encoded.packets)

	def send_to_slow_client(self, frames: bytes) -> None:
		"""Keep frames until a client on WebSocket reads again; close the connection if too much waits already."""
		if not self.close_if_too_slow():
			if self._unread is None:
				self._unread = UnreadFrames()
			self._unread.append(frames)

	def close_if_too_slow(self) -> bool:
		"""Close the connection if more than `max_unsent` bytes are unsent; return True if it was closed."""
		if self.unsent <= self.engine.settings.max_unsent:
			return False
		self.engine.counters.slow_clients += 1
		self.engine.on_limit("max_unsent", self)
		self.close("transport error", abort=True)
		return True

	# -- receiving

	def trust(self) -> None:
		"""Allow the client `frames_per_second` in place of `initial_frames_per_second` from now on."""
		rate = self.engine.settings.frames_per_second
		if self._frame_rate != rate:
			self._frame_rate = rate
			# The next refill is a full burst. The credit itself may be in a variable of the loop that reads a frame now.
			self._credit_time = monotonic() - FRAME_BURST

	def count_frames(self, count: int) -> bool:
		"""Count frames, polling requests or packets of the client; close the connection and return False if there are too many."""
		self.frame_credit -= count
		return self.frame_credit >= 0 or self._refill_frame_credit()

	def _refill_frame_credit(self) -> bool:
		"""Refill a credit below 0 for the time since the last call; close the connection and return False if that is not enough.

		A token bucket that reads the clock only when it is empty, so that a frame costs one subtraction. The tokens for the
		time in which it was not empty come with the next refill: within any period a client can send two bursts plus the rate.
		"""
		rate, now = self._frame_rate, monotonic()
		if now - self._credit_time > FRAME_BURST:
			self._credit_time = now - FRAME_BURST
		tokens = int((now - self._credit_time) * rate)
		self._credit_time += tokens / rate
		self.frame_credit += tokens
		if self.frame_credit >= 0:
			return True
		if not self.closed:
			self.engine.counters.too_many_frames += 1
			self.engine.on_limit("frames_per_second", self)
			self.close("forced close", code=CloseCode.POLICY_VIOLATION)
		return False

	def receive(self, packet_type: str, data: Message) -> None:
		"""Handle one packet of the client; both transports call this in the order of the packets."""
		if self.closed:
			return
		if packet_type == MESSAGE:
			self.engine.listener.on_message(self, data)
		elif packet_type == PONG:
			self._awaiting_pong = False
			self.engine.timers.schedule(self, self.engine.settings.ping_interval)
		elif packet_type == CLOSE:
			if self._pending_poll is not None:
				self._respond_to_poll()
			self.close("transport close")
		elif packet_type == PING:
			# Since protocol v4 only the server sends pings ("Heartbeat").
			self.close("transport error")

	def on_timer(self) -> None:
		"""Send a ping, or close the connection if the pong for the last one has not arrived."""
		if self._awaiting_pong:
			self.close("ping timeout", abort=True)
			return
		self._awaiting_pong = True
		self.engine.timers.schedule(self, self.engine.settings.ping_timeout)
		if self._websocket is not None:
			self._websocket.transport.write(PING_FRAME)
		else:
			self.send_packet(PING)
		if not self.closed:
			self.engine.listener.on_ping(self)

	# -- WebSocket

	def attach(self, websocket: WebSocket) -> None:
		"""Use `websocket` from now on, and send on it first what no poll has fetched."""
		self._websocket = websocket
		self._last_poll = self._unconfirmed = None
		self.upgrading = 0
		buffer, self._write_buffer, self._write_buffer_size = self._write_buffer, None, 0
		if buffer:
			websocket.transport.write(
				b"".join([text_frame(item) if isinstance(item, str) else item.frames for item in buffer])
			)
		self.set_write_paused(websocket.write_paused)
		if self.leaving:
			self.close(self.leaving)

	def set_write_paused(self, paused: bool) -> None:
		"""Take the connection off the hot path while its client does not read, and put it back afterwards."""
		websocket = self._websocket
		if websocket is None or self.closed:
			return
		if not paused:
			self._write_unread(websocket)
		# The unread frames may have paused the transport again.
		self.writable_transport = None if websocket.write_paused else websocket.transport

	def _write_unread(self, websocket: WebSocket) -> None:
		unread, self._unread = self._unread, None
		for frames in () if unread is None else unread.parts:
			websocket.transport.write(bytes(frames))

	# -- closing

	def leave(self, reason: str = STOPPING) -> None:
		"""Close the connection as soon as a close packet can be sent: now, with the next poll, or at the end of the upgrade.

		A request for a connection that is closed before would fail.

		Args:
			reason: As for `close`.
		"""
		self.leaving = self.leaving or reason
		if self._websocket is not None:
			self.close(self.leaving)
		elif self._pending_poll is not None:
			self._leave_with_poll()

	def close_when_sent(self, reason: str) -> None:
		"""Close the connection; a client on polling that has not fetched all messages gets them with its next poll before.

		Args:
			reason: As for `close`.
		"""
		if self._websocket is None and self._write_buffer:
			self.leave(reason)
		else:
			self.close(reason)

	def close(self, reason: str, abort: bool = False, code: int = CloseCode.NORMAL_CLOSURE) -> None:
		"""Close the connection.

		Args:
			reason: The reason for the listener, as Socket.IO names it.
			abort: Discard what is unsent instead of flushing it.
			code: The code of the close frame (RFC 6455, section 7.4.1), for a client on WebSocket.
		"""
		if self.closed:
			return
		self.closed = True
		self.writable_transport = None
		self.engine.remove(self)
		if self._websocket is not None:
			if not abort:
				self._write_unread(self._websocket)
			self._websocket.close(abort, code)
		elif self._pending_poll is not None:
			self._respond_with_close()
		self._write_buffer = self._last_poll = self._unread = None
		self._write_buffer_size = 0
		self.engine.listener.on_close(self, reason)
