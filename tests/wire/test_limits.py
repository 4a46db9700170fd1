"""Limits with names: who meets one is told, the others notice nothing, and nothing grows."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from realtime.demo.model import WEBSITE_USER
from tests.wire.apps import in_log
from tests.wire.bench import APP_SITE, STOCK_SITE, Bench
from tests.wire.clients import Refused
from tests.wire.conditions import until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.raw import HANDSHAKE, PollingSession, WebSocketSession, request

FORWARDED = {"X-Forwarded-For": "198.51.100.7"}


def reached(bench: Bench, key: str) -> float:
	"""Return how often a limit was met, from `/metrics`."""
	status, text = bench.sidecar.get("/metrics")
	assert status == 200
	wanted = f'frappe_realtime_limit_reached_total{{limit="{key}"}} '
	return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def told(client: Any, key: str) -> dict[str, Any]:
	"""Wait for the event that names a limit; return it."""
	until(lambda: client.all("limit_reached"), f"word of {key}")
	message: dict[str, Any] = client.all("limit_reached")[0][0]
	assert message["limit"] == key
	assert key in message["message"]
	return message


def answers(bench: Bench, connect: Connect) -> None:
	"""See that the sidecar serves others."""
	client = connect(bench, bench.user())
	client.fence()
	client.close()


@pytest.fixture(scope="module")
def events_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench with few events per second."""
	return make_shared_bench(common={"realtime_guest_events_per_second": 2, "realtime_events_per_second": 3})


@pytest.fixture(scope="module")
def numbers_bench(make_shared_bench: MakeBench) -> Bench:
	"""A bench with few rooms, sockets, guests and namespaces. A test uses its own users and addresses."""
	common = {
		"realtime_guest_rooms_per_socket": 6,
		"realtime_rooms_per_socket": 6,
		"realtime_sockets_per_user": 3,
		"realtime_guests_per_address": 2,
		"realtime_namespaces_per_connection": 1,
	}
	return make_shared_bench(common=common)


@pytest.mark.parametrize(
	("guest", "key", "most"),
	[(True, "realtime_guest_events_per_second", 2), (False, "realtime_events_per_second", 3)],
)
def test_events_per_second(events_bench: Bench, connect: Connect, guest: bool, key: str, most: int) -> None:
	bench, before = events_bench, reached(events_bench, key)
	client = connect(bench, "Guest" if guest else bench.user())
	for number in range(18 * most):
		client.emit("doc_subscribe", "ToDo", f"{key} {number}")
	assert told(client, key)["most"] == most
	assert len(client.all("limit_reached")) < 5, "it is told, and not flooded"
	until(lambda: reached(bench, key) - before >= 5, "the metric")
	answers(bench, connect)


def test_one_that_does_not_stop_is_closed(events_bench: Bench, connect: Connect) -> None:
	bench = events_bench
	client = WebSocketSession(bench, bench.headers(bench.user())).join()
	for _ in range(200):
		client.send(f'42/{APP_SITE},["ping"]')
	assert client.ends()
	answers(bench, connect)


@pytest.mark.parametrize(
	("guest", "key"), [(True, "realtime_guest_rooms_per_socket"), (False, "realtime_rooms_per_socket")]
)
def test_rooms_per_socket(numbers_bench: Bench, connect: Connect, guest: bool, key: str) -> None:
	bench = numbers_bench
	bench.site().allow("Guest", "ToDo")
	client = connect(bench, "Guest" if guest else bench.user())
	for number in range(10):
		client.emit("doc_subscribe", "ToDo", str(number))
	told(client, key)
	bench.settle(client)
	for number in range(10):
		bench.publish("doc_update", number, f"doc:ToDo/{number}")
	bench.settle(client)
	entered = [args[0] for args in client.all("doc_update")]
	# The rooms from the start count too: `website`, the user's, and `all`.
	assert 1 <= len(entered) <= (4 if guest else 3)
	client.emit("doc_unsubscribe", "ToDo", str(entered[0]))
	bench.join(client, "doc:ToDo/later", "doc_subscribe", "ToDo", "later")


def test_rooms_of_guests(bench: Bench, connect: Connect) -> None:
	"""`doc_viewers` tells who looks at a document, and that is not for Guests unless it is configured."""
	name = bench.document()
	bench.site().allow("Guest", "Blog Post", name)
	guest, user = connect(bench), connect(bench, bench.user())
	bench.join(guest, f"doc:Blog Post/{name}", "doc_subscribe", "Blog Post", name)
	guest.emit("doc_open", "Blog Post", name)
	guest.fence()
	for client in (user, other := connect(bench, bench.user())):
		bench.join(client, f"open_doc:Blog Post/{name}", "doc_open", "Blog Post", name)
	until(lambda: user.all("doc_viewers"), "viewers")
	bench.settle(guest, user, other)
	assert guest.all("doc_viewers") == []


def test_sockets_per_user(numbers_bench: Bench, connect: Connect) -> None:
	bench, before = numbers_bench, reached(numbers_bench, "realtime_sockets_per_user")
	user = bench.user()
	tabs = [connect(bench, user) for _ in range(3)]
	with pytest.raises(Refused, match="Too many connections"):
		connect(bench, user)
	assert connect(bench, bench.user()).connected
	assert reached(bench, "realtime_sockets_per_user") - before == 1
	tabs[0].close()
	until(lambda: bench.sidecar.health()[1]["connections"] == 3, "the end of one")
	assert connect(bench, user).connected


def test_sockets_per_user_that_come_at_once(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_sockets_per_user": 3})
	connect(bench, bench.user(STOCK_SITE), STOCK_SITE)
	user = bench.user()
	tabs = [bench.client(user) for _ in range(8)]
	frozen = bench.valkey.freeze()
	waiting = [tab.start_connecting() for tab in tabs]
	# All are known, and wait for Redis to say what they have missed.
	until(lambda: bench.web.counts["frappe.realtime.get_user_info"] == 9, "the answers")
	bench.valkey.thaw(frozen)
	results = [one.exception(30) for one in waiting]
	assert sum(error is None for error in results) == 3
	for tab in tabs:
		tab.close()


def test_guests_per_address(numbers_bench: Bench, connect: Connect) -> None:
	bench, key = numbers_bench, "realtime_guests_per_address"
	before = reached(bench, key)
	guests = [connect(bench, headers=FORWARDED) for _ in range(2)]
	with pytest.raises(Refused, match=r"Too many connections from 198\.51\.100\.7"):
		connect(bench, headers=FORWARDED)
	assert connect(bench, headers={"X-Forwarded-For": "198.51.100.8"}).connected
	assert connect(bench, bench.user(), headers=FORWARDED).connected
	assert reached(bench, key) - before == 1
	guests[0].close()
	until(lambda: bench.sidecar.health()[1]["connections"] == 3, "the end of one")
	assert connect(bench, headers=FORWARDED).connected


def test_connections_per_address(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_connections_per_address": 2})
	held = [PollingSession(bench, {**bench.headers(), **FORWARDED}) for _ in range(2)]
	answer = request(bench, "GET", f"{HANDSHAKE}polling", {**bench.headers(), **FORWARDED})
	assert answer.status == 429
	assert "realtime_connections_per_address" in json.loads(answer.text)["message"]
	assert reached(bench, "realtime_connections_per_address") == 1
	answers(bench, connect)
	held[0].post("1")
	until(lambda: bench.sidecar.health()[1]["connections"] == 1, "the end of one")
	PollingSession(bench, {**bench.headers(), **FORWARDED})


@pytest.mark.parametrize("trusted", [True, False])
def test_the_address_that_counts(make_bench: MakeBench, connect: Connect, trusted: bool) -> None:
	"""A client may write any address before the one that the proxy adds, and counts under the proxy's."""
	common = {"realtime_guests_per_address": 1}
	if not trusted:
		common["realtime_trusted_proxies"] = ["192.0.2.1"]  # type: ignore[assignment]
	bench = make_bench(common=common)
	forged = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7, 10.1.1.1"} for number in range(2)]
	connect(bench, headers=forged[0])
	with pytest.raises(Refused, match=r"198\.51\.100\.7$" if trusted else r"127\.0\.0\.1$"):
		connect(bench, headers=forged[1])


def test_addresses_of_ipv6_that_one_customer_has(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_guests_per_address": 1})
	connect(bench, headers={"X-Forwarded-For": "2001:db8:0:1::1"})
	with pytest.raises(Refused, match="Too many connections from 2001:db8:0:1::/64"):
		connect(bench, headers={"X-Forwarded-For": "2001:db8:0:1:ffff::2"})
	assert connect(bench, headers={"X-Forwarded-For": "2001:db8:0:2::1"}).connected


def test_unknown_connections(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_unknown_connections": 3})
	silent = [WebSocketSession(bench, bench.headers()) for _ in range(2)]
	silent.append(WebSocketSession(bench, bench.headers()).join("/"))
	assert request(bench, "GET", f"{HANDSHAKE}polling", bench.headers()).status == 200
	assert silent[0].ends()
	assert connect(bench, bench.user()).connected
	assert reached(bench, "realtime_unknown_connections") >= 2
	for one in silent:
		one.close()


def test_unauthenticated_time(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_connect_timeout": 5})
	assert WebSocketSession(bench, bench.headers()).ends()
	left = WebSocketSession(bench, bench.headers()).join()
	left.send(f"41/{APP_SITE},")
	assert left.ends(), "one that has left its last namespace"
	assert reached(bench, "realtime_connect_timeout") == 2


def test_namespaces_per_connection(numbers_bench: Bench) -> None:
	bench, before = numbers_bench, reached(numbers_bench, "realtime_namespaces_per_connection")
	raw = WebSocketSession(bench, bench.headers()).join()
	raw.send("40")
	answer = json.loads(str(raw.receive())[2:])
	assert answer["message"] == "Too many namespaces"
	assert answer["data"]["limit"] == "realtime_namespaces_per_connection"
	assert raw.fence()
	raw.close()
	assert reached(bench, "realtime_namespaces_per_connection") - before == 1


def test_ten_thousand_unknown_namespaces(make_bench: MakeBench, connect: Connect) -> None:
	"""As many on each connection as it may try; each is refused, and none remembered."""
	bench = make_bench()

	def storm(names: list[str]) -> None:
		for first in range(0, len(names), 16):
			raw = WebSocketSession(bench, bench.headers())
			for name in names[first : first + 16]:
				raw.send(f"40/{name},")
			for _ in names[first : first + 16]:
				assert "Invalid namespace" in str(raw.receive())
			raw.close()

	storm([f"before-{number}.test" for number in range(2000)])
	answers(bench, connect)
	before = bench.sidecar.memory()
	storm([f"{number}.test" for number in range(10_000)])
	answers(bench, connect)
	assert bench.sidecar.memory() - before < 4 << 20
	refused = 'connects_refused_total{reason="Invalid namespace"} 12000'
	assert refused in bench.sidecar.get("/metrics")[1]


def test_large_events_of_a_guest(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench()
	answers(bench, connect)
	for _ in range(2):
		before = bench.sidecar.memory()
		for size in (900_000, 1_100_000):
			for _ in range(20):
				raw = WebSocketSession(bench, bench.headers()).join()
				raw.send(f'42/{APP_SITE},["{"x" * size}"]')
				if size < 1_000_000:
					assert raw.fence()
				else:
					assert raw.ends()
				raw.close()
	# The second round needs no more than the first.
	assert bench.sidecar.memory() - before < 4 << 20
	assert reached(bench, "realtime_max_payload") >= 40
	answers(bench, connect)


def test_the_close_code_of_a_large_message(bench: Bench) -> None:
	raw = WebSocketSession(bench, bench.headers()).join()
	raw.send(f'42/{APP_SITE},["{"x" * 1_100_000}"]')
	with pytest.raises(ConnectionClosed) as closed:
		raw.receive()
	assert closed.value.rcvd is not None
	assert closed.value.rcvd.code == 1009
	in_log(bench, "the limit realtime_max_payload (1000000) was reached")


def test_a_large_request(bench: Bench) -> None:
	session = PollingSession(bench, bench.headers())
	with socket.create_connection(("127.0.0.1", bench.sidecar.port)) as connection:
		connection.sendall(
			f"POST {session.path} HTTP/1.1\r\nHost: {APP_SITE}\r\nContent-Length: 2000000\r\n\r\n".encode()
		)
		with contextlib.suppress(OSError):
			for _ in range(20):
				connection.sendall(b"4" * 100_000)
		try:
			answer = connection.recv(1000)
		except ConnectionResetError:
			return
		assert not answer or answer.startswith(b"HTTP/1.1 413")


def test_packets_in_one_request(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_max_packets": 10})
	session = PollingSession(bench, bench.headers())
	assert session.post("\x1e".join(["3"] * 10)).status == 200
	answer = session.post("\x1e".join(["3"] * 11))
	assert answer.status == 413
	assert json.loads(answer.text)["message"] == "More than 10 packets in one payload"
	assert reached(bench, "realtime_max_packets") == 1
	in_log(bench, "the limit realtime_max_packets (10) was reached")


def test_a_portal_user_is_no_guest(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_guest_events_per_second": 1})
	client = connect(bench, bench.user(user_type=WEBSITE_USER))
	for _ in range(40):
		client.emit("ping")
	client.fence()
	assert client.all("limit_reached") == []


def test_metrics_are_for_this_network(make_bench: MakeBench) -> None:
	bench = make_bench(common={"realtime_trusted_proxies": ["192.0.2.1"]})
	assert bench.sidecar.get("/metrics")[0] == 403
	connection = http.client.HTTPConnection("127.0.0.1", bench.sidecar.port)
	connection.request("GET", "/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
	assert connection.getresponse().status == 403
	connection.close()
