"""Relays of TCP connections: one that adds TLS, and one in front of Redis with a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable

from tests.wire.background import Background

Change = Callable[[bytes], bytes]

_TIME = re.compile(rb"\*2\r\n\$10\r\n(\d{10})\r\n(?=\$\d\r\n\d+\r\n\Z)")


class Relay(ABC):
	"""Connects to a server for each connection that it accepts, and closes both ends together.

	Args:
		background: The loop to run in.
		target: The port of the server.
		tls: What encrypts the connections of clients; None for no encryption.
	"""

	def __init__(self, background: Background, target: int, tls: ssl.SSLContext | None = None) -> None:
		self._background = background
		self._target = target
		self._tasks: set[asyncio.Task[None]] = set()
		self._server = background.run(self._listen(tls))
		self.port: int = self._server.sockets[0].getsockname()[1]

	@abstractmethod
	async def pass_on(
		self,
		client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
		server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
	) -> None:
		"""Pass on what both ends send, until one of them closes."""

	async def _listen(self, tls: ssl.SSLContext | None) -> asyncio.Server:
		return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

	async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		task = asyncio.current_task()
		assert task is not None
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)
		with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
			server = await asyncio.open_connection("127.0.0.1", self._target)
			with contextlib.closing(server[1]):
				await self.pass_on((reader, writer), server)

	def close(self) -> None:
		"""End all connections."""
		self._background.run(self._close())

	async def _close(self) -> None:
		self._server.close()
		for task in self._tasks:
			task.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)


class TLSRelay(Relay):
	"""Adds TLS to a server without it: Valkey in its Python package is built without TLS.

	Args:
		background: The loop to run in.
		target: The port of the server.
		tls: The certificate, and which clients are let in.
	"""

	def __init__(self, background: Background, target: int, tls: ssl.SSLContext) -> None:
		super().__init__(background, target, tls)

	async def pass_on(
		self,
		client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
		server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
	) -> None:
		try:
			await asyncio.gather(pump(client[0], server[1]), pump(server[0], client[1]))
		finally:
			# `close()` alone would wait for the other side's close_notify.
			client[1].transport.abort()


class ClockRelay(Relay):
	"""Passes on connections to Redis, and changes the replies to TIME.

	Args:
		background: The loop to run in.
		target: The port of Redis.
		offset: Seconds by which the clock is ahead.
	"""

	def __init__(self, background: Background, target: int, offset: int) -> None:
		self.offset = offset
		super().__init__(background, target)
		self.url = f"redis://127.0.0.1:{self.port}"

	async def pass_on(
		self,
		client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
		server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
	) -> None:
		await asyncio.gather(
			pump(client[0], server[1]),
			pump(server[0], client[1], lambda data: _TIME.sub(self._shifted, data)),
		)

	def _shifted(self, match: re.Match[bytes]) -> bytes:
		return b"*2\r\n$10\r\n%d\r\n" % (int(match[1]) + self.offset)


async def pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter, change: Change = bytes) -> None:
	"""Write what one end sends to the other, until one of them closes.

	Args:
		source: The end that sends.
		drain: The other end.
		change: Changes each piece that is read.
	"""
	with contextlib.suppress(OSError):
		while data := await source.read(65536):
			drain.write(change(data))
			await drain.drain()
	drain.close()
