"""python -m benchmarks.foreign_polls [--requests 300] [--sessions 30] [--peer COMMAND]

What it costs that a polling request reaches another server than the one that has its session. Two sidecars on different
addresses, and with `--peer` two servers of another kind, in turn. Measured are the time of a whole connect on one server, the
time and CPU of a message and its answer on the server that has the session and on the other one, and the time of the refusal of a
session that nobody has.

COMMAND starts a Socket.IO server that listens on the port `$PORT` of 127.0.0.1, shares its sessions with others by the Redis at
`$REDIS_URL`, has a namespace `/delivery.test` without a login, and answers the event `ping` by the event `pong`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.balanced import Sidecar, make_bench
from benchmarks.cases.common import percentile
from benchmarks.delivery.parts import SITE, Redis, end, web_process
from benchmarks.servers import ROOT, cpu_of, free_port, wait_for_port

ADDRESSES = ("127.0.0.2", "127.0.0.3")
PATH = "/socket.io/?EIO=4&transport=polling"
CONNECT = f"40/{SITE},"
PING = f'42/{SITE},["ping"]'


class Endpoint(NamedTuple):
	"""A server.

	Args:
		address: Its address.
		port: Its port.
		pid: Its process id.
	"""

	address: str
	port: int
	pid: int


class Way:
	"""A kept HTTP connection to a server.

	Args:
		endpoint: The server.
	"""

	def __init__(self, endpoint: Endpoint) -> None:
		self._http = http.client.HTTPConnection(endpoint.address, endpoint.port, timeout=30)

	def request(self, method: str, sid: str = "", body: str | None = None) -> tuple[int, str]:
		"""Send a request, and return status and body."""
		headers = {
			"Host": SITE,
			"Origin": f"http://{SITE}",
			"X-Frappe-Site-Name": SITE,
			"Cookie": "sid=session-0",
		}
		self._http.request(method, PATH + (f"&sid={sid}" if sid else ""), body, headers)
		response = self._http.getresponse()
		return response.status, response.read().decode()

	def connect(self) -> str:
		"""Return the id of a new session that has connected to the namespace."""
		status, text = self.request("GET")
		assert status == 200, text
		sid = str(json.loads(text[1:])["sid"])
		self.exchange(sid, CONNECT, f"40/{SITE},")
		return sid

	def exchange(self, sid: str, message: str, answer: str) -> None:
		"""Send a message of a session, and poll until its answer is there."""
		status, text = self.request("POST", sid, message)
		assert (status, text) == (200, "ok"), text
		while answer not in text:
			status, text = self.request("GET", sid)
			assert status == 200, text


def measure(title: str, servers: tuple[Endpoint, Endpoint], options: argparse.Namespace) -> None:
	"""Measure two servers, and print the result."""
	own, other = map(Way, servers)
	answer = f'42/{SITE},["pong"'
	connects = _times(options.sessions, own.connect)
	sid = own.connect()
	figures = [f"connect {_text(connects)}"]
	for name, way in (("at its server", own), ("at the other one", other)):
		before = sum(cpu_of(server.pid) for server in servers)
		times = _times(options.requests, lambda way=way: way.exchange(sid, PING, answer))  # type: ignore[misc]
		cpu = sum(cpu_of(server.pid) for server in servers) - before
		figures.append(
			f"message and answer {name} {_text(times)}, {cpu / options.requests * 1e6:.0f} µs of CPU"
		)

	def ask_for_nobody() -> None:
		status, text = Way(servers[1]).request("GET", secrets.token_urlsafe(15))
		assert status == 400, text

	figures.append(f"unknown session {_text(_times(options.sessions, ask_for_nobody))}")
	print(title, *figures, sep="\n  ", flush=True)


def _times(count: int, action: Callable[[], object]) -> list[float]:
	times = []
	for _ in range(count):
		began = time.perf_counter()
		action()
		times.append((time.perf_counter() - began) * 1000)
	return times


def _text(times: list[float]) -> str:
	return f"{percentile(times, 0.5):.2f} / {percentile(times, 0.99):.2f} ms (p50 / p99)"


def our_servers(folder: Path, redis: Redis, stack: ExitStack) -> tuple[Endpoint, Endpoint]:
	"""Start two sidecars, and return them when they know each other."""
	web, web_port = web_process(1, redis)
	stack.callback(end, web)
	bench = make_bench(folder, redis, web_port)
	port = free_port()
	sidecars = []
	for address in ADDRESSES:
		one = Sidecar(bench, address, port, 1)
		stack.callback(end, one.process)
		sidecars.append(one)
	while not all(len(one.health().get("sidecars", ())) == 1 for one in sidecars):
		time.sleep(0.05)
	first, second = (
		Endpoint(address, port, one.process.pid) for address, one in zip(ADDRESSES, sidecars, strict=True)
	)
	return first, second


def peer_servers(command: str, redis: Redis, stack: ExitStack) -> tuple[Endpoint, Endpoint]:
	"""Start two servers of another kind."""
	found = []
	for _ in ADDRESSES:
		port = free_port()
		environment = {**os.environ, "PORT": str(port), "REDIS_URL": redis.url}
		process = subprocess.Popen(shlex.split(command), cwd=ROOT, env=environment)
		stack.callback(end, process)
		wait_for_port(port, process)
		found.append(Endpoint("127.0.0.1", port, process.pid))
	return found[0], found[1]


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.foreign_polls",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--requests", type=int, default=300)
	parser.add_argument("--sessions", type=int, default=30)
	parser.add_argument("--peer", default="", help="the command that starts another server")
	options = parser.parse_args()
	with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
		redis = Redis(Path(folder) / "redis")
		redis.start()
		stack.callback(redis.close)
		with ExitStack() as own:
			measure("two sidecars", our_servers(Path(folder), redis, own), options)
		if options.peer:
			with ExitStack() as own:
				measure("two other servers", peer_servers(options.peer, redis, own), options)


if __name__ == "__main__":
	main()
