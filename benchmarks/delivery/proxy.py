"""A TCP proxy that cuts off single clients: by a reset, as a black hole, or half-open.

The parameter `client` of the first request identifies the client. While a client is cut off, none of its data reach the
server. As a black hole, data vanish in both directions; half-open, only the client sees that the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import defaultdict
from typing import cast

RESET, BLACK_HOLE, HALF_OPEN = "reset", "black hole", "half-open"
HOWS = (RESET, BLACK_HOLE, HALF_OPEN)

_CLIENT = re.compile(rb"[?&]client=(\d+)")


def reset(transport: asyncio.Transport | None) -> None:
	"""Close a connection with a TCP reset."""
	if transport is None or transport.is_closing():
		return
	connection = transport.get_extra_info("socket")
	if connection is not None:
		connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
	transport.abort()


class Upstream(asyncio.Protocol):
	"""The connection to the server."""

	def __init__(self, front: Front) -> None:
		self.front = front

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.front.upstream = cast(asyncio.Transport, transport)
		self.front.flush()

	def data_received(self, data: bytes) -> None:
		front = self.front
		if not front.lost and front.transport is not None and not front.transport.is_closing():
			front.transport.write(data)

	def connection_lost(self, error: Exception | None) -> None:
		front = self.front
		if front.lost or front.transport is None:
			return
		if error is None:
			front.transport.close()
		else:
			reset(front.transport)


class Front(asyncio.Protocol):
	"""The connection to the client."""

	def __init__(self, proxy: Proxy) -> None:
		self.proxy = proxy
		self.transport: asyncio.Transport | None = None
		self.upstream: asyncio.Transport | None = None
		self.client = -1
		self.lost = False
		"""Whether data are discarded, in both directions."""
		self.abandoned = False
		"""Whether the connection to the server stays open when the client has gone."""
		self._early: list[bytes] = []
		self._task: asyncio.Task[None] | None = None

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		self.transport = cast(asyncio.Transport, transport)

	def data_received(self, data: bytes) -> None:
		if self.client < 0 and not self._identify(data):
			return
		if self.lost:
			return
		if self.upstream is not None:
			self.upstream.write(data)
		else:
			self._early.append(data)

	def _identify(self, data: bytes) -> bool:
		found = _CLIENT.search(data.partition(b"\r\n")[0])
		assert found is not None, data
		self.client = int(found[1])
		self.proxy.fronts[self.client].add(self)
		how = self.proxy.cut_clients.get(self.client)
		if how == BLACK_HOLE:
			self.lost = True
		elif how is not None:
			reset(self.transport)
			return False
		if not self.lost:
			self._task = asyncio.get_running_loop().create_task(self._connect())
		return True

	async def _connect(self) -> None:
		try:
			await asyncio.get_running_loop().create_connection(
				lambda: Upstream(self), "127.0.0.1", self.proxy.server_port
			)
		except OSError:
			reset(self.transport)

	def flush(self) -> None:
		"""Send the data that the client had sent before the server was connected."""
		assert self.upstream is not None
		if self.transport is None or self.transport.is_closing():
			reset(self.upstream)
			return
		for data in self._early:
			self.upstream.write(data)
		self._early.clear()

	def connection_lost(self, error: Exception | None) -> None:
		self.proxy.fronts[self.client].discard(self)
		if not self.abandoned:
			reset(self.upstream)

	def end(self, how: str) -> None:
		"""Cut off this connection."""
		if how == RESET:
			reset(self.transport)
			reset(self.upstream)
			return
		self.lost = True
		if how == HALF_OPEN:
			self.abandoned = True
			reset(self.transport)


class Proxy:
	"""Listens on `port`, and forwards connections to `server_port`."""

	def __init__(self, server_port: int) -> None:
		self.server_port = server_port
		self.port = 0
		self.fronts: defaultdict[int, set[Front]] = defaultdict(set)
		self.cut_clients: dict[int, str] = {}
		self._server: asyncio.AbstractServer | None = None

	async def start(self) -> None:
		"""Listen on a free port."""
		self._server = await asyncio.get_running_loop().create_server(
			lambda: Front(self), "127.0.0.1", 0, backlog=4096
		)
		self.port = self._server.sockets[0].getsockname()[1]

	async def cut(self, client: int, how: str, seconds: float) -> None:
		"""Cut off a client for some seconds."""
		self.cut_clients[client] = how
		for front in list(self.fronts[client]):
			front.end(how)
		await asyncio.sleep(seconds)
		del self.cut_clients[client]
		for front in list(self.fronts[client]):
			if front.lost:
				reset(front.transport)

	def close(self) -> None:
		"""Stop listening, and close all connections."""
		if self._server is not None:
			self._server.close()
		for fronts in list(self.fronts.values()):
			for front in list(fronts):
				front.abandoned = False
				reset(front.transport)
