"""A relay in front of Redis with a clock of its own: it changes the replies to TIME."""

from __future__ import annotations

import asyncio
import re

from tests.wire.background import Background

_TIME = re.compile(rb"\*2\r\n\$10\r\n(\d{10})\r\n(?=\$\d\r\n\d+\r\n\Z)")


class ClockRelay:
	"""Passes on connections to Redis.

	Args:
		background: The loop to run in.
		target: The port of Redis.
		offset: Seconds by which the clock is ahead.
	"""

	def __init__(self, background: Background, target: int, offset: int) -> None:
		self.offset = offset
		self._background = background
		self._target = target
		self._tasks: set[asyncio.Task[None]] = set()
		self._server = background.run(self._listen())
		self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

	async def _listen(self) -> asyncio.Server:
		return await asyncio.start_server(self._serve, "127.0.0.1", 0)

	async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		task = asyncio.current_task()
		assert task is not None
		self._tasks.add(task)
		try:
			from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._target)
			try:
				await asyncio.gather(self._pump(reader, to_redis), self._pump(from_redis, writer))
			finally:
				to_redis.close()
		except OSError:
			pass
		finally:
			writer.close()
			self._tasks.discard(task)

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

	def close(self) -> None:
		"""End all connections."""
		self._background.run(self._close())

	async def _close(self) -> None:
		self._server.close()
		for task in self._tasks:
			task.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)
