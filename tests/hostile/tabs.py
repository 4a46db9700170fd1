"""`Tab`: a client in the random sequences of `model.py`, which stands for one tab of a browser."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.wire.conditions import until
from tests.wire.raw import HANDSHAKE


@dataclass(frozen=True)
class Address:
	"""Where browsers connect to.

	Args:
		site: The site.
		port: The port of the sidecar.
		origin_port: The port of the site's pages.
	"""

	site: str
	port: int
	origin_port: int


@dataclass
class Tab:
	"""A browser's tab: what it has received, and what the model says that it must receive."""

	address: Address
	user: str
	sid: str
	connection: ClientConnection | None = None
	id: str = ""
	pid: str = ""
	offset: str = ""
	rooms: set[str] = field(default_factory=set)
	"""The documents that the tab is subscribed to, as the model knows it."""
	received: list[int] = field(default_factory=list)
	expected: list[int] = field(default_factory=list)
	missed: list[tuple[str, int]] = field(default_factory=list)
	"""Document and number of the events that were published while the tab was away and its user might read them."""
	_stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

	def open(self) -> bool:
		"""Connect, with the recovery data of the connection before; return whether the session was recovered."""
		address = self.address

		def attempt() -> ClientConnection | None:
			with contextlib.suppress(OSError, InvalidHandshake, ConnectionClosed):
				return self._stack.enter_context(
					connect(
						f"ws://{address.site}:{address.port}{HANDSHAKE}websocket",
						sock=socket.create_connection(("127.0.0.1", address.port)),
						origin=Origin(f"http://{address.site}:{address.origin_port}"),
						additional_headers={"Cookie": f"sid={self.sid}", "User-Agent": "Mozilla/5.0"},
						compression=None,
						proxy=None,
						ping_interval=None,
					)
				)
			return None

		before = self.id
		prefix = f"40/{address.site},"
		while True:
			self.connection = connection = until(attempt, "a connection")
			assert connection
			auth = json.dumps({"pid": self.pid, "offset": self.offset}) if self.pid else ""
			try:
				connection.send(prefix + auth)
				while not (answer := str(connection.recv(30))).startswith("4"):
					self._handle(answer)
				break
			except ConnectionClosed:
				# Asked to come back later, as socket.io-client does.
				continue
		assert answer.startswith(prefix), answer
		data = json.loads(answer.removeprefix(prefix))
		self.id, self.pid = data["sid"], data["pid"]
		return self.id == before

	def send(self, event: str, *arguments: Any) -> None:
		"""Send an event."""
		assert self.connection is not None
		self.connection.send(f"42/{self.address.site},{json.dumps([event, *arguments])}")

	def read_until(self, event: str, number: int | None = None) -> list[Any]:
		"""Read until an event arrives, whose first argument is `number` if that is given; return it with its arguments."""
		while True:
			assert self.connection is not None
			found = self._handle(str(self.connection.recv(30)))
			if found and found[0] == event and (number is None or found[1] == number):
				return found

	def _handle(self, message: str) -> list[Any] | None:
		"""Handle one message, and return the event in it with its arguments."""
		if message == "2":
			assert self.connection is not None
			self.connection.send("3")
		prefix = f"42/{self.address.site},"
		if not message.startswith(prefix):
			return None
		event: list[Any] = json.loads(message.removeprefix(prefix))
		if isinstance(event[-1], str) and len(event) > 1:
			self.offset = event[-1]
		if event[0] == "news":
			self.received.append(event[1])
		return event

	def cut(self) -> None:
		"""Lose the connection without closing it."""
		assert self.connection is not None
		with contextlib.suppress(OSError):
			# Wakes the thread that reads; closing would otherwise wait for it.
			self.connection.socket.shutdown(socket.SHUT_RDWR)
		self._stack.close()
		self.connection = None
