"""What a worker knows of its place among the workers of the host, and what it says to its supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .handover import SUFFIX

READY, ALIVE = b"r", b"a"
"""What a worker writes to its supervisor: it serves; its event loop runs."""


class Reporter(Protocol):
	"""Reports the state of this process, to systemd or to the supervisor."""

	@property
	def watchdog_seconds(self) -> float:
		"""Seconds after which the process is killed unless `alive` is called; 0 if it is not."""

	def ready(self) -> None:
		"""Say that the process serves."""

	def alive(self) -> None:
		"""Say that the event loop runs."""

	def stopping(self) -> None:
		"""Say that the process ends."""


@dataclass(frozen=True)
class Worker:
	"""One of the workers of a host.

	Args:
		slot: Its number, from 1 on; a successor has the same.
		count: How many workers there are.
		name: Its own name, which no other process has had; its session ids begin with it.
		folder: The folder with the sockets by which workers reach each other; only this user may enter it.
		listening: The listening socket.
		control: The connection to the supervisor.
		watchdog_seconds: As in `Reporter`.
		restarts: How many workers of the host have ended by themselves so far.
		predecessor: The name of the worker that has ended in this slot without a goodbye; empty if there is none.
	"""

	slot: int
	count: int
	name: str
	folder: Path
	listening: socket.socket
	control: socket.socket
	watchdog_seconds: float = 0.0
	restarts: int = 0
	predecessor: str = ""

	def ready(self) -> None:
		"""Tell the supervisor that this worker serves."""
		self._write(READY)

	def alive(self) -> None:
		"""Tell the supervisor that the event loop runs."""
		self._write(ALIVE)

	def stopping(self) -> None:
		"""Do nothing: the supervisor sees the end of the process."""

	def on_supervisor_gone(self, callback: Callable[[], None]) -> None:
		"""Call `callback` when the supervisor has ended: nobody would restart or stop this worker then."""
		loop = asyncio.get_running_loop()

		def read() -> None:
			# The supervisor never writes: the connection becomes readable at its end.
			loop.remove_reader(self.control)
			callback()

		loop.add_reader(self.control, read)

	def remove_folder(self) -> None:
		"""Remove the folder with the sockets, if the supervisor has ended without doing it and no other worker is left."""
		with suppress(OSError):
			if not self.control.recv(1, socket.MSG_DONTWAIT) and not any(self.folder.glob("*" + SUFFIX)):
				for path in self.folder.iterdir():
					path.unlink(missing_ok=True)
				self.folder.rmdir()

	def _write(self, message: bytes) -> None:
		# A supervisor that does not read for a while, as during a reload, has not lost the first of these.
		with suppress(OSError):
			self.control.send(message)
