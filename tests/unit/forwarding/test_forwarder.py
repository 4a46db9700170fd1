"""Two sidecars with a link between them, over TCP in one event loop: each with an engine and a forwarder, no Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from realtime.engine import Encoded, Engine, EngineSettings
from realtime.forwarding import forwarder as module
from realtime.forwarding import proofs
from realtime.forwarding.entry_end import ForwardedConnection
from realtime.forwarding.forwarder import KEY, SessionForwarder
from realtime.forwarding.handshake import request_head
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


def test_requests_on_one_tcp_connection_for_sessions_of_both() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sids = [await entry.session(), await owner.session()]
		reader, writer = await entry.connect()
		for number in range(6):
			writer.write(request("POST", query(sids[number % 2]), b"4m%d" % number))
			assert (await answer(reader))[:2] == (200, "ok")
		assert owner.listener.messages == ["m1", "m3", "m5"]
		assert entry.listener.messages == ["m0", "m2", "m4"]
		assert entry.forwarder.counters.sent == owner.forwarder.counters.received == 3
		assert (entry.forwarder.open_links, owner.forwarder.open_links) == (1, 1)
		assert not entry.forwarder.forwarded

	run(scenario)


def test_one_link_serves_both_directions() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sids = {entry: await owner.session(), owner: await entry.session()}
		for through in (entry, owner, entry):
			reader, writer = await through.connect()
			writer.write(request("POST", query(sids[through]), b"4x"))
			assert (await answer(reader))[:2] == (200, "ok")
			writer.close()
		assert (entry.forwarder.open_links, owner.forwarder.open_links) == (1, 1)

	run(scenario)


def test_a_large_body_and_a_large_response() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4" + b"x" * 390_000))
		assert (await answer(reader))[:2] == (200, "ok")
		assert owner.listener.messages == ["x" * 390_000]
		writer.write(request(query=query(sid)))
		await until(lambda: owner.forwarder.received)
		owner.engine.connections[sid].send(Encoded("y" * 390_000))
		status, body, _ = await answer(reader)
		assert (status, body) == (200, "4" + "y" * 390_000)

	run(scenario)


def test_a_poll_whose_client_leaves_ends_the_session() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		_, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		await until(lambda: owner.forwarder.received)
		writer.close()
		await until(lambda: owner.listener.closed)
		assert owner.listener.closed == ["transport error"]
		assert (owner.forwarder.received, entry.forwarder.forwarded) == (0, set())

	run(scenario)


def test_an_upgrade_is_forwarded_for_its_lifetime() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(websocket_request(query(sid, "websocket")))
		assert (await answer(reader))[0] == 101
		writer.write(frame("2probe"))
		assert await reader.readexactly(8) == b"\x81\x063probe"
		writer.write(frame("5"))
		writer.write(frame("4hello"))
		await until(lambda: owner.listener.messages)
		assert owner.listener.messages == ["hello"]
		connection = owner.engine.connections[sid]
		assert connection.transport_name == "websocket"
		connection.send(Encoded("news"))
		assert await reader.readexactly(7) == b"\x81\x054news"
		# A stop of the entry ends it by a close frame, not by a break.
		await entry.forwarder.drain(PATIENCE)
		assert (await reader.read()).startswith(b"\x88")
		assert owner.listener.closed == ["transport close"]

	run(scenario)


def frame(packet: str) -> bytes:
	"""Return a short text frame of a client, with a mask of zeros."""
	return bytes((0x81, 0x80 + len(packet), 0, 0, 0, 0)) + packet.encode()


def test_an_entry_that_stops_answers_the_polls_that_it_forwards() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		await until(lambda: owner.forwarder.received)
		await entry.forwarder.drain(PATIENCE)
		assert (await answer(reader))[:2] == (200, "6")
		assert owner.listener.closed == [], "the session goes on through another sidecar"

	run(scenario)


@pytest.mark.parametrize("linked", [True, False])
def test_an_entry_that_stops_forwards_what_arrives_late(linked: bool) -> None:
	"""It has accepted the TCP connection before. The poll is not held back until the links end."""

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		if linked:
			writer.write(request("POST", query(sid), b"4x"))
			assert (await answer(reader))[:2] == (200, "ok")
		await entry.forwarder.drain(PATIENCE)
		writer.write(request(query=query(sid)))
		assert (await answer(reader))[:2] == (200, "6")
		assert owner.listener.closed == []
		await until(lambda: not entry.forwarder.forwarded)
		entry.forwarder.close()
		writer.write(request(query=query(sid)))
		assert (await answer(reader))[0] == 400

	run(scenario)


def test_an_upgrade_through_an_entry_that_stops_is_completed() -> None:
	"""Its client polls no more: it would not notice before its ping timeout that the WebSocket is gone."""

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(websocket_request(query(sid, "websocket")))
		assert (await answer(reader))[0] == 101
		writer.write(frame("2probe"))
		assert await reader.readexactly(8) == b"\x81\x063probe"
		stop = asyncio.ensure_future(entry.forwarder.drain(PATIENCE))
		await until(lambda: owner.engine.connections[sid].leaving)
		writer.write(frame("5"))
		assert (await reader.read()).startswith(b"\x88")
		await stop
		assert len(owner.listener.closed) == 1

	run(scenario)


def test_an_owner_that_stops_tells_a_client_between_two_polls() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		drain = asyncio.ensure_future(owner.engine.drain(PATIENCE))
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		status, body, head = await answer(reader)
		assert (status, body) == (200, "1")
		assert "Connection: close" not in head, "the entry serves on"
		writer.write(request("POST", query(sid), b"4late"))
		assert (await answer(reader))[:2] == (200, "ok")
		await drain

	run(scenario)


def test_an_owner_that_stops_says_so_to_the_client() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		await until(lambda: owner.forwarder.received)
		await owner.stop()
		status, body, _ = await answer(reader)
		assert (status, body) == (200, "1")

	run(scenario)


@pytest.mark.parametrize("lost_at", ["entry", "owner"])
def test_a_lost_link_refuses_what_has_no_response_and_ends_the_session(lost_at: str) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		await until(lambda: owner.forwarder.received)
		links_of(entry if lost_at == "entry" else owner)[0].fail("cut")
		status, body, _ = await answer(reader)
		assert (status, json.loads(body)["code"]) == (400, 1)
		await until(lambda: owner.listener.closed)
		assert entry.forwarder.counters.lost == 1
		assert (entry.forwarder.open_links, owner.forwarder.open_links) == (0, 0)
		# The next request opens another one.
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[0] == 200

	run(scenario)


def links_of(sidecar: Sidecar) -> list[Link]:
	"""Return the links of a sidecar."""
	return list(sidecar.forwarder._links)


@pytest.mark.parametrize("owner_name", ["nobody", "entry2", ""])
def test_an_owner_that_is_none_is_refused_without_a_link(owner_name: str) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		reader, writer = await entry.connect()
		writer.write(request(query=query(f"{owner_name}.AAAAAAAAAAAAAAAAAAAA")))
		status, body, _ = await answer(reader)
		assert (status, json.loads(body)["code"]) == (400, 1)
		assert entry.forwarder.counters.sent == 0
		assert links_of(entry) == []

	run(scenario)


def test_an_owner_that_cannot_be_reached_is_refused_and_tried_again_later() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		entry.others["owner"] = "127.0.0.1:1"
		for expected in (1, 1, 1):
			reader, writer = await entry.connect()
			writer.write(request(query=query(sid)))
			assert (await answer(reader))[0] == 400
			assert entry.forwarder.counters.sent == expected, "only the first has waited for a link"
			writer.close()
		assert list(entry.forwarder.unreachable()) == ["127.0.0.1:1"]
		del entry.others["owner"]
		assert entry.forwarder.unreachable() == {}

	run(scenario)


def test_more_connections_than_allowed_are_refused() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sids = [await owner.session() for _ in range(3)]
		statuses = []
		for number, sid in enumerate(sids):
			reader, writer = await entry.connect()
			writer.write(request(query=query(sid)))
			if number < 2:
				await until(lambda number=number: owner.forwarder.received > number)  # type: ignore[misc]
			else:
				statuses.append((await answer(reader))[0])
		assert statuses == [503]
		assert entry.limits == [KEY]

	run(scenario, most=2)


def test_a_client_that_does_not_read_is_closed_and_does_not_delay_others() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sids = [await owner.session() for _ in range(2)]
		clients = []
		for sid in sids:
			reader, writer = await entry.connect()
			writer.write(websocket_request(query(sid, "websocket")))
			await answer(reader)
			writer.write(frame("2probe") + frame("5"))
			assert await reader.readexactly(8) == b"\x81\x063probe"
			clients.append((reader, writer))
		await until(lambda: all(owner.engine.connections[sid].transport_name == "websocket" for sid in sids))
		slow, fast = (owner.engine.connections[sid] for sid in sids)
		# Its reader reads no more than its limit of 64 KiB allows.
		message = Encoded("z" * 60_000)
		size = len(message.frames)
		for _ in range(2000):
			if slow.closed:
				break
			slow.send(message)
			fast.send(message)
			assert await asyncio.wait_for(clients[1][0].readexactly(size), PATIENCE) == message.frames
		assert slow.closed
		assert not fast.closed

	run(scenario)


# -- who may open a link


async def opened(sidecar: Sidecar, own: str, peer: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
	"""Send the request for a link, and return the TCP connection."""
	reader, writer = await sidecar.connect()
	writer.write(request_head(own, peer, "x"))
	return reader, writer


@pytest.mark.parametrize("secret", ["another secret", ""])
def test_a_link_without_the_secret_is_refused_and_gets_no_proof(secret: str) -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		reader, writer = await opened(owner, "entry", "owner")
		assert (await answer(reader))[0] == 101
		challenge = await reader.readexactly(proofs.NONCE_SIZE)
		nonces = (proofs.new_nonce(), challenge)
		writer.write(nonces[0] + proofs.proof(secret, proofs.CONNECTS, ("entry", "owner"), nonces))
		assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
		assert owner.forwarder.open_links == 0
		assert owner.forwarder.counters.refused_links == 1

	run(scenario)


def test_a_sidecar_that_does_not_know_the_secret_gets_no_request() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		owner.secret = "another secret"
		reader, writer = await entry.connect()
		writer.write(request(query=query(sid)))
		assert (await answer(reader))[0] == 400
		assert owner.forwarder.counters.received == 0
		(reason,) = entry.forwarder.unreachable().values()
		assert "socketio_auth_secret" in reason

	run(scenario)


def test_a_link_to_a_process_that_is_not_here_is_refused() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		for own, peer in (("entry", "nobody"), ("entry", ""), ("", "owner")):
			reader, writer = await opened(owner, own, peer)
			assert (await answer(reader))[0] in (400, 503)
			writer.close()
		assert owner.forwarder.counters.refused_links == 3

	run(scenario)


def test_links_that_prove_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		silent = []
		for _ in range(module.MAX_HANDSHAKES):
			reader, writer = await opened(owner, "x", "owner")
			assert (await answer(reader))[0] == 101
			silent.append((reader, writer))
		reader, writer = await opened(owner, "x", "owner")
		assert (await answer(reader))[0] == 503
		writer.close()
		for reader, writer in silent:
			assert len(await asyncio.wait_for(reader.read(), PATIENCE)) == proofs.NONCE_SIZE
			writer.close()
		# Those without a proof have made room.
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[0] == 200

	run(scenario)


def test_frames_that_are_none_end_the_link() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[0] == 200
		(link,) = links_of(owner)
		link.data_received(b"\xff" * 20)
		await until(lambda: not links_of(entry))
		assert links_of(owner) == []

	run(scenario)


def test_the_secret_is_never_sent() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		seen = bytearray()

		async def pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
			while data := await source.read(65536):
				seen.extend(data)
				drain.write(data)
			drain.close()

		async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
			owner.writers.append(writer)
			there = await owner.connect()
			await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

		server = await asyncio.start_server(relay, "127.0.0.1", 0)
		host, port = server.sockets[0].getsockname()
		entry.others["owner"] = f"{host}:{port}"
		reader, writer = await entry.connect()
		writer.write(request("POST", query(sid), b"4hello"))
		assert (await answer(reader))[0] == 200
		assert b"4hello" in seen
		assert SECRET.encode() not in seen
		server.close()

	run(scenario)


def test_a_request_that_follows_before_the_end_of_the_stream_is_known(
	monkeypatch: pytest.MonkeyPatch,
) -> None:
	"""The last bytes of a response and the frame that ends the stream may arrive one after the other."""
	ends: list[Callable[[], None]] = []
	on_end = ForwardedConnection.on_end
	monkeypatch.setattr(ForwardedConnection, "on_end", lambda self: ends.append(lambda: on_end(self)))

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		own, other = await entry.session(), await owner.session()
		reader, writer = await entry.connect()
		writer.write(request("POST", query(other), b"4first"))
		assert (await answer(reader))[:2] == (200, "ok")
		writer.write(request("POST", query(own), b"4second"))
		await writer.drain()
		later = await entry.session()
		assert later, "the event loop has had the time to read it"
		assert entry.listener.messages == []
		ends[0]()
		assert (await answer(reader))[:2] == (200, "ok")
		assert entry.listener.messages == ["second"]
		assert owner.listener.messages == ["first"]

	run(scenario)
