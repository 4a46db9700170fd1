"""Frames between the sidecar and its Node process: operations as JSON, and the binary arguments that belong to them.

A frame is its length (4 bytes), the length of its JSON (4 bytes), the JSON, and attachments, each with its length
(4 bytes) before it. The JSON is a list of operations, lists that begin with a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..json_codec import loads

MAX_FRAME = 64 * 1024 * 1024
"""Bytes; whoever sends more in one turn of the loop would take the memory of all others."""


class FrameError(ValueError):
	"""What came is no frame."""


def encode(operations: Sequence[str], attachments: Sequence[bytes]) -> bytes:
	"""One frame of `operations`, each as its JSON text."""
	json = f"[{','.join(operations)}]".encode()
	size = 4 + len(json) + sum(4 + len(attachment) for attachment in attachments)
	parts = [size.to_bytes(4, "big"), len(json).to_bytes(4, "big"), json]
	for attachment in attachments:
		parts += (len(attachment).to_bytes(4, "big"), attachment)
	return b"".join(parts)


class Decoder:
	"""Cuts a stream of bytes into frames."""

	def __init__(self) -> None:
		self._buffer = bytearray()

	def feed(self, data: bytes) -> Iterator[tuple[list[Any], list[bytes]]]:
		"""The operations and attachments of each frame that `data` completes. Raises `FrameError`."""
		self._buffer += data
		while len(self._buffer) >= 4:
			end = 4 + int.from_bytes(self._buffer[:4], "big")
			if end > MAX_FRAME:
				raise FrameError(f"a frame of {end} bytes")
			if len(self._buffer) < end:
				return
			frame = bytes(self._buffer[4:end])
			del self._buffer[:end]
			yield _decode(frame)


def _decode(frame: bytes) -> tuple[list[Any], list[bytes]]:
	at = 4 + int.from_bytes(frame[:4], "big")
	try:
		operations = loads(frame[4:at])
	except ValueError as error:
		raise FrameError("the operations are no JSON") from error
	attachments = []
	while at < len(frame):
		start = at + 4
		at = start + int.from_bytes(frame[at:start], "big")
		attachments.append(frame[start:at])
	if not isinstance(operations, list) or at != len(frame):
		raise FrameError("a frame that is cut off")
	return operations, attachments
