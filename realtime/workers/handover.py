"""Hands TCP connections over between the workers of a host.

A worker that accepts a request for a session of another worker sends the connection's file descriptor, with the bytes that it
has read, to a datagram socket of that worker (SCM_RIGHTS, unix(7)). A datagram is received whole or not at all: if the
owner dies before, the kernel closes the descriptor, and the client connects anew. The sockets are in a folder that only the
user of the sidecar may enter. Whether an owner exists is seen from its socket, without a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from ..engine import IncomingRequest, RequestRefused
from ..engine.errors import BAD_REQUEST, UNKNOWN_SID
from ..engine.waiting import wait_while

logger = logging.getLogger("realtime.workers")

SUFFIX = ".handover"

LEAVING = ".leaving"
"""The suffix of the file of a worker that stops: it takes requests for its own sessions only."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names of workers, so that no session id leads to a file outside the folder."""

INLINE = 64 * 1024
"""Bytes of a request that are sent in the datagram itself; more are sent as a second descriptor, of a file in memory."""

BATCH = 64
"""Connections that are received in one turn of the event loop."""

CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

KEY = "realtime_handovers_waiting"


class _Channel:
	"""The channel to one other worker: a connected datagram socket, and the requests that wait until it can receive more."""

	def __init__(self, path: Path) -> None:
		self.path = path
		self.waiting: deque[IncomingRequest] = deque()
		self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self.socket.setblocking(False)
		try:
			self.socket.connect(str(path))
		except OSError:
			self.socket.close()
			raise

	def transmit(self, request: IncomingRequest) -> None:
		"""Send a connection, and release it.

		Raises:
			BlockingIOError: The worker has not received earlier ones yet.
			OSError: The worker is gone, or the connection cannot be sent.
		"""
		descriptor = request.transport.get_extra_info("socket").fileno()
		data = request.received
		if len(data) <= INLINE:
			socket.send_fds(self.socket, [data], [descriptor])
		else:
			with _file_with(data) as rest:
				socket.send_fds(self.socket, [b"\0"], [descriptor, rest.fileno()])
		request.handed_over()


def _file_with(data: bytes) -> IO[bytes]:
	"""Return a file without a name, with this content; in memory where the system has memfd_create."""
	if hasattr(os, "memfd_create"):
		file: IO[bytes] = os.fdopen(os.memfd_create("request"), "w+b")
	else:
		file = TemporaryFile()  # noqa: SIM115
	file.write(data)
	file.flush()
	return file


class _Adopted(asyncio.Protocol):
	"""Gives the protocol of a connection first the bytes that another worker has read from it."""

	def __init__(self, protocol: asyncio.Protocol, received: bytes) -> None:
		self._protocol = protocol
		self._received = received

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		assert hasattr(transport, "set_protocol")
		transport.set_protocol(self._protocol)
		self._protocol.connection_made(transport)
		if self._received:
			self._protocol.data_received(self._received)


class WorkerHandover:
	"""Passes requests to the other workers of the host, and receives what they pass on.

	Args:
		folder: The folder with the sockets of the workers.
		name: The name of this worker.
		max_waiting: Most connections that wait for other workers; further ones are refused.
		on_limit: Called with the key of the limit when it is reached.
	"""

	def __init__(self, folder: Path, name: str, max_waiting: int, on_limit: Callable[[str], None]) -> None:
		self.name = name
		self.sent = 0
		"""Connections that other workers have received."""
		self.received = 0
		"""Connections of other workers."""
		self.lost = 0
		"""Connections that could not be received or attached; their clients connect anew."""
		self._folder = folder
		self._max_waiting = max_waiting
		self._on_limit = on_limit
		self._channels: dict[str, _Channel] = {}
		self._protocol: Callable[[], asyncio.Protocol] | None = None
		self._socket: socket.socket | None = None
		self._attaching: set[asyncio.Task[None]] = set()

	# -- to other workers

	@property
	def waiting(self) -> int:
		"""The number of connections that wait until another worker can receive them."""
		return sum(len(channel.waiting) for channel in self._channels.values())

	def send(self, owner: str, request: IncomingRequest) -> bool:
		"""Hand the TCP connection of `request` over to the worker `owner`.

		Returns:
			False if there is no such worker.

		Raises:
			RequestRefused: Too many connections wait for the worker.
		"""
		channel = self._channel_to(owner)
		if channel is None:
			return False
		if not channel.waiting:
			try:
				channel.transmit(request)
			except BlockingIOError:
				pass
			except OSError as error:
				self._forget(owner, error)
				return False
			else:
				self.sent += 1
				return True
		if self.waiting >= self._max_waiting:
			self._on_limit(KEY)
			raise RequestRefused(BAD_REQUEST, f"Too many requests ({KEY})", 503)
		channel.waiting.append(request)
		if len(channel.waiting) == 1:
			asyncio.get_running_loop().add_writer(channel.socket, self._on_writable, owner, channel)
		return True

	def send_to_any(self, request: IncomingRequest) -> bool:
		"""Hand the TCP connection of `request` over to any other worker.

		Returns:
			False if there is none that can receive it.
		"""
		for name in self._others():
			with suppress(RequestRefused):
				if self.send(name, request):
					return True
		return False

	def has_others(self) -> bool:
		"""Return True if there is another worker that does not stop."""
		return any(True for _ in self._others())

	def _others(self) -> Iterator[str]:
		for path in self._folder.glob("*" + SUFFIX):
			name = path.name.removesuffix(SUFFIX)
			if name != self.name and not path.with_suffix(LEAVING).exists():
				yield name

	def _channel_to(self, owner: str) -> _Channel | None:
		channel = self._channels.get(owner)
		if channel is None and NAME.fullmatch(owner):
			with suppress(OSError):
				channel = _Channel(self._folder / (owner + SUFFIX))
				# Close those to workers that have ended, to which no request was sent since.
				for name in [name for name, other in self._channels.items() if not other.path.exists()]:
					self._forget(name)
				self._channels[owner] = channel
		return channel

	def _on_writable(self, owner: str, channel: _Channel) -> None:
		while channel.waiting:
			request = channel.waiting[0]
			if not request.transport.is_closing():
				try:
					channel.transmit(request)
				except BlockingIOError:
					return
				except OSError as error:
					self._forget(owner, error)
					return
				self.sent += 1
			channel.waiting.popleft()
		asyncio.get_running_loop().remove_writer(channel.socket)

	def _forget(self, owner: str, error: OSError | None = None) -> None:
		"""Close the channel to a worker, and refuse what waits for it."""
		if error is not None and not isinstance(error, ConnectionError | FileNotFoundError):
			logger.warning("a connection cannot be handed over to another worker: %s", error)
		channel = self._channels.pop(owner)
		if channel.waiting:
			asyncio.get_running_loop().remove_writer(channel.socket)
		channel.socket.close()
		for request in channel.waiting:
			if not request.transport.is_closing():
				request.refuse(RequestRefused(UNKNOWN_SID))

	# -- from other workers

	def start(self, protocol: Callable[[], asyncio.Protocol]) -> None:
		"""Receive connections from now on.

		Args:
			protocol: Creates the protocol of a connection.

		Raises:
			OSError: The socket cannot be made.
		"""
		self._protocol = protocol
		path = self._folder / (self.name + SUFFIX)
		self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self._socket.setblocking(False)
		self._socket.bind(str(path))
		asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

	def leave(self) -> None:
		"""Let the other workers send requests for sessions of this one only."""
		with suppress(OSError):
			(self._folder / (self.name + LEAVING)).touch()

	async def drain(self, timeout: float) -> None:
		"""Wait at most `timeout` seconds until no connection waits for another worker.

		If `stop` is called in the same turn of the event loop in which this returns, none is lost between the two.
		"""
		await wait_while(lambda: self.waiting, timeout)

	def stop(self) -> None:
		"""Receive no more connections, and send none; those that wait are refused."""
		if self._socket is not None:
			for suffix in (SUFFIX, LEAVING):
				(self._folder / (self.name + suffix)).unlink(missing_ok=True)
			# Others may have sent connections before they could see that; with the socket, the kernel would close them.
			while self._receive():
				pass
			asyncio.get_running_loop().remove_reader(self._socket)
			self._socket.close()
			self._socket = None
		for owner in list(self._channels):
			self._forget(owner)

	def _on_readable(self) -> None:
		for _ in range(BATCH):
			if not self._receive():
				return

	def _receive(self) -> bool:
		"""Receive one connection; returns False if none waits."""
		assert self._socket is not None
		try:
			data, descriptors, _, _ = socket.recv_fds(self._socket, INLINE, 2, CLOSE_ON_EXEC)
		except BlockingIOError:
			return False
		except OSError as error:
			logger.warning("cannot receive a connection of another worker: %s", error)
			return False
		if not descriptors:
			# This process has no descriptor left; the kernel has closed the connection.
			self.lost += 1
			return True
		if len(descriptors) > 1:
			with open(descriptors[1], "rb") as rest:
				rest.seek(0)
				data = rest.read()
		self.received += 1
		connection = socket.socket(fileno=descriptors[0])
		task = asyncio.get_running_loop().create_task(self._attach(connection, data))
		self._attaching.add(task)
		task.add_done_callback(self._attaching.discard)
		return True

	async def _attach(self, connection: socket.socket, received: bytes) -> None:
		protocol = self._protocol
		assert protocol is not None
		try:
			connection.setblocking(False)
			await asyncio.get_running_loop().connect_accepted_socket(
				lambda: _Adopted(protocol(), received), connection
			)
		except OSError:
			# The client has closed the connection before this worker has received it.
			connection.close()
			self.lost += 1


def remove_sockets(folder: Path, name: str) -> None:
	"""Remove the sockets that a worker has left in the folder."""
	for path in folder.glob(f"{name}.*"):
		with suppress(OSError):
			os.unlink(path)
