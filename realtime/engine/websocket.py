"""The WebSocket of one connection (RFC 6455).

Clients send almost only unfragmented frames of less than 64 KiB, each received in one piece; these are parsed here. For
anything else (a control frame, a fragment, a part of a frame, a larger frame, a protocol error) the sans-I/O protocol of
`websockets` is created and reads the connection from there on. Most connections never need it: it costs 1.3 KB for each,
and three quarters of the time that a short frame takes.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import sha1

from websockets.exceptions import PayloadTooBig, WebSocketException
from websockets.frames import Close, CloseCode, Frame, Opcode, apply_mask
from websockets.protocol import SERVER, Protocol

from .connection import Connection, EngineContext
from .packets import MESSAGE, PING, PONG, UPGRADE, PayloadError, decode_packet, text_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""

# The protocol of `websockets` logs each closed connection at level INFO; the layers above log what matters of it.
logger = logging.getLogger("realtime.engine.websocket")
logger.setLevel(logging.WARNING)

FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
"""The first byte of an unfragmented message (RFC 6455, section 5.2)."""

CLOSE_FRAME = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize()).serialize(mask=False)
PROBE_PONG = text_frame(PONG + "probe")


def handshake_response(headers: Mapping[str, str]) -> bytes | None:
	"""Return the 101 response to a WebSocket handshake (RFC 6455, section 4.2.2); None if the handshake is not valid.

	Args:
		headers: The headers of the request by lower-case name.
	"""
	key = headers.get("sec-websocket-key", "")
	try:
		valid = len(b64decode(key, validate=True)) == 16
	except (Base64Error, ValueError):
		valid = False
	if not valid or headers.get("sec-websocket-version") != "13":
		return None
	accept = b64encode(sha1(key.encode() + GUID).digest())
	return (
		b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
		+ accept
		+ b"\r\n\r\n"
	)


class WebSocketProtocol(asyncio.Protocol):
	"""Reads one WebSocket.

	Args:
		engine: The engine.
		transport: The TCP connection, after its WebSocket handshake.
		connection: The connection of the client.
		probing: True for an upgrade: until the upgrade packet arrives, `connection` stays on polling.
	"""

	__slots__ = (
		"_fragments",
		"_frame_reader",
		"_probed",
		"connection",
		"engine",
		"probing",
		"timer_slot",
		"transport",
		"write_paused",
	)

	def __init__(
		self, engine: EngineContext, transport: asyncio.Transport, connection: Connection, probing: bool
	) -> None:
		self.engine = engine
		self.transport = transport
		self.connection = connection
		self.probing = probing
		self.write_paused = False
		self.timer_slot: int | None = None
		self._probed = False
		"""True after the ping packet of the probe."""
		self._fragments: tuple[Opcode, list[bytes]] | None = None
		"""The opcode and the fragments of an incomplete message."""
		self._frame_reader: Protocol | None = None
		transport.set_write_buffer_limits(high=engine.settings.max_unsent)
		if probing:
			engine.timers.schedule(self, engine.settings.upgrade_timeout)
		else:
			connection.attach(self)

	# -- asyncio.Protocol

	def data_received(self, data: bytes) -> None:
		if self._frame_reader is None:
			transport, max_payload = self.transport, self.engine.settings.max_payload
			start, size = 0, len(data)
			# A client's frame: 2 bytes of header, 2 more for a size above 125, 4 bytes of mask, then the payload.
			while size - start >= 6:
				first, second = data[start], data[start + 1]
				body = start + 6
				if 0x80 <= second < 0xFE:
					end = body + second - 0x80
				elif second == 0xFE:
					body += 2
					end = body + (data[start + 2] << 8 | data[start + 3])
				else:
					break
				binary = first == FINAL_BINARY
				if end > size or end - body > max_payload or (first != FINAL_TEXT and not binary):
					break
				self._on_message(apply_mask(data[body:end], data[body - 4 : body]), binary)
				if end == size or transport.is_closing():
					return
				start = end
			data = data[start:]
			self._frame_reader = Protocol(SERVER, max_size=max_payload, logger=logger)
		self._read_frames(self._frame_reader, data)

	def _read_frames(self, reader: Protocol, data: bytes) -> None:
		transport = self.transport
		reader.receive_data(data)
		for frame in reader.events_received():
			assert isinstance(frame, Frame)
			opcode = frame.opcode
			if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
				payload = bytes(frame.data)
				if frame.fin:
					self._on_message(payload, opcode is Opcode.BINARY)
				else:
					self._fragments = (opcode, [payload])
			elif opcode is Opcode.CONT and self._fragments is not None:
				# The reader rejects a continuation without a first fragment and a message above `max_payload`, but accepts
				# any number of empty fragments.
				opcode, fragments = self._fragments
				if frame.data:
					fragments.append(bytes(frame.data))
				if frame.fin:
					self._fragments = None
					self._on_message(b"".join(fragments), opcode is Opcode.BINARY)
			if transport.is_closing():
				return
		if isinstance(reader.parser_exc, PayloadTooBig):
			self.engine.counters.too_large += 1
		for output in reader.data_to_send():
			if output:
				transport.write(output)
			else:
				self._close_when_flushed()
				return
		if self.write_paused:
			# A client can send pings without reading the pongs.
			if not self.probing:
				self.connection.close_if_too_slow()
			elif transport.get_write_buffer_size() > self.engine.settings.max_unsent:
				self.close(abort=True)

	def connection_lost(self, error: Exception | None) -> None:
		if self.probing:
			# The connection stays on polling and may start another upgrade.
			self.connection.upgrading = False
		else:
			self.connection.close("transport close" if error is None else "transport error")
		self.engine.timers.cancel(self)
		# Break the reference cycles, so that the memory of thousands of clients that disconnect at once does not wait for the
		# garbage collector.
		if self._frame_reader is not None:
			self._frame_reader.parser.close()
		del self.connection, self.transport

	def pause_writing(self) -> None:
		self.write_paused = True
		if not self.probing:
			self.connection.set_write_paused(True)

	def resume_writing(self) -> None:
		self.write_paused = False
		if not self.probing:
			self.connection.set_write_paused(False)

	# -- Engine.IO

	def on_timer(self) -> None:
		"""Abort: the upgrade took too long, or the client has not read the close frame."""
		self.close(abort=True)

	def close(self, abort: bool = False) -> None:
		"""Send a close frame and close the TCP connection when it is flushed; with `abort` close at once."""
		if abort:
			self.engine.timers.cancel(self)
			self.transport.abort()
			return
		if self._frame_reader is None:
			self.transport.write(CLOSE_FRAME)
		else:
			try:
				self._frame_reader.send_close(CloseCode.NORMAL_CLOSURE)
			except WebSocketException:
				# The reader is not in its open state: it has sent a close frame already.
				pass
			else:
				self.transport.write(b"".join(self._frame_reader.data_to_send()))
		self._close_when_flushed()

	def _close_when_flushed(self) -> None:
		"""Close when the client has read what was written, at the latest after `flush_timeout`."""
		self.engine.timers.schedule(self, self.engine.settings.flush_timeout)
		self.transport.close()

	def _on_message(self, payload: bytes, binary: bool) -> None:
		connection = self.connection
		if binary:
			if self.probing:
				self.close(abort=True)
			else:
				connection.receive(MESSAGE, payload)
			return
		try:
			packet = payload.decode()
		except UnicodeDecodeError:
			self._on_protocol_error()
			return
		if packet[:1] == MESSAGE and not self.probing:
			if not connection.closed:
				self.engine.listener.on_message(connection, packet[1:])
			return
		try:
			packet_type, data = decode_packet(packet)
		except PayloadError:
			self._on_protocol_error()
			return
		if not self.probing:
			connection.receive(packet_type, data)
		elif packet_type == PING and data == "probe" and not self._probed:
			self._probed = True
			self.transport.write(PROBE_PONG)
			connection.start_upgrade()
		elif (
			packet_type == UPGRADE
			and self._probed
			and not connection.closed
			and connection.transport_name == "polling"
		):
			self.probing = False
			self.engine.timers.cancel(self)
			connection.attach(self)
		else:
			self.close(abort=True)

	def _on_protocol_error(self) -> None:
		if self.probing:
			self.close(abort=True)
		else:
			self.connection.close("transport error")
