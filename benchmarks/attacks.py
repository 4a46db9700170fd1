"""What one hostile client sends, for `benchmarks.hostile`: each attack uses one connection at a time and a limited rate.

`python -m benchmarks.attacks NUMBER PORT SECONDS REDIS_PORT` runs one attack in a process of its own, so that it does not slow
down the clients that are measured. It prepares the attack, prints `ready`, waits for a line, and prints what it has received as
JSON.
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

from benchmarks.client import SITE, UPGRADE
from frappe_realtime.publishing.connection import queue_connector
from frappe_realtime.publishing.outbox import Message, Outbox

RATE = 100_000
"""Bytes a second that an attack may send."""

CONNECTION_BYTES = 200
"""Bytes of a TCP connection without data: the TCP and IPv4 headers of the five segments that a client sends to open and close it."""

KNOWN, UNKNOWN = "127.0.0.2", "127.0.0.1"
"""The address that an attack comes from. The server does not trust the first one, so that it counts as a client; without the header
of a proxy, a client on the second one has no known address."""

PATIENCE = 0.05
"""Seconds that an attacker waits for an answer that may not come."""

PREPARATION = 15.0
"""Seconds in which an attack may use up a burst; a busy machine is slower than the rate that fills it up again."""

MISSED = 1000
"""Events of 1 KB that a recovering attacker has missed."""

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
		source: The address that the connections come from.
	"""

	def __init__(self, port: int, source: str) -> None:
		self.port = port
		self.source = source
		self.received = 0
		"""Bytes received on all connections."""
		self.connections = 0
		self._sent = 0
		self._rate = self._seconds = float("inf")
		self._started = time.perf_counter()
		self._socket: socket.socket | None = None

	def start(self, seconds: float) -> None:
		"""Limit the rate from now on, and end after some time: `send` then raises `Stopped`."""
		self.received = self.connections = self._sent = 0
		self._rate, self._seconds = RATE, seconds
		self._started = time.perf_counter()

	def open(self) -> None:
		"""Open a new connection in place of the current one."""
		self.close()
		self._socket = socket.create_connection(
			("127.0.0.1", self.port), timeout=30, source_address=(self.source, 0)
		)
		self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.connections += 1
		self._sent += CONNECTION_BYTES

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
		time.sleep(max(0.0, self._sent / self._rate - elapsed))
		self._socket.sendall(data)
		while drain and select.select([self._socket], [], [], 0)[0]:
			self._read()

	def receive(self, *ends: bytes) -> bytes:
		"""Read until one of `ends` is in what has arrived; raise OSError when the connection ends before."""
		data = b""
		while not any(end in data for end in ends):
			data += self._read()
		return data

	def answers(self) -> bool:
		"""Read what arrives within `PATIENCE`; return False if nothing does."""
		assert self._socket is not None
		if not select.select([self._socket], [], [], PATIENCE)[0]:
			return False
		self._read()
		return True

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


def use_up_handshakes(wire: Wire, who: str, redis_port: int) -> None:
	"""Use up the burst of new connections of a known address."""
	end = time.perf_counter() + PREPARATION
	while wire.source == KNOWN and time.perf_counter() < end:
		try:
			wire.handshake()
		except OSError:
			break


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
		prepare: Does what comes before the attack; called with the wire, who the attacker is, and the port of Redis.
		source: `KNOWN` or `UNKNOWN`.
		with_app: True if the site has this project's app, without which there is no recovery.
	"""

	name: str
	who: str
	step: Step
	begin: Callable[[Wire, str], object] = Wire.handshake
	prepare: Callable[[Wire, str, int], object] = use_up_handshakes
	source: str = KNOWN
	with_app: bool = False

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
	wire.open()
	wire.send(b"GET /socket.io/?transport=polling&sid=%d HTTP/1.1\r\n\r\n" % number, False)
	wire.response()


def preflight(wire: Wire, who: str, number: int) -> None:
	"""Ask whether a page of another origin may send a request."""
	wire.open()
	wire.send(b"OPTIONS /socket.io/ HTTP/1.1\r\n\r\n", False)
	wire.response()


def request_health(wire: Wire, who: str, number: int) -> None:
	"""Request the health of the server."""
	wire.open()
	wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", False)
	wire.response()


def request_for_another_path(wire: Wire, who: str, number: int) -> None:
	"""Request a page that there is not."""
	wire.open()
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
	"""Connect with a session id that the web process has to look at, and do not wait for long."""
	connect_invented(wire)


def connect_invented(wire: Wire) -> bool:
	"""Connect with an invented session id; return False if there is no answer at once."""
	wire.open()
	sid = f"invented{random.random()}"
	wire.send(http_request("GET", "/socket.io/?EIO=4&transport=websocket", sid, extra=UPGRADE), False)
	wire.receive(b'"sid"')
	wire.send(text(f"40/{SITE},"), False)
	return wire.answers()


def use_up_logins(wire: Wire, who: str, redis_port: int) -> None:
	"""Use up the burst of failed logins, and then that of handshakes."""
	end = time.perf_counter() + PREPARATION
	while connect_invented(wire) and time.perf_counter() < end:
		pass
	use_up_handshakes(wire, who, redis_port)


class RecoveryLoop:
	"""Reconnects to the attacker's own session again and again, each time with an offset from before what it has missed."""

	def __init__(self) -> None:
		self.pid = ""

	def prepare(self, wire: Wire, who: str, redis_port: int) -> None:
		"""Connect once to get a `pid`, publish the events that are missed, and recover until that is refused."""
		self._connect(wire, who)
		if not self.pid:
			raise RuntimeError("the server gives the attacker no session that can be recovered")
		wire.close()
		room = "user:Guest" if who == GUEST else f"user:{SID[who]}@example.com"
		publish_history(redis_port, room)
		end = time.perf_counter() + PREPARATION
		while self._connect(wire, who) and time.perf_counter() < end:
			wire.send(event("ping"), False)
			wire.receive(b'"pong"')
		use_up_handshakes(wire, who, redis_port)

	def begin(self, wire: Wire, who: str) -> None:
		"""Each step opens a connection."""

	def step(self, wire: Wire, who: str, number: int) -> None:
		"""Reconnect, and read until nothing more arrives at once."""
		self._connect(wire, who)
		wire.send(event("ping"), False)
		wire.receive(b'"pong"')

	def _connect(self, wire: Wire, who: str) -> bool:
		"""Connect with the first `pid`; return True if the session is recovered."""
		answer = wire.handshake(who, f'{{"pid":"{self.pid}","offset":"{FIRST_OFFSET}"}}')
		pid = answer.partition(b'"pid":"')[2].partition(b'"')[0].decode()
		recovered = pid == self.pid
		self.pid = self.pid or pid
		return recovered


FIRST_OFFSET = "1-1"
"""An offset before all events; the server replays what the session has missed since its begin."""


def publish_history(redis_port: int, room: str) -> None:
	"""Publish `MISSED` events to a room as the app does, into the site's history."""
	outbox = Outbox(queue_connector({"redis_queue": f"redis://127.0.0.1:{redis_port}"}), lambda message: None)
	stream = f"frappe_realtime:{SITE}:events"
	for number in range(MISSED):
		message = {"event": "old", "message": f"{number} {'x' * 1000}", "room": room, "namespace": SITE}
		outbox.send([Message("events", json.dumps(message), stream, MISSED, 600)])
	if not outbox.flush(30):
		raise RuntimeError("Redis did not take the history")


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
	for source, suffix in ((KNOWN, ""), (UNKNOWN, ", address unknown")):
		yield Attack(
			f"connections with invented session ids{suffix}",
			ANONYMOUS,
			invented_session,
			begin_tcp,
			use_up_logins,
			source,
		)
	yield Attack("polling handshakes", ANONYMOUS, polling_handshake, begin_tcp)
	yield Attack("polling requests", ANONYMOUS, polling_session, begin_tcp)
	yield Attack("polling requests for no session", ANONYMOUS, request_without_session, begin_tcp)
	yield Attack("preflights", ANONYMOUS, preflight, begin_tcp)
	yield Attack("requests for `/health`", ANONYMOUS, request_health, begin_tcp)
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
		yield Attack("recovery from an old offset", who, loop.step, loop.begin, loop.prepare, with_app=True)


def subscribe(number: int, kind: str) -> bytes:
	"""Return frames that subscribe to a document and unsubscribe from it."""
	return event(f"{kind}_subscribe", INVENTED, str(number)) + event(
		f"{kind}_unsubscribe", INVENTED, str(number)
	)


def main() -> None:
	number, port, seconds, redis_port = sys.argv[1:]
	attack = list(attacks())[int(number)]
	wire = Wire(int(port), attack.source)
	attack.prepare(wire, attack.who, int(redis_port))
	print("ready", flush=True)
	sys.stdin.readline()
	wire.start(float(seconds))
	attack.run(wire)
	print(json.dumps({"received": wire.received, "connections": wire.connections}))


if __name__ == "__main__":
	main()
