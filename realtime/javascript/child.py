"""The Node process: starts it, speaks with it, notices when it hangs or dies, and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, cast

from ..config import Config
from . import frames
from .journal import Journal, Lines

logger = logging.getLogger("realtime.javascript")

HOST = Path(__file__).parent / "node" / "host.js"

FIRST_DELAY, LAST_DELAY = 0.2, 30.0
"""Seconds from a death to the next start, doubled with each one that comes soon."""

STEADY = 60.0
"""Seconds after which a process counts as one that works."""

LINGER = 2.0
"""Seconds that a process has for its end once it does not listen any more."""

GRACE = 0.2
"""Seconds for an answer that has come and was not read."""

BREATH = 0.05
"""Seconds for which a process that prints too much is not listened to."""

MAX_UNREAD = 64 * 1024 * 1024
"""Bytes that the process may leave unread; past them it is ended as one that hangs."""


class Owner(Protocol):
	"""What the process works for."""

	def started(self) -> None:
		"""A new process, which knows nothing yet, takes operations from now on."""

	def received(self, operations: list[Any], attachments: list[bytes]) -> None:
		"""The process has sent operations."""

	def died(self) -> None:
		"""The process is gone; another one will be started."""


def find_node(config: Config) -> str | None:
	"""The Node to run: what `realtime_node` names, else the one on PATH; None when there is none."""
	return shutil.which(config.realtime_node or "node")


class Child:
	"""One Node process at a time, from `start` to `stop`."""

	def __init__(self, config: Config, node: str, owner: Owner, journal: Journal) -> None:
		self.starts = 0
		self._node = node
		self._bench = config.bench
		self._patience: float = config.realtime_javascript_timeout
		self._owner = owner
		self._journal = journal
		self._task: asyncio.Task[None] | None = None
		self._transport: asyncio.WriteTransport | None = None
		self._process: asyncio.SubprocessTransport | None = None
		self._operations: list[str] = []
		self._attachments: list[bytes] = []
		self._pings = 0
		self._pongs = 0
		self._wanted_now = asyncio.Event()

	@property
	def pid(self) -> int | None:
		"""The id of the process that runs, None while there is none."""
		return self._process.get_pid() if self._process is not None else None

	@property
	def unread(self) -> int:
		"""Bytes that the process has not taken yet."""
		return self._transport.get_write_buffer_size() if self._transport is not None else 0

	def start(self) -> None:
		"""Start the process, and start it again whenever it dies."""
		if self._task is None:
			self._task = asyncio.get_running_loop().create_task(self._keep_alive())

	async def stop(self) -> None:
		"""End the process for good."""
		if self._task is not None:
			self._task.cancel()
			with contextlib.suppress(asyncio.CancelledError):
				await self._task
			self._task = None

	def restart(self) -> None:
		"""End the process; a new one follows at once."""
		self._wanted_now.set()
		if self._process is not None:
			self._process.kill()

	def send(self, operation: str, attachments: list[bytes] | None = None) -> None:
		"""Queue one operation, as JSON, for the frame of this turn of the loop. Without a process it is dropped."""
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
			self._transport.write(frames.encode(operations, attachments))

	async def _keep_alive(self) -> None:
		loop = asyncio.get_running_loop()
		delay = FIRST_DELAY
		while True:
			began = loop.time()
			try:
				await self._run()
			except OSError as error:
				logger.error("%s cannot be started (realtime_node): %s", self._node, error)
			if loop.time() - began > STEADY or self._wanted_now.is_set():
				delay = FIRST_DELAY
			with contextlib.suppress(asyncio.TimeoutError):
				await asyncio.wait_for(self._wanted_now.wait(), delay)
			self._wanted_now.clear()
			delay = min(delay * 2, LAST_DELAY)

	async def _run(self) -> None:
		"""One life of the process."""
		loop = asyncio.get_running_loop()
		ended: asyncio.Future[None] = loop.create_future()
		with contextlib.ExitStack() as stack:
			note = stack.enter_context(tempfile.TemporaryFile(buffering=0))
			ours, theirs = socket.socketpair()
			stack.callback(ours.close)
			with theirs:
				fds = (theirs.fileno(), note.fileno())
				process, _ = await loop.subprocess_exec(
					lambda: _Output(self._journal, ended),
					self._node,
					str(HOST),
					*map(str, fds),
					stdin=asyncio.subprocess.DEVNULL,
					pass_fds=fds,
					cwd=self._bench,
					env={**os.environ, "FRAPPE_BENCH_ROOT": str(self._bench)},
					preexec_fn=_end_with_parent,
				)
			stack.callback(_end, process)
			transport, _ = await loop.create_unix_connection(
				lambda: _Input(self._received, self._forget), sock=ours
			)
			stack.callback(transport.close)
			stack.callback(self._forget)
			self.starts += 1
			self._process, self._transport = process, transport
			logger.info("Node runs the JavaScript handlers as process %s", process.get_pid())
			self._owner.started()
			await self._watch(process, ended, note)

	def _forget(self) -> None:
		"""The process does not listen any more; its end follows, or is brought about."""
		if self._transport is None:
			return
		if self._process is not None:
			asyncio.get_running_loop().call_later(LINGER, _kill, self._process)
		self._transport = self._process = None
		self._operations, self._attachments = [], []
		self._owner.died()

	async def _watch(
		self, process: asyncio.SubprocessTransport, ended: asyncio.Future[None], note: IO[bytes]
	) -> None:
		"""Wait for the end of the process, and bring it about when it answers no ping for too long."""
		self._pings = self._pongs = 0
		while not ended.done():
			self._pings += 1
			self.send(f'["ping",{self._pings}]')
			await asyncio.wait([ended], timeout=self._patience)
			if self._pongs != self._pings:
				# The sidecar itself may have been busy all the time, and the answer not read yet.
				await asyncio.wait([ended], timeout=GRACE)
			if self._pongs != self._pings and not ended.done():
				logger.error(
					"the Node process has not answered for %g s (realtime_javascript_timeout) and is ended; the last"
					" handler that it began is %s",
					self._patience,
					_read_note(note.fileno()),
				)
				process.kill()
				await ended
		code = process.get_returncode()
		if code is not None:
			logger.warning("the Node process of the JavaScript handlers ended %s", _describe(code))

	def _received(self, data: list[Any], attachments: list[bytes]) -> None:
		for operation in data:
			if operation[0] == "pong":
				self._pongs = operation[1]
		self._owner.received(data, attachments)
		if self.unread > MAX_UNREAD and self._process is not None:
			logger.error("the Node process has left %s bytes unread and is ended", self.unread)
			self._process.kill()


def _read_note(file: int) -> str:
	"""What the process has written when it began something: a length and the text."""
	note = os.pread(file, 256, 0)
	return note[1 : 1 + note[0]].decode(errors="replace") if note else "none"


def _kill(process: asyncio.SubprocessTransport) -> None:
	if process.get_returncode() is None:
		with contextlib.suppress(ProcessLookupError):
			process.kill()


def _end(process: asyncio.SubprocessTransport) -> None:
	_kill(process)
	process.close()


def _describe(code: int) -> str:
	if code < 0:
		return f"by {signal.Signals(-code).name}"
	return f"with exit code {code}"


if sys.platform == "linux":
	_LIBC = ctypes.CDLL(None)
	_PR_SET_PDEATHSIG = 1

	def _end_with_parent() -> None:
		# A handler that never returns would not see that the sidecar is gone.
		_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
else:

	def _end_with_parent() -> None:
		pass


class _Input(asyncio.Protocol):
	"""What the process sends."""

	def __init__(self, received: Callable[[list[Any], list[bytes]], None], lost: Callable[[], None]) -> None:
		self._received = received
		self._lost = lost
		self._decoder = frames.Decoder()
		self._transport: asyncio.BaseTransport | None = None

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self._transport = transport

	def data_received(self, data: bytes) -> None:
		try:
			for operations, attachments in self._decoder.feed(data):
				self._received(operations, attachments)
		except frames.FrameError:
			logger.exception("the Node process sent something else than frames and is ended")
			if self._transport is not None:
				self._transport.close()

	def connection_lost(self, exc: Exception | None) -> None:
		self._lost()


class _Output(asyncio.SubprocessProtocol):
	"""What the process prints, and its end."""

	def __init__(self, journal: Journal, ended: asyncio.Future[None]) -> None:
		self._journal = journal
		self._ended = ended
		self._lines = {1: Lines(), 2: Lines()}
		self._process: asyncio.SubprocessTransport

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports are asyncio's in all but their base class.
		self._process = cast(asyncio.SubprocessTransport, transport)

	def pipe_data_received(self, fd: int, data: bytes) -> None:
		taken = [self._journal.take(line) for line in self._lines[fd].feed(data)]
		if not all(taken):
			# Reading what is only thrown away must not take the time of all others; who prints it waits meanwhile.
			pipe = cast(asyncio.ReadTransport, self._process.get_pipe_transport(fd))
			pipe.pause_reading()
			asyncio.get_running_loop().call_later(BREATH, _read_on, pipe)

	def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
		rest = self._lines[fd].end()
		if rest:
			self._journal.take(rest)

	def process_exited(self) -> None:
		if not self._ended.done():
			self._ended.set_result(None)


def _read_on(pipe: asyncio.ReadTransport) -> None:
	if not pipe.is_closing():
		pipe.resume_reading()
