"""Engine.IO packets: the polling payload both ways, and a message encoded once for all its recipients.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from struct import pack

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"

SEPARATOR = "\x1e"

Message = str | bytes
"""What a message carries: text, or the bytes of a binary attachment."""


class PayloadError(ValueError):
	"""A payload or packet that the protocol does not allow; the connection that sent it is closed."""


class TooManyPackets(PayloadError):
	"""A payload of more packets than it may have."""


def _header(first: int, size: int) -> bytes:
	"""The header of a frame that is final and not masked (RFC 6455, 5.2).

	Written here and not by `websockets`: a server's header is its opcode and its size, and the library's frame object for
	it takes 3 of the 20 µs that an event to one user costs.
	"""
	if size < 126:
		return bytes((first, size))
	if size < 65536:
		return pack(">BBH", first, 126, size)
	return pack(">BBQ", first, 127, size)


def text_frame(packet: str) -> bytes:
	"""The WebSocket frame of one text packet, as a server sends it."""
	data = packet.encode()
	size = len(data)
	return bytes((0x81, size)) + data if size < 126 else _header(0x81, size) + data


def binary_frame(data: bytes) -> bytes:
	"""The WebSocket frame of one binary message, as a server sends it."""
	return _header(0x82, len(data)) + data


def _frame(message: Message) -> bytes:
	return text_frame(MESSAGE + message) if isinstance(message, str) else binary_frame(message)


class Encoded:
	"""One or more messages that belong together, encoded at most once for each kind of transport."""

	__slots__ = ("_frames", "_packets", "messages")

	def __init__(self, *messages: Message) -> None:
		self.messages = messages
		self._frames: bytes | None = None
		self._packets: str | None = None

	@property
	def frames(self) -> bytes:
		"""The messages as WebSocket frames, end to end, for one write."""
		frames = self._frames
		if frames is None:
			messages = self.messages
			frames = _frame(messages[0]) if len(messages) == 1 else b"".join(map(_frame, messages))
			self._frames = frames
		return frames

	@property
	def packets(self) -> str:
		"""The messages as a polling payload; binary travels as base64."""
		if self._packets is None:
			self._packets = SEPARATOR.join(
				[
					MESSAGE + message if isinstance(message, str) else "b" + b64encode(message).decode()
					for message in self.messages
				]
			)
		return self._packets


def decode_payload(body: bytes, max_packets: int) -> list[tuple[str, Message]]:
	"""Read the body of a polling POST.

	Returns (packet type, data) pairs in order; a binary message has the type `MESSAGE` and bytes as data.
	Raises `PayloadError` for text that is not UTF-8, an unknown or empty packet or bad base64, and `TooManyPackets`.
	"""
	try:
		text = body.decode()
	except UnicodeDecodeError as error:
		raise PayloadError("the payload is not UTF-8") from error
	if text.count(SEPARATOR) >= max_packets:
		raise TooManyPackets(f"more than {max_packets} packets in one payload")
	return [decode_packet(packet) for packet in text.split(SEPARATOR)]


def decode_packet(packet: str) -> tuple[str, Message]:
	"""Read one text packet; raises `PayloadError` when the protocol does not know it."""
	kind = packet[:1]
	if kind == "b":
		try:
			return MESSAGE, b64decode(packet[1:], validate=True)
		except (Base64Error, ValueError) as error:
			raise PayloadError("a binary packet is not base64") from error
	# `in` on a string also matches the empty string, which is no packet.
	if not kind or kind not in "0123456":
		raise PayloadError(f"unknown packet type {kind!r}")
	return kind, packet[1:]
