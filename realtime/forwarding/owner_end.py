"""The owner's end of a stream: a transport for the engine, with a client that another sidecar has accepted.

A stream carries one polling request and its response, or a WebSocket until it is closed.
"""

from __future__ import annotations

import asyncio
from typing import cast

from ..engine.engine import Engine
from ..engine.http import HTTPProtocol
from ..engine.websocket import WebSocketProtocol
from . import frames
from .stream import Stream

HIGH_WATER = 64 * 1024
"""Bytes that wait in a stream before its protocol is told to write no more, as asyncio has it."""


class StreamTransport(asyncio.Transport):
	"""A transport whose bytes travel on a link.

	Args:
		stream: The stream.
		address: The address of the client's TCP connection to the other sidecar.
	"""

	def __init__(self, stream: Stream, address: str) -> None:
		super().__init__({"peername": (address, 0) if address else ""})
		self._stream = stream
		self._protocol: asyncio.Protocol
		self._high = HIGH_WATER
		self._write_paused = False
		self._reading = True
		self._unread = bytearray()
		"""What was received while the protocol does not read; at most a window."""
		self._closing = False
		self._lost = False
		self.delivered = False
		"""True if the other sidecar has passed on everything that was written."""
		stream.receiver = self

	# -- asyncio.Transport

	def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
		self._protocol = cast(asyncio.Protocol, protocol)

	def get_protocol(self) -> asyncio.BaseProtocol:
		return self._protocol

	def is_closing(self) -> bool:
		return self._closing

	def write(self, data: bytes | bytearray | memoryview) -> None:
		if not self._closing:
			self._stream.write(bytes(data))
			if self._stream.waiting > self._high and not self._write_paused:
				self._write_paused = True
				self._protocol.pause_writing()

	def get_write_buffer_size(self) -> int:
		return self._stream.waiting

	def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
		# Writing goes on when nothing waits any more: there is no lower limit.
		self._high = HIGH_WATER if high is None else high

	def pause_reading(self) -> None:
		self._reading = False

	def resume_reading(self) -> None:
		self._reading = True
		if self._unread and not self._closing:
			data = bytes(self._unread)
			self._unread.clear()
			self._pass_on(data)

	def close(self) -> None:
		self._end(frames.CLOSE)

	def finish(self) -> None:
		"""End the stream after a response; the other sidecar reads the next request of the client."""
		self._end(frames.END)

	def abort(self) -> None:
		self._closing = True
		self._stream.reset()
		self._lose(None)

	def _end(self, kind: int) -> None:
		if not self._closing:
			self._closing = True
			self._stream.finish(kind)

	def _lose(self, error: Exception | None) -> None:
		"""Report the end to the protocol, in the next turn of the event loop."""
		if not self._lost:
			self._lost = self._closing = True
			asyncio.get_running_loop().call_soon(self._on_lost, error)

	def _on_lost(self, error: Exception | None) -> None:
		self._protocol.connection_lost(error)

	def _pass_on(self, data: bytes) -> None:
		# Before the protocol answers: the answer may end the stream.
		self._stream.passed_on(len(data))
		self._protocol.data_received(data)

	# -- Receiver

	def on_data(self, data: bytes) -> None:
		"""Pass bytes of the client on to the protocol."""
		if self._closing:
			self._stream.passed_on(len(data))
		elif self._reading:
			self._pass_on(data)
		else:
			self._unread += data

	def on_flushed(self) -> None:
		"""Let the protocol write again."""
		if self._write_paused:
			self._write_paused = False
			self._protocol.resume_writing()

	def on_drain(self) -> None:
		"""Let the client leave the other sidecar without a loss."""
		protocol = self._protocol
		if isinstance(protocol, ForwardedRequests):
			protocol.end_poll()
		elif isinstance(protocol, WebSocketProtocol):
			if protocol.probing:
				# The client may poll no more, so the upgrade has to be completed before it can be told.
				protocol.connection.leave()
			else:
				protocol.connection.close("transport close")

	def on_done(self) -> None:
		"""Report the end to the protocol: the other end has passed everything on."""
		self.delivered = True
		self._lose(None)

	def on_end(self) -> None:
		"""End the stream: only the owner sends this, so the other end does not keep to the protocol."""
		self.on_reset()

	def on_close(self) -> None:
		"""As `on_end`."""
		self.on_reset()

	def on_reset(self) -> None:
		"""Report that the client, or the link, is gone."""
		self._lose(ConnectionResetError("the client has left the other sidecar, or the link is lost"))


class ForwardedRequests(HTTPProtocol):
	"""Reads one request of a client that another sidecar has accepted, for a session of this process."""

	__slots__ = ()

	is_confirmed = True
	_leaves_with_process = False

	transport: StreamTransport

	def connection_lost(self, error: Exception | None) -> None:
		connection = self._payload_for
		super().connection_lost(error)
		if connection is not None:
			connection.confirm(self, self.transport.delivered)

	def _is_elsewhere(self) -> bool:
		# It was forwarded to here: there is no further owner.
		return False

	def _pass_to_application(self) -> None:
		self._respond_and_close(404)

	def _accept_link(self) -> None:
		self._respond_and_close(404)

	def _send_continue(self) -> None:
		# The other sidecar has sent it, and takes the first bytes of this one for the response.
		pass

	def _pass_to_any(self) -> bool:
		# The TCP connection is on another host.
		return False

	def end_poll(self) -> None:
		"""Respond to the pending GET at once, if there is one."""
		if self._connection is not None:
			self._connection.end_poll(self)

	def respond(self, status: int, body: bytes, headers: bytes) -> None:
		"""Respond, and end the stream: the other sidecar reads the next request."""
		keep_alive = self._keep_alive
		super().respond(status, body, headers)
		if keep_alive:
			self.transport.finish()


def accept(engine: Engine, stream: Stream, address: str) -> None:
	"""Let the engine read a stream that another sidecar has opened."""
	transport = StreamTransport(stream, address)
	protocol = ForwardedRequests(engine)
	transport.set_protocol(protocol)
	protocol.connection_made(transport)
