"""Socket.IO's own client behind a proxy that does not forward the Upgrade header: it stays on long-polling."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.clients import BOTH
from tests.wire.conditions import PATIENCE, until
from tests.wire.nodejs import NodeClient
from tests.wire.raw import HANDSHAKE, PollingSession, request

HOP_BY_HOP = ("connection", "upgrade", "keep-alive", "transfer-encoding")
"""Headers that end at a proxy (RFC 9110, section 7.6.1), by lower-case name."""


@contextlib.contextmanager
def proxy_without_upgrade(port: int) -> Iterator[int]:
	"""Run an HTTP proxy in front of `port`, such as nginx without the two lines for WebSocket; yield its port."""

	class Handler(BaseHTTPRequestHandler):
		protocol_version = "HTTP/1.1"

		def forward(self) -> None:
			body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
			upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
			with contextlib.closing(upstream):
				upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
				for name, value in self.headers.items():
					if name.lower() not in HOP_BY_HOP:
						upstream.putheader(name, value)
				upstream.endheaders(body or None)
				response = upstream.getresponse()
				answer = response.read()
			self.send_response(response.status)
			for name, value in response.getheaders():
				if name.lower() not in HOP_BY_HOP:
					self.send_header(name, value)
			self.end_headers()
			self.wfile.write(answer)

		do_GET = do_POST = forward

		def log_message(self, format: str, *args: object) -> None: ...

	class Server(ThreadingHTTPServer):
		daemon_threads = True

		def handle_error(self, request: object, client_address: object) -> None:
			"""A client that closes its connection, or a sidecar that stops, is no error of the test."""

	server = Server(("127.0.0.1", 0), Handler)
	thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
	thread.start()
	try:
		yield server.server_address[1]
	finally:
		server.shutdown()
		server.server_close()


def test_client_stays_on_polling_without_upgrade(
	bench: Bench, clients: list[AnyClient], node_version: str
) -> None:
	user = bench.user()
	with proxy_without_upgrade(bench.sidecar.port) as port:
		url = f"http://127.0.0.1:{port}/{APP_SITE}"
		client = NodeClient(node_version, url, bench.headers(user), BOTH, {})
		clients.append(client)
		client.connect()
		for number in range(30):
			bench.publish("count", number, f"user:{user.name}")
			until(lambda number=number: (number,) in client.all("count"), f"event {number}")  # type: ignore[misc]
			client.fence()
		assert client.all("count") == [(number,) for number in range(30)]
		assert client.state()["transport"] == "polling"
		assert not [line for line in client.lines if "disconnect" in line]


@pytest.mark.parametrize("pending", [False, True], ids=["no poll", "a pending poll"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_websocket_request_without_upgrade_leaves_the_session(
	bench: Bench, method: str, pending: bool
) -> None:
	session = PollingSession(bench, bench.headers())
	thread = Thread(target=session.poll, daemon=True)
	if pending:
		thread.start()
	path = session.path.replace("polling", "websocket")
	for _ in range(3):
		answer = request(bench, method, path, session.headers, "4x" if method == "POST" else None)
		assert (answer.status, answer.text) == (400, '{"code":3,"message":"Bad request"}')
	assert session.post("40").text == "ok"
	if not pending:
		assert any(packet.startswith('40{"sid"') for packet in session.poll())


def test_handshake_without_upgrade_is_refused(bench: Bench) -> None:
	answer = request(bench, "GET", f"{HANDSHAKE}websocket", bench.headers())
	assert (answer.status, answer.text) == (400, '{"code":3,"message":"Bad request"}')
