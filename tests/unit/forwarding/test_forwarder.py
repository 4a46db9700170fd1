"""Requests and upgrades that one sidecar forwards to the owner of the session, and those that it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from realtime.engine import Encoded
from realtime.forwarding.entry_end import ForwardedConnection
from realtime.forwarding.forwarder import KEY
from tests.unit.engine.fakes import request, websocket_request
from tests.unit.forwarding.processes import PATIENCE, Sidecar, answer, frame, links_of, query, run, until


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


def test_after_a_forwarded_request_a_tcp_connection_waits_as_between_two_requests() -> None:
	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		entry.engine.settings.keep_alive_timeout = 0.0
		writer.write(request("POST", query(sid), b"4x"))
		assert (await answer(reader))[:2] == (200, "ok")
		assert entry.engine.settings.head_timeout >= PATIENCE
		assert await asyncio.wait_for(reader.read(), PATIENCE / 2) == b""

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


def test_a_client_that_waits_with_the_body_is_told_to_send_it() -> None:
	"""By the entry: the first bytes of the owner begin the response, with which the entry stops to read the client."""

	async def scenario(entry: Sidecar, owner: Sidecar) -> None:
		sid = await owner.session()
		reader, writer = await entry.connect()
		post = request("POST", query(sid), b"4x", "Expect: 100-continue\r\n")
		head, end, body = post.partition(b"\r\n\r\n")
		writer.write(head + end)
		assert (await answer(reader))[0] == 100
		writer.write(body)
		assert (await answer(reader))[:2] == (200, "ok")
		assert owner.listener.messages == ["x"]

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
		reader, writer = await entry.probe(sid)
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
