"""A TCP proxy that cuts the connections of single clients: by reset, as a black hole, or half-open.

A client is known by the parameter `client` of its first request. While it is cut nothing of it reaches the server.
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
	"""Close with a reset, as a firewall or a killed process does."""
	if transport is None or transport.is_closing():
		return
	connection = transport.get_extra_info("socket")
	if connection is not None:
		connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
	transport.abort()


class Upstream(asyncio.Protocol):
	"""The server's end of one connection."""

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
	"""The client's end of one connection."""

	def __init__(self, proxy: Proxy) -> None:
		self.proxy = proxy
		self.transport: asyncio.Transport | None = None
		self.upstream: asyncio.Transport | None = None
		self.client = -1
		self.lost = False
		"""Whether bytes vanish, in both directions."""
		self.abandoned = False
		"""Whether the server must not learn that the client is gone."""
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
		"""Give the server what came before it was reached."""
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
		"""Cut this connection now."""
		if how == RESET:
			reset(self.transport)
			reset(self.upstream)
			return
		self.lost = True
		if how == HALF_OPEN:
			self.abandoned = True
			reset(self.transport)


class Proxy:
	"""Listens on `port` for clients of the server on `server_port`."""

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
		"""Keep `client` away from the server for `seconds`."""
		self.cut_clients[client] = how
		for front in list(self.fronts[client]):
			front.end(how)
		await asyncio.sleep(seconds)
		del self.cut_clients[client]
		for front in list(self.fronts[client]):
			if front.lost:
				reset(front.transport)

	def close(self) -> None:
		"""Stop listening, and end what there is."""
		if self._server is not None:
			self._server.close()
		for fronts in list(self.fronts.values()):
			for front in list(fronts):
				front.abandoned = False
				reset(front.transport)
