"""Python clients: python-socketio over a network connection, with a record of the received events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from concurrent.futures import Future
from typing import Any

import aiohttp
import socketio

from tests.wire.background import Background
from tests.wire.conditions import PATIENCE, until

POLLING = ("polling",)
WEBSOCKET = ("websocket",)
BOTH = ("polling", "websocket")

Args = tuple[Any, ...]


class Refused(Exception):
	"""The server has answered CONNECT_ERROR; the message is that of the server."""


class Client:
	"""One python-socketio client in one namespace. It does not reconnect.

	Args:
		background: The loop that it runs on.
		url: The URL of the sidecar.
		namespace: The namespace, with its slash.
		headers: The headers of the handshake.
		transports: `POLLING`, `WEBSOCKET` or `BOTH`.
		auth: The object in the CONNECT packet.
	"""

	def __init__(
		self,
		background: Background,
		url: str,
		namespace: str,
		headers: dict[str, str],
		transports: tuple[str, ...] = WEBSOCKET,
		auth: dict[str, Any] | None = None,
	) -> None:
		self._background = background
		self._url = url
		self.namespace = namespace
		self.headers = headers
		self._transports = list(transports)
		self._auth = auth
		self.events: list[tuple[str, Args]] = []
		"""All received events, in order: name and arguments."""
		self.disconnects = 0
		self._read: dict[str, int] = {}
		self._refusal: Any = None
		self._connecting: Future[None] | None = None
		# On a busy machine a request of the polling transport takes longer than the 5 seconds that are the default.
		self.sio = socketio.AsyncClient(reconnection=False, request_timeout=PATIENCE / 2)
		self.sio.on("*", self._on_event, namespace=namespace)
		self.sio.on("connect_error", self._on_refusal, namespace=namespace)
		self.sio.on("disconnect", self._on_disconnect, namespace=namespace)

	async def _on_event(self, event: str, *args: Any) -> Any:
		self.events.append((event, args))
		return args if event == "echo" else None

	async def _on_refusal(self, data: Any) -> None:
		self._refusal = data

	async def _on_disconnect(self, *reason: Any) -> None:
		self.disconnects += 1

	async def _connect(self, patience: float) -> None:
		# aiohttp would put the Cookie header of the default session into a cookie jar.
		self.sio.eio.http = aiohttp.ClientSession(headers=self.headers, cookie_jar=aiohttp.DummyCookieJar())
		try:
			await self.sio.connect(
				self._url,
				auth=self._auth,
				transports=self._transports,
				namespaces=[self.namespace],
				wait_timeout=patience,
			)
		except socketio.exceptions.ConnectionError as error:
			await self._disconnect()
			if self._refusal is None:
				raise
			message = self._refusal.get("message") if isinstance(self._refusal, dict) else self._refusal
			raise Refused(message) from error

	async def _disconnect(self) -> None:
		with contextlib.suppress(Exception):
			await self.sio.disconnect()
		if self.sio.eio.http and not self.sio.eio.http.closed:
			await self.sio.eio.http.close()

	def connect(self, patience: float = PATIENCE) -> Client:
		"""Connect.

		Raises:
			Refused: The server has answered CONNECT_ERROR.
			ConnectionError: There is no answer.
		"""
		self._refusal = None
		self._background.run(self._connect(patience), patience + 10)
		return self

	def start_connecting(self, patience: float = PATIENCE) -> Future[None]:
		"""Start to connect; return a future that is done when the client is connected."""
		self._connecting = asyncio.run_coroutine_threadsafe(self._connect(patience), self._background.loop)
		return self._connecting

	@property
	def connected(self) -> bool:
		"""Whether the client is in its namespace."""
		return self.namespace in self.sio.namespaces and self.sio.connected

	@property
	def transport(self) -> str:
		"""`polling` or `websocket`."""
		return str(self.sio.transport())

	@property
	def id(self) -> str:
		"""The Socket.IO id."""
		return str(self.sio.get_sid(self.namespace))

	def emit(self, event: str, *args: Any) -> None:
		"""Send an event with any number of arguments."""
		self._background.run(self.sio.emit(event, args, namespace=self.namespace))

	def call(self, event: str, *args: Any, patience: float = PATIENCE) -> Any:
		"""Send an event and return the acknowledgement."""
		return self._background.run(
			self.sio.call(event, args, namespace=self.namespace, timeout=patience), patience + 5
		)

	def next(self, event: str, patience: float = PATIENCE) -> Args:
		"""Wait for the next event of this name that no earlier call has returned, and return its arguments."""

		def arrived() -> bool:
			return len(self.all(event)) > self._read.get(event, 0)

		until(arrived, lambda: f"event {event!r}; received: {self.events!r:.500}", patience)
		position = self._read.get(event, 0)
		self._read[event] = position + 1
		return self.all(event)[position]

	def all(self, event: str) -> list[Args]:
		"""Return the arguments of all events of this name so far."""
		return [args for name, args in list(self.events) if name == event]

	def fence(self) -> None:
		"""Wait until the server has handled all that this client has sent: send `ping`, wait for `pong`."""
		before = len(self.all("pong"))
		self.emit("ping")
		until(lambda: len(self.all("pong")) > before, lambda: f"pong; received: {self.events!r:.500}")

	def wait_for_disconnect(self) -> None:
		"""Wait until the connection is closed."""
		until(lambda: not self.sio.connected, "the end of the connection")

	def close(self) -> None:
		"""Disconnect, also while the client is still connecting."""
		if self._connecting:
			self._connecting.cancel()
		self._background.run(self._disconnect())


def pack(value: Any) -> Any:
	"""Encode bytes in a value for JSON, as `tests/node/client.js` does."""
	if isinstance(value, bytes):
		return {"$bytes": base64.b64encode(value).decode()}
	if isinstance(value, (list, tuple)):
		return [pack(item) for item in value]
	if isinstance(value, dict):
		return {key: pack(item) for key, item in value.items()}
	return value


def unpack(value: Any) -> Any:
	"""Decode a value that `pack` has encoded."""
	if isinstance(value, dict):
		if "$bytes" in value:
			return base64.b64decode(value["$bytes"])
		return {key: unpack(item) for key, item in value.items()}
	return [unpack(item) for item in value] if isinstance(value, list) else value
