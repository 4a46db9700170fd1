"""A Socket.IO client for the command-line tools, built on python-socketio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import socketio

from frappe_realtime.contract.http import SITE_HEADER

from ..config import Config

logger = logging.getLogger("realtime.client")

CONNECT_TIMEOUT = 5.0
"""Seconds for the handshake and the answer to CONNECT."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the server has to close the connection in order."""

TRANSPORTS: dict[str, tuple[str, ...]] = {
	"polling": ("polling",),
	"upgrade": ("polling", "websocket"),
	"WebSocket": ("websocket",),
}
"""The ways in which a client can connect, each with the transports that python-socketio is given."""


class ConnectionFailed(Exception):
	"""No connection was made, or it was lost before the server admitted the client; the message is the cause."""


class ConnectionRejected(ConnectionFailed):
	"""The server answered with CONNECT_ERROR.

	Args:
		message: The server's message.
		reason: What the server adds for the operator; may be empty.
	"""

	def __init__(self, message: str, reason: str) -> None:
		super().__init__(message)
		self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
	"""Where a client connects to.

	Args:
		url: The scheme, host and port of the server.
		headers: The headers of each request, instead of those that follow from `url`.
		unix_socket: The path of the Unix socket to connect to; empty for TCP.
	"""

	url: str
	headers: Mapping[str, str]
	unix_socket: str = ""

	@classmethod
	def of_sidecar(cls, config: Config, site: str, credential: Mapping[str, str]) -> Address:
		"""Return the sidecar's own address, with the headers that a browser and the proxy send for `site`.

		Args:
			config: The configuration of the bench.
			site: The name of the site's folder.
			credential: The header that proves the user: `Cookie` or `Authorization`.
		"""
		host = config.realtime_host or "127.0.0.1"
		host = f"[{host}]" if ":" in host else host
		return cls(
			f"http://{host}:{config.socketio_port}",
			{"Host": site, SITE_HEADER: site, "Origin": f"http://{site}", **credential},
			config.socketio_uds,
		)

	def connector(self) -> aiohttp.BaseConnector:
		"""Return a new connector; call it in a running event loop."""
		if self.unix_socket:
			return aiohttp.UnixConnector(self.unix_socket)
		# Self-signed certificates are common on benches. No tool sends a secret to an https:// address.
		return aiohttp.TCPConnector(ssl=False)


class SocketClient:
	"""One connection to the namespace of one site. It does not reconnect.

	Use it as an async context manager, in a running event loop.

	Args:
		address: Where to connect to.
		site: The name of the site's folder.
		on_event: Called with the name and the arguments of each event.
		transports: A value of `TRANSPORTS`.
	"""

	def __init__(
		self,
		address: Address,
		site: str,
		on_event: Callable[[str, Sequence[Any]], None] = lambda event, arguments: None,
		transports: Sequence[str] = TRANSPORTS["WebSocket"],
	) -> None:
		self._url = address.url
		self._namespace = f"/{site}"
		self._on_event = on_event
		self._transports = list(transports)
		self._status = 0
		trace = aiohttp.TraceConfig()
		trace.on_request_end.append(self._note_status)
		# Given to the session and not to connect(), which would store the cookie in the jar of the wrong host.
		self._http = aiohttp.ClientSession(
			connector=address.connector(),
			headers=address.headers,
			cookie_jar=aiohttp.DummyCookieJar(),
			trace_configs=[trace],
		)
		self._client = socketio.AsyncClient(
			reconnection=False,
			handle_sigint=False,
			http_session=self._http,
			request_timeout=CONNECT_TIMEOUT,
		)
		self._admitted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
		self._client.on("connect", self._on_connect, namespace=self._namespace)
		self._client.on("connect_error", self._on_connect_error, namespace=self._namespace)
		self._client.on("*", self._on_any_event, namespace=self._namespace)

	async def __aenter__(self) -> SocketClient:
		return self

	async def __aexit__(
		self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
	) -> None:
		try:
			await asyncio.wait_for(self._client.disconnect(), CLOSE_TIMEOUT)
		except Exception as failure:
			logger.debug("the connection to %s did not close in order: %r", self._url, failure)
		# After a failure they may still run, and would use the session that is closed now.
		loops = [task for task in (self._client.eio.read_loop_task, self._client.eio.write_loop_task) if task]
		for task in loops:
			task.cancel()
		await asyncio.gather(*loops, return_exceptions=True)
		await self._http.close()

	@property
	def transport(self) -> str:
		"""The transport in use: `polling` or `websocket`."""
		return str(self._client.transport())

	async def connect(self) -> str:
		"""Connect, and wait until the server admits the client.

		Returns:
			The id of the socket.

		Raises:
			ConnectionRejected: The server answered with CONNECT_ERROR.
			ConnectionFailed: Everything else, a timeout included.
		"""
		try:
			return await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT)
		except ConnectionFailed:
			raise
		except asyncio.TimeoutError:
			raise ConnectionFailed(f"no answer within {CONNECT_TIMEOUT:g} s") from None
		except Exception as error:
			# If the peer does not speak Engine.IO, python-engineio also raises ValueError, TypeError and others.
			raise ConnectionFailed(self._cause(error)) from error

	async def _connect(self) -> str:
		await self._client.connect(
			self._url, transports=self._transports, namespaces=[self._namespace], wait=False
		)
		await asyncio.wait(
			[self._admitted, self._client.eio.read_loop_task], return_when=asyncio.FIRST_COMPLETED
		)
		# What the server sent before it closed the connection is handled in a task of its own.
		await asyncio.sleep(0)
		if not self._admitted.done():
			raise ConnectionFailed("the server closed the connection")
		return self._admitted.result()

	async def emit(self, event: str, *arguments: Any) -> None:
		"""Send an event."""
		await self._client.emit(event, arguments, namespace=self._namespace)

	async def wait_closed(self) -> None:
		"""Wait until the connection is lost or closed."""
		await asyncio.wait([self._client.eio.read_loop_task])

	def _on_connect(self) -> None:
		if not self._admitted.done():
			self._admitted.set_result(str(self._client.get_sid(self._namespace)))

	def _on_connect_error(self, data: Any = None) -> None:
		# python-socketio also calls this when the transport fails; then connect() raises.
		if self._client.eio.state == "connected" and not self._admitted.done():
			self._admitted.set_exception(_rejection(data))

	def _on_any_event(self, event: str, *arguments: Any) -> None:
		self._on_event(event, arguments)

	async def _note_status(
		self, session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestEndParams
	) -> None:
		self._status = params.response.status

	def _cause(self, error: BaseException) -> str:
		"""Return the HTTP status if it is an error, else the message of the innermost exception."""
		if self._status >= 300:
			return f"HTTP {self._status}"
		while (inner := error.__cause__ or error.__context__) is not None:
			error = inner
		return str(error) or type(error).__name__


def _rejection(data: Any) -> ConnectionRejected:
	if not isinstance(data, dict):
		return ConnectionRejected(str(data), "")
	details = data.get("data")
	reason = details.get("reason", "") if isinstance(details, dict) else ""
	return ConnectionRejected(str(data.get("message")), str(reason))
