"""The frame reader of `websockets`, which also knows whether it is between two frames."""

from __future__ import annotations

import logging
from collections.abc import Generator

from websockets.protocol import SERVER, Protocol
from websockets.streams import StreamReader

# The protocol of `websockets` logs each closed connection at level INFO; the layers above log what matters of it.
logger = logging.getLogger("realtime.engine.websocket")
logger.setLevel(logging.WARNING)


class _BoundaryReader(StreamReader):
	"""Knows whether the parser waits for the begin of a frame: it asks for the end of the stream there, and nowhere else.

	An empty buffer does not tell: the parser may have taken the head of a frame and wait for the rest.
	"""

	def __init__(self) -> None:
		super().__init__()
		self.between_frames = False

	def at_eof(self) -> Generator[None, None, bool]:
		self.between_frames = True
		at_end = yield from super().at_eof()
		self.between_frames = False
		return at_end


class FrameReader(Protocol):
	"""Reads the frames of a client.

	Args:
		max_size: Most bytes of a message.
	"""

	def __init__(self, max_size: int) -> None:
		super().__init__(SERVER, max_size=max_size, logger=logger)
		self._boundary = self.reader = _BoundaryReader()
		# The parser of the base class reads from the reader that was replaced.
		self.parser = self.parse()
		next(self.parser)

	@property
	def between_frames(self) -> bool:
		"""True if all frames that have begun are complete."""
		return self._boundary.between_frames
