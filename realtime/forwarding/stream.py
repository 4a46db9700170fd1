"""One end of a stream: what is sent waits until the other end can take it.

Each direction has a window: the number of bytes that may be on the way, not yet passed on by the receiver. Further bytes wait at the
sender, which stops reading its own TCP connection. So a client that does not read takes the same memory as without a link, and
does not delay the others on it.
"""

from __future__ import annotations

from typing import Protocol

from . import frames

WINDOW = 64 * 1024
"""Bytes of one direction of a stream that the receiver may not have passed on yet."""


class StreamLink(Protocol):
	"""What a stream uses of its link."""

	@property
	def writable(self) -> bool:
		"""True if frames can be sent now."""

	def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
		"""Send a frame, if the link is open."""

	def wait(self, stream: Stream) -> None:
		"""Call `flush` of the stream when frames can be sent."""

	def forget(self, stream: Stream) -> None:
		"""Remove a stream that has ended."""


class Receiver(Protocol):
	"""What receives from a stream. After one of `on_end`, `on_close`, `on_done` and `on_reset` nothing else is called."""

	def on_data(self, data: bytes) -> None:
		"""Handle bytes; `Stream.passed_on` is to be called when they are passed on."""

	def on_flushed(self) -> None:
		"""Handle that nothing waits any more at this end."""

	def on_drain(self) -> None:
		"""Handle that the other end stops soon."""

	def on_end(self) -> None:
		"""Handle that the response is complete."""

	def on_close(self) -> None:
		"""Handle that the TCP connection is to be closed."""

	def on_done(self) -> None:
		"""Handle that the other end has passed everything on."""

	def on_reset(self) -> None:
		"""Handle that the stream has ended early, or its link was lost; after `Stream.finish`, that what was sent may be lost."""


class Stream:
	"""One end of a stream.

	Args:
		link: The link.
		number: The number of the stream on the link.
	"""

	__slots__ = (
		"_credit",
		"_draining",
		"_ending",
		"_finished",
		"_link",
		"_owed",
		"_unpassed",
		"_waiting",
		"ended",
		"number",
		"receiver",
	)

	def __init__(self, link: StreamLink, number: int) -> None:
		self.number = number
		self.ended = False
		self.receiver: Receiver | None = None
		self._link = link
		self._waiting = bytearray()
		self._credit = WINDOW
		self._draining = False
		"""True while a DRAIN frame is to be sent when nothing waits any more."""
		self._ending = 0
		"""The frame that is sent when nothing waits any more; 0 for none."""
		self._finished = False
		"""True when that frame is sent; the stream ends when the other end has passed everything on."""
		self._unpassed = 0
		"""Bytes that were received and not passed on."""
		self._owed = 0
		"""Bytes that were passed on, and of which the other end does not know yet."""

	@property
	def waiting(self) -> int:
		"""The number of bytes that wait at this end."""
		return len(self._waiting)

	# -- sending

	def write(self, data: bytes) -> None:
		"""Send bytes, now or when the other end can take them."""
		if not self.ended and not self._ending:
			if (
				not self._waiting
				and len(data) <= frames.MAX_DATA
				and len(data) <= self._credit
				and self._link.writable
			):
				self._credit -= len(data)
				self._link.send(frames.DATA, self.number, data)
				return
			self._waiting += data
			self.flush()

	def drain(self) -> None:
		"""Ask the owner, after all bytes that wait, to let the client leave this sidecar."""
		self._draining = True
		self.flush()

	def finish(self, kind: int) -> None:
		"""Send a frame of this kind after all bytes that wait; the stream ends when the other end has passed them on."""
		if not self.ended and not self._ending:
			self._ending = kind
			self.flush()

	def reset(self) -> None:
		"""End the stream at once."""
		if not self.ended:
			self._link.send(frames.RESET, self.number)
			self._end()

	def confirm(self, delivered: bool) -> None:
		"""Tell the owner of a stream that was ended by `on_end` or `on_close` whether everything was passed on."""
		self._link.send(frames.DONE if delivered else frames.RESET, self.number)

	def flush(self) -> None:
		"""Send what waits, as far as the other end and the link can take it."""
		if self.ended or self._finished:
			return
		had_waiting = bool(self._waiting)
		while self._waiting and self._credit and self._link.writable:
			part = bytes(self._waiting[: min(frames.MAX_DATA, self._credit)])
			del self._waiting[: len(part)]
			self._credit -= len(part)
			self._link.send(frames.DATA, self.number, part)
		if self._waiting:
			if self._credit:
				self._link.wait(self)
		elif (self._ending or self._draining) and not self._link.writable:
			self._link.wait(self)
		else:
			receiver = self.receiver
			if self._draining:
				self._draining = False
				self._link.send(frames.DRAIN, self.number)
			if self._ending:
				self._finished = True
				self._link.send(self._ending, self.number)
			if had_waiting and receiver is not None:
				receiver.on_flushed()

	# -- receiving

	def passed_on(self, count: int) -> None:
		"""Report bytes that were passed on, so that more may follow."""
		if self.ended:
			return
		self._unpassed -= count
		self._owed += count
		if self._owed >= WINDOW // 2:
			self._link.send(frames.CREDIT, self.number, frames.encode_count(self._owed))
			self._owed = 0

	def on_frame(self, kind: int, payload: bytes) -> None:
		"""Handle a frame of the other end.

		Raises:
			FrameError: The other end does not keep the window.
		"""
		receiver = self.receiver
		if kind == frames.CREDIT:
			self._credit += frames.read_count(payload)
			if self._credit > WINDOW:
				raise frames.FrameError("a credit above the window")
			self.flush()
		elif receiver is None:
			return
		elif kind == frames.DATA:
			self._unpassed += len(payload)
			if self._unpassed > WINDOW:
				raise frames.FrameError("data beyond the window")
			receiver.on_data(payload)
		elif kind == frames.DRAIN:
			receiver.on_drain()
		elif kind == frames.DONE:
			self._end()
			receiver.on_done()
		elif kind in (frames.END, frames.CLOSE):
			self._end()
			receiver.on_end() if kind == frames.END else receiver.on_close()
		elif kind == frames.RESET:
			self.on_lost()

	def on_lost(self) -> None:
		"""End the stream: the other end has reset it, or the link was lost."""
		if not self.ended:
			receiver = self.receiver
			self._end()
			if receiver is not None:
				receiver.on_reset()

	def _end(self) -> None:
		self.ended = True
		self.receiver = None
		self._waiting.clear()
		self._link.forget(self)
