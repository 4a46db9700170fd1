"""Frames that wait for a client that does not read."""

from __future__ import annotations

JOINED = 1024
"""Frames of fewer bytes are joined; larger ones stay the objects that all recipients share."""

PART = 16 * 1024
"""Bytes after which joined frames begin a new part."""


class UnreadFrames:
	"""Keeps WebSocket frames in about as much memory as they have bytes, however small each of them is."""

	__slots__ = ("parts", "size")

	def __init__(self) -> None:
		self.parts: list[bytes | bytearray] = []
		"""The frames in their order."""
		self.size = 0
		"""Their bytes."""

	def append(self, frames: bytes) -> None:
		"""Add frames at the end."""
		self.size += len(frames)
		if len(frames) >= JOINED:
			self.parts.append(frames)
			return
		last = self.parts[-1] if self.parts else None
		if isinstance(last, bytearray) and len(last) < PART:
			last += frames
		else:
			self.parts.append(bytearray(frames))
