"""Hostile clients: invalid packets, forged requests and floods close the connection that sent them, at most."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import HANDSHAKE, SEPARATOR, PollingSession, WebSocketSession, request, send_bytes

RESERVED = ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
NAMESPACE = f"/{APP_SITE},"
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


@pytest.fixture
def trap() -> Iterator[tuple[int, list[bytes]]]:
	"""Start a server that must not be called; return its port and the data that it received."""
	got: list[bytes] = []
	listener = socket.create_server(("127.0.0.1", 0))

	def listen() -> None:
		while True:
			try:
				connection, _address = listener.accept()
			except OSError:
				return
			with connection:
				got.append(connection.recv(4096))

	thread = threading.Thread(target=listen, daemon=True)
	thread.start()
	yield listener.getsockname()[1], got
	listener.shutdown(socket.SHUT_RDWR)
	listener.close()
	thread.join()


def upgrade(*headers: bytes) -> bytes:
	"""Return the request of a WebSocket handshake, with more headers."""
	lines = [
		f"GET {HANDSHAKE}websocket HTTP/1.1".encode(),
		f"Host: {APP_SITE}".encode(),
		b"Connection: Upgrade",
		b"Upgrade: websocket",
		b"Sec-WebSocket-Version: 13",
		b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		*headers,
	]
	return b"\r\n".join(lines) + b"\r\n\r\n"


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


def test_further_keys_of_auth_are_ignored(bench: Bench, connect: Connect) -> None:
	for auth in (
		{"user": "Administrator", "sid": "Administrator"},
		{"token": None},
		{"token": 7},
		{"token": ["a"]},
		{"token": ""},
		{"headers": {"authorization": "x"}},
		{"pid": "forged", "offset": "0-0"},
		{"pid": {"a": 1}, "offset": 7},
	):
		client = connect(bench, auth=auth)
		bench.publish("secret", 1, "user:Administrator")
		bench.publish("secret", 1, "all")
		bench.settle(client)
		assert client.all("secret") == []
		client.close()


@pytest.mark.parametrize(
	"token",
	[
		"token x\ud800",
		"token x\x01y",
		"token x\x7f",
		"token x\r\nX-Frappe-Site-Name: stock.test",
		"token x\ny: z",
		"tok\0en x",
		"ü x",
		"x" * 100_000,
	],
)
def test_a_token_cannot_carry_headers(bench: Bench, connect: Connect, token: str) -> None:
	with pytest.raises((Refused, ConnectionError)):
		connect(bench, auth={"token": token})
	for logged in bench.web.requests:
		assert logged.headers.get("X-Frappe-Site-Name") in (None, APP_SITE, STOCK_SITE)
		assert "Y" not in logged.headers


@pytest.mark.parametrize("sid", [b"a\x01b", b"a\x7fb", b"a\tb", b"\xff\xfe", b"\xed\xa0\x80"], ids=repr)
def test_a_session_id_of_unusual_bytes(bench: Bench, connect: Connect, sid: bytes) -> None:
	send_bytes(
		bench,
		f"GET {HANDSHAKE}polling HTTP/1.1\r\nHost: {APP_SITE}\r\nCookie: sid=".encode() + sid + b"\r\n\r\n",
	)
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=30) as connection:
		connection.sendall(upgrade(b"Cookie: sid=" + sid))
		answer = connection.recv(65536)
		if answer.startswith(b"HTTP/1.1 101"):
			text = f"40{NAMESPACE}".encode()
			connection.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
			until(lambda: NAMESPACE.encode() in connection.recv(65536), "the answer to CONNECT")
	connect(bench).fence()


@pytest.mark.parametrize(
	"sid", ["a%0d%0aX-Evil:%201", "%00", "..%2f..", "a b", "x" * 8000, "Guest; sid=Administrator"]
)
def test_a_session_id_cannot_carry_headers(bench: Bench, connect: Connect, sid: str) -> None:
	client = connect(bench, headers={"Cookie": f"sid={sid}"})
	bench.publish("secret", 1, "user:Administrator")
	bench.settle(client)
	assert client.all("secret") == []
	assert all("X-Evil" not in request.headers for request in bench.web.requests)


def test_no_other_address_is_ever_called(
	bench: Bench, connect: Connect, trap: tuple[int, list[bytes]]
) -> None:
	"""Frappe's own servers call an address from the request, and trust the response."""
	port, got = trap
	evil = f"127.0.0.1:{port}"
	secrets = {"Cookie": "sid=Guest"}
	for headers in (
		{"Host": evil, "Origin": f"http://{evil}"},
		{"Host": evil, "Origin": f"http://{evil}", "X-Frappe-Site-Name": evil},
		{"Host": f"{APP_SITE}:{port}", "Origin": f"http://{APP_SITE}:{port}"},
		{"Host": f"{APP_SITE}:{port}", "Origin": f"http://user@{evil}/{APP_SITE}"},
		{"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
		{"X-Frappe-Site-Name": f"http://{evil}/"},
		{"X-Frappe-Site-Name": f"{APP_SITE}@{evil}"},
		{"X-Frappe-Site-Name": f"{APP_SITE}:{port}"},
		{"X-Forwarded-Host": evil, "X-Forwarded-Proto": "http", "Forwarded": f"host={evil}"},
		{"Referer": f"http://{evil}/"},
	):
		for namespace in (f"/{APP_SITE}", f"/{evil}", "/127.0.0.1"):
			client = bench.client(namespace=namespace, headers={**headers, **secrets})
			try:
				client.connect()
			except (Refused, ConnectionError):
				continue
			else:
				bench.publish("secret", 1, "user:Administrator")
				bench.publish("secret", 1, "all")
				client.emit("doc_subscribe", "ToDo", "1")
				client.fence()
				bench.settle(client)
				assert client.all("secret") == []
			finally:
				client.close()
	assert got == []


def test_a_session_is_valid_on_its_own_site_only(bench: Bench, connect: Connect) -> None:
	"""Naming the other site in a header, the Origin or the namespace does not help."""
	user = bench.user(STOCK_SITE)
	bench.site(APP_SITE).add_user(user.name)
	cookie = bench.headers(user, STOCK_SITE)["Cookie"]
	client = connect(bench, headers={"Cookie": cookie})
	bench.publish("secret", 1, f"user:{user.name}")
	bench.publish("secret", 1, "all")
	bench.settle(client)
	assert client.all("secret") == []


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


HTTP_GARBAGE = {
	"nothing": b"",
	"zeros": b"\0" * 1000,
	"text": b"hello\r\n\r\n",
	"tls": base64.b64decode("FgMBAgABAAH8AwM=") + b"\x01" * 200,
	"no version": b"GET /socket.io/\r\n\r\n",
	"old": b"GET /socket.io/?EIO=4&transport=polling HTTP/0.9\r\n\r\n",
	"newer": b"GET /socket.io/?EIO=4&transport=polling HTTP/3.0\r\n\r\n",
	"endless line": b"GET /" + b"a" * 200_000,
	"endless header": b"GET /socket.io/ HTTP/1.1\r\nHost: app.test\r\nX: " + b"a" * 200_000,
	"many headers": b"GET /socket.io/ HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
	"no host": b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n",
	"two lengths": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"negative length": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: -1\r\n\r\n",
	"length and chunks": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\n"
	b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"broken chunk": b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: app.test\r\n"
	b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	"websocket without key": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n"
	b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"websocket version 8": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n"
	b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
	b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	"websocket without upgrade": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: app.test\r\n\r\n",
	"preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"header with NUL": b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n",
	"latin": b"GET /socket.io/?EIO=4&transport=polling&x=\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
	"percent": b"GET /socket.io/?EIO=4&transport=polling&sid=%zz%ff%00 HTTP/1.1\r\nHost: app.test\r\n\r\n",
	"connect": b"CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	"absolute": b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	"pipelined": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 500,
}


@pytest.mark.parametrize("data", HTTP_GARBAGE.values(), ids=HTTP_GARBAGE.keys())
def test_garbage_instead_of_http(bench: Bench, connect: Connect, data: bytes) -> None:
	answer = send_bytes(bench, data)
	assert b"Traceback" not in answer
	assert not answer.startswith(b"HTTP/1.1 5")
	connect(bench).fence()


QUERIES = {
	"EIO=4&transport=polling&sid=unknown": (400, 1),
	"EIO=4&transport=carrier-pigeon": (400, 0),
	"EIO=3&transport=polling": (400, 5),
	"transport=polling": (400, 5),
	"EIO=4": (400, 0),
}


@pytest.mark.parametrize(("query", "answer"), QUERIES.items(), ids=QUERIES.keys())
def test_an_invalid_handshake_is_answered_as_by_node(
	bench: Bench, query: str, answer: tuple[int, int]
) -> None:
	response = request(bench, "GET", f"/socket.io/?{query}", bench.headers())
	assert (response.status, f'"code":{answer[1]},' in response.text.replace(" ", "")) == (answer[0], True)


def test_a_handshake_is_not_a_post(bench: Bench) -> None:
	assert request(bench, "POST", f"{HANDSHAKE}polling", bench.headers(), "x").status == 400
	for method in ("PUT", "DELETE", "PATCH", "HEAD"):
		assert request(bench, method, f"{HANDSHAKE}polling", bench.headers()).status in (400, 405)


POLLING_GARBAGE = {
	"text": "garbage",
	"no packet": "",
	"separators": SEPARATOR * 100,
	"broken base64": "b%%%",
	"unknown packet": "9",
	"invalid UTF-8": b"4\xff\xfe",
	"many": SEPARATOR.join(["4x"] * 1000),
}


@pytest.mark.parametrize("body", POLLING_GARBAGE.values(), ids=POLLING_GARBAGE.keys())
def test_garbage_in_a_polling_payload(bench: Bench, body: str | bytes) -> None:
	session = PollingSession(bench, bench.headers())
	session.post(body)
	# Whether told at once or by the close packet: the session is over.
	until(lambda: session.post("3").status == 400, "the end of the session")


def test_a_payload_above_the_limit(bench: Bench) -> None:
	session = PollingSession(bench, bench.headers())
	assert session.post("4" + "x" * 1_000_001).status in (400, 413)


def test_concurrent_polls_end_the_session(bench: Bench) -> None:
	session = PollingSession(bench, bench.headers())
	head = f"GET {session.path} HTTP/1.1\r\nHost: {session.headers['Host']}\r\n\r\n".encode()
	with (
		socket.create_connection(("127.0.0.1", bench.sidecar.port)) as first,
		socket.create_connection(("127.0.0.1", bench.sidecar.port)) as second,
	):
		first.sendall(head)
		second.sendall(head)
		until(lambda: session.post("3").status == 400, "the end of the session")


FRAMES = {
	"unmasked": b"\x81\x05hello",
	"reserved opcode": b"\x83\x80\0\0\0\0",
	"reserved bits": b"\xf1\x80\0\0\0\0",
	"invalid UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
	"huge": b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
	"fragmented ping": b"\x09\x80\0\0\0\0",
	"long ping": b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,
	"continuation of nothing": b"\x80\x80\0\0\0\0",
	"close without code": b"\x88\x81\0\0\0\0x",
	"noise": os.urandom(64) + b"\xff" * 64,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_invalid_frames_close_the_connection(bench: Bench, frame: bytes) -> None:
	with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=30) as connection:
		connection.sendall(upgrade())
		received = b""
		while b'"sid"' not in received:
			received += connection.recv(65536)
		assert received.startswith(b"HTTP/1.1 101")
		connection.sendall(frame)
		connection.settimeout(30)
		try:
			while connection.recv(65536):
				pass
		except ConnectionResetError:
			pass


def test_a_compressed_websocket_is_bounded(bench: Bench) -> None:
	"""permessage-deflate may be negotiated or not; a decompression bomb is not unpacked."""
	connection = socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=30)
	with connection:
		connection.sendall(upgrade(b"Sec-WebSocket-Extensions: permessage-deflate"))
		assert connection.recv(65536).startswith(b"HTTP/1.1 101")


def test_a_website_user_is_not_in_the_room_of_system_users(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user(user_type=WEBSITE_USER), auth={"user_type": "System User"})
	bench.publish("secret", 1, "all")
	bench.settle(client)
	assert client.all("secret") == []


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
