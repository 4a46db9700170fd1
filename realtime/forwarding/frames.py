"""The frames on a link: a kind, the number of a stream, the length of the payload, and the payload.

A link is one TCP connection between two sidecars that carries many streams, each with the bytes of one TCP connection of a
client. Numbers are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

OPEN = 1
"""Opens a stream; the payload is the address of the client's TCP connection."""

DATA = 2
"""Bytes of a stream."""

CREDIT = 3
"""The receiver of a stream has passed on as many bytes as the payload says, and more may follow."""

END = 4
"""From the owner: the response is complete. The client may send another request on its TCP connection."""

CLOSE = 5
"""From the owner: the client's TCP connection is closed when the client has read everything."""

RESET = 6
"""The stream ends at once, with what was not passed on yet."""

DRAIN = 7
"""To the owner: the other end stops. The owner ends the stream as soon as it can do so without a loss."""

PING, PONG = 8, 9
"""Show that the other end is alive; they belong to no stream."""

DONE = 10
"""To the owner, after `END` or `CLOSE`: the TCP connection of the client has taken everything, and the stream ends."""

KINDS = frozenset((OPEN, DATA, CREDIT, END, CLOSE, RESET, DRAIN, PING, PONG, DONE))

MAX_DATA = 16 * 1024
"""Bytes of the largest payload, so that no stream keeps the others waiting for long."""

_HEAD = struct.Struct("!BQH")
_COUNT = struct.Struct("!I")

Frame = tuple[int, int, bytes]
"""Kind, number of the stream, and payload."""


class FrameError(ValueError):
	"""The received bytes are not a frame."""


def encode(kind: int, stream: int = 0, payload: bytes = b"") -> bytes:
	"""Return a frame.

	Args:
		kind: One of `KINDS`.
		stream: The number of the stream; 0 for a frame that belongs to none.
		payload: At most `MAX_DATA` bytes.
	"""
	return _HEAD.pack(kind, stream, len(payload)) + payload


def encode_count(count: int) -> bytes:
	"""Return the payload of a `CREDIT` frame."""
	return _COUNT.pack(count)


def read_count(payload: bytes) -> int:
	"""Return the number of bytes in the payload of a `CREDIT` frame.

	Raises:
		FrameError: The payload has another size.
	"""
	if len(payload) != _COUNT.size:
		raise FrameError("a credit of another size")
	(count,) = _COUNT.unpack(payload)
	return int(count)


class FrameParser:
	"""Reads frames from received bytes. Keeps at most one incomplete frame."""

	def __init__(self) -> None:
		self._rest = b""

	def feed(self, data: bytes) -> Iterator[Frame]:
		"""Yield the frames that are complete with `data`.

		Raises:
			FrameError: The kind is unknown, or the payload too large.
		"""
		data = self._rest + data if self._rest else data
		start, size = 0, len(data)
		self._rest = b""
		while size - start >= _HEAD.size:
			kind, stream, length = _HEAD.unpack_from(data, start)
			if kind not in KINDS or length > MAX_DATA:
				raise FrameError(f"a frame of kind {kind} with {length} bytes")
			end = start + _HEAD.size + length
			if end > size:
				break
			yield kind, stream, data[start + _HEAD.size : end]
			start = end
		self._rest = data[start:]
