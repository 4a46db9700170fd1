"""Who a client is: what the web process says of its credential on its site, whatever the headers claim."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.bench.conftest import WAYS, ConnectNode
from tests.bench.installation import Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.conditions import until

TRANSPORTS = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, BOTH], ids="+".join)


class Stranger(http.server.ThreadingHTTPServer):
	"""A server of somebody else, which says that everybody is Administrator."""

	def __init__(self) -> None:
		self.requests: list[str] = []
		super().__init__(("127.0.0.1", 0), StrangersAnswer)

	@property
	def host(self) -> str:
		"""Its address, as in a Host header."""
		return f"127.0.0.1:{self.server_port}"


class StrangersAnswer(http.server.BaseHTTPRequestHandler):
	"""The answer to any request."""

	server: Stranger

	def do_GET(self) -> None:
		"""Say that it is Administrator who asks."""
		self.server.requests.append(self.path)
		body = b'{"message": {"user": "Administrator", "user_type": "System User", "installed_apps": []}}'
		self.send_response(200)
		self.send_header("Content-Type", "application/json")
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, format: str, *args: object) -> None:
		"""Write nothing."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
	"""Somebody else's server, on a port of this machine."""
	with Stranger() as one:
		threading.Thread(target=one.serve_forever, daemon=True).start()
		yield one
		one.shutdown()


@TRANSPORTS
def test_an_absent_origin_is_accepted(
	bench: Bench, transports: tuple[str, ...], connect_node: ConnectNode
) -> None:
	client = connect_node(bench.person(), transports=transports, Origin=None)
	bench.settle(client, bench.site)


@pytest.mark.parametrize("named", ["the site", "the stranger", "nobody"])
@TRANSPORTS
def test_forged_headers_make_nobody_somebody_else(
	bench: Bench,
	stranger: Stranger,
	transports: tuple[str, ...],
	named: str,
	connect_node: ConnectNode,
) -> None:
	visitor, event = bench.person("visitor"), bench.event()
	site_name = {"the site": bench.site, "the stranger": stranger.host, "nobody": None}[named]
	client = connect_node(
		visitor,
		transports=transports,
		Host=stranger.host,
		Origin=f"http://{stranger.host}",
		X_Frappe_Site_Name=site_name,
		wait=False,
	)
	with contextlib.suppress(Refused):
		client.connect()
		for room in ("user:Administrator", "all", f"user:{bench.person('manager').name}"):
			bench.publish(event, {}, room, bench.site)
		bench.settle(client, bench.site)
	assert client.all(event) == []
	assert stranger.requests == []


def test_a_session_of_one_site_is_none_on_another(bench: Bench, connect_node: ConnectNode) -> None:
	event, here, there = bench.event(), bench.person(), bench.person(site=bench.other_site)
	assert here.name == there.name
	client = connect_node(there.site, Cookie=f"sid={bench.log_in(here)}", wait=False)
	with contextlib.suppress(Refused):
		client.connect()
		bench.publish(event, {}, f"user:{there.name}", there.site)
		bench.publish(event, {}, "all", there.site)
		bench.settle(client, there.site)
	assert client.all(event) == []


def test_clients_wait_while_the_web_process_is_away(own_processes: Bench, connect_node: ConnectNode) -> None:
	bench = own_processes
	person, event = bench.person(), bench.event()
	cookies = [f"sid={bench.log_in(person)}" for _ in WAYS]
	bench.web.stop()
	clients = [
		connect_node(person.site, version, transports, Cookie=cookie, wait=False)
		for (version, transports), cookie in zip(WAYS, cookies, strict=True)
	]
	clients.append(connect_node(person, credential=f"token {person.token}", wait=False))
	try:
		for client in clients:
			client.wait_for("open")
		until(lambda: bench.health()[0] == 503, "the sidecar notices")
		assert not any(client.state()["connected"] for client in clients)
	finally:
		bench.web.start_unless_running()
	for client in clients:
		client.connect()
	bench.publish(event, {}, f"user:{person.name}", person.site)
	for client in clients:
		client.next(event)
