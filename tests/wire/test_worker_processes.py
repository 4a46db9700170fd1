"""The life of several workers: those that are killed, their end, and what others see of it."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from realtime.engine.owners import owner_of
from tests.wire.bench import APP_SITE, AnyClient, Bench
from tests.wire.clients import BOTH, POLLING, WEBSOCKET
from tests.wire.conditions import accepts, free_port, repeat_until, until
from tests.wire.conftest import LONG, Connect, ConnectNode, MakeBench
from tests.wire.nginx import NGINX, Nginx
from tests.wire.nodejs import NEW, NodeClient
from tests.wire.publisher import Publisher
from tests.wire.raw import HANDSHAKE, PollingSession, request
from tests.wire.sidecar import Sidecar
from tests.wire.test_doc_viewers import open_document, viewers
from tests.wire.test_process import listens, unix_get
from tests.wire.workers import (
	COUNT,
	PING,
	SEVERAL,
	are_replaced,
	metric,
	owner,
	pid_of,
	sessions_of_several,
	wait_for_count,
	wait_for_line,
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
	wait_for_line(bench, f"worker 2 (pid {pids[2]}) has ended: killed by SIGKILL")
	until(lambda: workers(bench)[2] != pids[2], "another worker", LONG)
	after = workers(bench)
	assert {number: pid for number, pid in after.items() if number != 2} == {1: pids[1], 3: pids[3]}
	for client in clients:
		until(lambda client=client: client.state()["connected"], "a connection")  # type: ignore[misc]
		client.fence()
	# The sessions of the others exist on, those of the killed one are refused at once.
	statuses = [session.post(PING).status for session in sessions]
	assert sorted(statuses) == [200] * (COUNT - 1) + [400]
	until(lambda: metric(bench, "worker_restarts_total") == 1, "the count of restarts")


def test_no_ghost_of_a_killed_worker_stays(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	name = bench.document()
	watcher = connect(bench, bench.user())
	here = owner_of(watcher.sio.eio.sid)
	# The chance that one worker accepts all of them is one in half a million.
	users = [bench.user() for _ in range(12)]
	others = [connect(bench, user) for user in users]
	for client in (watcher, *others):
		open_document(bench, client, name)
	until(lambda: len(viewers(watcher, name)) == len(others) + 1, "all viewers")
	(victim, *_) = {owner_of(client.sio.eio.sid) for client in others} - {here}
	# Before the kill: a client whose connection is lost has no session id any more.
	left = [
		user.name
		for user, client in zip(users, others, strict=True)
		if victim != owner_of(client.sio.eio.sid)
	]
	os.kill(pid_of(bench, victim), signal.SIGKILL)
	until(
		lambda: len(viewers(watcher, name)) == len(left) + 1 and set(left) < set(viewers(watcher, name)),
		f"the viewers that are left: {left}",
	)


def test_a_worker_that_fails_again_and_again_leaves_its_clients_to_the_others(make_bench: MakeBench) -> None:
	bench = make_bench(common=SEVERAL)
	workers(bench)
	for pause in ("0.2", "0.4", "0.8", "1.6", "3.2"):
		pid = workers(bench)[1]
		os.kill(pid, signal.SIGKILL)
		line = f"worker 1 (pid {pid}) has ended: killed by SIGKILL; it is started again in {pause} s"
		wait_for_line(bench, line)

	def is_left_out() -> bool:
		return (
			listening_sockets(bench.sidecar.port) == COUNT - 1
			# This test was so slow that the pause is over.
			or any(one["worker"] == 1 for one in bench.sidecar.health()[1]["workers"])
		)

	until(is_left_out, "the end of the worker's socket")
	# A worker that does not run is not started: a connection that waited for it would get no answer.
	bench.sidecar.signal(signal.SIGSTOP)
	try:
		for _ in range(20):
			assert request(bench, "GET", f"{HANDSHAKE}polling&sid=unknown", bench.headers()).status == 400
	finally:
		bench.sidecar.signal(signal.SIGCONT)
	workers(bench)


def listening_sockets(port: int) -> int:
	"""Return the number of sockets of this machine that listen on a port."""
	lines = [
		line.split() for file in Path("/proc/net").glob("tcp*") for line in file.read_text().splitlines()
	]
	return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in lines)


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
	wait_for_line(bench, "the reload is complete")
	assert unix_get(path, f"{HANDSHAKE}polling", bench.headers())[0] == 200
	assert bench.sidecar.stop() == 0
	assert not path.exists()


def test_counters_never_go_down(make_bench: MakeBench, connect: Connect) -> None:
	"""Prometheus would take a counter that goes down for one that has begun anew."""
	bench = make_bench(common=SEVERAL)
	# A worker accepts connections a second after its start, also if it has not subscribed to the events yet.
	workers(bench)
	clients = [connect(bench, bench.user()) for _ in range(9)]
	for _ in range(5):
		bench.publish("news", 1, "website")
	bench.settle(*clients)
	names = ("deliveries_total", "handshakes_total", "publish_to_write_seconds_count")

	def counted() -> list[float]:
		return [metric(bench, name) for name in names]

	# Of a worker that does not answer within a second, it is what it has told before.
	until(lambda: counted()[:2] == [9 * 6, 9], "what all workers have counted")
	last = counted()

	def higher() -> None:
		now = counted()
		assert all(new >= old for new, old in zip(now, last, strict=True)), (last, now)
		last[:] = now

	pid = workers(bench)[1]
	os.kill(pid, signal.SIGKILL)

	def replaced(pid: int) -> bool:
		higher()
		return are_replaced(bench, pid)

	until(lambda: replaced(pid), "a successor", LONG)
	last_worker = workers(bench)[COUNT]
	bench.sidecar.signal(signal.SIGHUP)
	until(lambda: replaced(last_worker), "the reload", LONG)
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

		for number in range(1, COUNT + 1):
			pid = workers(bench)[number]
			os.kill(pid, signal.SIGKILL)
			repeat_until(publish, partial(are_replaced, bench, pid), "a successor", LONG)
		last = workers(bench)[COUNT]
		bench.sidecar.signal(signal.SIGHUP)
		repeat_until(publish, partial(are_replaced, bench, last), "the reload", LONG)
		for _ in range(20):
			publish()
		publisher.flush()
		for client in nodes:
			wait_for_count(client, len(published))
			assert [args[0] for args in client.all("count")] == published
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
	pid = pid_of(bench, victim)
	assert pid in pids.values()
	os.kill(pid, signal.SIGKILL)
	# If it was the one that reports, another one does when its key has expired.
	bench.valkey.client.delete("frappe_realtime:online_reporter")

	def offline() -> set[str]:
		return {name for change, name in bench.site().users_changed if change == "offline"}

	until(lambda: offline() == lost, f"{lost} are offline")
	assert len(bench.site().users_changed) == len(names) + len(lost)
