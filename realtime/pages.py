"""The pages for operators (`/health`, `/metrics`), an aiohttp application that is loaded with the first request for one of them.

aiohttp takes 14 MB of memory, a quarter of that of the process, and 0.1 to 0.2 s to import. A bench that nobody monitors does without
it, and clients that reconnect after a start do not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
	from aiohttp.web import AppRunner

logger = logging.getLogger("realtime.http")


class Pages:
	"""Answers the requests for pages, on TCP connections that the engine passes on.

	Args:
		load: Imports the application, and returns the function that creates it; called in a thread.
	"""

	def __init__(self, load: Callable[[], Callable[[], AppRunner]]) -> None:
		self._load = load
		self._runner: AppRunner | None = None
		self._loading: asyncio.Task[None] | None = None
		self._waiting: set[_WaitingRequest] = set()

	def protocol(self) -> asyncio.Protocol:
		"""Return the protocol that takes over a TCP connection with a request for a page."""
		if self._runner is not None and (server := self._runner.server) is not None:
			return server()
		self._begin_to_load()
		return _WaitingRequest(self._waiting)

	async def start(self) -> None:
		"""Load the application now, unless a request has been first.

		Raises:
			Exception: What the import raises.
		"""
		if self._runner is None:
			await self._begin_to_load()

	async def stop(self) -> None:
		"""Close the connections of pages."""
		if self._loading is not None:
			self._loading.cancel()
			await asyncio.wait([self._loading])
		if self._runner is not None:
			await self._runner.cleanup()

	def _begin_to_load(self) -> asyncio.Task[None]:
		"""Load the application; if that has begun, return the task that does it.

		Never twice: a second application would replace the first one, whose listening socket the garbage collector would close. uvloop
		would not notice, and call `accept` for ever on the connection that gets the same descriptor.
		"""
		if self._loading is None:
			self._loading = asyncio.get_running_loop().create_task(self._load_application())
			self._loading.add_done_callback(self._on_loaded)
		return self._loading

	async def _load_application(self) -> None:
		make = await asyncio.to_thread(self._load)
		runner = make()
		await runner.setup()
		self._runner = runner

	def _on_loaded(self, loading: asyncio.Task[None]) -> None:
		"""Let the application answer the requests that wait for it; if it cannot be loaded, the next request tries it again."""
		self._loading = None
		if not loading.cancelled() and (error := loading.exception()) is not None:
			logger.error(
				"/health and /metrics cannot be answered: the application for them cannot be loaded",
				exc_info=error,
			)
		server = None if self._runner is None else self._runner.server
		for request in list(self._waiting):
			request.pass_to(None if server is None else server())


class _WaitingRequest(asyncio.Protocol):
	"""Keeps a request until the application is loaded.

	Args:
		waiting: All such requests.
	"""

	def __init__(self, waiting: set[_WaitingRequest]) -> None:
		self._waiting = waiting
		self._received = b""
		self._transport: asyncio.Transport

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self._transport = cast(asyncio.Transport, transport)
		self._waiting.add(self)

	def data_received(self, data: bytes) -> None:
		self._received += data
		self._transport.pause_reading()

	def connection_lost(self, error: Exception | None) -> None:
		self._waiting.discard(self)

	def pass_to(self, protocol: asyncio.Protocol | None) -> None:
		"""Let the application answer; without a protocol, close the connection."""
		self._waiting.discard(self)
		if protocol is None or self._transport.is_closing():
			self._transport.close()
			return
		self._transport.set_protocol(protocol)
		protocol.connection_made(self._transport)
		protocol.data_received(self._received)
		self._transport.resume_reading()
