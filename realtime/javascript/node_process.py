"""The Node process: started, watched and restarted."""

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
from ..histogram import LATENCY_BOUNDS
from .channel import Channel
from .ipc import FrameDecoder, FrameError
from .process_log import LineSplitter, ProcessLog

logger = logging.getLogger("realtime.javascript")

MAIN = Path(__file__).parent / "node" / "main.js"

MIN_RESTART_DELAY, MAX_RESTART_DELAY = 0.2, 30.0
"""Seconds before a restart; doubled for each process that ends within `STABLE_SECONDS`."""

STABLE_SECONDS = 60.0
"""How long a process has to run for the restart delay to be reset."""

EXIT_TIMEOUT = 2.0
"""Seconds that a process has to exit after it closed the channel; then it is killed."""

PONG_GRACE = 0.2
"""Seconds in which a pong that was received in time, but not read, can still be read."""

OUTPUT_PAUSE = 0.05
"""Seconds for which the output of a process above the rate limit of the log is not read."""

MAX_UNREAD = 64 * 1024 * 1024
"""Most bytes that the process may leave unread; beyond, it is killed."""

ACTIVITY_BYTES = 256
"""Size of the activity file, in which the process writes what it does: the length of the text in one byte, the text."""


class ProcessListener(Protocol):
	"""Handles the events of the process."""

	def on_process_started(self) -> None:
		"""Handle that a new process runs, which has no state. The channel is connected."""

	def on_operations(self, operations: list[Any], attachments: list[bytes]) -> None:
		"""Handle the operations of one frame."""

	def on_process_ended(self) -> None:
		"""Handle that the process is gone. The channel is disconnected, and another process will be started."""


def find_node(config: Config) -> str | None:
	"""Return the path of the Node to run: `realtime_node`, else `node` on PATH; None if it does not exist."""
	return shutil.which(config.realtime_node or "node")


class ProcessSupervisor:
	"""Keeps one Node process running, from `start` to `stop`.

	Args:
		config: The configuration.
		channel: Connected to the process that runs.
		listener: Handles the events of the process.
		log: Logs the output of the process.
	"""

	def __init__(self, config: Config, channel: Channel, listener: ProcessListener, log: ProcessLog) -> None:
		self.starts = 0
		"""How many processes have been started."""
		self._bench = config.bench
		self._web_url = config.web_url
		self._timeout = config.realtime_javascript_timeout
		self._channel = channel
		self._listener = listener
		self._log = log
		self._task: asyncio.Task[None] | None = None
		self._process: asyncio.SubprocessTransport | None = None
		self._last_ping = 0
		self._answered_ping = 0
		"""The last ping before the newest frame of the process was read."""
		self._restart_now = asyncio.Event()

	@property
	def started(self) -> bool:
		"""Whether there is a process, or one is about to be started."""
		return self._task is not None

	@property
	def pid(self) -> int | None:
		"""The id of the process; None while there is none."""
		return None if self._process is None else self._process.get_pid()

	def start(self, node: str) -> None:
		"""Start the process, and restart it whenever it ends.

		Args:
			node: The path of the Node to run.
		"""
		if self._task is None:
			self._task = asyncio.get_running_loop().create_task(self._keep_running(node))

	async def stop(self) -> None:
		"""Kill the process, and start no other."""
		if self._task is not None:
			self._task.cancel()
			with contextlib.suppress(asyncio.CancelledError):
				await self._task
			self._task = None

	def restart(self) -> None:
		"""Kill the process and start another one without delay, if it was started."""
		if self._task is None:
			return
		self._restart_now.set()
		if self._process is not None:
			self._process.kill()

	async def _keep_running(self, node: str) -> None:
		loop = asyncio.get_running_loop()
		delay = MIN_RESTART_DELAY
		while True:
			started_at = loop.time()
			try:
				await self._run(node)
			except OSError as error:
				logger.error("%s (realtime_node) cannot be started: %s", node, error)
			if loop.time() - started_at > STABLE_SECONDS or self._restart_now.is_set():
				delay = MIN_RESTART_DELAY
			with contextlib.suppress(asyncio.TimeoutError):
				await asyncio.wait_for(self._restart_now.wait(), delay)
			self._restart_now.clear()
			delay = min(delay * 2, MAX_RESTART_DELAY)

	async def _run(self, node: str) -> None:
		"""Run one process until it ends."""
		loop = asyncio.get_running_loop()
		ended: asyncio.Future[None] = loop.create_future()
		with contextlib.ExitStack() as stack:
			activity = stack.enter_context(tempfile.TemporaryFile(buffering=0))
			ours, theirs = socket.socketpair()
			stack.callback(ours.close)
			with theirs:
				fds = (theirs.fileno(), activity.fileno())
				process, _ = await loop.subprocess_exec(
					lambda: _OutputProtocol(self._log, ended),
					node,
					str(MAIN),
					*map(str, fds),
					self._web_url,
					",".join(map(str, LATENCY_BOUNDS)),
					str(self.starts),
					stdin=asyncio.subprocess.DEVNULL,
					pass_fds=fds,
					cwd=self._bench,
					env={**os.environ, "FRAPPE_BENCH_ROOT": str(self._bench)},
					preexec_fn=_end_with_parent,
				)
			stack.callback(_kill_and_close, process)
			transport, _ = await loop.create_unix_connection(
				lambda: _ChannelProtocol(self._on_frame, self._on_channel_closed), sock=ours
			)
			stack.callback(transport.close)
			stack.callback(self._on_channel_closed)
			self.starts += 1
			self._process = process
			self._channel.connect(transport)
			logger.info("Node runs the JavaScript handlers as process %s", process.get_pid())
			self._listener.on_process_started()
			await self._watch(process, ended, activity)

	def _on_channel_closed(self) -> None:
		"""Handle that the process has ended, or will: it closes the channel only then."""
		if not self._channel.connected:
			return
		if self._process is not None:
			asyncio.get_running_loop().call_later(EXIT_TIMEOUT, _kill, self._process)
		self._process = None
		self._channel.disconnect()
		self._listener.on_process_ended()

	async def _watch(
		self, process: asyncio.SubprocessTransport, ended: asyncio.Future[None], activity: IO[bytes]
	) -> None:
		"""Wait until the process ends; kill it if it does not respond to a ping in time."""
		self._last_ping = self._answered_ping = 0
		while not ended.done():
			self._last_ping += 1
			self._channel.send("ping", self._last_ping)
			await asyncio.wait([ended], timeout=self._timeout)
			if self._answered_ping != self._last_ping:
				# The sidecar itself may have been busy, with the pong not read yet.
				await asyncio.wait([ended], timeout=PONG_GRACE)
			if self._answered_ping != self._last_ping and not ended.done():
				logger.error(
					"the Node process has not responded for %g s (realtime_javascript_timeout) and is killed; the last"
					" handler that it began is %s",
					self._timeout,
					_read_activity(activity.fileno()),
				)
				process.kill()
				await ended
		code = process.get_returncode()
		if code is not None:
			logger.warning("the Node process of the JavaScript handlers ended %s", _describe_exit(code))

	def _on_frame(self, operations: list[Any], attachments: list[bytes]) -> None:
		# Any frame answers the ping: the pong comes after all events that the process has not handled yet.
		self._answered_ping = self._last_ping
		requests = [operation for operation in operations if operation[0] != "pong"]
		self._listener.on_operations(requests, attachments)
		if self._channel.unread > MAX_UNREAD and self._process is not None:
			logger.error("the Node process has left %s bytes unread and is killed", self._channel.unread)
			self._process.kill()


def _read_activity(file: int) -> str:
	"""Return what the process has begun last."""
	content = os.pread(file, ACTIVITY_BYTES, 0)
	return content[1 : 1 + content[0]].decode(errors="replace") if content else "none"


def _kill(process: asyncio.SubprocessTransport) -> None:
	if process.get_returncode() is None:
		with contextlib.suppress(ProcessLookupError):
			process.kill()


def _kill_and_close(process: asyncio.SubprocessTransport) -> None:
	_kill(process)
	process.close()


def _describe_exit(code: int) -> str:
	if code < 0:
		return f"by {signal.Signals(-code).name}"
	return f"with exit code {code}"


if sys.platform == "linux":
	_LIBC = ctypes.CDLL(None)
	_PR_SET_PDEATHSIG = 1

	def _end_with_parent() -> None:
		# A process whose handler never returns would not notice that the sidecar was killed.
		_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
else:

	def _end_with_parent() -> None:
		pass


class _ChannelProtocol(asyncio.Protocol):
	"""Decodes the frames that the process sends."""

	def __init__(
		self, on_frame: Callable[[list[Any], list[bytes]], None], on_closed: Callable[[], None]
	) -> None:
		self._on_frame = on_frame
		self._on_closed = on_closed
		self._decoder = FrameDecoder()
		self._transport: asyncio.BaseTransport | None = None

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self._transport = transport

	def data_received(self, data: bytes) -> None:
		try:
			for operations, attachments in self._decoder.feed(data):
				self._on_frame(operations, attachments)
		except FrameError:
			logger.exception("the Node process sent an invalid frame and is killed")
			if self._transport is not None:
				self._transport.close()

	def connection_lost(self, exc: Exception | None) -> None:
		self._on_closed()


class _OutputProtocol(asyncio.SubprocessProtocol):
	"""Logs standard output and standard error of the process, and notices its end."""

	def __init__(self, log: ProcessLog, ended: asyncio.Future[None]) -> None:
		self._log = log
		self._ended = ended
		self._lines = {1: LineSplitter(), 2: LineSplitter()}
		self._process: asyncio.SubprocessTransport

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# The transports of uvloop have the methods of asyncio's, but not the base class.
		self._process = cast(asyncio.SubprocessTransport, transport)

	def pipe_data_received(self, fd: int, data: bytes) -> None:
		written = [self._log.write(line) for line in self._lines[fd].feed(data)]
		if not all(written):
			# Output that is discarded must not take the time of the event loop. A full pipe stops the process that writes it.
			pipe = cast(asyncio.ReadTransport, self._process.get_pipe_transport(fd))
			pipe.pause_reading()
			asyncio.get_running_loop().call_later(OUTPUT_PAUSE, _resume_reading, pipe)

	def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
		rest = self._lines[fd].end()
		if rest:
			self._log.write(rest)

	def process_exited(self) -> None:
		if not self._ended.done():
			self._ended.set_result(None)


def _resume_reading(pipe: asyncio.ReadTransport) -> None:
	if not pipe.is_closing():
		pipe.resume_reading()
