"""A link: the kept TCP connection between two sidecars, after both have proved that they know the shared secret.

Either end opens streams on it; the numbers of those of the end that has connected are odd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import frames
from .frames import FrameError, FrameParser
from .stream import Stream

WRITE_BUFFER = 512 * 1024
"""Bytes that wait in a link before its streams stop to send."""

PING_SECONDS = 2.0
"""Seconds without a frame of the other end after which a PING is sent."""

SILENT_SECONDS = 8.0
"""Seconds without a frame after which the other end is considered dead: as many as four heartbeats of the sidecars."""


class Link(asyncio.Protocol):
	"""One end of a link. Streams may be opened before it is connected.

	Args:
		peer: The name of the process at the other end.
		connects: True if this end connects to the other one.
		accept: Called with each stream that the other end opens, and the address of its client.
		on_lost: Called once with the reason when the link ends.
	"""

	def __init__(
		self,
		peer: str,
		connects: bool,
		accept: Callable[[Stream, str], None],
		on_lost: Callable[[Link, str], None],
	) -> None:
		self.peer = peer
		self.is_open = False
		"""True while frames can be sent."""
		self.ended = False
		self.accepted = 0
		"""The number of streams that the other end has opened and that have not ended."""
		self._accept = accept
		self._on_lost = on_lost
		self._transport: asyncio.Transport | None = None
		self._parser = FrameParser()
		self._streams: dict[int, Stream] = {}
		"""The streams that have not ended, by their numbers."""
		self._unopened: dict[int, str] = {}
		"""The addresses of the clients of streams that the other end does not know of yet."""
		self._waiting: dict[int, Stream] = {}
		"""Streams that send when the link is writable again, in this order."""
		self._next = 1 if connects else 2
		self._paused = False
		self._error = ""
		self._loop = asyncio.get_running_loop()
		self._heard = 0.0
		self._timer: asyncio.TimerHandle | None = None

	@property
	def writable(self) -> bool:
		"""True if frames can be sent now."""
		return self.is_open and not self._paused

	@property
	def was_open(self) -> bool:
		"""True if both ends have proved themselves."""
		return self._heard > 0

	# -- streams

	def open_stream(self, address: str) -> Stream:
		"""Return a new stream, whose bytes wait until the link is open.

		Args:
			address: The address of the client's TCP connection; empty for a Unix socket.
		"""
		stream = Stream(self, self._next)
		self._next += 2
		self._streams[stream.number] = stream
		if self.is_open:
			self.send(frames.OPEN, stream.number, address.encode())
		else:
			self._unopened[stream.number] = address
		return stream

	def send(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
		"""Send a frame, if the link is open."""
		if self.is_open and self._transport is not None:
			self._transport.write(frames.encode(kind, stream, payload))

	def wait(self, stream: Stream) -> None:
		"""Call `flush` of the stream when the link is writable."""
		if not self.ended:
			self._waiting[stream.number] = stream

	def forget(self, stream: Stream) -> None:
		"""Remove a stream that has ended."""
		if self._streams.pop(stream.number, None) is not None and not self._is_own(stream.number):
			self.accepted -= 1
		self._unopened.pop(stream.number, None)
		self._waiting.pop(stream.number, None)

	def _is_own(self, number: int) -> bool:
		"""Return True if this end opens the streams with numbers such as this one."""
		return number % 2 == self._next % 2

	def _flush(self) -> None:
		"""Let the streams that wait send, in turns."""
		while self._waiting and self.writable:
			number = next(iter(self._waiting))
			self._waiting.pop(number).flush()

	# -- the connection

	def attach(self, transport: asyncio.Transport) -> None:
		"""Use a TCP connection on which both ends have proved themselves."""
		self._transport = transport
		transport.set_write_buffer_limits(high=WRITE_BUFFER)
		transport.set_protocol(self)
		self.is_open = True
		self._heard = self._loop.time()
		self._timer = self._loop.call_later(PING_SECONDS, self._watch)
		unopened, self._unopened = self._unopened, {}
		for number, address in unopened.items():
			self.send(frames.OPEN, number, address.encode())
			self._streams[number].flush()
		self._flush()

	def fail(self, reason: str) -> None:
		"""End the link and its streams at once."""
		if self.ended:
			return
		self.ended = True
		self.is_open = False
		if self._timer is not None:
			self._timer.cancel()
		if self._transport is not None:
			self._transport.abort()
		for stream in list(self._streams.values()):
			stream.on_lost()
		self._on_lost(self, reason)

	def close(self) -> None:
		"""End the link after all that was sent; streams that have not ended are lost."""
		transport = self._transport
		if transport is not None and not self.ended:
			transport.close()
			# The transport flushes what was written.
			self._transport = None
		self.fail("this sidecar stops")

	def _watch(self) -> None:
		silent = self._loop.time() - self._heard
		if silent > SILENT_SECONDS:
			self.fail(f"nothing was received for {silent:.0f} s")
			return
		if silent >= PING_SECONDS * 0.9:
			self.send(frames.PING)
		self._timer = self._loop.call_later(PING_SECONDS, self._watch)

	# -- asyncio.Protocol

	def data_received(self, data: bytes) -> None:
		self._heard = self._loop.time()
		try:
			for kind, number, payload in self._parser.feed(data):
				if self.ended:
					return
				self._on_frame(kind, number, payload)
		except (FrameError, UnicodeDecodeError) as error:
			self.fail(f"the other end sends what is not valid: {error}")

	def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
		if kind == frames.PING:
			self.send(frames.PONG)
		elif kind == frames.OPEN:
			if number in self._streams or self._is_own(number):
				raise FrameError(f"the stream {number} is opened again")
			stream = self._streams[number] = Stream(self, number)
			self.accepted += 1
			self._accept(stream, payload.decode())
		elif kind != frames.PONG:
			stream_of = self._streams.get(number)
			# One that has ended here: the other end does not know yet.
			if stream_of is not None:
				stream_of.on_frame(kind, payload)

	def connection_lost(self, error: Exception | None) -> None:
		self.fail(str(error) if error else "the other end has closed the connection")

	def pause_writing(self) -> None:
		self._paused = True

	def resume_writing(self) -> None:
		self._paused = False
		self._flush()
