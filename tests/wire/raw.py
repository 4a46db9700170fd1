"""The wire without a client library: WebSocket text by hand, HTTP by hand."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import PATIENCE

SEPARATOR = "\x1e"
"""Between the packets of one polling payload."""
HANDSHAKE = "/socket.io/?EIO=4&transport="


class ServerSocket:
	"""A WebSocket that has read the Engine.IO open packet and sends whatever it is told.

	Args:
		bench: where to.
		headers: all of them but those of WebSocket itself; `Host` too.
	"""

	def __init__(self, bench: Bench, headers: dict[str, str]) -> None:
		rest = {key: value for key, value in headers.items() if key not in ("Host", "Origin")}
		# Entered, and not called, since some versions of websockets allow only that.
		self._stack = contextlib.ExitStack()
		self._connection: ClientConnection = self._stack.enter_context(
			connect_websocket(
				f"ws://{headers['Host']}{HANDSHAKE}websocket",
				sock=socket.create_connection(("127.0.0.1", bench.sidecar.port)),
				origin=headers.get("Origin"),  # type: ignore[arg-type]
				additional_headers=rest,
				compression=None,
				max_size=None,
				proxy=None,
			)
		)
		self.handshake: dict[str, Any] = json.loads(str(self._connection.recv(PATIENCE))[1:])

	def send(self, packet: str | bytes) -> None:
		"""Send one message; a connection that is closed already is left to `ends`."""
		with contextlib.suppress(ConnectionClosed):
			self._connection.send(packet)

	def receive(self) -> str | bytes:
		"""Return the next message that is no Engine.IO ping; answer pings on the way."""
		end = time.monotonic() + PATIENCE
		while True:
			message = self._connection.recv(end - time.monotonic())
			if message != "2":
				return message
			self.send("3")

	def join(self, namespace: str = f"/{APP_SITE}") -> ServerSocket:
		"""Connect to a namespace; fail when it is refused."""
		prefix = "40" if namespace == "/" else f"40{namespace},"
		self.send(prefix)
		answer = self.receive()
		assert str(answer).startswith(f'{prefix}{{"sid"'), answer
		return self

	def fence(self, namespace: str = f"/{APP_SITE}") -> bool:
		"""Send the event `ping`; return whether `pong` came, False when the connection ends instead."""
		self.send(f'42{namespace},["ping"]')
		try:
			while self.receive() != f'42{namespace},["pong"]':
				pass
		except ConnectionClosed:
			return False
		return True

	def ends(self) -> bool:
		"""Read to the end of the connection; fail when it does not come."""
		try:
			while True:
				self.receive()
		except ConnectionClosed:
			return True

	def close(self) -> None:
		"""Close without ceremony."""
		with contextlib.suppress(OSError):
			# Wakes the thread that reads; it would otherwise be waited for.
			self._connection.socket.shutdown(socket.SHUT_RDWR)
		self._stack.close()


class Answer:
	"""An HTTP answer: status, headers with names in lower case, body."""

	def __init__(self, response: http.client.HTTPResponse) -> None:
		self.status = response.status
		self.headers = {key.lower(): value for key, value in response.getheaders()}
		self.body = response.read()

	@property
	def text(self) -> str:
		"""The body as text."""
		return self.body.decode()


def request(
	bench: Bench, method: str, path: str, headers: dict[str, str], body: str | bytes | None = None
) -> Answer:
	"""Send one HTTP request with exactly these headers (and Content-Length) to the sidecar."""
	connection = http.client.HTTPConnection("127.0.0.1", bench.sidecar.port, timeout=PATIENCE)
	try:
		connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
		for key, value in headers.items():
			connection.putheader(key, value)
		data = body.encode() if isinstance(body, str) else body
		if data is not None:
			connection.putheader("Content-Length", str(len(data)))
		connection.endheaders(data)
		return Answer(connection.getresponse())
	finally:
		connection.close()


class PollingSession:
	"""A polling session by hand."""

	def __init__(self, bench: Bench, headers: dict[str, str]) -> None:
		self.bench = bench
		self.headers = headers
		self.opened = request(bench, "GET", f"{HANDSHAKE}polling", headers)
		assert self.opened.status == 200, self.opened.text
		self.handshake: dict[str, Any] = json.loads(self.opened.text[1:])
		self.path = f"{HANDSHAKE}polling&sid={self.handshake['sid']}"

	def post(self, body: str | bytes) -> Answer:
		"""POST packets."""
		return request(self.bench, "POST", self.path, {**self.headers, "Content-Type": "text/plain"}, body)

	def poll(self) -> list[str]:
		"""GET the packets that wait, or the next ones."""
		return request(self.bench, "GET", self.path, self.headers).text.split(SEPARATOR)


def send_bytes(bench: Bench, data: bytes) -> bytes:
	"""Send bytes to the sidecar's port, then say that no more follow; return all that comes back."""
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=PATIENCE) as connection:
		try:
			connection.sendall(data)
			connection.shutdown(socket.SHUT_WR)
		except (BrokenPipeError, ConnectionResetError, OSError):
			return b""
		received = b""
		try:
			while chunk := connection.recv(65536):
				received += chunk
		except ConnectionResetError:
			pass
		return received
