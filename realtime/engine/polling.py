"""Long-polling: the packets that wait for a poll, and the poll that waits for a packet."""

from __future__ import annotations

import asyncio
from sys import getsizeof
from typing import Protocol

from .packets import CLOSE, NOOP, SEPARATOR, Encoded

PACKET_OVERHEAD = 200
"""Bytes that a packet in the write buffer takes besides its text, however short that is."""

FAST_NOOPS = 3
"""Polls of an upgrade that are answered at once; one or two are usual."""

NOOP_PAUSE = 0.1
"""Seconds until the next one is answered, and as many more for each further one."""


class PollRequest(Protocol):
	"""A polling GET, and the TCP connection of its response."""

	is_confirmed: bool
	"""True if `confirm` of the connection is called when the response has reached the TCP connection of the client, or was lost."""

	def unread(self, connection: PollingConnection) -> int:
		"""Return the number of bytes of the response for `connection` that are not read yet."""

	def respond_payload(self, payload: str) -> None:
		"""Respond with a polling payload."""


class PollingConnection:
	"""What a `Connection` does while its client is polling."""

	__slots__ = (
		"_has_left",
		"_last_poll",
		"_pending_poll",
		"_unconfirmed",
		"_write_buffer",
		"_write_buffer_size",
		"closed",
		"leaving",
		"upgrading",
	)

	def __init__(self) -> None:
		self.closed = False
		self.upgrading = 0
		"""Above 0 after the probe of an upgrade, and one more with each polling GET since; these are responded to without a message."""
		self.leaving = ""
		"""The reason for which the connection is closed as soon as a close packet can be sent to its client; empty if it is not."""
		self._has_left = False
		"""True when the last messages are sent: the answer to the client's next poll is the close packet."""
		self._pending_poll: PollRequest | None = None
		self._last_poll: PollRequest | None = None
		"""The latest polling GET, whose response the client may not have read yet."""
		self._unconfirmed: PollRequest | None = None
		"""The polling GET whose response may still be lost. A proxy would repeat it, and the client would not notice."""
		self._write_buffer: list[Encoded | str] | None = None
		self._write_buffer_size = 0

	def close(self, reason: str) -> None:
		"""Close the connection, for a reason of Socket.IO."""
		raise NotImplementedError

	def close_if_too_slow(self) -> bool:
		"""Close the connection if too much is unsent; return True if it was closed."""
		raise NotImplementedError

	# -- packets

	def send_packet(self, packet: str) -> None:
		"""Send a packet of the engine itself, such as a ping, to a client on polling."""
		self._buffer(packet, packet)

	def _buffer(self, packet: Encoded | str, text: str) -> None:
		"""Keep a packet, whose encoding is `text`, for the next poll, or respond to the pending one."""
		if self._has_left or self.close_if_too_slow():
			return
		if self._write_buffer is None:
			self._write_buffer = []
		self._write_buffer.append(packet)
		self._write_buffer_size += getsizeof(text) + PACKET_OVERHEAD
		if self._pending_poll is not None:
			self._respond_to_poll()

	def _respond_to_poll(self) -> None:
		if self._unconfirmed is not None:
			return
		assert self._pending_poll is not None
		buffer, self._write_buffer, self._write_buffer_size = self._write_buffer or [NOOP], None, 0
		poll, self._pending_poll = self._pending_poll, None
		if poll.is_confirmed:
			self._unconfirmed = poll
		poll.respond_payload(
			SEPARATOR.join([item if isinstance(item, str) else item.packets for item in buffer])
		)

	# -- polls

	def on_poll_request(self, request: PollRequest) -> bool:
		"""Respond to a polling GET, now or when there is a packet to send.

		Returns:
			False if the connection is closed, or another GET is pending or its response is not read; `request` then gets no
			response here.
		"""
		if self._pending_poll is not None or self.closed:
			return False
		if self._last_poll is not None and self._last_poll.unread(self):
			return False
		self._pending_poll = self._last_poll = request
		if self.leaving:
			self._leave_with_poll()
		elif self._write_buffer:
			self._respond_to_poll()
		elif self.upgrading:
			self._respond_with_noop()
		return True

	def end_poll(self, request: PollRequest) -> None:
		"""Respond to `request` at once if it is the pending GET; the client then polls again."""
		if self._pending_poll is request:
			self._respond_to_poll()

	def confirm(self, request: PollRequest, delivered: bool) -> None:
		"""Respond to further GETs after the response to `request`; close the connection if that was lost.

		Args:
			request: A GET whose `is_confirmed` is true.
			delivered: True if the response has reached the TCP connection of the client.
		"""
		if self._unconfirmed is not request:
			return
		self._unconfirmed = None
		if not delivered:
			# What follows must not reach the client before what it has missed: it connects anew and recovers.
			self._write_buffer = None
			self.close("transport error")
		elif self._pending_poll is None:
			return
		elif self.leaving:
			self._leave_with_poll()
		elif self._write_buffer:
			self._respond_to_poll()
		elif self.upgrading:
			self._respond_with_noop()

	def on_poll_lost(self, request: PollRequest) -> None:
		"""Close the connection: the TCP connection of `request` was lost before its response was written."""
		if self._pending_poll is request:
			self._pending_poll = None
		self.close("transport error")

	# -- the end of polling

	def start_upgrade(self) -> None:
		"""Respond to the pending GET, so that the client can send the upgrade packet (protocol v4, "Upgrade")."""
		self.upgrading = 1
		if self._pending_poll is not None:
			self._respond_to_poll()

	def _respond_with_noop(self) -> None:
		"""Respond to the pending GET during an upgrade: the first ones at once, further ones after longer and longer pauses.

		The client polls until it has received the pong of its probe, which may be delayed on the WebSocket.
		"""
		assert self._pending_poll is not None
		self.upgrading += 1
		if self.upgrading <= FAST_NOOPS:
			self._respond_to_poll()
		else:
			pause = NOOP_PAUSE * (self.upgrading - FAST_NOOPS)
			asyncio.get_running_loop().call_later(pause, self.end_poll, self._pending_poll)

	def _leave_with_poll(self) -> None:
		"""Respond to the pending poll with the messages that wait, or else close the connection.

		Not both: socket.io-client handles a message after the close that follows it in a payload, reconnects with the offset before
		it, and gets it again. Later messages are not kept, so that there is an end: a client that recovers gets them.
		"""
		if self._unconfirmed is not None:
			return
		if self._write_buffer:
			self._has_left = True
			self._respond_to_poll()
		else:
			self.close(self.leaving)

	def _respond_with_close(self) -> None:
		"""Respond to the pending GET with the packets that wait and a close packet."""
		if self._write_buffer is None or self._unconfirmed is not None:
			# The response before may be lost, and what waits must not reach the client without it.
			self._write_buffer = []
		self._write_buffer.append(CLOSE)
		self._unconfirmed = None
		self._respond_to_poll()
