"""WebSocket messages and HTTP requests without a Socket.IO client."""

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
"""Separates the packets of one polling payload."""
HANDSHAKE = "/socket.io/?EIO=4&transport="


class WebSocketSession:
	"""A WebSocket connection that has received the Engine.IO open packet, and sends any data.

	Args:
		bench: The bench to connect to.
		headers: All headers of the request, `Host` included, without those of the WebSocket handshake.
	"""

	def __init__(self, bench: Bench, headers: dict[str, str]) -> None:
		rest = {key: value for key, value in headers.items() if key not in ("Host", "Origin")}
		# Some versions of websockets support only the context manager.
		self._stack = contextlib.ExitStack()
		self._connection: ClientConnection = self._stack.enter_context(
			connect_websocket(
				f"ws://{headers['Host']}{HANDSHAKE}websocket",
				sock=socket.create_connection((bench.sidecar.host, bench.sidecar.port)),
				origin=headers.get("Origin"),  # type: ignore[arg-type]
				additional_headers=rest,
				compression=None,
				max_size=None,
				proxy=None,
				# The server sends pings; one of the client would end a connection whose server is suspended.
				ping_interval=None,
				open_timeout=PATIENCE,
			)
		)
		self.handshake: dict[str, Any] = json.loads(str(self._connection.recv(PATIENCE))[1:])

	def send(self, packet: str | bytes) -> None:
		"""Send one message; do nothing if the connection is closed."""
		with contextlib.suppress(ConnectionClosed):
			self._connection.send(packet)

	def receive(self) -> str | bytes:
		"""Return the next message that is not an Engine.IO ping; answer the pings before it."""
		end = time.monotonic() + PATIENCE
		while True:
			message = self._connection.recv(end - time.monotonic())
			if message != "2":
				return message
			self.send("3")

	def join(self, namespace: str = f"/{APP_SITE}") -> WebSocketSession:
		"""Connect to a namespace; the test fails if it is refused."""
		prefix = "40" if namespace == "/" else f"40{namespace},"
		self.send(prefix)
		answer = self.receive()
		assert str(answer).startswith(f'{prefix}{{"sid"'), answer
		return self

	def fence(self, namespace: str = f"/{APP_SITE}") -> bool:
		"""Send the event `ping` and wait for `pong`; return False if the connection is closed instead."""
		self.send(f'42{namespace},["ping"]')
		try:
			while self.receive() != f'42{namespace},["pong"]':
				pass
		except ConnectionClosed:
			return False
		return True

	def ends(self) -> bool:
		"""Read until the connection is closed, and return True; raise TimeoutError if it stays open."""
		try:
			while True:
				self.receive()
		except ConnectionClosed:
			return True

	def close(self) -> None:
		"""Close the TCP connection without a closing handshake."""
		with contextlib.suppress(OSError):
			# Wakes the thread that reads; closing would wait for it otherwise.
			self._connection.socket.shutdown(socket.SHUT_RDWR)
		self._stack.close()


class Answer:
	"""An HTTP response: status, headers by lower-case name, and body."""

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
	"""Send one HTTP request to the sidecar, with exactly these headers and Content-Length."""
	connection = http.client.HTTPConnection(bench.sidecar.host, bench.sidecar.port, timeout=PATIENCE)
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
	"""A session with the polling transport.

	Args:
		bench: The bench to connect to.
		headers: The headers of all requests.
	"""

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
		"""GET the queued packets, or wait for the next ones."""
		return request(self.bench, "GET", self.path, self.headers).text.split(SEPARATOR)


def send_bytes(bench: Bench, data: bytes) -> bytes:
	"""Send bytes to the port of the sidecar, shut down writing, and return all bytes that come back."""
	with socket.create_connection((bench.sidecar.host, bench.sidecar.port), timeout=PATIENCE) as connection:
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
