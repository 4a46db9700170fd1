"""python -m benchmarks.balanced [--clients 2000] [--rate 0.5] [--seconds 30] [--layouts workers,hosts]

Stock socket.io-clients behind an nginx that sends each request to the next server, without sticky sessions: a third of them polls, a
third upgrades, a third uses WebSocket only. There are two layouts: one sidecar with four workers, and two sidecars with two workers each
on different addresses. In each, events are published while nothing happens, while a rolling restart is under way (SIGHUP, one
sidecar after the other), and while the workers are killed one after the other.

Printed is for each phase how many requests have come, how many of them nginx has answered with an error that a client has waited for, and
what the clients report: why they were disconnected, and errors. A request of a session whose worker was killed fails; no other one
may. The exit code is 1 if such a request fails, or if a client has not received each event once and in order.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.delivery.parts import SITE, Clients, Publisher, Redis, end, install_clients, web_process
from benchmarks.servers import ROOT, free_port, raise_file_limit
from tests.wire.nginx import NGINX, Nginx

KINDS = ("polling", "polling,websocket", "websocket")

LIMITS = {
	"realtime_connections_per_address": 1_000_000,
	"realtime_handshakes_per_second": 1_000_000,
	"realtime_pages_per_second": 1_000_000,
}
"""All clients have one address."""

PATIENCE = 180.0
"""Seconds after which something that has to happen has not."""

ALLOWED_IN_KILLS = 3
"""Requests of one client that may fail when its worker is killed: a poll, a POST at the same time, and an upgrade."""


@dataclass(frozen=True)
class Layout:
	"""The sidecars of a bench.

	Args:
		addresses: Their addresses.
		workers: How many workers each has.
	"""

	addresses: tuple[str, ...]
	workers: int


LAYOUTS = {"workers": Layout(("127.0.0.1",), 4), "hosts": Layout(("127.0.0.2", "127.0.0.3"), 2)}


class Sidecar:
	"""A sidecar of the bench.

	Args:
		bench: The bench.
		address: Its address.
		port: Its port.
		workers: How many workers it has.
	"""

	def __init__(self, bench: Path, address: str, port: int, workers: int) -> None:
		self._url = f"http://{address}:{port}/health"
		self._workers = workers
		self.log = bench.parent / f"{address}.log"
		command = [sys.executable, "-m", "realtime", "serve", "--bench", str(bench)]
		command += ["--host", address, "--port", str(port), "--workers", str(workers)]
		with self.log.open("wb") as log:
			self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

	def health(self) -> dict[str, Any]:
		"""Return `/health`; empty if it does not answer."""
		with suppress(OSError, json.JSONDecodeError):
			try:
				with urllib.request.urlopen(self._url, timeout=10) as response:
					return dict(json.load(response))
			except urllib.error.HTTPError as error:
				return dict(json.load(error))
		return {}

	def pids(self) -> set[int]:
		"""Return the process ids of the workers that serve; empty until all of them do."""
		pids = {one["pid"] for one in self.health().get("workers", ()) if one["subscribed"]}
		return pids if len(pids) == self._workers else set()


class Run:
	"""One layout with its processes.

	Args:
		layout: The layout.
		options: The arguments of the command.
		folder: An empty folder.
		stack: Ends the processes.
	"""

	def __init__(self, layout: Layout, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
		self._layout = layout
		self._options = options
		redis = Redis(folder / "redis")
		redis.start()
		stack.callback(redis.close)
		web, web_port = web_process(options.clients, redis)
		stack.callback(end, web)
		bench = make_bench(folder, redis, web_port)
		port = free_port()
		self._sidecars: list[Sidecar] = []
		for address in layout.addresses:
			self._sidecars.append(Sidecar(bench, address, port, layout.workers))
			stack.callback(end, self._sidecars[-1].process)
		self._wait(self._are_together, "all workers know each other")
		(folder / "nginx").mkdir()
		self._nginx = Nginx(
			folder / "nginx",
			port,
			SITE,
			hosts=layout.addresses,
			addresses=("127.0.0.1",),
			connections=10 * options.clients,
		)
		stack.callback(self._nginx.close)
		first = 0
		self._clients: list[Clients] = []
		for position, transports in enumerate(KINDS):
			count = options.clients * (position + 1) // 3 - first
			self._clients.append(Clients(self._nginx.port, count, transports, first=first))
			stack.callback(self._clients[-1].close)
			first += count
		self._publisher = Publisher(redis.url, options.rate)
		self._reports: Counter[str] = Counter()
		self._errors = self._requests = 0

	def _wait(self, condition: Callable[[], object], what: str) -> None:
		deadline = time.monotonic() + PATIENCE
		while not condition():
			if time.monotonic() > deadline:
				raise AssertionError(f"not within {PATIENCE:.0f} s: {what}")
			time.sleep(0.2)

	def _are_together(self) -> bool:
		others = self._layout.workers * (len(self._sidecars) - 1)
		return all(
			sidecar.pids() and len(sidecar.health().get("sidecars", ())) == others
			for sidecar in self._sidecars
		)

	def _are_connected(self) -> bool:
		return sum(clients.ask("connected") for clients in self._clients) == self._options.clients

	def run(self, name: str) -> bool:
		"""Run all phases, print what they were, and return True if all was right."""
		self._wait(self._are_connected, "all clients are connected")
		is_right = self._phase(f"{name}: connecting", lambda: None, 0)
		self._publisher.start()
		is_right &= self._phase(f"{name}: quiet", lambda: time.sleep(self._options.seconds), 0)
		is_right &= self._phase(f"{name}: rolling restart", self._reload, 0)
		is_right &= self._phase(f"{name}: workers killed", self._kill, ALLOWED_IN_KILLS)
		self._publisher.stop()
		return self._delivered(name) and is_right

	def _reload(self) -> None:
		for sidecar in self._sidecars:
			before = sidecar.pids()
			sidecar.process.send_signal(signal.SIGHUP)

			def is_replaced(sidecar: Sidecar = sidecar, before: set[int] = before) -> bool:
				return bool(now := sidecar.pids()) and not now & before

			self._wait(is_replaced, "other workers")
			self._wait(self._are_together, "all workers know each other")

	def _kill(self) -> None:
		for sidecar in self._sidecars:
			for pid in sidecar.pids():
				os.kill(pid, signal.SIGKILL)

				def is_replaced(sidecar: Sidecar = sidecar, pid: int = pid) -> bool:
					return bool(now := sidecar.pids()) and pid not in now

				self._wait(is_replaced, "a successor")
				self._wait(self._are_together, "all workers know each other")
				self._wait(self._are_connected, "all clients are connected again")

	def _phase(self, title: str, action: Callable[[], None], allowed: int) -> bool:
		"""Do something, print what clients have seen of it, and return True if at most `allowed` requests of each client failed."""
		began = time.monotonic()
		action()
		self._wait(self._are_connected, "all clients are connected")
		seconds = time.monotonic() - began
		lines, errors = self._nginx.answered, len(self._nginx.failed)
		reports = sum((Counter(clients.ask("troubles")) for clients in self._clients), Counter[str]())
		failed = errors - self._errors
		print(
			f"| {title} | {seconds:.0f} | {lines - self._requests} | {failed} "
			f"| {_text(reports - self._reports)} |",
			flush=True,
		)
		if failed:
			kinds = Counter(" ".join(line.split()[:2]) for line in self._nginx.failed[self._errors :])
			print(f"failed: {_text(kinds)}", flush=True)
		self._requests, self._errors, self._reports = lines, errors, reports
		return failed <= allowed * self._options.clients

	def _delivered(self, name: str) -> bool:
		published = self._publisher.published
		report: list[list[int]] = []

		def is_complete() -> bool:
			report[:] = [one for clients in self._clients for one in clients.ask(f"report {published}")]
			return all(one[0] == published for one in report)

		with suppress(AssertionError):
			self._wait(is_complete, "all events")
		received = sum(one[0] for one in report)
		wrong = sum(one[1] + one[2] for one in report)
		print(
			f"{name}: {published} events to {len(report)} clients; delivered {100 * received / (published * len(report)):.3f} %, "
			f"again or out of order: {wrong}, recovered {sum(one[6] for one in report)} of {sum(one[7] for one in report)} reconnects",
			flush=True,
		)
		logs = "".join(sidecar.log.read_text() for sidecar in self._sidecars)
		for line in logs.splitlines():
			if "have not polled" in line:
				print(line)
		if "Traceback" in logs:
			print(logs, file=sys.stderr)
		return received == published * len(report) and not wrong and "Traceback" not in logs


def make_bench(folder: Path, redis: Redis, web_port: int) -> Path:
	bench = folder / "bench"
	(bench / "sites" / SITE).mkdir(parents=True)
	(bench / "sites" / SITE / "site_config.json").write_text("{}")
	config = {"redis_queue": redis.url, "webserver_port": web_port, **LIMITS}
	(bench / "sites" / "common_site_config.json").write_text(json.dumps(config))
	return bench


def _text(counts: Counter[str]) -> str:
	return ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items())) or "nothing"


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.balanced",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=2000)
	parser.add_argument("--rate", type=float, default=0.5, help="events a second, each for all clients")
	parser.add_argument("--seconds", type=float, default=30, help="of the phase in which nothing happens")
	parser.add_argument("--layouts", default=",".join(LAYOUTS), help=", ".join(LAYOUTS))
	options = parser.parse_args()
	if not NGINX:
		sys.exit("nginx is not installed")
	install_clients()
	raise_file_limit()
	print("| phase | s | requests | failed | what clients report |\n|---|---|---|---|---|", flush=True)
	is_right = True
	for name in options.layouts.split(","):
		with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
			is_right &= Run(LAYOUTS[name], options, Path(folder), stack).run(name)
	print("right" if is_right else "WRONG")
	sys.exit(not is_right)


if __name__ == "__main__":
	main()
