"""A Redis without sockets: it replies to each command with what a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from realtime.bus.endpoint import Address


class FakeTransport:
	"""The transport of one connection. Replies are sent when the test or `FakeServer.reply` says so."""

	def __init__(self, server: FakeServer, protocol: asyncio.Protocol) -> None:
		self.server = server
		self.protocol = protocol
		self.closing = False
		self.writes = 0

	def write(self, data: bytes) -> None:
		self.writes += 1
		reader = hiredis.Reader()
		reader.feed(data)
		while (command := reader.gets()) is not False:
			self.server.commands.append(tuple(command))
			reply = self.server.reply(tuple(command))
			if reply is not None:
				asyncio.get_running_loop().call_soon(self.send, reply)

	def send(self, data: bytes) -> None:
		if not self.closing:
			self.protocol.data_received(data)

	def is_closing(self) -> bool:
		return self.closing

	def abort(self) -> None:
		if not self.closing:
			self.closing = True
			asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class FakeServer:
	"""Stands for Redis and for the endpoint that leads to it.

	Args:
		address: The address of the endpoint.
	"""

	def __init__(self, address: Address | None = None) -> None:
		self.reply: Callable[[tuple[bytes, ...]], bytes | None] = lambda command: b"+OK\r\n"
		self.commands: list[tuple[bytes, ...]] = []
		self.transports: list[FakeTransport] = []
		self.attempts = 0
		self.delay = 0.0
		"""Seconds that an attempt to connect takes, whether it succeeds or not."""
		self.refusal: Exception | None = None
		self._address = address or Address()

	def __str__(self) -> str:
		return "Redis at test"

	async def connect(self, protocol: Callable[[], asyncio.Protocol]) -> Any:
		self.attempts += 1
		await asyncio.sleep(self.delay)
		if self.refusal is not None:
			raise self.refusal
		made = protocol()
		transport: Any = FakeTransport(self, made)
		self.transports.append(transport)
		made.connection_made(transport)
		return made, self._address
