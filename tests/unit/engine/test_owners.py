"""Requests for the sessions of other processes: which are passed on, with which bytes, and which are answered here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from realtime.engine import Encoded, Engine, EngineSettings, IncomingRequest, RequestRefused
from realtime.engine.errors import BAD_REQUEST
from realtime.engine.owners import new_sid, owner_of
from tests.unit.engine.fakes import (
	FakeClient,
	RecordingListener,
	open_packet,
	request,
	websocket_request,
)
from tests.unit.virtual_time import in_virtual_time

OTHERS_SID = "other.AAAAAAAAAAAAAAAAAAAA"


class FakeHandover:
	"""The processes `own` and `other`."""

	name = "own"

	def __init__(self) -> None:
		self.sent: list[tuple[str, bytes]] = []
		self.requests: list[IncomingRequest] = []
		self.full = False
		self.busy = False
		"""True if requests wait until the others receive them."""
		self.others = {"other"}

	def send(self, owner: str, request: IncomingRequest) -> bool:
		if self.full:
			raise RequestRefused(BAD_REQUEST, "Too many requests", 503)
		if owner not in self.others:
			return False
		self.sent.append((owner, request.received))
		self.requests.append(request)
		if not self.busy:
			request.handed_over()
		return True

	def send_to_any(self, request: IncomingRequest) -> bool:
		return any(self.send(owner, request) for owner in self.others)


def run(scenario: Callable[[FakeClient, FakeHandover], None]) -> None:
	"""Run a scenario with a client of an engine with a handover, in an event loop."""

	async def main() -> None:
		handover = FakeHandover()
		engine = Engine(EngineSettings(max_payload=1000), RecordingListener(), handover=handover)
		client = FakeClient(engine)
		scenario(client, handover)
		engine.close()

	asyncio.run(main())


@pytest.mark.parametrize("name", ["", "own"])
def test_a_session_id_names_its_owner_and_keeps_its_randomness(name: str) -> None:
	sids = {new_sid(name) for _ in range(100)}
	assert len(sids) == 100
	for sid in sids:
		assert owner_of(sid) == name
		assert re.fullmatch(r"[A-Za-z0-9_-]{20}", sid.removeprefix("own."))


@pytest.mark.parametrize(
	"data",
	[
		request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}"),
		request("POST", f"EIO=4&transport=polling&sid={OTHERS_SID}", b"4hello"),
		request("POST", f"EIO=4&transport=polling&sid={OTHERS_SID}", b"4" * 5000),
		websocket_request(f"EIO=4&transport=websocket&sid={OTHERS_SID}") + b"\x81\x80",
	],
	ids=["GET", "POST", "large POST", "upgrade"],
)
def test_all_bytes_that_were_read_are_handed_over(data: bytes) -> None:
	head = data.index(b"\r\n\r\n") + 4
	for cuts in ([], [1], [3, head - 1], [head - 2]):

		def scenario(client: FakeClient, handover: FakeHandover, cuts: list[int] = cuts) -> None:
			client.send_in_pieces(data, cuts)
			assert handover.sent == [("other", data)]
			assert client.transport.aborted
			assert client.received() == b""

		run(scenario)


def test_what_is_read_after_the_head_stays_with_the_connection() -> None:
	data = request("POST", f"EIO=4&transport=polling&sid={OTHERS_SID}", b"4hello")
	head = data.index(b"\r\n\r\n") + 4

	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(data[:head])
		assert handover.sent == [("other", data[:head])]
		assert not client.transport.reading

	run(scenario)


def test_a_later_request_on_a_connection_is_handed_over_alone() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(request())
		assert b"200 OK" in client.received()
		later = request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}")
		client.send(later)
		assert handover.sent == [("other", later)]

	run(scenario)


@pytest.mark.parametrize("sid", ["gone.AAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA", "own.AAAA", ".AAAA"])
def test_without_an_owner_the_session_is_unknown(sid: str) -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send_in_pieces(request("POST", f"EIO=4&transport=polling&sid={sid}", b"4hello"), [30, 160])
		assert b"400 Bad Request" in (answer := client.received())
		assert b'{"code":1,"message":"Session ID unknown"}' in answer
		assert client.transport.reading
		assert not handover.sent

	run(scenario)


def test_without_an_owner_a_client_that_waits_with_its_body_is_told_to_send_it() -> None:
	data = request(
		"POST", "EIO=4&transport=polling&sid=gone.AAAA", b"4hello", headers="Expect: 100-continue\r\n"
	)

	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(data[:-6])
		assert client.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
		client.send(data[-6:])
		assert b'"code":1' in client.received()

	run(scenario)


def test_an_unknown_session_of_a_websocket() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(websocket_request("EIO=4&transport=websocket&sid=gone.AAAA"))
		assert b'"code":1' in client.received()

	run(scenario)


def test_a_preflight_request_is_answered_here() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(request("OPTIONS", f"EIO=4&transport=polling&sid={OTHERS_SID}"))
		assert b"204 No Content" in client.received()
		assert not handover.sent

	run(scenario)


def test_a_websocket_client_is_never_handed_over() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(websocket_request())
		assert b'"sid":"own.' in client.received()
		assert not handover.sent

	run(scenario)


def test_a_client_that_has_not_read_its_last_response_is_not_handed_over() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(request())
		client.received()
		client.transport.unsent = 100
		client.send(request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}"))
		assert b"400 Bad Request" in client.received()
		assert not handover.sent

	run(scenario)


def test_what_is_written_to_a_forwarded_request_is_no_payload_of_the_poll_before() -> None:
	"""A proxy sends the requests of many clients on one connection."""

	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		handover.busy = True
		client.send(request())
		sid = open_packet(client.received())["sid"]
		connection = client.engine.connections[sid]
		poll = request(query=f"transport=polling&sid={sid}")
		connection.send(Encoded("x"))
		client.send(poll)
		client.send(request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}"))
		handover.requests[0].release(asyncio.Protocol())
		client.transport.unsent = 100_000
		assert connection.unsent == 0
		other = FakeClient(client.engine)
		other.send(poll)
		connection.send(Encoded("y"))
		assert other.received().endswith(b"\r\n\r\n4y")

	run(scenario)


def test_too_many_handovers() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		handover.full = True
		client.send(request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}"))
		assert b"503 Service Unavailable" in client.received()
		assert client.transport.closing

	run(scenario)


def test_a_handover_that_fails_later_is_answered() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		protocol = client.transport.protocol
		protocol.refuse(RequestRefused(BAD_REQUEST))
		assert b"400 Bad Request" in client.received()

	run(scenario)


@pytest.mark.parametrize("received", [b"", b"GET /socket.io/?EIO=4&trans"])
def test_the_end_of_the_engine_leaves_fresh_connections_to_another_process(received: bytes) -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(received)
		client.engine.close()
		assert handover.sent == [("other", received)]

	run(scenario)


@pytest.mark.parametrize(
	"received",
	[b"", request(query=f"EIO=4&transport=polling&sid={OTHERS_SID}")],
	ids=["fresh", "for another process"],
)
def test_the_end_of_the_engine_keeps_the_connections_that_wait_for_another_process(received: bytes) -> None:
	@in_virtual_time
	async def run() -> None:
		handover = FakeHandover()
		handover.busy = True
		client = FakeClient(Engine(EngineSettings(), RecordingListener(), handover=handover))
		client.send(received)
		await client.engine.drain(1.0)
		client.engine.close()
		assert len(handover.sent) == 1
		assert not client.transport.closing
		handover.requests[0].refuse(RequestRefused(BAD_REQUEST))
		assert b"400 Bad Request" in client.received()
		client.engine.timers.stop()

	run()


def test_the_end_of_the_engine_answers_the_polls_itself() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		client.send(request())
		sid = client.received().partition(b'"sid":"')[2].partition(b'"')[0].decode()
		client.send(request(query=f"EIO=4&transport=polling&sid={sid}"))
		client.received()
		client.engine.close()
		answer = client.received()
		assert b"200 OK" in answer
		assert answer.endswith(b"1"), "the packet that closes the session"

	run(scenario)


def test_the_last_process_closes_its_connections() -> None:
	def scenario(client: FakeClient, handover: FakeHandover) -> None:
		handover.others.clear()
		client.engine.close()
		assert client.transport.closing

	run(scenario)
