"""A reload of several workers, while events flow and requests come."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.conditions import PATIENCE, free_port, repeat_until, until
from tests.wire.conftest import LONG, Connect, ConnectNode, MakeBench
from tests.wire.nginx import NGINX, Nginx
from tests.wire.nodejs import NodeClient
from tests.wire.publisher import Publisher
from tests.wire.raw import PollingSession
from tests.wire.sidecar import Sidecar
from tests.wire.workers import SEVERAL, are_replaced, wait_for_count, wait_for_line, workers


def test_reload_replaces_the_workers_while_events_flow(
	make_bench: MakeBench, connect_node: ConnectNode, node_version: str
) -> None:
	bench = make_bench(common=SEVERAL)
	pids = workers(bench)
	assert bench.sidecar.process
	supervisor = bench.sidecar.process.pid
	user = bench.user()
	clients = [
		connect_node(bench, node_version, user, transports=transports)
		for transports in (POLLING, WEBSOCKET, BOTH)
	]
	publisher = Publisher(bench.valkey.url)
	published: list[int] = []

	def publish() -> None:
		published.append(len(published))
		publisher.publish("count", published[-1], f"user:{user.name}")

	bench.sidecar.signal(signal.SIGHUP)
	repeat_until(
		publish, lambda: "the reload is complete: 3 workers" in bench.sidecar.log, "the reload", LONG
	)
	for _ in range(20):
		publish()
	publisher.flush()
	for client in clients:
		wait_for_count(client, len(published))
		assert [args[0] for args in client.all("count")] == published
	after = workers(bench)
	assert not set(after.values()) & set(pids.values())
	assert bench.sidecar.alive
	assert bench.sidecar.process.pid == supervisor
	assert bench.sidecar.stop() == 0


def test_reload_with_another_configuration(make_bench: MakeBench) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	for count in (4, 1, 3):
		bench.write_config(socketio_workers=count, realtime_ping_interval=20 + count)
		bench.sidecar.signal(signal.SIGHUP)
		wait_for_line(bench, f"the reload is complete: {count} workers")
		workers(bench, count)
		for _ in range(8):
			session = PollingSession(bench, bench.headers())
			assert session.handshake["pingInterval"] == (20 + count) * 1000
			session.post("40")
			# The next reload would wait for its poll.
			session.post("1")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
	"""A folder whose packages are found instead of the sidecar's dependencies, once they are there."""
	return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def shared(make_shared_bench: MakeBench, modules: Path) -> Bench:
	"""A bench for the reloads that fail; each test ends with one that succeeds."""
	one = make_shared_bench(start=False, common=SEVERAL)
	# Its port is in the configuration only, so that a reload finds another one there.
	env = {"PYTHONPATH": str(modules)}
	one.sidecar = Sidecar(one.folder, one.sidecar.log_path, env=env, port=one.sidecar.port)
	return one.start()


@pytest.mark.parametrize("broken", ["config", "value", "port", "code"])
def test_a_reload_that_cannot_succeed_changes_nothing(
	shared: Bench, modules: Path, broken: str, connect: Connect
) -> None:
	bench = shared
	pids, before = workers(bench), len(bench.sidecar.log)

	def log() -> str:
		return bench.sidecar.log[before:]

	client = connect(bench, bench.user())
	common = bench.folder / "sites" / "common_site_config.json"
	if broken == "config":
		common.write_text("{")
		expected = str(common)
	elif broken == "value":
		bench.write_config(realtime_trusted_proxies=["nowhere/99"])
		expected = "realtime_trusted_proxies"
	elif broken == "port":
		bench.write_config(socketio_port=free_port())
		expected = "the address to listen on has changed"
	else:
		(modules / "httptools.py").write_text("raise RuntimeError('half an update')\n")
		expected = "half an update"
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: "the reload has failed" in log(), "the error", LONG)
	(line,) = [line for line in log().splitlines() if "the reload has failed" in line]
	assert expected in line
	assert "Traceback" not in log()
	assert workers(bench) == pids
	client.fence()
	if broken == "code":
		(modules / "httptools.py").unlink()
	else:
		bench.write_config(socketio_port=bench.sidecar.port, realtime_trusted_proxies=None)
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: "the reload is complete" in log(), "a reload after the correction", LONG)
	assert not set(workers(bench).values()) & set(pids.values())


def test_connections_without_a_request_are_passed_on_in_a_reload(make_bench: MakeBench) -> None:
	"""They are more than a worker can receive at once."""
	bench = make_bench(common=SEVERAL)
	workers(bench)
	bench.sidecar.signal(signal.SIGHUP)
	# Not before: a connection has 20 seconds for its first request, in which a busy machine may not have begun with the workers.
	wait_for_line(bench, "worker 1 is replaced")
	with ExitStack() as stack:
		fresh = [
			stack.enter_context(socket.create_connection(("127.0.0.1", bench.sidecar.port), PATIENCE))
			for _ in range(200)
		]
		wait_for_line(bench, "the reload is complete: 3 workers")
		for connection in fresh:
			connection.sendall(
				b"GET /socket.io/?EIO=4&transport=polling&sid=unknown HTTP/1.1\r\nHost: a\r\n\r\n"
			)
		for connection in fresh:
			assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(not NGINX, reason="nginx is not installed")
def test_no_request_fails_in_a_reload(
	make_bench: MakeBench, clients: list[AnyClient], tmp_path: Path, node_version: str
) -> None:
	"""A polling client is between two polls most of the time: it has an event for each of them."""
	bench = make_bench(common=SEVERAL)
	pids = workers(bench)
	nginx = Nginx(tmp_path, bench.sidecar.port, APP_SITE)
	try:
		nodes = [
			NodeClient(node_version, f"{nginx.url}/{APP_SITE}", bench.headers(bench.user()), transports, {})
			for transports in (POLLING, POLLING, BOTH) * 2
		]
		clients += nodes
		for client in nodes:
			client.connect()
		publisher = Publisher(bench.valkey.url)
		published: list[int] = []

		def publish() -> None:
			published.append(len(published))
			publisher.publish("count", published[-1])

		bench.sidecar.signal(signal.SIGHUP)
		repeat_until(publish, lambda: are_replaced(bench, *pids.values()), "the reload", LONG)
		publisher.flush()
		for client in nodes:
			wait_for_count(client, len(published))
			assert [args[0] for args in client.all("count")] == published
			reasons = {line["disconnect"] for line in client.lines if "disconnect" in line}
			assert reasons <= {"transport close"}, "it was told"
			assert not any("connect_error" in line for line in client.lines)
		assert nginx.failed == []
	finally:
		nginx.close()
