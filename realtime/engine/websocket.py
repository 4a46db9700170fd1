"""The WebSocket of one connection: frames in, frames out as they are.

What clients send in practice is a whole frame of less than 64 KiB, and that one is read here. For anything else (a
control frame, a fragment, a part of a frame, a large one, one against the protocol) the sans-I/O reader of `websockets`
is made, and reads the connection from there on. Most connections never need it: it costs 1.3 KB each, and three
quarters of the time that a short frame takes.
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

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

# The reader reports each closed connection at level INFO; the layers above log what matters of it.
logger = logging.getLogger("realtime.engine.websocket")
logger.setLevel(logging.WARNING)

WHOLE_TEXT, WHOLE_BINARY = 0x81, 0x82
"""The first byte of a frame that is a message by itself (RFC 6455, 5.2)."""

CLOSE_FRAME = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize()).serialize(mask=False)
PROBE_ANSWER = text_frame(PONG + "probe")


def handshake_answer(headers: Mapping[str, str]) -> bytes | None:
	"""The 101 answer to a WebSocket handshake with `headers` (RFC 6455, 4.2); None when it is not a valid one."""
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
	"""Reads one WebSocket. With `probing` it still has to show that it works, while polling carries the connection."""

	__slots__ = (
		"_fragments",
		"_probed",
		"_reader",
		"congested",
		"connection",
		"engine",
		"probing",
		"slot",
		"transport",
	)

	def __init__(
		self, engine: EngineContext, transport: asyncio.Transport, connection: Connection, probing: bool
	) -> None:
		self.engine = engine
		self.transport = transport
		self.connection = connection
		self.probing = probing
		self.congested = False
		self.slot: int | None = None
		self._probed = False
		self._fragments: tuple[Opcode, list[bytes]] | None = None
		self._reader: Protocol | None = None
		transport.set_write_buffer_limits(high=engine.settings.max_unsent)
		if probing:
			engine.wheel.schedule(self, engine.settings.upgrade_timeout)
		else:
			connection.attach(self)

	# -- asyncio.Protocol

	def data_received(self, data: bytes) -> None:
		if self._reader is None:
			transport, most = self.transport, self.engine.settings.max_payload
			start, size = 0, len(data)
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
				binary = first == WHOLE_BINARY
				if end > size or end - body > most or (first != WHOLE_TEXT and not binary):
					break
				self._message(apply_mask(data[body:end], data[body - 4 : body]), binary)
				if end == size or transport.is_closing():
					return
				start = end
			data = data[start:]
			self._reader = Protocol(SERVER, max_size=most, logger=logger)
		self._read_on(self._reader, data)

	def _read_on(self, reader: Protocol, data: bytes) -> None:
		transport = self.transport
		reader.receive_data(data)
		for frame in reader.events_received():
			assert isinstance(frame, Frame)
			opcode = frame.opcode
			if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
				payload = bytes(frame.data)
				if frame.fin:
					self._message(payload, opcode is Opcode.BINARY)
				else:
					self._fragments = (opcode, [payload])
			elif opcode is Opcode.CONT and self._fragments is not None:
				# The reader has refused a continuation of nothing, and a message that grows too large; of empty fragments
				# there may be any number.
				opcode, parts = self._fragments
				if frame.data:
					parts.append(bytes(frame.data))
				if frame.fin:
					self._fragments = None
					self._message(b"".join(parts), opcode is Opcode.BINARY)
			if transport.is_closing():
				return
		if isinstance(reader.parser_exc, PayloadTooBig):
			self.engine.counters.too_large += 1
		for answer in reader.data_to_send():
			if answer:
				transport.write(answer)
			else:
				self._end()
				return
		if self.congested:
			# A client may send pings without end, and read none of the answers.
			if not self.probing:
				self.connection.close_if_too_slow()
			elif transport.get_write_buffer_size() > self.engine.settings.max_unsent:
				self.close(abort=True)

	def connection_lost(self, error: Exception | None) -> None:
		if self.probing:
			# The connection lives on by polling, and may try again.
			self.connection.upgrading = False
		else:
			self.connection.close("transport close" if error is None else "transport error")
		self.engine.wheel.cancel(self)
		# Each of these leads back here; thousands of clients that go at once are not left to the garbage collector.
		if self._reader is not None:
			self._reader.parser.close()
		del self.connection, self.transport

	def pause_writing(self) -> None:
		self.congested = True
		if not self.probing:
			self.connection.congested(True)

	def resume_writing(self) -> None:
		self.congested = False
		if not self.probing:
			self.connection.congested(False)

	# -- Engine.IO

	def on_timer(self) -> None:
		"""The probe took too long, or the client has not read the goodbye."""
		self.close(abort=True)

	def close(self, abort: bool = False) -> None:
		"""Say goodbye and close; with `abort` close at once."""
		if abort:
			self.engine.wheel.cancel(self)
			self.transport.abort()
			return
		if self._reader is None:
			self.transport.write(CLOSE_FRAME)
		else:
			try:
				self._reader.send_close(CloseCode.NORMAL_CLOSURE)
			except WebSocketException:
				# The reader is not in its open state: the goodbye has been said.
				pass
			else:
				self.transport.write(b"".join(self._reader.data_to_send()))
		self._end()

	def _end(self) -> None:
		"""Close once the client has read what was written, or not at all: one that reads nothing would stay for ever."""
		self.engine.wheel.schedule(self, self.engine.settings.flush_timeout)
		self.transport.close()

	def _message(self, payload: bytes, binary: bool) -> None:
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
			self._refuse()
			return
		if packet[:1] == MESSAGE and not self.probing:
			if not connection.closed:
				self.engine.listener.on_message(connection, packet[1:])
			return
		try:
			kind, data = decode_packet(packet)
		except PayloadError:
			self._refuse()
			return
		if not self.probing:
			connection.receive(kind, data)
		elif kind == PING and data == "probe" and not self._probed:
			self._probed = True
			self.transport.write(PROBE_ANSWER)
			connection.start_upgrade()
		elif (
			kind == UPGRADE
			and self._probed
			and not connection.closed
			and connection.transport_name == "polling"
		):
			self.probing = False
			self.engine.wheel.cancel(self)
			connection.attach(self)
		else:
			self.close(abort=True)

	def _refuse(self) -> None:
		if self.probing:
			self.close(abort=True)
		else:
			self.connection.close("transport error")
