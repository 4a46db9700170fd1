"""Sessions of another sidecar while the entry, the owner or their link ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.unit.engine.fakes import request
from tests.unit.forwarding.processes import PATIENCE, Sidecar, answer, frame, links_of, query, run, until


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
		reader, writer = await entry.probe(sid)
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
