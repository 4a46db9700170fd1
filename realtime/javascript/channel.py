"""The sending side of the IPC channel to the Node process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..json_codec import dumps
from .ipc import encode_frame


class Channel:
	"""Sends operations (see `ipc`) to the Node process that runs now; without one they are discarded.

	The operations of one turn of the event loop are sent in one frame.
	"""

	def __init__(self) -> None:
		self._transport: asyncio.WriteTransport | None = None
		self._operations: list[str] = []
		self._attachments: list[bytes] = []

	@property
	def connected(self) -> bool:
		"""Whether there is a process to send to."""
		return self._transport is not None

	@property
	def unread(self) -> int:
		"""The number of bytes that the process has not read yet."""
		return 0 if self._transport is None else self._transport.get_write_buffer_size()

	def connect(self, transport: asyncio.WriteTransport) -> None:
		"""Send to a new process from now on."""
		self._transport = transport

	def disconnect(self) -> None:
		"""Discard what is not sent yet, and all operations until the next `connect`."""
		self._transport = None
		self._operations, self._attachments = [], []

	def send(self, *operation: Any) -> None:
		"""Send an operation without attachments: its name and values that JSON can hold."""
		if self._transport is not None:
			self.send_encoded(dumps(operation))

	def send_encoded(self, operation: str, attachments: Sequence[bytes] = ()) -> None:
		"""Send an operation that is encoded as JSON, with its attachments."""
		if self._transport is None:
			return
		if not self._operations:
			asyncio.get_running_loop().call_soon(self._flush)
		self._operations.append(operation)
		if attachments:
			self._attachments += attachments

	def _flush(self) -> None:
		operations, self._operations = self._operations, []
		attachments, self._attachments = self._attachments, []
		if self._transport is not None and operations:
			self._transport.write(encode_frame(operations, attachments))
