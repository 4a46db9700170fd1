"""The WebSocket of one connection (RFC 6455).

Clients send almost only unfragmented frames of less than 64 KiB, each received in one piece; these are parsed here, and so
are pings and pongs. For anything else (a close frame, a fragment, a part of a frame, a larger frame, a protocol error) the
sans-I/O protocol of `websockets` is created, and reads until a message is complete. Most connections never need it: it costs
1.3 KB for each, and three quarters of the time that a short frame takes.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha1

from websockets.exceptions import PayloadTooBig, WebSocketException
from websockets.frames import Close, CloseCode, Frame, Opcode, apply_mask

from .connection import Connection, EngineContext
from .frame_reader import FrameReader
from .packets import MESSAGE, PING, PONG, UPGRADE, PayloadError, decode_packet, text_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""

FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
"""The first byte of an unfragmented message (RFC 6455, section 5.2)."""

PING_BYTE, PONG_BYTE = 0x89, 0x8A
"""The first byte of a ping frame and of a pong frame."""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A token of HTTP (RFC 9110, section 5.6.2), such as the name of a subprotocol."""

MAX_FRAGMENTS = 4096
"""Most fragments of one message; a client that sends a message of `max_payload` bytes in TCP segments has less than a thousand."""

READER_CHUNK = 4096
"""Bytes that the frame reader is given at a time, because it parses all frames in them before they can be counted."""

WRITE_BUFFER = 16 * 1024
"""Bytes that the transport keeps for a client that does not read, before the connection does. uvloop needs up to 0.9 KB for each write."""

SHORT_READ = 512
"""A read of fewer bytes counts as a frame even if it completes none. The parts of a large frame are larger."""


def close_frame(code: int) -> bytes:
	"""Return a close frame without a reason, as a server sends it."""
	return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False)


CLOSE_FRAME = close_frame(CloseCode.NORMAL_CLOSURE)
PROBE_PONG = text_frame(PONG + "probe")


def handshake_response(headers: Mapping[str, str]) -> bytes | None:
	"""Return the 101 response to a WebSocket handshake (RFC 6455, section 4.2.2); None if the handshake is not valid.

	Args:
		headers: The headers of the request by lower-case name.
	"""
	key = headers.get("sec-websocket-key", "")
	try:
		valid = len(b64decode(key, validate=True)) == 16
	except ValueError:
		valid = False
	if not valid or headers.get("sec-websocket-version") != "13":
		return None
	accept = b64encode(sha1(key.encode() + GUID).digest())
	# As in Node, the first one that the client offers: browsers fail the handshake if they offer subprotocols and get none.
	offered = headers.get("sec-websocket-protocol", "").partition(",")[0].strip()
	subprotocol = f"\r\nSec-WebSocket-Protocol: {offered}".encode() if TOKEN.fullmatch(offered) else b""
	return (
		b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
		+ accept
		+ subprotocol
		+ b"\r\n\r\n"
	)


class Fragments:
	"""An incomplete message.

	Args:
		opcode: The opcode of its first frame.
		data: The payload of its first frame.
	"""

	__slots__ = ("count", "data", "opcode")

	def __init__(self, opcode: Opcode, data: bytes | bytearray | memoryview) -> None:
		self.opcode = opcode
		self.data = bytearray(data)
		self.count = 1


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
		"_max_payload",
		"_probed",
		"_reader_idle",
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
		self._max_payload = engine.settings.max_payload
		self._probed = False
		"""True after the ping packet of the probe."""
		self._fragments: Fragments | None = None
		self._frame_reader: FrameReader | None = None
		self._reader_idle = False
		"""True while the frame reader waits for the begin of a frame that is not part of a message in fragments."""
		transport.set_write_buffer_limits(high=min(WRITE_BUFFER, engine.settings.max_unsent))
		if probing:
			connection.probe_in_progress = True
			engine.timers.schedule(self, engine.settings.upgrade_timeout)
		else:
			connection.attach(self)

	# -- asyncio.Protocol

	def data_received(self, data: bytes) -> None:
		pong = b""
		if self._frame_reader is None or self._reader_idle:
			transport, connection = self.transport, self.connection
			credit = connection.frame_credit
			start, size = 0, len(data)
			# A client's frame: 2 bytes of header, 2 more for a size above 125, 4 bytes of mask, then the payload.
			while size - start >= 6:
				first, second = data[start], data[start + 1]
				body = start + 6
				if 0x80 <= second < 0xFE:
					end = body + second - 0x80
				elif second == 0xFE:
					length = data[start + 2] << 8 | data[start + 3]
					if length > self._max_payload:
						break
					body += 2
					end = body + length
				else:
					break
				if end > size:
					break
				credit -= 1
				if credit < 0:
					if not connection.count_frames(connection.frame_credit - credit):
						self._abort_probe()
						return
					credit = connection.frame_credit
				binary = first == FINAL_BINARY
				if binary or first == FINAL_TEXT:
					self._on_message(connection, apply_mask(data[body:end], data[body - 4 : body]), binary)
				elif second == 0xFE or first not in (PING_BYTE, PONG_BYTE):
					# The reader counts it.
					credit += 1
					break
				elif first == PING_BYTE:
					payload = apply_mask(data[body:end], data[body - 4 : body])
					pong = bytes((PONG_BYTE, len(payload))) + payload
				if end == size or transport.is_closing():
					connection.frame_credit = credit
					if pong and not transport.is_closing():
						self._send_pong(pong)
					return
				start = end
			connection.frame_credit = credit
			data = data[start:]
			if self._frame_reader is None:
				self._frame_reader = FrameReader(self._max_payload)
		self._read_frames(self._frame_reader, data, pong)

	def _read_frames(self, reader: FrameReader, data: bytes, pong: bytes) -> None:
		"""Read with the protocol of `websockets`, count what it has read, and send `pong` or the one for a later ping."""
		transport, connection = self.transport, self.connection
		for start in range(0, len(data), READER_CHUNK):
			reader.receive_data(data[start : start + READER_CHUNK])
			frames = reader.events_received()
			count = len(frames) or len(data) < SHORT_READ
			if not connection.count_frames(count):
				self._abort_probe()
				return
			for frame in frames:
				assert isinstance(frame, Frame)
				self._on_frame(frame)
				if transport.is_closing():
					return
			if isinstance(reader.parser_exc, PayloadTooBig):
				self._on_too_large()
			for output in reader.data_to_send():
				if not output:
					self._close_when_flushed()
					return
				if output[0] == PONG_BYTE:
					# Only the latest ping of a read is answered (RFC 6455, section 5.5.3).
					pong = output
				else:
					transport.write(output)
		self._reader_idle = self._fragments is None and reader.between_frames
		if pong and not transport.is_closing():
			self._send_pong(pong)

	def _send_pong(self, pong: bytes) -> None:
		# A client can send pings without reading the pongs.
		if self.write_paused and not self.probing:
			self.connection.send_to_slow_client(pong)
			return
		self.transport.write(pong)
		if self.write_paused:
			# Without the upgrade packet there is nothing to wait for.
			self.close(abort=True)

	def _on_frame(self, frame: Frame) -> None:
		"""Handle a frame that the reader has accepted; it answers control frames itself."""
		opcode = frame.opcode
		if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
			if frame.fin:
				self._on_message(self.connection, bytes(frame.data), opcode is Opcode.BINARY)
			else:
				self._fragments = Fragments(opcode, frame.data)
		elif opcode is Opcode.CONT and self._fragments is not None:
			# The reader rejects a continuation without a first fragment and a message above `max_payload`, but accepts any
			# number of empty fragments.
			fragments = self._fragments
			fragments.count += 1
			fragments.data += frame.data
			if frame.fin:
				self._fragments = None
				self._on_message(self.connection, bytes(fragments.data), fragments.opcode is Opcode.BINARY)
			elif fragments.count >= MAX_FRAGMENTS:
				self._on_too_large()
				self._on_protocol_error(CloseCode.POLICY_VIOLATION)

	def connection_lost(self, error: Exception | None) -> None:
		if self.probing:
			# The connection stays on polling and may start another upgrade.
			self.connection.upgrading, self.connection.probe_in_progress = 0, False
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

	def close(self, abort: bool = False, code: int = CloseCode.NORMAL_CLOSURE) -> None:
		"""Send a close frame with `code` and close the TCP connection when it is flushed; with `abort` close at once."""
		if abort:
			self.engine.timers.cancel(self)
			self.transport.abort()
			return
		if self._frame_reader is None:
			self.transport.write(close_frame(code))
		else:
			try:
				self._frame_reader.send_close(code)
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

	def _on_message(self, connection: Connection, payload: bytes, binary: bool) -> None:
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
			self.probing = connection.probe_in_progress = False
			self.engine.timers.cancel(self)
			connection.attach(self)
		else:
			self.close(abort=True)

	def _on_too_large(self) -> None:
		self.engine.counters.too_large += 1
		self.engine.on_limit("max_payload", self.connection)

	def _on_protocol_error(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
		if self.probing:
			self.close(abort=True)
		else:
			self.connection.close("transport error", code=code)

	def _abort_probe(self) -> None:
		"""Close a WebSocket that is not the transport of its connection, which was closed, yet."""
		if self.probing:
			self.close(abort=True)
