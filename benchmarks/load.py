"""The load generator: many TCP connections on one epoll, which counts and times received events and does little else.

Each event contains the byte `^` once, and no other data contain it. So the number of events is the number of these bytes,
independent of how the stream is split into reads. The length in a frame header may be the same byte by chance;
`check_count` detects that.
"""

from __future__ import annotations

import json
import select
import ssl
import time
from collections.abc import Callable

from benchmarks.client import (
	ANSWER,
	MARK,
	OFFSET_EVENT,
	PING,
	PONG,
	SITE,
	TAIL,
	UPGRADE,
	Client,
	Position,
	head,
	masked,
	response_body,
)


class Load:
	"""The clients of one server.

	Args:
		port: The port of the server.
		site: The site that they connect to.
		offset_event: Whether the server ends its answer to CONNECT with the event `OFFSET_EVENT`.
		tls: Set for clients that connect over TLS.
	"""

	def __init__(
		self,
		port: int,
		site: str = SITE,
		*,
		offset_event: bool = False,
		tls: ssl.SSLContext | None = None,
	) -> None:
		self.port = port
		self.site = site
		self.epoll = select.epoll()
		self.clients: dict[int, Client] = {}
		self.received = 0
		self.polls = self.empty_polls = 0
		"""Polls of the epoll since `reset`, and how many of them found no data."""
		self.recovered = 0
		"""Clients that have got back their session since the last `drop`."""
		self._positions: dict[int, Position] = {}
		"""What the clients have kept when they were dropped, by id."""
		self._offset_event = offset_event
		self._tls = tls

	# -- clients

	def connect(self, count: int, window: int = 200, first: int = 0) -> None:
		"""Connect `count` clients by WebSocket, at most `window` at a time; `first` is the id of the first one."""
		self._connect(count, window, self._start_websocket, first)

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
		client.socket = client.open(self.port, self._tls)
		client.step = self._websocket_opened
		self._add(client)
		client.socket.send(self._head("GET", "transport=websocket", client, UPGRADE))

	def _websocket_opened(self, client: Client) -> None:
		"""Join the namespace when the response 101 and the open packet have been received."""
		if b'"sid"' in client.buffer:
			client.buffer = b""
			client.step = self._namespace_joined
			client.socket.send(masked(self._connect_packet(client)))

	def _connect_packet(self, client: Client) -> str:
		position = self._positions.get(client.id)
		return f"40/{self.site},{position.auth if position else ''}"

	def _namespace_joined(self, client: Client) -> None:
		"""Finish when the answer to CONNECT has been received."""
		if self._read_answer(client, client.buffer):
			client.buffer = b""
			client.ready = True

	def _read_answer(self, client: Client, data: bytes) -> bool:
		"""Keep the answer to CONNECT, and count the events beside it; return False if the answer is not complete.

		Raises:
			RuntimeError: The server has refused the client.
		"""
		found = ANSWER.search(data)
		if found is None:
			if b"44/" in data:
				raise RuntimeError(f"refused: {data!r}")
			return False
		answer = json.loads(found[1])
		client.can_recover = "pid" in answer
		if self._offset_event and client.can_recover and not OFFSET_EVENT.search(data[-TAIL:]):
			return False
		client.answer = answer
		if client.can_recover:
			client.tail = data[-TAIL:]
		kept = self._positions.get(client.id)
		if kept is not None and (kept.sid, kept.pid) == (answer["sid"], answer.get("pid")):
			self.recovered += 1
		# Node sends the events that a client has missed before this answer.
		self.received += data.count(MARK)
		return True

	def _head(self, method: str, query: str, client: Client, extra: str = "") -> bytes:
		return head(method, query, client.sid, extra, self.site)

	def _start_polling(self, client: Client) -> None:
		client.socket = client.open(self.port, self._tls)
		client.step = self._polling_opened
		self._add(client)
		client.socket.send(self._head("GET", "transport=polling", client))

	def _start_staying(self, client: Client) -> None:
		client.polls = True
		self._start_polling(client)

	def _polling_opened(self, client: Client) -> None:
		if b'"maxPayload"' not in client.buffer or not client.buffer.rstrip().endswith(b"}"):
			return
		client.session = client.buffer.partition(b'"sid":"')[2].partition(b'"')[0].decode()
		client.buffer = b""
		body = self._connect_packet(client)
		client.step = self._polling_posted
		query = f"transport=polling&sid={client.session}"
		client.socket.send(
			self._head("POST", query, client, f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n")
			+ body.encode()
		)

	def _polling_posted(self, client: Client) -> None:
		if not client.buffer.lower().endswith(b"ok"):
			return
		client.buffer = b""
		client.step = self._polling_joined
		client.socket.send(self._head("GET", f"transport=polling&sid={client.session}", client))

	def _polling_joined(self, client: Client) -> None:
		body = response_body(client.buffer)
		if body is None or not self._read_answer(client, body):
			return
		client.buffer = b""
		if client.polls:
			client.ready = True
			client.socket.send(self._head("GET", f"transport=polling&sid={client.session}", client))
			return
		self._remove(client)
		client.socket.close()
		client.socket = client.open(self.port, self._tls)
		client.step = self._probe_opened
		self._add(client)
		query = f"transport=websocket&sid={client.session}"
		client.socket.send(self._head("GET", query, client, UPGRADE))

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

	def drop(self, keep: bool = True) -> None:
		"""Close the TCP connections of all clients.

		Args:
			keep: Whether the clients with the same ids that connect next recover these sessions, where they can.
		"""
		self.recovered = 0
		self._positions.clear()
		for client in self.clients.values():
			if keep and (position := client.position) is not None:
				self._positions[client.id] = position
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

	def emit(self, client: Client, event: str, *arguments: str) -> None:
		"""Send an event of a client on WebSocket."""
		client.socket.send(masked(f"42/{self.site},{json.dumps([event, *arguments], separators=(',', ':'))}"))

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
				data = client.receive()
			except (BlockingIOError, ssl.SSLWantReadError):
				continue
			if not data:
				raise RuntimeError(f"the server closed client {client.id} ({client.buffer[-200:]!r})")
			if not client.ready:
				client.buffer += data
				client.step(client)
				continue
			if client.can_recover:
				client.tail = (client.tail + data[-TAIL:])[-TAIL:]
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
		if response_body(client.buffer) is not None:
			client.buffer = b""
			client.socket.send(self._head("GET", f"transport=polling&sid={client.session}", client))

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

	def check_recovered(self, count: int) -> None:
		"""Raise RuntimeError unless `count` clients have got back their session since the last `drop`."""
		if self.recovered != count:
			raise RuntimeError(f"{self.recovered} clients of {count} have recovered their session")

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
