"""The other end of a stream: the TCP connection of a client whose session belongs to a sidecar on another host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..engine import IncomingRequest, RequestRefused
from ..engine.errors import UNKNOWN_SID
from .stream import Stream

MAX_WAITING = 64 * 1024
"""Bytes of a client that wait for the link before the client is not read any more."""

UPGRADED = b"HTTP/1.1 101 "
"""The begin of a response after which the TCP connection is a WebSocket."""

CONFIRM_PAUSE = 0.02
"""Seconds between two looks at whether a client has read enough of a response."""

FLUSH_SECONDS = 10.0
"""Seconds that a client has to read what the owner has sent before its TCP connection is closed."""

RESPONSE_SECONDS = 20.0
"""Seconds that a client has to read the rest of a response, when its TCP connection stays open for the next request."""


class ForwardedConnection(asyncio.Protocol):
	"""Passes the bytes of a TCP connection on to a stream, and back.

	Args:
		request: The request that is forwarded.
		stream: A new stream to the owner of its session.
		next_protocol: Creates the protocol that reads the next request on the TCP connection.
		on_ended: Called once when the TCP connection belongs to this object no more.
		on_refused: Called before a request is refused because the owner, or the link to it, is gone.
	"""

	def __init__(
		self,
		request: IncomingRequest,
		stream: Stream,
		next_protocol: Callable[[], asyncio.Protocol],
		on_ended: Callable[[ForwardedConnection], None],
		on_refused: Callable[[], None],
	) -> None:
		self.transport = request.transport
		self.stream = stream
		self._request: IncomingRequest | None = request
		"""None from the first byte of the response on."""
		self._next_protocol = next_protocol
		self._on_ended = on_ended
		self._on_refused = on_refused
		self._write_paused = False
		self._owed = 0
		"""Bytes that the client has not read yet, although its TCP connection was given them."""
		self._ended = False
		self._responding = False
		"""True from the first byte of a response on, unless it begins a WebSocket."""
		self._unconfirmed = False
		"""True from the end of the stream until this process has confirmed to the owner whether the kernel has the whole response."""
		self._flushing = False
		"""True while the TCP connection is lost without an error only when it has taken everything."""
		self._overdue: asyncio.TimerHandle | None = None
		"""Closes the TCP connection of a client that does not read what the owner has sent."""
		stream.receiver = self
		received = request.received
		request.release(self)
		self.data_received(received)

	# -- asyncio.Protocol

	def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

	def data_received(self, data: bytes) -> None:
		self.stream.write(data)
		if self.stream.waiting > MAX_WAITING:
			self.transport.pause_reading()

	def connection_lost(self, error: Exception | None) -> None:
		if self._unconfirmed:
			self._confirm(delivered=self._flushing and error is None)
		self.stream.reset()
		self._end()

	def pause_writing(self) -> None:
		self._write_paused = True

	def resume_writing(self) -> None:
		self._write_paused = False
		owed, self._owed = self._owed, 0
		self.stream.passed_on(owed)

	# -- Receiver

	def on_data(self, data: bytes) -> None:
		"""Write bytes of the owner to the client."""
		if self._request is not None:
			self._request = None
			if not data.startswith(UPGRADED):
				# What the client sends after this response is its next request, which does not belong to the stream.
				self._responding = True
				self.transport.pause_reading()
		self.transport.write(data)
		if self._write_paused:
			self._owed += len(data)
		else:
			self.stream.passed_on(len(data))

	def on_flushed(self) -> None:
		"""Read the client again."""
		if not self._responding and not self.transport.is_closing():
			self.transport.resume_reading()

	def on_drain(self) -> None:
		"""Do nothing: only this end of a stream sends this."""

	def on_done(self) -> None:
		"""End the stream: only this end sends this, so the owner does not keep to the protocol."""
		self.on_reset()

	def on_end(self) -> None:
		"""Read the next request on the TCP connection here, when it has taken the whole response."""
		self._request = None
		self._unconfirmed = True
		if not self.transport.is_closing():
			self.transport.pause_reading()
		# What was just written is with the kernel at the end of this turn of the event loop.
		asyncio.get_running_loop().call_soon(self._read_next)

	def _read_next(self) -> None:
		"""Let another protocol read, as soon as the kernel has the whole response.

		Until then this one has to learn that the TCP connection is lost. It is not read meanwhile: a proxy may close it as soon as it
		has the response, which is no loss.
		"""
		if self.transport.is_closing():
			# `connection_lost` tells the owner.
			return
		loop = asyncio.get_running_loop()
		if self.transport.get_write_buffer_size():
			if self._overdue is None:
				self._overdue = loop.call_later(RESPONSE_SECONDS, self._discard)
			loop.call_later(CONFIRM_PAUSE, self._read_next)
			return
		self._confirm(delivered=True)
		self._end()
		protocol = self._next_protocol()
		self.transport.set_protocol(protocol)
		protocol.connection_made(self.transport)
		if self._write_paused:
			protocol.pause_writing()
		else:
			self.transport.resume_reading()

	def on_close(self) -> None:
		"""Close the TCP connection when the client has read everything."""
		self._unconfirmed = True
		self._flushing = not self.transport.is_closing()
		self._overdue = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._discard)
		self.transport.close()
		# The forwarder does not wait for it any more.
		self._end()

	def _discard(self) -> None:
		"""Close the TCP connection with what the client has not read, which is lost although no error is reported then."""
		self._flushing = False
		self.transport.abort()

	def _confirm(self, delivered: bool) -> None:
		self._unconfirmed = False
		if self._overdue is not None:
			self._overdue.cancel()
		self.stream.confirm(delivered)

	def on_reset(self) -> None:
		"""Refuse the request, or close the TCP connection if the response has begun."""
		request = self._request
		self._end()
		if self.transport.is_closing():
			return
		if request is None:
			self.transport.abort()
		else:
			self._on_refused()
			# The client gives the session up, connects anew and recovers.
			request.refuse(RequestRefused(UNKNOWN_SID))

	def _end(self) -> None:
		if not self._ended:
			self._ended = True
			self._request = None
			self._on_ended(self)
