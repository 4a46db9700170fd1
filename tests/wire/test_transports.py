"""Two versions of Socket.IO's client, in Node and in Chromium, over each transport."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.conditions import until
from tests.wire.conftest import ConnectNode
from tests.wire.nodejs import NODE_FOLDER

TRANSPORTS = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, BOTH], ids="+".join)


@TRANSPORTS
def test_client_in_node(
	bench: Bench, connect_node: ConnectNode, node_version: str, transports: tuple[str, ...]
) -> None:
	name = bench.document()
	user = bench.user()
	client = connect_node(bench, node_version, user, transports=transports)
	bench.join(client, f"doc:ToDo/{name}", "doc_subscribe", "ToDo", name)
	for number in range(200):
		bench.publish(
			"count", {"number": number}, ("all", f"doc:ToDo/{name}", f"user:{user.name}")[number % 3]
		)
	bench.settle(client)
	client.fence()
	assert [args[0]["number"] for args in client.all("count")] == list(range(200))
	until(lambda: client.state()["transport"] == transports[-1], "the upgrade")


@TRANSPORTS
def test_large_messages_in_both_directions(
	bench: Bench, connect_node: ConnectNode, node_version: str, transports: tuple[str, ...]
) -> None:
	client = connect_node(bench, node_version, bench.user(), transports=transports)
	text = "ü€😀" * 50_000
	bench.publish("large", text, "website")
	assert client.next("large")[0] == text
	client.emit("unknown_event", "x" * 900_000)
	client.fence()


@TRANSPORTS
def test_binary_without_a_handler(
	bench: Bench, connect_node: ConnectNode, node_version: str, transports: tuple[str, ...]
) -> None:
	client = connect_node(bench, node_version, bench.user(), transports=transports)
	client.emit("unknown_event", b"\x00\xff" * 1000, {"deep": [b"bytes"]})
	client.emit("doc_subscribe", b"ToDo", b"1")
	client.fence()
	assert client.state()["connected"]


def test_events_keep_their_order_through_the_upgrade(
	bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	"""Events are published from before the handshake until after the upgrade."""
	user = bench.user()
	client = connect_node(bench, node_version, user, transports=BOTH, wait=False)
	number = 0

	def upgraded() -> bool:
		nonlocal number
		number += 1
		bench.publish("count", number, f"user:{user.name}")
		# The upgrade may come before the connection to the namespace, and before that the client gets no events.
		return all(any(key in line for line in client.lines) for key in ("upgrade", "connect"))

	until(upgraded, "the upgrade and the connection to the namespace", pause=0.01)
	upgraded()  # one event more: the client may have connected to the namespace after the last one
	bench.settle(client)
	numbers = [args[0] for args in client.all("count")]
	assert numbers == list(range(numbers[0], number + 1))


def test_connect_error_reaches_the_client(bench: Bench, connect_node: ConnectNode, node_version: str) -> None:
	for transports in (POLLING, WEBSOCKET):
		with pytest.raises(Refused, match="Invalid namespace"):
			connect_node(bench, node_version, transports=transports, namespace="/nowhere.test")


def test_client_disconnects_and_reconnects(
	bench: Bench, connect_node: ConnectNode, node_version: str
) -> None:
	client = connect_node(bench, node_version, bench.user())
	client.disconnect()
	assert client.wait_for("disconnect")["disconnect"] == "io client disconnect"
	client.reconnect()
	client.connect(2)
	client.fence()


@pytest.fixture
def open_page(bench: Bench, browser_context: BrowserContext) -> Any:
	"""Open an empty page of a host, with socket.io-client loaded."""

	def open_page(host: str, version: str) -> Page:
		page: Page = browser_context.new_page()
		page.route("**/*", lambda route: route.fulfill(body="<p>", content_type="text/html"))
		page.goto(f"http://{host}:{bench.web_port}/")
		page.unroute("**/*")
		page.add_script_tag(path=NODE_FOLDER / "node_modules" / version / "dist" / "socket.io.min.js")
		return page

	return open_page


CONNECT_AND_WAIT = """([url, options]) => new Promise((resolve) => {
	window.received = [];
	window.socket = io(url, { withCredentials: true, ...options });
	socket.onAny((event, ...args) => received.push([event, args[0]]));
	socket.on("connect", () => resolve("connected"));
	socket.on("connect_error", (error) => resolve(error.message));
})"""


@TRANSPORTS
def test_page_on_another_port(
	bench: Bench,
	browser_context: BrowserContext,
	open_page: Any,
	node_version: str,
	transports: tuple[str, ...],
) -> None:
	"""As in development: the page is served by the web process, and the sidecar listens on another port."""
	user = bench.user()
	sid = bench.site().login(user.name)
	browser_context.add_cookies([{"name": "sid", "value": sid, "domain": APP_SITE, "path": "/"}])
	page = open_page(APP_SITE, node_version)
	url = f"http://{APP_SITE}:{bench.sidecar.port}/{APP_SITE}"
	assert page.evaluate(CONNECT_AND_WAIT, [url, {"transports": transports}]) == "connected"
	bench.publish("news", 1, f"user:{user.name}")
	page.wait_for_function("received.some(([event]) => event == 'news')")


@TRANSPORTS
def test_page_with_a_token(
	bench: Bench, open_page: Any, node_version: str, transports: tuple[str, ...]
) -> None:
	"""In a header, for which the browser sends a preflight request, or in the CONNECT packet; a WebSocket of a browser has no headers."""
	user = bench.user()
	token = bench.site().authorization(user.name)
	page = open_page(APP_SITE, node_version)
	url = f"http://{APP_SITE}:{bench.sidecar.port}/{APP_SITE}"
	in_header = {"extraHeaders": {"Authorization": token}}
	in_connect = {"auth": {"token": token}}
	for options in (in_connect,) if transports == WEBSOCKET else (in_header, in_connect):
		assert page.evaluate(CONNECT_AND_WAIT, [url, {**options, "transports": transports}]) == "connected"
		bench.publish("news", 1, f"user:{user.name}")
		page.wait_for_function("received.some(([event]) => event == 'news')")
		page.evaluate("socket.disconnect()")


@TRANSPORTS
def test_page_of_another_origin_is_rejected(
	bench: Bench,
	browser_context: BrowserContext,
	open_page: Any,
	node_version: str,
	transports: tuple[str, ...],
) -> None:
	"""Cross-site WebSocket hijacking: the browser sends the cookie of the victim."""
	sid = bench.site().login(bench.user().name)
	browser_context.add_cookies([{"name": "sid", "value": sid, "domain": APP_SITE, "path": "/"}])
	page = open_page("evil.test", node_version)
	url = f"http://{APP_SITE}:{bench.sidecar.port}/{APP_SITE}"
	answer = page.evaluate(CONNECT_AND_WAIT, [url, {"transports": transports}])
	assert answer in ("Invalid origin", "Invalid namespace")
