"""Fakes of what surrounds the engine: a TCP transport, a listener, and a client on a TCP connection."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from hypothesis import strategies as st

from realtime.engine import Connection, Engine, EngineSettings
from realtime.engine.http import HTTPProtocol


class FakeTransport(asyncio.Transport):
	"""Records what is written. `close` reports to the protocol at once, a real transport in the next turn of the loop.

	Tests set `unsent` to the number of bytes that the client has not read, or `counts_unsent` to count all that is
	written. While bytes are unsent, only `abort` closes the transport.
	"""

	def __init__(self) -> None:
		super().__init__()
		self.written = b""
		self.closed = False
		self.closing = False
		self.aborted = False
		self.reading = True
		self.counts_unsent = False
		self.unsent = 0
		self.protocol: Any = None
		self.peer: Any = ("127.0.0.1", 5)
		"""The address of the client; None if the system does not know it any more."""

	def write(self, data: bytes | bytearray | memoryview) -> None:
		assert isinstance(data, bytes)
		if not self.closed:
			self.written += data
			if self.counts_unsent:
				self.unsent += len(data)

	def close(self) -> None:
		self.closing = True
		if not self.closed and not self.unsent:
			self.closed = True
			self.protocol.connection_lost(None)

	def abort(self) -> None:
		self.aborted = True
		self.unsent = 0
		self.close()

	def is_closing(self) -> bool:
		return self.closing

	def pause_reading(self) -> None:
		self.reading = False

	def resume_reading(self) -> None:
		self.reading = True

	def set_protocol(self, protocol: Any) -> None:
		self.protocol = protocol

	def get_protocol(self) -> Any:
		return self.protocol

	def get_write_buffer_size(self) -> int:
		return self.unsent

	def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

	def get_extra_info(self, name: str, default: Any = None) -> Any:
		return self.peer if name == "peername" else default


class RecordingListener:
	"""Records the calls of the engine."""

	def __init__(self) -> None:
		self.opened: list[Connection] = []
		self.messages: list[str | bytes] = []
		self.closed: list[str] = []
		"""The reasons."""

	def on_open(self, connection: Connection) -> None:
		self.opened.append(connection)

	def on_message(self, connection: Connection, message: str | bytes) -> None:
		self.messages.append(message)

	def on_ping(self, connection: Connection) -> None: ...

	def on_close(self, connection: Connection, reason: str) -> None:
		self.closed.append(reason)


class FakeClient:
	"""A client with one TCP connection. Needs a running event loop.

	Args:
		engine: The engine to connect to; without it a new one with `listener` and `settings`.
		settings: Fields of `EngineSettings`.
	"""

	def __init__(self, engine: Engine | None = None, **settings: Any) -> None:
		self.listener = RecordingListener()
		self.limits: list[str] = []
		"""The limits for which the engine has closed connections."""
		self.engine = engine or Engine(
			EngineSettings(**settings),
			self.listener,
			on_limit=lambda limit, connection: self.limits.append(limit),
		)
		self.transport = FakeTransport()
		protocol = HTTPProtocol(self.engine)
		self.transport.protocol = protocol
		protocol.connection_made(self.transport)

	def send(self, data: bytes) -> None:
		"""Send bytes in one segment, unless the server has closed the connection."""
		if data and not self.transport.closing:
			self.transport.protocol.data_received(data)

	def send_in_pieces(self, data: bytes, cuts: list[int]) -> None:
		"""Send bytes in several segments, cut at the positions `cuts`."""
		edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
		for start, end in itertools.pairwise(edges):
			self.send(data[start:end])

	def received(self) -> bytes:
		"""Return the bytes that the server has written since the last call."""
		written, self.transport.written = self.transport.written, b""
		return written


def request(
	method: str = "GET", query: str = "EIO=4&transport=polling", body: bytes = b"", headers: str = ""
) -> bytes:
	"""Return an HTTP request to the engine; `headers` are complete header lines."""
	length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
	return f"{method} /socket.io/?{query} HTTP/1.1\r\nHost: a\r\n{headers}{length}\r\n".encode() + body


UPGRADE = (
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


def websocket_request(query: str = "EIO=4&transport=websocket") -> bytes:
	"""Return a WebSocket handshake."""
	return request(query=query, headers=UPGRADE)


cuts = st.lists(st.integers(0, 10_000), max_size=12)
"""Positions at which a stream of bytes is cut into segments; see `FakeClient.send_in_pieces`."""


def open_packet(response: bytes) -> dict[str, Any]:
	"""Return the data of the open packet in the response to a polling handshake."""
	assert response.startswith(b"HTTP/1.1 200 OK\r\n"), response
	return json.loads(response.partition(b"\r\n\r\n0")[2])
