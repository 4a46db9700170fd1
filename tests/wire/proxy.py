"""A proxy in front of the sidecar that drops and adds headers of requests."""

from __future__ import annotations

import asyncio
import contextlib

from tests.wire.background import Background
from tests.wire.relay import Relay


class Proxy(Relay):
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
		self._drop = drop
		self._add = add
		super().__init__(background, target)
		self.url = f"http://127.0.0.1:{self.port}"

	async def pass_on(
		self,
		client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
		server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
	) -> None:
		head = await client[0].readuntil(b"\r\n\r\n")
		server[1].write(self._edit(head))
		if (
			self._holds_polling
			and head.startswith(b"GET ")
			and b"transport=polling" in head
			and b"sid=" in head
		):
			await asyncio.Event().wait()
		await asyncio.gather(_pump(client[0], server[1]), _pump(server[0], client[1]))

	def _edit(self, head: bytes) -> bytes:
		lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
		upgrade = any(line.lower().startswith("upgrade:") for line in lines) and "upgrade" not in self._drop
		dropped = self._drop if upgrade else (*self._drop, "connection", "upgrade")
		kept = [line for line in lines if line.partition(":")[0].lower() not in dropped]
		if not upgrade:
			kept.append("Connection: close")
		return "\r\n".join([*kept, *self._add, "", ""]).encode("latin-1")


async def _pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
	with contextlib.suppress(OSError):
		while data := await source.read(65536):
			drain.write(data)
			await drain.drain()
	drain.close()
