"""The life of several workers: restarts, reloads, their end, and what systemd is told."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.engine.owners import owner_of
from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import Connect, ConnectNode, MakeBench
from tests.wire.nginx import NGINX, Nginx
from tests.wire.nodejs import NEW, NodeClient
from tests.wire.publisher import Publisher
from tests.wire.raw import HANDSHAKE, PollingSession
from tests.wire.sidecar import Sidecar
from tests.wire.test_doc_viewers import open_document, viewers
from tests.wire.test_process import listens, run_until_failure, unix_get
from tests.wire.workers import (
	COUNT,
	PING,
	SEVERAL,
	metric,
	owner,
	sessions_of_several,
	workers,
)


def test_a_killed_worker_is_replaced(make_bench: MakeBench, connect_node: ConnectNode) -> None:
	bench = make_bench(common=SEVERAL)
	pids = workers(bench)
	sessions = sessions_of_several(bench, COUNT)
	clients = [
		connect_node(bench, NEW, bench.user(), transports=transports)
		for transports in (POLLING, WEBSOCKET, BOTH) * 2
	]
	os.kill(pids[2], signal.SIGKILL)
	until(
		lambda: f"worker 2 (pid {pids[2]}) has ended: killed by SIGKILL" in bench.sidecar.log, "the log line"
	)
	until(lambda: workers(bench)[2] != pids[2], "another worker")
	after = workers(bench)
	assert {number: pid for number, pid in after.items() if number != 2} == {1: pids[1], 3: pids[3]}
	for client in clients:
		until(lambda client=client: client.state()["connected"], "a connection")  # type: ignore[misc]
		client.fence()
	# The sessions of the others exist on, those of the killed one are refused at once.
	statuses = [session.post(PING).status for session in sessions]
	assert sorted(statuses) == [200] * (COUNT - 1) + [400]
	assert metric(bench, "worker_restarts_total") == 1


def test_no_ghost_of_a_killed_worker_stays(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	name = bench.document()
	watcher = connect(bench, bench.user())
	here = owner_of(watcher.sio.eio.sid)
	users = [bench.user() for _ in range(8)]
	others = [connect(bench, user) for user in users]
	for client in (watcher, *others):
		open_document(bench, client, name)
	until(lambda: len(viewers(watcher, name)) == len(others) + 1, "all viewers")
	(victim, *_) = {owner_of(client.sio.eio.sid) for client in others} - {here}
	(pid,) = [one["pid"] for one in bench.sidecar.health()[1]["workers"] if one["name"] == victim]
	os.kill(pid, signal.SIGKILL)
	left = [
		user.name
		for user, client in zip(users, others, strict=True)
		if victim != owner_of(client.sio.eio.sid)
	]
	until(
		lambda: len(viewers(watcher, name)) == len(left) + 1 and set(left) < set(viewers(watcher, name)),
		f"the viewers that are left: {left}",
		patience=10,
	)


def test_a_worker_that_fails_again_and_again_leaves_its_clients_to_the_others(make_bench: MakeBench) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	pauses = []
	for pause in ("0.2", "0.4", "0.8", "1.6", "3.2"):
		pid = workers(bench)[1]
		os.kill(pid, signal.SIGKILL)
		line = f"worker 1 (pid {pid}) has ended: killed by SIGKILL; it is started again in {pause} s"
		wait_for_line(bench, line)
		pauses.append(pause)
	for _ in range(20):
		assert bench.sidecar.get("/health")[0] == 200, (
			"a connection has waited for the worker that does not run"
		)
	workers(bench)


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

	def replaced() -> bool:
		published.append(len(published))
		publisher.publish("count", published[-1], f"user:{user.name}")
		return "the reload is complete: 3 workers" in bench.sidecar.log

	bench.sidecar.signal(signal.SIGHUP)
	until(replaced, "the reload")
	for _ in range(20):
		replaced()
	publisher.flush()
	for client in clients:
		wait_for_count(client, len(published))
		assert [args[0] for args in client.all("count")] == published
	after = workers(bench)
	assert not set(after.values()) & set(pids.values())
	assert bench.sidecar.alive
	assert bench.sidecar.process.pid == supervisor
	assert bench.sidecar.stop() == 0


def wait_for_line(bench: Bench, text: str) -> None:
	"""Wait until the log has a line with `text`."""
	until(lambda: text in bench.sidecar.log, text)


def wait_for_count(client: NodeClient, count: int) -> None:
	"""Wait until a client has received `count` events."""
	until(lambda: len(client.all("count")) >= count, f"{count} events; {len(client.all('count'))}")


def test_reload_with_another_configuration(make_bench: MakeBench) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	for count in (4, 2, 1, 3):
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


@pytest.mark.parametrize("broken", ["config", "value", "port", "code"])
def test_a_reload_that_cannot_succeed_changes_nothing(
	make_bench: MakeBench, tmp_path: Path, broken: str, connect: Connect
) -> None:
	bench = make_bench(common=SEVERAL, start=False)
	# A package that is found instead of one of the sidecar's dependencies, once it is there.
	modules = tmp_path / "modules"
	modules.mkdir()
	bench.sidecar = Sidecar(
		bench.folder, tmp_path / "log", env={"PYTHONPATH": str(modules)}, port=bench.sidecar.port
	)
	bench.start()
	pids = workers(bench)
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
	until(lambda: "the reload has failed" in bench.sidecar.log, "the error")
	(line,) = [line for line in bench.sidecar.log.splitlines() if "the reload has failed" in line]
	assert expected in line
	assert "Traceback" not in bench.sidecar.log
	assert workers(bench) == pids
	client.fence()
	if broken == "code":
		(modules / "httptools.py").unlink()
	else:
		bench.write_config(socketio_port=bench.sidecar.port, realtime_trusted_proxies=None)
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: "the reload is complete" in bench.sidecar.log, "a reload after the correction")
	assert not set(workers(bench).values()) & set(pids.values())


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_the_end_of_the_supervisor_ends_all(make_bench: MakeBench, end: str) -> None:
	bench = make_bench(common=SEVERAL)
	pids = workers(bench)
	assert bench.sidecar.process
	folder = handover_folder(bench)
	assert folder.stat().st_mode & 0o777 == 0o700
	bench.sidecar.signal(getattr(signal, end))
	assert bench.sidecar.wait() == (-signal.SIGKILL if end == "SIGKILL" else 0)
	for pid in pids.values():
		until(lambda pid=pid: not Path(f"/proc/{pid}/stat").exists(), "the end of a worker")  # type: ignore[misc]
	assert not accepts(bench.sidecar.port)
	assert not folder.exists()


def handover_folder(bench: Bench) -> Path:
	"""Return the folder with the sockets of the workers."""
	name = owner(PollingSession(bench, bench.headers()))
	lines = Path("/proc/net/unix").read_text().splitlines()
	(path,) = [line.split()[-1] for line in lines if line.endswith(f"/{name}.handover")]
	return Path(path).parent


def test_a_port_that_is_in_use(make_bench: MakeBench, tmp_path: Path) -> None:
	"""The kernel would let another process of this user share it."""
	bench = make_bench(common=SEVERAL)
	workers(bench)
	for count in ("1", "2"):
		sidecar = Sidecar(
			bench.folder, tmp_path / f"{count}.log", ("--workers", count, "--port", str(bench.sidecar.port))
		)
		code, line = run_until_failure(sidecar)
		assert code == 5
		assert "socketio_port" in line


def test_a_unix_socket_of_several_workers(make_bench: MakeBench, tmp_path: Path) -> None:
	bench = make_bench(start=False)
	path = tmp_path / "realtime.sock"
	bench.sidecar = Sidecar(
		bench.folder, tmp_path / "log", ("--uds", str(path), "--workers", "3"), port=free_port()
	)
	bench.valkey.start()
	bench.start_web()
	bench.sidecar.launch()
	until(lambda: listens(path), "a socket that accepts")
	until(lambda: len(json.loads(unix_get(path, "/health", {})[1])["workers"]) == 3, "3 workers")
	owners = set()

	def spread() -> bool:
		status, body = unix_get(path, f"{HANDSHAKE}polling", bench.headers())
		assert status == 200
		sid = json.loads(body[1:])["sid"]
		owners.add(sid.partition(".")[0])
		assert unix_get(path, f"{HANDSHAKE}polling&sid={sid}x", bench.headers())[0] == 400
		return len(owners) > 1

	until(spread, "connections at two workers")
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: "the reload is complete" in bench.sidecar.log, "a reload")
	assert unix_get(path, f"{HANDSHAKE}polling", bench.headers())[0] == 200
	assert bench.sidecar.stop() == 0
	assert not path.exists()


# -- systemd


class Systemd:
	"""Receives the notifications of a sidecar.

	Args:
		folder: Where its socket is.
	"""

	def __init__(self, folder: Path) -> None:
		self.path = folder / "notify"
		self.messages: list[str] = []
		self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self._socket.bind(str(self.path))
		self._socket.setblocking(False)

	def received(self, prefix: str, count: int = 1) -> bool:
		"""Return whether `count` messages that begin with `prefix` have come."""
		try:
			while True:
				self.messages.append(self._socket.recv(4096).decode())
		except BlockingIOError:
			return sum(message.startswith(prefix) for message in self.messages) >= count

	def close(self) -> None:
		"""Close the socket."""
		self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
	one = Systemd(tmp_path)
	yield one
	one.close()


@pytest.mark.parametrize("count", [1, 2])
def test_notifications(make_bench: MakeBench, systemd: Systemd, count: int) -> None:
	env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "3000000"}
	bench = make_bench(common={"socketio_workers": count}, env=env)
	until(lambda: systemd.received("READY=1"), "READY=1")
	until(lambda: systemd.received("WATCHDOG=1", 3), "the watchdog")
	if count > 1:
		workers(bench, count)
		bench.sidecar.signal(signal.SIGHUP)
		until(lambda: systemd.received("READY=1", 2), "READY=1 after the reload")
		kinds = [
			message.partition("=")[0] for message in systemd.messages if not message.startswith("WATCHDOG")
		]
		assert kinds == ["READY", "RELOADING", "READY"]
	assert bench.sidecar.stop() == 0
	assert systemd.received("STOPPING=1")


def test_the_watchdog_kills_a_worker_that_is_blocked(make_bench: MakeBench, systemd: Systemd) -> None:
	env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "2000000"}
	bench = make_bench(common={"socketio_workers": 2}, env=env)
	pid = workers(bench, 2)[1]
	os.kill(pid, signal.SIGSTOP)
	until(lambda: f"worker 1 (pid {pid}) has not reported" in bench.sidecar.log, "the watchdog")
	until(lambda: pid not in workers(bench, 2).values(), "a successor")


def test_counters_never_go_down(make_bench: MakeBench, connect: Connect) -> None:
	"""Prometheus would take a counter that goes down for one that has begun anew."""
	bench = make_bench(common=SEVERAL)
	clients = [connect(bench, bench.user()) for _ in range(9)]
	for _ in range(5):
		bench.publish("news", 1, "website")
	bench.settle(*clients)
	names = ("deliveries_total", "handshakes_total", "publish_to_write_seconds_count")
	last = [metric(bench, name) for name in names]
	assert last[:2] == [9 * 6, 9]

	def higher() -> None:
		now = [metric(bench, name) for name in names]
		assert all(new >= old for new, old in zip(now, last, strict=True)), (last, now)
		last[:] = now

	pid = workers(bench)[1]
	os.kill(pid, signal.SIGKILL)

	def replaced(pid: int) -> bool:
		higher()
		return pid not in workers(bench).values()

	until(lambda: replaced(pid), "a successor")
	last_worker = workers(bench)[COUNT]
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: replaced(last_worker), "the reload")
	higher()
	assert last[0] >= 9 * 6


@pytest.mark.skipif(not NGINX, reason="nginx is not installed")
def test_no_event_is_lost_behind_nginx_while_workers_are_killed_and_replaced(
	make_bench: MakeBench, clients: list[AnyClient], tmp_path: Path, node_version: str
) -> None:
	"""nginx knows one port, and nothing of sessions."""
	bench = make_bench(common=SEVERAL)
	workers(bench)
	nginx = Nginx(tmp_path, bench.sidecar.port, APP_SITE)
	try:
		user = bench.user()
		nodes = [
			NodeClient(node_version, f"{nginx.url}/{APP_SITE}", bench.headers(user), transports, {})
			for transports in (POLLING, WEBSOCKET, BOTH) * 2
		]
		clients += nodes
		for client in nodes:
			client.connect()
		publisher = Publisher(bench.valkey.url)
		published: list[int] = []

		def publish() -> None:
			published.append(len(published))
			publisher.publish("count", published[-1], f"user:{user.name}")

		def replaced(pid: int) -> bool:
			publish()
			return pid not in workers(bench).values()

		for number in range(1, COUNT + 1):
			pid = workers(bench)[number]
			os.kill(pid, signal.SIGKILL)
			until(lambda pid=pid: replaced(pid), "a successor")  # type: ignore[misc]
		last = workers(bench)[COUNT]
		bench.sidecar.signal(signal.SIGHUP)
		until(lambda: replaced(last), "the reload")
		for _ in range(20):
			publish()
		publisher.flush()
		for client in nodes:
			wait_for_count(client, len(published))
			assert [args[0] for args in client.all("count")] == published
	finally:
		nginx.close()


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

		def replaced() -> bool:
			published.append(len(published))
			publisher.publish("count", published[-1])
			return not set(pids.values()) & set(workers(bench).values())

		bench.sidecar.signal(signal.SIGHUP)
		until(replaced, "the reload")
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


def test_who_is_online_over_a_killed_worker(
	make_bench: MakeBench, connect: Connect, connect_node: ConnectNode
) -> None:
	"""Users whose clients reconnect were never offline for the hooks of apps; those whose clients do not are."""
	bench = make_bench(start=False, common=SEVERAL)
	bench.site().online_hooks = True
	bench.start()
	pids = workers(bench)
	stay = [bench.user() for _ in range(6)]
	go = [bench.user() for _ in range(9)]
	for user in stay:
		connect_node(bench, NEW, user)
	clients = {user.name: connect(bench, user) for user in go}
	names = {user.name for user in (*stay, *go)}
	until(lambda: {name for _, name in bench.site().users_changed} == names, "all have come")
	(victim, *_) = {owner_of(client.sio.eio.sid) for client in clients.values()}
	lost = {name for name, client in clients.items() if owner_of(client.sio.eio.sid) == victim}
	(pid,) = [one["pid"] for one in bench.sidecar.health()[1]["workers"] if one["name"] == victim]
	assert pid in pids.values()
	os.kill(pid, signal.SIGKILL)
	# If it was the one that reports, another one does when its key has expired.
	bench.valkey.client.delete("frappe_realtime:online_reporter")

	def offline() -> set[str]:
		return {name for change, name in bench.site().users_changed if change == "offline"}

	until(lambda: offline() == lost, f"{lost} are offline")
	assert len(bench.site().users_changed) == len(names) + len(lost)
