"""Two sidecars with a link between them, over TCP in one event loop: each with an engine and a forwarder, no Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from realtime.engine import Engine, EngineSettings
from realtime.forwarding.forwarder import SessionForwarder
from realtime.forwarding.link import Link
from tests.unit.engine.fakes import RecordingListener, request, websocket_request

PATIENCE = 20.0
SECRET = "a secret that is in no frame"


class Sidecar:
	"""A process with an engine on a port of its own."""

	def __init__(self, name: str, others: dict[str, str], most: int) -> None:
		self.name = name
		self.secret = SECRET
		self.others = others
		self.listener = RecordingListener()
		self.limits: list[str] = []
		self.forwarder = SessionForwarder(
			name, lambda: self.address, self._address_of, self._secret, most, self.limits.append, None
		)
		self.engine = Engine(
			EngineSettings(max_payload=400_000, max_unsent=200_000), self.listener, handover=self.forwarder
		)
		self.address = ""
		self._server: asyncio.Server | None = None
		self.writers: list[asyncio.StreamWriter] = []

	def _address_of(self, name: str) -> str:
		return self.others.get(name, "")

	async def _secret(self, renew: bool) -> str:
		return self.secret

	async def start(self) -> None:
		"""Listen, and add the address to those of the others."""
		self.forwarder.start(self.engine)
		self._server = await asyncio.get_running_loop().create_server(self.engine.protocol, "127.0.0.1", 0)
		host, port = self._server.sockets[0].getsockname()
		self.address = f"{host}:{port}"
		self.others[self.name] = self.address

	async def stop(self) -> None:
		"""Stop as a sidecar does."""
		assert self._server
		self._server.close()
		self.engine.close()
		await asyncio.gather(self.engine.flush(3), self.forwarder.drain(3))
		self.forwarder.close()
		for writer in self.writers:
			writer.close()

	async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
		"""Return a TCP connection of a client."""
		host, _, port = self.address.partition(":")
		reader, writer = await asyncio.open_connection(host, int(port))
		self.writers.append(writer)
		return reader, writer

	async def session(self) -> str:
		"""Return the session id of a new polling client."""
		reader, writer = await self.connect()
		writer.write(request())
		sid = json.loads((await answer(reader))[1][1:])["sid"]
		writer.close()
		return str(sid)

	async def probe(self, sid: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
		"""Return the WebSocket of a client that has probed an upgrade, and sends the upgrade packet next."""
		reader, writer = await self.connect()
		writer.write(websocket_request(query(sid, "websocket")))
		assert (await answer(reader))[0] == 101
		writer.write(frame("2probe"))
		assert await reader.readexactly(8) == b"\x81\x063probe"
		return reader, writer


async def answer(reader: asyncio.StreamReader) -> tuple[int, str, str]:
	"""Return status, body and head of an HTTP response."""
	head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode()
	length = [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Content-Length")]
	body = await reader.readexactly(int(length[0])) if length else b""
	return int(head.split()[1]), body.decode(), head


async def until(condition: Callable[[], object]) -> None:
	"""Wait until `condition` is true."""

	async def wait() -> None:
		while not condition():
			await asyncio.sleep(0.005)

	await asyncio.wait_for(wait(), PATIENCE)


def query(sid: str, transport: str = "polling") -> str:
	"""Return the query of a request for a session."""
	return f"EIO=4&transport={transport}&sid={sid}"


def run(scenario: Callable[[Sidecar, Sidecar], Awaitable[None]], most: int = 100) -> None:
	"""Run a scenario with two sidecars: `entry`, which clients connect to, and `owner`, which has sessions."""

	async def main() -> None:
		others: dict[str, str] = {}
		entry, owner = Sidecar("entry", others, most), Sidecar("owner", others, most)
		for one in (entry, owner):
			await one.start()
		try:
			await scenario(entry, owner)
		finally:
			for one in (entry, owner):
				await one.stop()

	asyncio.run(main())


def frame(packet: str) -> bytes:
	"""Return a short text frame of a client, with a mask of zeros."""
	return bytes((0x81, 0x80 + len(packet), 0, 0, 0, 0)) + packet.encode()


def links_of(sidecar: Sidecar) -> list[Link]:
	"""Return the links of a sidecar."""
	return list(sidecar.forwarder._links)
