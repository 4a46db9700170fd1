"""Relays of TCP connections, and one in front of Redis with a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from abc import ABC, abstractmethod

from tests.wire.background import Background

_TIME = re.compile(rb"\*2\r\n\$10\r\n(\d{10})\r\n(?=\$\d\r\n\d+\r\n\Z)")


class Relay(ABC):
	"""Connects to a server for each connection that it accepts, and closes both ends together.

	Args:
		background: The loop to run in.
		target: The port of the server.
	"""

	def __init__(self, background: Background, target: int) -> None:
		self._background = background
		self._target = target
		self._tasks: set[asyncio.Task[None]] = set()
		self._server = background.run(self._listen())
		self.port: int = self._server.sockets[0].getsockname()[1]

	@abstractmethod
	async def pass_on(
		self,
		client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
		server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
	) -> None:
		"""Pass on what both ends send, until one of them closes."""

	async def _listen(self) -> asyncio.Server:
		return await asyncio.start_server(self._serve, "127.0.0.1", 0)

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
		await asyncio.gather(self._pump(client[0], server[1]), self._pump(server[0], client[1]))

	async def _pump(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
		try:
			while data := await source.read(65536):
				drain.write(_TIME.sub(self._shifted, data))
				await drain.drain()
		except OSError:
			pass
		drain.close()

	def _shifted(self, match: re.Match[bytes]) -> bytes:
		return b"*2\r\n$10\r\n%d\r\n" % (int(match[1]) + self.offset)
