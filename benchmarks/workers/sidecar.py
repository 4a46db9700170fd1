"""Runs a sidecar with one or several workers, and reads its memory and CPU time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, SERVER_CORE, cpu_of, environment, free_port, wait_for_port

SETTINGS = {
	"realtime_connections_per_address": 1_000_000,
	"realtime_sockets_per_user": 1_000_000,
	"realtime_handshakes_per_second": 1_000_000,
}
"""All clients have one address and one user."""


class Sidecar:
	"""A sidecar with one or several workers.

	Args:
		port: Its port.
		process: The process that was started.
		workers: How many workers it has.
	"""

	def __init__(self, port: int, process: subprocess.Popen[bytes], workers: int) -> None:
		self.port = port
		self._process = process
		self._pids = self._wait(workers)

	def _wait(self, workers: int) -> list[int]:
		"""Wait until all workers serve, and return the processes that serve clients."""
		wait_for_port(self.port, self._process)
		while True:
			with suppress(urllib.error.HTTPError):
				with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health") as answer:
					body: dict[str, Any] = json.load(answer)
				pids = [one["pid"] for one in body["workers"]] or [self._process.pid]
				if len(pids) == workers:
					return pids
			time.sleep(0.1)

	def memory(self) -> float:
		"""Return the proportional set size of all processes in bytes: memory that processes share counts once."""
		return sum(map(_pss, {self._process.pid, *self._pids}))

	def cpu(self) -> list[float]:
		"""Return the seconds of CPU of each process that serves clients."""
		return [cpu_of(pid) for pid in self._pids]

	def questions(self) -> int:
		"""Return the requests to the web process so far."""
		with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
			for line in answer.read().decode().splitlines():
				if line.startswith("frappe_realtime_web_requests_total "):
					return int(float(line.split()[1]))
		raise RuntimeError("no web_requests_total")

	def wait_until_idle(self) -> None:
		"""Wait until the processes take hardly any CPU time."""
		last = self.cpu()
		while True:
			time.sleep(0.5)
			now = self.cpu()
			if len(now) == len(last) and max(map(float.__sub__, now, last)) < 0.03:
				return
			last = now


@contextmanager
def running(bench: Path, redis_port: int, web_port: int, workers: int) -> Iterator[Sidecar]:
	"""Run a sidecar for the time of the block, on the core of the server.

	Args:
		bench: The bench.
		redis_port: The port of Redis.
		web_port: The port of the stand-in for the web process.
		workers: How many workers it has; 1 for a single process.
	"""
	port = free_port()
	command = [sys.executable, "-m", "realtime", "serve", "--bench", str(bench)]
	process = subprocess.Popen(
		[*command, "--port", str(port), "--workers", str(workers)],
		env=environment(port, f"redis://127.0.0.1:{redis_port}", web_port),
		cwd=ROOT,
		preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
	)
	try:
		one = Sidecar(port, process, workers)
		one.wait_until_idle()
		yield one
	finally:
		process.terminate()
		process.wait()


def _pss(pid: int) -> float:
	for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
		if line.startswith("Pss:"):
			return int(line.split()[1]) * 1024
	raise RuntimeError("no Pss")
