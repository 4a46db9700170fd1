"""The load generator: many TCP connections on one epoll, which counts and times received events and does little else.

Each event contains the byte `^` once, and no other data contain it. So the number of events is the number of these bytes,
independent of how the stream is split into reads. The length in a frame header may be the same byte by chance;
`check_count` detects that.
"""

from __future__ import annotations

import select
import socket
import time
from base64 import b64encode
from collections.abc import Callable

SITE = "bench.localhost"
MARK = b"^"
PING = b"\x81\x012"
KEY = b64encode(b"0123456789abcdef").decode()


def masked(text: str) -> bytes:
	"""Return a text frame of a client. The mask is zero, which the protocol allows, so no bytes have to be changed."""
	data = text.encode()
	assert len(data) < 126
	return bytes((0x81, 0x80 | len(data))) + b"\0\0\0\0" + data


PONG = masked("3")
CONNECT = masked(f"40/{SITE},")


def head(method: str, query: str, sid: str, extra: str = "") -> bytes:
	"""Return the head of an HTTP request of the client with the session cookie `sid`."""
	return (
		f"{method} /socket.io/?EIO=4&{query} HTTP/1.1\r\nHost: {SITE}\r\nOrigin: http://{SITE}\r\n"
		f"X-Frappe-Site-Name: {SITE}\r\nCookie: sid={sid}\r\n{extra}\r\n"
	).encode()


UPGRADE = (
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
	+ KEY
	+ "\r\n"
)


class Client:
	"""One client.

	Until it is connected, `step` handles the received data; after that the `Load` counts the events in them.
	"""

	__slots__ = ("buffer", "id", "polls", "ready", "session", "socket", "step")

	def __init__(self, id: int) -> None:
		self.id = id
		self.ready = False
		self.polls = False
		"""Whether the client stays on the polling transport."""
		self.buffer = b""
		self.session = ""
		self.socket: socket.socket
		self.step: Callable[[Client], None]

	@property
	def sid(self) -> str:
		return f"user{self.id}"

	def open(self, port: int) -> socket.socket:
		opened = socket.create_connection(("127.0.0.1", port))
		opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		opened.setblocking(False)
		return opened


def websocket_opened(client: Client) -> None:
	"""Join the namespace when the response 101 and the open packet have been received."""
	if b'"sid"' in client.buffer:
		client.buffer = b""
		client.step = namespace_joined
		client.socket.send(CONNECT)


def namespace_joined(client: Client) -> None:
	"""Finish when the answer to CONNECT has been received."""
	if b"40/" in client.buffer and client.buffer.endswith(b"}"):
		client.buffer = b""
		client.ready = True
	elif b"44/" in client.buffer:
		raise RuntimeError(f"refused: {client.buffer!r}")


class Load:
	"""The clients of one server.

	Args:
		port: The port of the server.
	"""

	def __init__(self, port: int) -> None:
		self.port = port
		self.epoll = select.epoll()
		self.clients: dict[int, Client] = {}
		self.received = 0
		self.polls = self.empty_polls = 0
		"""Polls of the epoll since `reset`, and how many of them found no data."""

	# -- clients

	def connect(self, count: int, window: int = 200) -> None:
		"""Connect `count` clients by WebSocket, at most `window` at a time."""
		self._connect(count, window, self._start_websocket)

	def connect_polling(self, count: int, window: int = 100) -> None:
		"""Connect `count` clients by polling, followed by the upgrade to WebSocket."""
		self._connect(count, window, self._start_polling)

	def connect_mixed(self, count: int, polling: int) -> None:
		"""Connect `count` clients; `polling` of them stay on the polling transport.

		These do not answer pings, so a measurement must end before the first ping times out.
		"""
		self.connect(count - polling)
		self._connect(polling, 100, self._start_staying, first=count - polling)

	def _connect(self, count: int, window: int, start: Callable[[Client], None], first: int = 0) -> None:
		waiting: set[Client] = set()
		started = 0
		deadline = time.monotonic() + 120
		while started < count or waiting:
			if time.monotonic() > deadline:
				raise RuntimeError(f"{len(waiting)} of {count} clients are not connected after 120 s")
			while started < count and len(waiting) < window:
				client = Client(first + started)
				start(client)
				started += 1
				waiting.add(client)
			self.poll(0.5)
			waiting = {client for client in waiting if not client.ready}

	def _start_websocket(self, client: Client) -> None:
		client.socket = client.open(self.port)
		client.step = websocket_opened
		self._add(client)
		client.socket.send(head("GET", "transport=websocket", client.sid, UPGRADE))

	def _start_polling(self, client: Client) -> None:
		client.socket = client.open(self.port)
		client.step = self._polling_opened
		self._add(client)
		client.socket.send(head("GET", "transport=polling", client.sid))

	def _start_staying(self, client: Client) -> None:
		client.polls = True
		self._start_polling(client)

	def _polling_opened(self, client: Client) -> None:
		if b'"maxPayload"' not in client.buffer or not client.buffer.rstrip().endswith(b"}"):
			return
		client.session = client.buffer.partition(b'"sid":"')[2].partition(b'"')[0].decode()
		client.buffer = b""
		body = f"40/{SITE},"
		client.step = self._polling_posted
		query = f"transport=polling&sid={client.session}"
		client.socket.send(
			head("POST", query, client.sid, f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n")
			+ body.encode()
		)

	def _polling_posted(self, client: Client) -> None:
		if not client.buffer.lower().endswith(b"ok"):
			return
		client.buffer = b""
		client.step = self._polling_joined
		client.socket.send(head("GET", f"transport=polling&sid={client.session}", client.sid))

	def _polling_joined(self, client: Client) -> None:
		if b"40/" not in client.buffer or not client.buffer.rstrip().endswith(b"}"):
			return
		client.buffer = b""
		if client.polls:
			client.ready = True
			client.socket.send(head("GET", f"transport=polling&sid={client.session}", client.sid))
			return
		self._remove(client)
		client.socket.close()
		client.socket = client.open(self.port)
		client.step = self._probe_opened
		self._add(client)
		query = f"transport=websocket&sid={client.session}"
		client.socket.send(head("GET", query, client.sid, UPGRADE))

	def _probe_opened(self, client: Client) -> None:
		if client.buffer.endswith(b"\r\n\r\n"):
			client.buffer = b""
			client.step = self._probe_answered
			client.socket.send(masked("2probe"))

	def _probe_answered(self, client: Client) -> None:
		if b"3probe" in client.buffer:
			client.buffer = b""
			client.ready = True
			client.socket.send(masked("5"))

	def drop(self) -> None:
		"""Close the TCP connections of all clients."""
		for client in self.clients.values():
			client.socket.close()
		self.clients.clear()
		self.epoll.close()
		self.epoll = select.epoll()

	def _add(self, client: Client) -> None:
		self.clients[client.socket.fileno()] = client
		self.epoll.register(client.socket.fileno(), select.EPOLLIN)

	def _remove(self, client: Client) -> None:
		self.epoll.unregister(client.socket.fileno())
		del self.clients[client.socket.fileno()]

	# -- events

	def reset(self) -> None:
		"""Set all counters to 0."""
		self.received = self.polls = self.empty_polls = 0

	def poll(self, timeout: float, arrivals: list[float] | None = None) -> None:
		"""Wait for data up to `timeout` seconds, and read them; append the time of each event to `arrivals`."""
		found = self.epoll.poll(timeout, 4096)
		self.polls += 1
		self.empty_polls += not found
		for number, _ in found:
			client = self.clients.get(number)
			if client is None:
				continue
			try:
				data = client.socket.recv(1 << 18)
			except BlockingIOError:
				continue
			if not data:
				raise RuntimeError(f"the server closed client {client.id} ({client.buffer[-200:]!r})")
			if not client.ready:
				client.buffer += data
				client.step(client)
				continue
			marks = data.count(MARK)
			if marks:
				self.received += marks
				if arrivals is not None:
					arrivals.extend([time.perf_counter()] * marks)
			if client.polls:
				self._poll_again(client, data)
			elif PING in data:
				client.socket.send(PONG)

	def _poll_again(self, client: Client, data: bytes) -> None:
		"""Send the next polling request when a response is complete."""
		client.buffer += data
		header, blank, body = client.buffer.partition(b"\r\n\r\n")
		length = header.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
		if blank and len(body) >= int(length):
			client.buffer = b""
			client.socket.send(head("GET", f"transport=polling&sid={client.session}", client.sid))

	def wait_for(self, count: int, timeout: float = 120, arrivals: list[float] | None = None) -> None:
		"""Read until `count` events have been received since `reset`.

		Raises:
			RuntimeError: They are not received within `timeout` seconds.
		"""
		deadline = time.monotonic() + timeout
		while self.received < count:
			if time.monotonic() > deadline:
				raise RuntimeError(f"only {self.received} of {count} events were received")
			self.poll(0, arrivals)

	def check_count(self, count: int) -> None:
		"""Read until no more data arrive.

		Raises:
			RuntimeError: The number of events since `reset` is not `count`, so the measurement is invalid.
		"""
		received = -1
		while received != self.received:
			received = self.received
			self.poll(0.2)
		if received != count:
			raise RuntimeError(f"{received} events were received instead of {count}")
