"""Several workers behind one port: sessions that are reached through each of them, and what is one for all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from realtime.demo.model import User
from tests.wire.bench import APP_SITE, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET, Refused
from tests.wire.command import run_command
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.raw import HANDSHAKE, PollingSession, request
from tests.wire.sidecar import Sidecar
from tests.wire.test_process import run_until_failure
from tests.wire.test_top import shown
from tests.wire.workers import (
	COUNT,
	PING,
	SEVERAL,
	guest,
	metric,
	owner,
	post_in_turns,
	sessions_of_several,
	workers,
)

TRANSPORTS = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, BOTH], ids="+".join)


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench) -> Bench:
	"""Start one sidecar of several workers for all tests that stop none of them."""
	one = make_shared_bench(common=SEVERAL)
	workers(one)
	return one


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
	"""Return the shared bench."""
	yield shared
	shared.sidecar.check_log()


# -- sessions


@TRANSPORTS
def test_clients_in_node(
	bench: Bench, connect_node: ConnectNode, node_version: str, transports: tuple[str, ...]
) -> None:
	"""Each request of a polling client is a TCP connection that any worker may accept."""
	users = [bench.user() for _ in range(4)]
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
		until(lambda client=client: client.state()["transport"] == transports[-1], "the upgrade")  # type: ignore[misc]


@TRANSPORTS
def test_clients_in_python(bench: Bench, connect: Connect, transports: tuple[str, ...]) -> None:
	clients = [connect(bench, bench.user(), transports=transports) for _ in range(4)]
	bench.publish("news", 1, "all")
	for client in clients:
		assert client.next("news") == (1,)
		client.fence()
		assert client.transport == transports[-1]


def test_a_session_is_reached_through_every_worker(bench: Bench) -> None:
	session = guest(bench)
	before = metric(bench, "handed_over_total")
	for _ in range(30):
		assert session.post(PING).status == 200
	until(lambda: metric(bench, "handed_over_total") - before > 5, "requests that were handed over")


def test_one_tcp_connection_with_requests_for_sessions_of_two_workers(bench: Bench) -> None:
	"""As a proxy sends them: the connection is handed over with each request for another worker's session."""
	post_in_turns("127.0.0.1", bench.sidecar.port, sessions_of_several(bench))


def test_a_large_body_and_a_head_in_pieces_reach_the_owner(bench: Bench) -> None:
	"""What is read before the connection is handed over is more than one datagram, or ends within the head."""
	session = guest(bench)
	for _ in range(10):
		text = "x" * 600_000
		assert session.post(f'42/{APP_SITE},["unknown_event","{text}"]').status == 200
	head = f"GET {session.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in session.headers.items())
	for cut in range(10, 200, 20):
		session.post(PING)
		with socket.create_connection(("127.0.0.1", bench.sidecar.port), timeout=PATIENCE) as tcp:
			data = (head + "Connection: close\r\n\r\n").encode()
			tcp.sendall(data[:cut])
			until(lambda tcp=tcp: unsent(tcp) == 0, "the first piece to be received")  # type: ignore[misc]
			tcp.sendall(data[cut:])
			received = b""
			while chunk := tcp.recv(65536):
				received += chunk
		assert received.startswith(b"HTTP/1.1 200"), received
		assert b'["pong"]' in received


def unsent(tcp: socket.socket) -> int:
	"""Return the number of bytes that the peer's kernel has not confirmed (SIOCOUTQ)."""
	import fcntl
	import struct

	(count,) = struct.unpack("i", fcntl.ioctl(tcp, 0x5411, b"\0" * 4))
	return int(count)


@pytest.mark.parametrize("kind", ["random", "worker", "path", "long", "empty owner"])
def test_a_made_up_session_is_refused_at_once(bench: Bench, kind: str) -> None:
	name = owner(PollingSession(bench, bench.headers()))
	sid = {
		"random": "AAAAAAAAAAAAAAAAAAAA",
		"worker": f"{name}.AAAAAAAAAAAAAAAAAAAA",
		"path": "../../../tmp/x.AAAAAAAAAAAAAAAAAAAA",
		"long": "A" * 5000 + ".AAAAAAAAAAAAAAAAAAAA",
		"empty owner": ".AAAAAAAAAAAAAAAAAAAA",
	}[kind]
	for _ in range(10):
		for method, body in (("GET", None), ("POST", "40"), ("POST", "4" * 500_000)):
			answer = request(bench, method, f"{HANDSHAKE}polling&sid={sid}", bench.headers(), body)
			assert (answer.status, json.loads(answer.text)["code"]) == (400, 1), answer.text
	until(lambda: bench.sidecar.health()[0] == 200, "workers that are well")


def test_session_ids_are_unguessable(bench: Bench) -> None:
	sids = [PollingSession(bench, bench.headers()).handshake["sid"] for _ in range(20)]
	assert {len(sid.rpartition(".")[2]) for sid in sids} == {20}
	assert len({sid.rpartition(".")[2] for sid in sids}) == 20


def test_many_requests_at_once(bench: Bench) -> None:
	"""More connections are handed over at a time than the socket of a worker holds."""
	session = guest(bench)

	def ask(number: int) -> int:
		return request(bench, "GET", f"{HANDSHAKE}polling&sid={session.handshake['sid'][:-1]}!", {}).status

	with ThreadPoolExecutor(40) as pool:
		assert set(pool.map(ask, range(400))) == {400}
	assert metric(bench, "handovers_waiting") == 0
	assert metric(bench, "handovers_lost_total") == 0
	assert session.post(PING).status == 200


# -- what is one for all


def test_health_and_metrics_answer_for_all_workers(bench: Bench, connect: Connect) -> None:
	clients = [connect(bench, bench.user()) for _ in range(12)]
	pids = workers(bench)
	assert sorted(pids) == list(range(1, COUNT + 1))

	def is_whole() -> bool:
		"""Return whether `/health` answers for all workers; it leaves out one that does not answer within a second."""
		status, body = bench.sidecar.health()
		assert body["connections"] == sum(one["connections"] for one in body["workers"])
		assert body["sidecars"] == [], "the workers of this host are no other sidecars"
		return status == 200 and len(body["workers"]) == COUNT and body["connections"] >= len(clients)

	until(lambda: all(is_whole() for _ in range(6)), "six answers in a row for all workers")

	def are_counted() -> bool:
		lines = bench.sidecar.get("/metrics")[1].splitlines()
		counts = [float(line.split()[1]) for line in lines if line.startswith("frappe_realtime_connections{")]
		return sum(counts) >= len(clients) and metric(bench, "workers") == COUNT

	until(are_counted, "the metrics of all workers")
	assert "worker=" not in bench.sidecar.get("/metrics")[1]
	assert metric(bench, "subscribed") == 1
	deliveries = metric(bench, "deliveries_total")
	bench.publish("news", 1, "all")
	bench.settle(*clients)
	until(lambda: metric(bench, "deliveries_total") >= deliveries + 2 * len(clients), "all deliveries")
	buckets = [
		float(line.split()[1])
		for line in bench.sidecar.get("/metrics")[1].splitlines()
		if line.startswith('frappe_realtime_publish_to_write_seconds_bucket{le="')
	]
	assert buckets == sorted(buckets)
	assert buckets[-1] == metric(bench, "publish_to_write_seconds_count")


def test_metrics_are_those_of_all_workers_while_the_web_process_hangs(bench: Bench) -> None:
	workers(bench)
	bench.web.fail(hang=True)
	try:
		assert metric(bench, "workers") == COUNT
	finally:
		bench.web.heal()


def test_the_doctor_and_top_know_the_workers(bench: Bench) -> None:
	pids = workers(bench)
	folder = ("--bench", str(bench.folder))
	env = {"FRAPPE_SOCKETIO_PORT": str(bench.sidecar.port)}
	found = json.loads(run_command("doctor", "--json", *folder, env=env).output)
	assert [one["what"] for one in found["causes"] if one["code"].startswith(("sidecar", "client"))] == []
	assert any(one["code"].startswith("sidecar") for one in found["findings"])
	snapshot = shown(bench, COUNT)
	assert {one["pid"] for one in snapshot["processes"]} == set(pids.values())


def test_the_supervisor_has_one_thread(bench: Bench) -> None:
	"""A fork copies only the thread that calls it."""
	assert bench.sidecar.process
	assert len(os.listdir(f"/proc/{bench.sidecar.process.pid}/task")) == 1


def test_a_port_that_is_in_use(bench: Bench, tmp_path: Path) -> None:
	"""The kernel would let another process of this user share it."""
	for count in ("1", "2"):
		sidecar = Sidecar(
			bench.folder, tmp_path / f"{count}.log", ("--workers", count, "--port", str(bench.sidecar.port))
		)
		code, line = run_until_failure(sidecar)
		assert code == 5
		assert "socketio_port" in line


def test_the_limits_of_a_user_and_of_guests_hold_over_all_workers(
	make_bench: MakeBench, connect: Connect
) -> None:
	bench = make_bench(common={**SEVERAL, "realtime_sockets_per_user": 6, "realtime_guests_per_address": 6})
	workers(bench)
	until(lambda: metric(bench, "workers") == COUNT, "all workers")
	forwarded: dict[str, str | None] = {"X-Forwarded-For": "198.51.100.7"}
	for user in (bench.user(), "Guest"):
		tabs = [connect(bench, user, headers=forwarded) for _ in range(6)]

		def refused(user: User | str = user) -> bool:
			client = bench.client(user, headers=forwarded)
			try:
				client.connect()
			except Refused as error:
				return "Too many connections" in str(error)
			finally:
				client.close()
			return False

		# Within a heartbeat each worker knows what the others have.
		until(lambda: all(refused() for _ in range(3 * COUNT)), "a refusal of every worker")
		for tab in tabs[:3]:
			tab.close()
		until(lambda: not refused(), "a place after others have left")
