"""Engine.IO packets: the polling payload in both directions, and messages that are encoded once for all recipients.

Protocol v4: https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md, "Packet encoding".
"""

from base64 import b64decode, b64encode
from struct import pack

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
"""Packet types."""

SEPARATOR = "\x1e"
"""Stands between the packets of a polling payload."""

Message = str | bytes
"""The data of a message packet: text, or binary."""


class PayloadError(ValueError):
	"""A payload or packet that the protocol does not allow; the connection that sent it is closed."""


class TooManyPackets(PayloadError):
	"""A payload with more packets than the limit."""


def _frame_header(first_byte: int, size: int) -> bytes:
	"""Return the header of a final, unmasked frame (RFC 6455, section 5.2).

	Not built by `websockets`: its frame object takes 3 of the 20 µs that an event to one user costs.
	"""
	if size < 126:
		return bytes((first_byte, size))
	if size < 65536:
		return pack(">BBH", first_byte, 126, size)
	return pack(">BBQ", first_byte, 127, size)


def text_frame(packet: str) -> bytes:
	"""Return the WebSocket frame of one text packet, as a server sends it."""
	data = packet.encode()
	size = len(data)
	return bytes((0x81, size)) + data if size < 126 else _frame_header(0x81, size) + data


def binary_frame(data: bytes) -> bytes:
	"""Return the WebSocket frame of one binary message, as a server sends it."""
	return _frame_header(0x82, len(data)) + data


def _message_frame(message: Message) -> bytes:
	return text_frame(MESSAGE + message) if isinstance(message, str) else binary_frame(message)


class Encoded:
	"""One or more messages that are sent together, encoded at most once for each transport.

	Args:
		messages: Text or binary, in the order in which they are sent.
	"""

	__slots__ = ("_frames", "_packets", "messages")

	def __init__(self, *messages: Message) -> None:
		self.messages = messages
		self._frames: bytes | None = None
		self._packets: str | None = None

	@property
	def frames(self) -> bytes:
		"""The messages as consecutive WebSocket frames, for one write."""
		frames = self._frames
		if frames is None:
			messages = self.messages
			frames = (
				_message_frame(messages[0]) if len(messages) == 1 else b"".join(map(_message_frame, messages))
			)
			self._frames = frames
		return frames

	@property
	def packets(self) -> str:
		"""The messages as a polling payload; binary is encoded as base64."""
		if self._packets is None:
			self._packets = SEPARATOR.join(
				[
					MESSAGE + message if isinstance(message, str) else "b" + b64encode(message).decode()
					for message in self.messages
				]
			)
		return self._packets


def decode_payload(body: bytes, max_packets: int) -> list[tuple[str, Message]]:
	"""Decode the body of a polling POST.

	Returns:
		Pairs of packet type and data, in order. A binary message has the type `MESSAGE` and bytes as data.

	Raises:
		TooManyPackets: If there are more than `max_packets`.
		PayloadError: If the body is not UTF-8, or a packet is empty, of unknown type or not valid base64.
	"""
	try:
		text = body.decode()
	except UnicodeDecodeError as error:
		raise PayloadError("the payload is not UTF-8") from error
	if text.count(SEPARATOR) >= max_packets:
		raise TooManyPackets(f"more than {max_packets} packets in one payload")
	return [decode_packet(packet) for packet in text.split(SEPARATOR)]


def decode_packet(packet: str) -> tuple[str, Message]:
	"""Decode one text packet into its type and data.

	Raises:
		PayloadError: If the type is unknown, or a binary packet is not valid base64.
	"""
	packet_type = packet[:1]
	if packet_type == "b":
		try:
			# The Java client breaks its base64 into lines (RFC 2045, section 6.8).
			return MESSAGE, b64decode(packet[1:].replace("\r", "").replace("\n", ""), validate=True)
		except ValueError as error:
			raise PayloadError("a binary packet is not base64") from error
	# `in` also matches the empty string.
	if not packet_type or packet_type not in "0123456":
		raise PayloadError(f"unknown packet type {packet_type!r}")
	return packet_type, packet[1:]
