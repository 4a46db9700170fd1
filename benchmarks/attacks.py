"""What one hostile client sends, for `benchmarks.hostile`: each attack uses one connection at a time and a limited rate.

`python -m benchmarks.attacks NUMBER PORT SECONDS` runs one attack in a process of its own, so that it does not slow down the
clients that are measured, and prints what it has received as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.load import SITE, UPGRADE

RATE = 100_000
"""Bytes a second that an attack may send."""

ANONYMOUS, GUEST, USER = "anonymous", "Guest", "user"
"""Without a CONNECT packet; with the session `Guest`; with the session of a System User."""

SID = {GUEST: "Guest", USER: "attacker"}


def frame(first_byte: int, data: bytes = b"") -> bytes:
	"""Return a frame as a client sends it; the mask is zero, which the protocol allows."""
	size = len(data)
	if size < 126:
		return bytes((first_byte, 0x80 | size)) + bytes(4) + data
	return bytes((first_byte, 0xFE, size >> 8, size & 255)) + bytes(4) + data


def text(packet: str) -> bytes:
	"""Return the frame of a text packet."""
	return frame(0x81, packet.encode())


def event(*arguments: str) -> bytes:
	"""Return the frame of an event whose name and arguments are strings that need no escaping."""
	return text(f"42/{SITE},[" + ",".join(f'"{argument}"' for argument in arguments) + "]")


def http_request(method: str, target: str, sid: str = "", body: bytes = b"", extra: str = "") -> bytes:
	"""Return a request as a browser on the site sends it, without what the server does not need."""
	cookie = f"Cookie: sid={sid}\r\n" if sid else ""
	length = f"Content-Length: {len(body)}\r\n" if body else ""
	return (
		f"{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nUser-Agent: Mozilla/5.0\r\n{cookie}{extra}{length}\r\n"
	).encode() + body


class Wire:
	"""One TCP connection after another to the server, with a limit for what is sent.

	Args:
		port: The port of the server.
		seconds: When the attack has to end; `send` then raises `Stopped`.
	"""

	def __init__(self, port: int, seconds: float) -> None:
		self.port = port
		self.received = 0
		"""Bytes received on all connections."""
		self.connections = 0
		self._sent = 0
		self._started = time.perf_counter()
		self._seconds = seconds
		self._socket: socket.socket | None = None

	def open(self) -> None:
		"""Open a new connection in place of the current one."""
		self.close()
		self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
		self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.connections += 1

	def close(self) -> None:
		"""Close the current connection."""
		if self._socket is not None:
			self._socket.close()
			self._socket = None

	def send(self, data: bytes, drain: bool = True) -> None:
		"""Send when the rate allows it, then read what has arrived.

		Raises:
			Stopped: The attack has to end.
			OSError: The server has closed the connection.
		"""
		assert self._socket is not None
		self._sent += len(data)
		elapsed = time.perf_counter() - self._started
		if elapsed > self._seconds:
			raise Stopped
		time.sleep(max(0.0, self._sent / RATE - elapsed))
		self._socket.sendall(data)
		while drain and select.select([self._socket], [], [], 0)[0]:
			self._read()

	def receive(self, *ends: bytes) -> bytes:
		"""Read until one of `ends` is in what has arrived; raise OSError when the connection ends before."""
		data = b""
		while not any(end in data for end in ends):
			data += self._read()
		return data

	def response(self) -> bytes:
		"""Read one HTTP response with a Content-Length, and return its body."""
		data = self.receive(b"\r\n\r\n")
		head, _, body = data.partition(b"\r\n\r\n")
		length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
		while len(body) < length:
			body += self._read()
		return body

	def _read(self) -> bytes:
		assert self._socket is not None
		data = self._socket.recv(1 << 18)
		if not data:
			raise ConnectionResetError("the server closed the connection")
		self.received += len(data)
		return data

	def handshake(self, who: str = ANONYMOUS, auth: str = "") -> bytes:
		"""Open a WebSocket, join the site's namespace unless `who` is anonymous, and return the answer to CONNECT."""
		self.open()
		self.send(
			http_request("GET", "/socket.io/?EIO=4&transport=websocket", SID.get(who, ""), extra=UPGRADE),
			False,
		)
		self.receive(b'"sid"')
		if who == ANONYMOUS:
			return b""
		self.send(text(f"40/{SITE},{auth}"), False)
		return self.receive(f"0/{SITE},{{".encode(), f"4/{SITE},{{".encode())


class Stopped(Exception):
	"""The time of an attack is over."""


Step = Callable[[Wire, str, int], None]
"""Sends once; called with the wire, who the attacker is, and the number of the call."""


@dataclass(frozen=True, slots=True)
class Attack:
	"""What a hostile client does again and again, with a new connection whenever the server closes the last one.

	Args:
		name: What is sent, for the table.
		who: `ANONYMOUS`, `GUEST` or `USER`.
		step: Sends once.
		begin: Opens a connection.
	"""

	name: str
	who: str
	step: Step
	begin: Callable[[Wire, str], object] = Wire.handshake

	def run(self, wire: Wire) -> None:
		"""Attack until the wire is stopped."""
		numbers = itertools.count()
		while True:
			try:
				self.begin(wire, self.who)
				while True:
					self.step(wire, self.who, next(numbers))
			except OSError:
				continue
			except Stopped:
				wire.close()
				return


def sends(make: Callable[[int], bytes]) -> Step:
	"""Return a step that sends what `make` returns for its number."""
	return lambda wire, who, number: wire.send(make(number))


def begin_fragments(wire: Wire, who: str) -> None:
	"""Begin a message that never ends."""
	wire.handshake(who)
	wire.send(frame(0x01, b"4"))


def begin_tcp(wire: Wire, who: str) -> None:
	"""Open a TCP connection."""
	wire.open()


def request_without_session(wire: Wire, who: str, number: int) -> None:
	"""Poll a session that there is not."""
	wire.send(b"GET /socket.io/?transport=polling&sid=%d HTTP/1.1\r\n\r\n" % number, False)
	wire.response()


def request_for_another_path(wire: Wire, who: str, number: int) -> None:
	"""Request a page that there is not."""
	wire.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number, False)
	wire.response()


def polling_handshake(wire: Wire, who: str, number: int) -> None:
	"""Open a session by long-polling, and leave it."""
	wire.send(http_request("GET", "/socket.io/?EIO=4&transport=polling"), False)
	wire.response()


def polling_session(wire: Wire, who: str, number: int) -> None:
	"""Open a session by long-polling and post packets to it until it ends."""
	wire.send(http_request("GET", "/socket.io/?EIO=4&transport=polling"), False)
	sid = wire.response().partition(b'"sid":"')[2].partition(b'"')[0].decode()
	body = b"ok"
	while body == b"ok":
		wire.send(http_request("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", body=b"3"), False)
		body = wire.response()


def garbage(wire: Wire, who: str, number: int) -> None:
	"""Send noise on a connection of its own."""
	wire.open()
	wire.send(os.urandom(100))


def invented_session(wire: Wire, who: str, number: int) -> None:
	"""Connect with a session id that the web process has to look at."""
	wire.open()
	wire.send(
		http_request("GET", "/socket.io/?EIO=4&transport=websocket", f"x{random.random()}", extra=UPGRADE),
		False,
	)
	wire.receive(b'"sid"')
	wire.send(text(f"40/{SITE},"), False)
	wire.receive(f"0/{SITE},{{".encode(), f"4/{SITE},{{".encode())


class RecoveryLoop:
	"""Reconnects to the attacker's own session again and again, each time from an offset long ago."""

	def __init__(self) -> None:
		self.pid = ""

	def begin(self, wire: Wire, who: str) -> None:
		"""Connect once to get a `pid`."""
		if not self.pid:
			answer = wire.handshake(who)
			self.pid = answer.partition(b'"pid":"')[2].partition(b'"')[0].decode()

	def step(self, wire: Wire, who: str, number: int) -> None:
		"""Reconnect, and read until nothing more arrives at once."""
		answer = wire.handshake(who, f'{{"pid":"{self.pid}","offset":"{FIRST_OFFSET}"}}')
		pid = answer.partition(b'"pid":"')[2].partition(b'"')[0].decode()
		self.pid = pid or self.pid
		wire.send(event("ping"), False)
		wire.receive(b'"pong"')


FIRST_OFFSET = "1-1"

INVENTED = "Invented"
BINARY = text(f'451-/{SITE},["x",{{"_placeholder":true,"num":0}}]') + frame(0x82, bytes(1000))


def attacks() -> Iterator[Attack]:
	"""Yield all attacks."""
	yield Attack("WebSocket pings", ANONYMOUS, sends(lambda number: frame(0x89)))
	yield Attack("WebSocket pongs", ANONYMOUS, sends(lambda number: frame(0x8A)))
	yield Attack("heartbeats", ANONYMOUS, sends(lambda number: text("3")))
	yield Attack("empty fragments", ANONYMOUS, sends(lambda number: frame(0x00)), begin_fragments)
	yield Attack("fragments of one byte", ANONYMOUS, sends(lambda number: frame(0x00, b"x")), begin_fragments)
	yield Attack("CONNECT to `/`", ANONYMOUS, sends(lambda number: text("40")))
	yield Attack("CONNECT to invented namespaces", ANONYMOUS, sends(lambda number: text(f"40/x{number},")))
	yield Attack("connections with invented session ids", ANONYMOUS, invented_session, begin_tcp)
	yield Attack("polling handshakes", ANONYMOUS, polling_handshake, begin_tcp)
	yield Attack("polling requests", ANONYMOUS, polling_session, begin_tcp)
	yield Attack("polling requests for no session", ANONYMOUS, request_without_session, begin_tcp)
	yield Attack("HTTP requests for other paths", ANONYMOUS, request_for_another_path, begin_tcp)
	yield Attack("garbage", ANONYMOUS, garbage, begin_tcp)
	for who in (GUEST, USER):
		yield Attack("unknown acks", who, sends(lambda number: text(f"43/{SITE},{number}[]")))
		yield Attack("binary attachments", who, sends(lambda number: BINARY))
		yield Attack(
			"subscribe and unsubscribe, invented names", who, sends(lambda number: subscribe(number, "doc"))
		)
		yield Attack("subscribe and unsubscribe, one name", who, sends(lambda number: subscribe(0, "doc")))
		yield Attack(
			"doc_open and doc_close",
			who,
			sends(lambda number: event("doc_open", "ToDo", "1") + event("doc_close", "ToDo", "1")),
		)
		yield Attack("invented events", who, sends(lambda number: event(f"x{number}")))
		loop = RecoveryLoop()
		yield Attack("recovery from an old offset", who, loop.step, loop.begin)


def subscribe(number: int, kind: str) -> bytes:
	"""Return frames that subscribe to a document and unsubscribe from it."""
	return event(f"{kind}_subscribe", INVENTED, str(number)) + event(
		f"{kind}_unsubscribe", INVENTED, str(number)
	)


def main() -> None:
	number, port, seconds = sys.argv[1:]
	wire = Wire(int(port), float(seconds))
	list(attacks())[int(number)].run(wire)
	print(json.dumps({"received": wire.received, "connections": wire.connections}))


if __name__ == "__main__":
	main()
