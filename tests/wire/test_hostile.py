"""Hostile clients: invalid packets and floods close the connection that sent them, at most."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.hostile_clients import NAMESPACE
from tests.wire.raw import WebSocketSession
from tests.wire.test_doc_viewers import wait_until_sent

RESERVED = ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
MEGABYTE = 1024 * 1024

FORGED = (
	'{"headers": {"cookie": "sid=Administrator", "host": "evil.test"}, "user": "Administrator", '
	'"user_type": "System User", "_query": {}, "connection": {}}'
)

BROKEN = {
	"no type": "4",
	"type 7": "47",
	"type 9": "49",
	"letters": "4x",
	"no data": f"42{NAMESPACE}",
	"no array": f'42{NAMESPACE}{{"a":1}}',
	"text for an array": f'42{NAMESPACE}"ping"',
	"empty array": f"42{NAMESPACE}[]",
	"null as name": f"42{NAMESPACE}[null]",
	"object as name": f'42{NAMESPACE}[{{"a":1}}]',
	"array as name": f'42{NAMESPACE}[["ping"]]',
	"half of JSON": f'42{NAMESPACE}["ping"',
	"two JSONs": f'42{NAMESPACE}["ping"]["ping"]',
	"namespace without end": "42/app.test",
	"namespace not joined": '42/elsewhere.test,["ping"]',
	"root not joined": '42["ping"]',
	"ack of what was not joined": "43/elsewhere.test,1[]",
	"ack without array": f"43{NAMESPACE}1{{}}",
	"connect with text": f'40{NAMESPACE}"text"',
	"connect with array": f"40{NAMESPACE}[]",
	"disconnect with data": f"41{NAMESPACE}[1]",
	"attachments without count": f'45{NAMESPACE}["x"]',
	"attachments without dash": f'451{NAMESPACE}["x"]',
	"negative attachments": f'45-1-{NAMESPACE}["x",{{"_placeholder":true,"num":0}}]',
	"too many attachments": f'4510000000-{NAMESPACE}["x",{{"_placeholder":true,"num":0}}]',
	"endless attachments": f'45{"9" * 400}-{NAMESPACE}["x"]',
	"deep": f"42{NAMESPACE}{'[' * 200_000}",
	"deep and whole": f'42{NAMESPACE}["x",{"[" * 100_000}{"]" * 100_000}]',
	"unknown packet": "9",
	"empty message": "",
}


@pytest.fixture
def raw(bench: Bench) -> Iterator[WebSocketSession]:
	"""A Guest in the namespace of a site."""
	one = WebSocketSession(bench, bench.headers()).join()
	yield one
	one.close()


def opened(bench: Bench) -> int:
	"""Return how many connections the sidecar has."""
	return int(bench.sidecar.health()[1]["connections"])


@pytest.mark.parametrize("packet", BROKEN.values(), ids=BROKEN.keys())
def test_an_invalid_packet_closes_the_connection(bench: Bench, raw: WebSocketSession, packet: str) -> None:
	raw.send(packet)
	assert raw.ends()


@pytest.mark.parametrize("packet", ['0{"sid":"x"}', "5", "6", f'44{NAMESPACE}{{"message":"x"}}'])
def test_a_packet_of_the_server_is_ignored(raw: WebSocketSession, packet: str) -> None:
	raw.send(packet)
	assert raw.fence()


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_event_name_closes_the_connection(bench: Bench, raw: WebSocketSession, name: str) -> None:
	raw.send(f'42{NAMESPACE}["{name}",{FORGED}]')
	assert raw.ends()


def test_a_forged_connect_event_does_not_change_the_user(
	bench: Bench, connect: Connect, raw: WebSocketSession
) -> None:
	"""python-socketio would pass such an event to the connect handler, with its arguments as the request."""
	before = bench.web.counts["frappe.realtime.get_user_info"]
	for packet in (
		f'42{NAMESPACE}["connect",{FORGED},{{"token":"x"}}]',
		f'42{NAMESPACE}["connect","sid",{FORGED},null]',
	):
		forger = WebSocketSession(bench, bench.headers()).join()
		forger.send(packet)
		assert forger.ends()
		forger.close()
	asked = bench.web.counts["frappe.realtime.get_user_info"] - before
	assert asked <= 2, "only for the two Guests themselves"
	assert all("Administrator" not in str(request.headers) for request in bench.web.requests)


def test_a_connection_that_tries_many_namespaces(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	witness = connect(bench, bench.user())
	raw = WebSocketSession(bench, bench.headers())
	for number in range(5000):
		raw.send(f"40/nowhere-{number}.test,")
	assert raw.ends()
	raw.close()
	assert len(bench.web.requests) < 10, "a site that is not there is not asked about"
	witness.fence()


def test_large_events_of_a_guest(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	witness = connect(bench, bench.user())
	text = "x" * 990_000

	def storm() -> None:
		raw = WebSocketSession(bench, bench.headers()).join()
		for event in ("nothing", "doc_subscribe", "open_in_editor", "ping") * 12:
			raw.send(f'42{NAMESPACE}["{event}","{text}","{text[:5]}"]')
		assert raw.fence(), "all of it was read"
		raw.close()

	storm()
	before = bench.sidecar.memory()
	storm()
	storm()
	assert bench.sidecar.memory() - before < 16 * MEGABYTE
	witness.fence()


def test_a_message_above_the_limit_closes_the_connection(bench: Bench, raw: WebSocketSession) -> None:
	raw.send(f'42{NAMESPACE}["x","{"x" * 1_000_000}"]')
	assert raw.ends()


def test_attachments_that_are_never_sent(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	raw = WebSocketSession(bench, bench.headers()).join()
	raw.send(f'452-{NAMESPACE}["x",{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]')
	raw.send(b"one")
	raw.send(f'42{NAMESPACE}["ping"]')
	assert raw.ends()
	raw.close()
	connect(bench).fence()


@pytest.mark.parametrize(
	"placeholder",
	[
		'{"_placeholder":true,"num":5}',
		'{"_placeholder":true,"num":-1}',
		'{"_placeholder":true,"num":"0"}',
		'{"_placeholder":true}',
	],
)
def test_a_placeholder_without_attachment(raw: WebSocketSession, placeholder: str) -> None:
	raw.send(f'451-{NAMESPACE}["x",{placeholder}]')
	raw.send(b"one")
	assert raw.ends()


def test_an_unexpected_attachment(raw: WebSocketSession) -> None:
	raw.send(b"bytes")
	assert raw.ends()


def test_a_guest_subscribes_to_many_names(make_bench: MakeBench, connect: Connect) -> None:
	"""Rooms, permission queries and viewers of documents that do not exist."""
	bench = make_bench()
	witness = connect(bench, bench.user())

	def storm(first: int) -> None:
		raw = WebSocketSession(bench, bench.headers()).join()
		for number in range(first, first + 400):
			for event in ("doc_subscribe", "doc_open", "doc_close", "task_subscribe"):
				raw.send(f'42{NAMESPACE}["{event}","ToDo","{number}"]')
		assert not raw.fence(), "one that goes on regardless is closed"
		raw.close()

	storm(0)
	until(lambda: opened(bench) == 1, "the flooder is gone")
	before = bench.sidecar.memory()
	storm(400)
	storm(800)
	until(lambda: opened(bench) == 1, "the flooder is gone")
	assert bench.sidecar.memory() - before < 8 * MEGABYTE
	witness.fence()


@pytest.mark.parametrize("site", [APP_SITE, STOCK_SITE])
@pytest.mark.parametrize("name", ["\\ud800", "a\\udfffb", "\\u0000"], ids=["high", "low", "NUL"])
def test_names_that_are_not_valid_unicode(every_bench: Bench, connect: Connect, site: str, name: str) -> None:
	"""JSON can hold a lone surrogate; a request to the web process cannot."""
	raw = WebSocketSession(every_bench, every_bench.headers(every_bench.user(site), site)).join(f"/{site}")
	for event in ("doc_subscribe", "doc_open", "doc_close", "doctype_subscribe", "task_subscribe"):
		raw.send(f'42/{site},["{event}","{name}","{name}"]')
		raw.send(f'42/{site},["{event}","ToDo","{name}"]')
	every_bench.settle(connect(every_bench, site=site), site=site)
	assert raw.fence(f"/{site}")
	raw.close()


def test_doc_close_of_a_document_that_is_not_open_is_ignored(bench: Bench, connect: Connect) -> None:
	name = bench.document()
	viewers = [connect(bench, bench.user()) for _ in range(2)]
	for viewer in viewers:
		bench.join(viewer, f"open_doc:ToDo/{name}", "doc_open", "ToDo", name)
	until(lambda: viewers[0].all("doc_viewers"), "viewers")
	bench.settle(*viewers)
	heard = [len(viewer.all("doc_viewers")) for viewer in viewers]
	guest = connect(bench)
	for _ in range(5):
		guest.emit("doc_close", "ToDo", name)
	guest.fence()
	wait_until_sent(bench, connect)
	bench.settle(*viewers)
	assert [len(viewer.all("doc_viewers")) for viewer in viewers] == heard


def test_connections_that_join_no_namespace(make_bench: MakeBench) -> None:
	"""They are closed after `realtime_connect_timeout`."""
	bench = make_bench(common={"realtime_connect_timeout": 1})
	sockets = [WebSocketSession(bench, bench.headers()) for _ in range(50)]
	for one in sockets:
		assert one.ends()
		one.close()
	until(lambda: opened(bench) == 0, "no connection")


def test_health_calls_the_web_process_at_a_bounded_rate(make_bench: MakeBench) -> None:
	bench = make_bench()
	bench.web.fail("/api/method/ping", hang=True)
	answers: list[tuple[int, str]] = []
	threads = [
		threading.Thread(target=lambda: answers.append(bench.sidecar.get("/health")), daemon=True)
		for _ in range(50)
	]
	for thread in threads:
		thread.start()
	until(lambda: pings(bench), "the question")
	bench.web.heal()
	for thread in threads:
		thread.join()
	assert len(answers) == 50
	assert pings(bench) < 10


def pings(bench: Bench) -> int:
	"""Return the number of pings of the web process."""
	return sum("method/ping" in request.path for request in list(bench.web.requests))


def test_an_invalid_message_does_not_affect_others(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user())
	deep = [f'{{"event":"deep","message":{"[" * levels}{"]" * levels}}}' for levels in (600, 970, 1020, 9000)]
	with bench.valkey.client.pipeline(transaction=False) as pipeline:
		for number, payload in enumerate(["{", "[]", "7", '{"event":7}', "\ud800", *deep]):
			event = {"event": "between", "message": number, "room": "website", "namespace": APP_SITE}
			pipeline.publish("events", payload.encode("utf-8", "surrogatepass"))
			pipeline.publish("events", json.dumps(event))
		pipeline.execute()
	until(lambda: len(client.all("between")) == 9, "all that is an event")
	assert [args[0] for args in client.all("between")] == list(range(9))
	assert "is unavailable" not in bench.sidecar.log
