"""A client of the load generator: its requests, and what it keeps of the answers.

It behaves like a browser: when it connects again, it sends the `pid` and the last offset that the server has given it.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

SITE = "bench.localhost"
PLAIN_SITE = "plain.localhost"
"""A site without this project's app, in the same bench."""
MARK = b"^"
PING = b"\x81\x012"
KEY = b64encode(b"0123456789abcdef").decode()


def masked(text: str) -> bytes:
	"""Return a text frame of a client. The mask is zero, which the protocol allows, so no bytes have to be changed."""
	data = text.encode()
	assert len(data) < 126
	return bytes((0x81, 0x80 | len(data))) + b"\0\0\0\0" + data


PONG = masked("3")


def head(method: str, query: str, sid: str, extra: str = "", site: str = SITE) -> bytes:
	"""Return the head of an HTTP request of the client with the session cookie `sid`."""
	return (
		f"{method} /socket.io/?EIO=4&{query} HTTP/1.1\r\nHost: {site}\r\nOrigin: http://{site}\r\n"
		f"User-Agent: {USER_AGENT}\r\nX-Frappe-Site-Name: {site}\r\nCookie: sid={sid}\r\n{extra}\r\n"
	).encode()


USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
"""That of a browser, by which the server sees that the client can recover."""

UPGRADE = (
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
	+ KEY
	+ "\r\n"
)


ANSWER = re.compile(rb"40/[^,]+,(\{[^}]*\})")
"""The answer to CONNECT: `{sid}`, and `{sid, pid}` if the client can recover."""

OFFSET_EVENT = re.compile(rb'"frappe_realtime:offset","([^"]+)"\]')
"""The event that ends the answer of this server to a client that can recover."""

OFFSET = re.compile(rb',"([^"]{1,64})"\]')
"""The offset: the last argument of an event."""

TAIL = 256
"""Bytes of the received data that are kept to find the last offset in them."""


@dataclass(frozen=True, slots=True)
class Position:
	"""What a client sends to recover its session, and the id of the socket that it expects then."""

	sid: str
	pid: str
	offset: str

	@property
	def auth(self) -> str:
		"""The payload of CONNECT."""
		return json.dumps({"pid": self.pid, "offset": self.offset}, separators=(",", ":"))


class Client:
	"""One client.

	Until it is connected, `step` handles the received data; after that the `Load` counts the events in them.
	"""

	__slots__ = (
		"answer",
		"buffer",
		"can_recover",
		"id",
		"polls",
		"ready",
		"session",
		"socket",
		"step",
		"tail",
	)

	def __init__(self, id: int) -> None:
		self.id = id
		self.ready = False
		self.polls = False
		"""Whether the client stays on the polling transport."""
		self.buffer = b""
		self.session = ""
		self.answer: dict[str, str] = {}
		"""The answer to CONNECT."""
		self.can_recover = False
		"""Whether the server has given the client a `pid`."""
		self.tail = b""
		"""The end of the received data; only if the client can recover."""
		self.socket: socket.socket
		self.step: Callable[[Client], None]

	@property
	def sid(self) -> str:
		return f"user{self.id}"

	@property
	def position(self) -> Position | None:
		"""What the client sends to recover its session; None if it cannot, or has not been sent an offset."""
		offsets = OFFSET.findall(self.tail)
		if not (self.can_recover and offsets):
			return None
		return Position(self.answer["sid"], self.answer["pid"], offsets[-1].decode())

	def open(self, port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
		opened = socket.create_connection(("127.0.0.1", port))
		opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		if tls is not None:
			opened = tls.wrap_socket(opened)
		opened.setblocking(False)
		return opened

	def receive(self) -> bytes:
		"""Read what has arrived; raise BlockingIOError or SSLWantReadError if it is nothing."""
		data = self.socket.recv(1 << 18)
		if isinstance(self.socket, ssl.SSLSocket):
			# The epoll does not see what the TLS layer has read already.
			while self.socket.pending():
				data += self.socket.recv(1 << 18)
		return data


def response_body(buffer: bytes) -> bytes | None:
	"""Return the body of an HTTP response; None if it is not complete."""
	header, blank, body = buffer.partition(b"\r\n\r\n")
	length = header.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
	return body if blank and len(body) >= int(length) else None
