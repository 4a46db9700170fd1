"""Two sidecars of two workers each on different addresses, behind an nginx that sends each request to the next one."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from realtime.engine.owners import LINK_PATH
from realtime.forwarding import proofs
from realtime.forwarding.handshake import request_head
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.conditions import PATIENCE, repeat_until, until
from tests.wire.conftest import LONG, Connect, ConnectNode
from tests.wire.doctor import ON_APP_SITE, run_doctor
from tests.wire.hosts import ADDRESSES, WORKERS, Hosts
from tests.wire.monitor.watching import manager, query
from tests.wire.nginx import NGINX
from tests.wire.nodejs import NodeClient
from tests.wire.publisher import Publisher
from tests.wire.raw import HANDSHAKE, PollingSession, request
from tests.wire.test_workers import unsent
from tests.wire.workers import PING, guest, post_in_turns, wait_for_count

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")

TRANSPORTS = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, BOTH], ids="+".join)


@pytest.fixture(scope="module")
def shared(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
	"""Start two hosts for all tests that stop none of them."""
	one = Hosts(background, tmp_path_factory.mktemp("hosts"))
	yield one.start()
	one.close()


@pytest.fixture
def hosts(shared: Hosts) -> Iterator[Hosts]:
	"""Return the shared hosts."""
	yield shared
	shared.check_logs()


@pytest.fixture
def bench(hosts: Hosts) -> Bench:
	"""Return the bench behind nginx."""
	return hosts.bench


@TRANSPORTS
def test_clients_in_node(
	hosts: Hosts, bench: Bench, connect_node: ConnectNode, node_version: str, transports: tuple[str, ...]
) -> None:
	users = [bench.user() for _ in range(4)]
	before = hosts.metric('forwarded_total{direction="sent"}')
	clients = [
		connect_node(bench, node_version, user, transports=transports, options={"forceNew": True})
		for user in users
	]
	for number in range(100):
		bench.publish("count", number, f"user:{users[number % 4].name}")
	bench.settle(*clients)
	for position, client in enumerate(clients):
		client.fence()
		assert [args[0] for args in client.all("count")] == list(range(position, 100, 4))
		# Another host than that of the session may have the WebSocket of the upgrade, and answer its probe later than the events.
		until(
			lambda client=client: client.state()["transport"] == transports[-1],  # type: ignore[misc]
			f"the transport {transports[-1]}",
		)
	if transports != WEBSOCKET:
		assert hosts.metric('forwarded_total{direction="sent"}') > before
	else:
		assert hosts.metric('forwarded_total{direction="sent"}') == before


def sent(hosts: Hosts) -> float:
	"""Return how many requests and WebSockets were forwarded so far."""
	return hosts.metric('forwarded_total{direction="sent"}')


def at(hosts: Hosts, number: int) -> Bench:
	"""Return the bench with clients that connect to one of the hosts, without nginx."""
	bench = copy.copy(hosts.bench)
	bench.sidecar = hosts.sidecars[number]
	return bench


def test_a_session_is_reached_through_every_host(hosts: Hosts, bench: Bench) -> None:
	session = guest(bench)
	before = sent(hosts)
	for _ in range(20):
		assert session.post(PING).status == 200
		assert session.poll()
	until(lambda: sent(hosts) - before == 20, "20 that were forwarded")
	assert hosts.nginx.failed == []
	assert hosts.metric("links") >= 2, "both ends count"


def test_one_tcp_connection_with_requests_for_sessions_of_two_hosts(hosts: Hosts) -> None:
	"""As a proxy sends them that keeps its connections."""
	sessions = [guest(at(hosts, number)) for number in range(2)]
	post_in_turns(ADDRESSES[0], hosts.port, sessions)


def test_a_large_body_and_a_head_in_pieces_reach_the_owner(hosts: Hosts) -> None:
	session = guest(at(hosts, 1))
	text = "x" * 600_000
	assert post_through(hosts, 0, session, f'42/{APP_SITE},["unknown_event","{text}"]') == 200
	head = f"GET {session.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in session.headers.items())
	for cut in range(10, 200, 40):
		session.post(PING)
		with socket.create_connection((ADDRESSES[0], hosts.port), timeout=PATIENCE) as tcp:
			data = (head + "Connection: close\r\n\r\n").encode()
			tcp.sendall(data[:cut])
			until(lambda tcp=tcp: unsent(tcp) == 0, "the first piece to be received")  # type: ignore[misc]
			tcp.sendall(data[cut:])
			received = b""
			while chunk := tcp.recv(65536):
				received += chunk
		assert received.startswith(b"HTTP/1.1 200"), received
		assert b'["pong"]' in received


def post_through(hosts: Hosts, number: int, session: PollingSession, body: str) -> int:
	"""POST for a session to one of the hosts, and return the status."""
	return request(
		at(hosts, number), "POST", session.path, {**session.headers, "Content-Type": "text/plain"}, body
	).status


@pytest.mark.parametrize("kind", ["random", "worker", "another host's worker", "unknown", "long", "empty"])
def test_a_made_up_session_is_refused_at_once(hosts: Hosts, kind: str) -> None:
	here, there = (sorted(hosts.names(number))[0] for number in range(2))
	sid = {
		"random": "AAAAAAAAAAAAAAAAAAAA",
		"worker": f"{here}.AAAAAAAAAAAAAAAAAAAA",
		"another host's worker": f"{there}.AAAAAAAAAAAAAAAAAAAA",
		"unknown": "AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAA",
		"long": "A" * 5000 + ".AAAAAAAAAAAAAAAAAAAA",
		"empty": ".AAAAAAAAAAAAAAAAAAAA",
	}[kind]
	before = sent(hosts)
	for method, body in (("GET", None), ("POST", "40"), ("POST", "4" * 500_000)):
		answer = request(at(hosts, 0), method, f"{HANDSHAKE}polling&sid={sid}", hosts.bench.headers(), body)
		assert (answer.status, json.loads(answer.text)["code"]) == (400, 1), answer.text
	expected = 3 if kind == "another host's worker" else 0
	until(lambda: sent(hosts) - before == expected, f"{expected} that were forwarded")


def test_the_address_of_a_client_stays_with_its_session(hosts: Hosts, bench: Bench, connect: Connect) -> None:
	"""The monitoring shows it, and the limits by address count it: for a client that is forwarded as for any other."""
	session = PollingSession(at(hosts, 1), bench.headers(more={"X-Forwarded-For": "198.51.100.77"}))
	through_other = {**session.headers, "X-Forwarded-For": "203.0.113.1", "Content-Type": "text/plain"}
	assert request(at(hosts, 0), "POST", session.path, through_other, f"40/{APP_SITE},").status == 200
	# The web process may be asked who the client is: only the next answer says that it is in its namespace.
	answer = request(at(hosts, 0), "GET", session.path, through_other)
	assert answer.text.startswith(f"40/{APP_SITE},{{"), answer.text
	client = connect(bench, manager(bench))
	found = query(client, "user", user="Guest")
	addresses = {one["address"] for one in found["sockets"]}
	assert "198.51.100.77" in addresses
	assert "203.0.113.1" not in addresses


# -- who may use a link


def test_nginx_does_not_lead_to_links(hosts: Hosts, bench: Bench) -> None:
	answer = request(bench, "GET", LINK_PATH.decode() + "?from=x&to=y", {"Host": "x"})
	assert answer.status == 404


def test_a_link_without_the_secret_is_refused(hosts: Hosts) -> None:
	name = sorted(hosts.names(1))[0]
	before = hosts.metric("links"), hosts.metric("links_refused_total")
	with socket.create_connection((ADDRESSES[1], hosts.port), timeout=PATIENCE) as tcp:
		tcp.sendall(request_head("A" * 16, name, "x"))
		received = b""
		while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < proofs.NONCE_SIZE:
			received += tcp.recv(4096)
		challenge = received.partition(b"\r\n\r\n")[2]
		nonces = (proofs.new_nonce(), challenge)
		tcp.sendall(nonces[0] + proofs.proof("guessed", proofs.CONNECTS, ("A" * 16, name), nonces))
		assert tcp.recv(4096) == b"", "a proof for somebody who has none"
	assert hosts.metric("links") == before[0]
	until(lambda: hosts.metric("links_refused_total") == before[1] + 1, "the count of refused links")
	until(lambda: "is refused: it does not know the shared secret" in hosts.sidecars[1].log, "the log line")


# -- hosts that come and go


def connected(client: NodeClient) -> bool:
	"""Return True if a client is connected."""
	return bool(client.state()["connected"])


class Load:
	"""Six clients in Node of one user, and the events that are published for it.

	Args:
		hosts: The hosts.
		version: The module name of the client.
		clients: The clients that are closed after the test.
	"""

	def __init__(self, hosts: Hosts, version: str, clients: list[AnyClient]) -> None:
		self.published: list[int] = []
		self._user = hosts.bench.user()
		self._publisher = Publisher(hosts.bench.valkey.url)
		self.nodes = [
			hosts.bench.node_client(version, self._user, transports=transports)
			for transports in (POLLING, WEBSOCKET, BOTH) * 2
		]
		clients += self.nodes
		for node in self.nodes:
			node.connect()

	def publish(self) -> None:
		"""Publish one event for all clients."""
		self.published.append(len(self.published))
		self._publisher.publish("count", self.published[-1], f"user:{self._user.name}")

	def until(self, condition: Callable[[], object], what: str) -> None:
		"""Publish until `condition` is true."""

		repeat_until(self.publish, condition, what, LONG)

	def check(self) -> None:
		"""Fail unless each client has received each event once, in order."""
		for _ in range(20):
			self.publish()
		self._publisher.flush()
		for node in self.nodes:
			wait_for_count(node, len(self.published))
			assert [args[0] for args in node.all("count")] == self.published


@pytest.fixture
def own_hosts(background: Background, tmp_path: Path) -> Iterator[Hosts]:
	"""Start two hosts for one test.

	engine.io-client stops to poll while it upgrades, and does not begin again if its WebSocket is cut then: it notices after
	a ping interval and timeout.
	"""
	one = Hosts(background, tmp_path, {"realtime_ping_interval": 5, "realtime_ping_timeout": 5})
	yield one.start()
	one.close()
	one.check_logs()


def test_no_event_is_lost_while_workers_are_killed(
	own_hosts: Hosts, clients: list[AnyClient], node_version: str
) -> None:
	load = Load(own_hosts, node_version, clients)
	for pid in own_hosts.pids():
		os.kill(pid, signal.SIGKILL)
		load.until(lambda pid=pid: pid not in own_hosts.pids(), "a successor")  # type: ignore[misc]
		own_hosts.wait_until_together()
	load.check()


def test_no_event_is_lost_when_a_host_is_killed(
	own_hosts: Hosts, clients: list[AnyClient], node_version: str
) -> None:
	load = Load(own_hosts, node_version, clients)
	own_hosts.kill_host(0)
	load.until(lambda: all(map(connected, load.nodes)), "all clients at the other host")
	until(lambda: own_hosts.sidecars[1].health()[1]["sidecars"] == [], "the end of its sidecars", LONG)
	load.publish()
	own_hosts.sidecars[0].start()
	own_hosts.wait_until_together()
	load.check()


def test_no_event_is_lost_in_a_rolling_restart(
	own_hosts: Hosts, clients: list[AnyClient], node_version: str
) -> None:
	load = Load(own_hosts, node_version, clients)
	for sidecar in own_hosts.sidecars:
		before = own_hosts.pids()
		sidecar.signal(signal.SIGHUP)
		load.until(
			lambda before=before: len(set(own_hosts.pids()) & set(before)) == WORKERS,  # type: ignore[misc]
			"other workers",
		)
		own_hosts.wait_until_together()
	load.check()
	assert own_hosts.nginx.failed == []


def test_a_host_that_cannot_be_reached_is_named(background: Background, tmp_path: Path) -> None:
	hosts = Hosts(
		background, tmp_path, {"socketio_workers": 1}, {"FRAPPE_REALTIME_PEER_ADDRESS": "127.0.0.4"}
	)
	try:
		hosts.start()
		session = guest(at(hosts, 1))
		assert post_through(hosts, 0, session, PING) == 400
		assert session.post(PING).status == 200, "the session itself goes on"
		body = hosts.sidecars[0].health()[1]
		assert body["status"] == "ok"
		((address, reason),) = body["unreachable_sidecars"].items()
		assert address == f"127.0.0.4:{hosts.port}"
		assert reason
		(line,) = [line for line in hosts.sidecars[0].log.splitlines() if "no link to the sidecar" in line]
		assert address in line
		assert "realtime_peer_address" in line
		said = run_doctor(hosts.bench, *ON_APP_SITE, env={"FRAPPE_REALTIME_HOST": ADDRESSES[0]})[1]
		assert f"the sidecar does not reach {address} ({reason})" in said, said
	finally:
		hosts.close()
