"""A proxy in front of the sidecar that drops and adds headers of requests."""

from __future__ import annotations

import asyncio
import contextlib

from tests.wire.background import Background


class Proxy:
	"""Passes each TCP connection on after its first request head is edited; the connection ends with the response.

	Args:
		background: The loop to run in.
		target: The port of the sidecar.
		drop: Names of headers that are removed, in lower case.
		add: Complete header lines that are added, without line ends.
		holds_polling: Pass on no response to a GET of the polling transport within an open session.
	"""

	def __init__(
		self,
		background: Background,
		target: int,
		drop: tuple[str, ...] = (),
		add: tuple[str, ...] = (),
		holds_polling: bool = False,
	) -> None:
		self._holds_polling = holds_polling
		self._background = background
		self._target = target
		self._drop = drop
		self._add = add
		self._tasks: set[asyncio.Task[None]] = set()
		self._server = background.run(self._listen())
		self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

	async def _listen(self) -> asyncio.Server:
		return await asyncio.start_server(self._serve, "127.0.0.1", 0)

	async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
		task = asyncio.current_task()
		assert task is not None
		self._tasks.add(task)
		writers = [writer]
		try:
			head = await reader.readuntil(b"\r\n\r\n")
			from_sidecar, to_sidecar = await asyncio.open_connection("127.0.0.1", self._target)
			writers.append(to_sidecar)
			to_sidecar.write(self._edit(head))
			if (
				self._holds_polling
				and head.startswith(b"GET ")
				and b"transport=polling" in head
				and b"sid=" in head
			):
				await asyncio.Event().wait()
			await asyncio.gather(_pump(reader, to_sidecar), _pump(from_sidecar, writer))
		except (OSError, asyncio.IncompleteReadError):
			pass
		finally:
			for each in writers:
				each.close()
			self._tasks.discard(task)

	def _edit(self, head: bytes) -> bytes:
		lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
		upgrade = any(line.lower().startswith("upgrade:") for line in lines) and "upgrade" not in self._drop
		dropped = self._drop if upgrade else (*self._drop, "connection", "upgrade")
		kept = [line for line in lines if line.partition(":")[0].lower() not in dropped]
		if not upgrade:
			kept.append("Connection: close")
		return "\r\n".join([*kept, *self._add, "", ""]).encode("latin-1")

	async def _close(self) -> None:
		self._server.close()
		for task in self._tasks:
			task.cancel()
		await asyncio.gather(*self._tasks, return_exceptions=True)

	def close(self) -> None:
		"""End all connections."""
		self._background.run(self._close())


async def _pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
	with contextlib.suppress(OSError):
		while data := await source.read(65536):
			drain.write(data)
			await drain.drain()
	drain.close()
