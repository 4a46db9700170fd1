"""Forged tokens, session ids, hosts and other data of a request: they name no other user, site or address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from realtime.demo.model import WEBSITE_USER
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect
from tests.wire.hostile_clients import NAMESPACE, upgrade
from tests.wire.raw import HANDSHAKE, send_bytes


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
		"x" * 50_000,
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


def test_a_website_user_is_not_in_the_room_of_system_users(bench: Bench, connect: Connect) -> None:
	client = connect(bench, bench.user(user_type=WEBSITE_USER), auth={"user_type": "System User"})
	bench.publish("secret", 1, "all")
	bench.settle(client)
	assert client.all("secret") == []
