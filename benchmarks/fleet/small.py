"""python -m benchmarks.fleet.small [--seconds N]

What a realtime server costs that has hardly anything to do: memory, and CPU time while its clients are idle. Compares the sidecar
as a process of its own with Node, and with python-socketio as it would be inside another process: that process is measured
with and without it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import SITE
from benchmarks.columns import NODE, OURS, STOCK
from benchmarks.fleet.processes import Memory, memory
from benchmarks.load import Load
from benchmarks.servers import (
	PEERS,
	ROOT,
	backends,
	cpu_of,
	environment,
	free_port,
	make_bench,
	running,
	wait_for_port,
)

CLIENTS = (0, 10, 100)
NAMES = {
	OURS: "the sidecar",
	NODE: "Node with socket.io",
	STOCK: "a Python process with python-socketio in it",
}


def measure(port: int, pid: int, clients: int, seconds: float, *, has_offset: bool) -> tuple[Memory, float]:
	"""Return the memory, and the CPU in ms per second, of a process with so many idle clients."""
	load = Load(port, SITE, offset_event=has_offset)
	load.connect(clients)
	settled = time.monotonic() + 3
	while time.monotonic() < settled:
		load.poll(0.2)
	before, started = cpu_of(pid), time.monotonic()
	while time.monotonic() < started + seconds:
		load.poll(0.2)
	used = (cpu_of(pid) - before) / (time.monotonic() - started)
	taken = memory(pid)
	load.drop(keep=False)
	return taken, used * 1000


@contextmanager
def host(redis_port: int, web_port: int) -> Iterator[tuple[int, int]]:
	"""Run the process without python-socketio; yields its port and its id."""
	port = free_port()
	process = subprocess.Popen(
		[sys.executable, str(PEERS / "host.py")],
		env=environment(port, f"redis://127.0.0.1:{redis_port}", web_port),
		cwd=ROOT,
	)
	try:
		wait_for_port(port, process)
		yield port, process.pid
	finally:
		process.terminate()
		process.wait()


def main() -> None:
	"""Measure, and print the figures."""
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.fleet.small",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--seconds", type=float, default=60, help="how long each measurement of CPU time is")
	options = parser.parse_args()
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		redis_url = f"redis://127.0.0.1:{redis_port}"
		bench = make_bench(Path(folder), redis_url, web_port)
		with host(redis_port, web_port) as (_, pid):
			time.sleep(3)
			print(f"a Python process without python-socketio: {memory(pid)}", flush=True)
		for name, words in NAMES.items():
			for clients in CLIENTS:
				with running(name, bench, redis_url, web_port) as server:
					taken, used = measure(
						server.port, server.process.pid, clients, options.seconds, has_offset=name == OURS
					)
				print(
					f"{words}, {clients} clients: {taken}, {used:.2f} ms of CPU a second",
					flush=True,
				)


if __name__ == "__main__":
	main()
