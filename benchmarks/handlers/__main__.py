"""python -m benchmarks.handlers: the cost of an event that a handler answers, here and in Node.

python -m benchmarks.handlers [--rounds 3] [--events 20000] [--clients 100]

The servers run one after the other on one core; this process runs the clients on another core. Each client has one event
in flight. CPU is the user and system time of the server with its child processes, from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases.common import percentile
from benchmarks.client import SITE, masked
from benchmarks.load import Load
from benchmarks.servers import (
	ROOT,
	SERVER_CORE,
	Server,
	backends,
	cpu_of,
	environment,
	free_port,
	make_bench,
	wait_for_port,
)

HERE = Path(__file__).resolve().parent
CASES = ("reply", "ask", "typing")
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Subject:
	"""A server with handlers.

	Attributes:
		title: Its name in the table.
		app: The app in its bench; None for the Node server.
	"""

	title: str
	app: str | None


SUBJECTS = (
	Subject("Node", None),
	Subject("ours, async def", "asynchronous"),
	Subject("ours, plain def in a thread", "plain"),
	Subject("ours, handlers.js", "javascript"),
)


@contextmanager
def running(subject: Subject, folder: Path, redis_url: str, web_port: int) -> Iterator[Server]:
	"""Run a new process with the handlers of `subject` for the time of the block."""
	port = free_port()
	if subject.app is None:
		command = [os.environ.get("NODE", "node"), str(HERE / "node.js")]
	else:
		bench = make_bench(folder, redis_url, web_port)
		config = json.loads((bench / "sites" / "common_site_config.json").read_text())
		# The rate limit of clients must not limit the measurement.
		config["realtime_events_per_second"] = 1_000_000
		(bench / "sites" / "common_site_config.json").write_text(json.dumps(config))
		(bench / "apps").mkdir()
		(bench / "apps" / subject.app).symlink_to(HERE / "apps" / subject.app)
		command = [sys.executable, "-m", "realtime", "serve", "--bench", str(bench), "--port", str(port)]
	process = subprocess.Popen(
		command,
		env=environment(port, redis_url, web_port),
		cwd=ROOT,
		stdout=subprocess.DEVNULL,
		preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
	)
	try:
		wait_for_port(port, process)
		yield Server(subject.title, port, process)
	finally:
		process.terminate()
		process.wait(20)


def frame(case: str, client: int) -> bytes:
	"""Return the encoded event of `case` that a client sends."""
	data = {"text": "x" * 30, "pair": client // 2}
	return masked(f"42/{SITE},{1 if case == 'ask' else ''}{json.dumps([case, data], separators=(',', ':'))}")


def measure(server: Server, clients: int, events: int) -> Figures:
	"""Return the figures of all cases: µs of CPU per event with all clients, and milliseconds with one event in flight."""
	load = Load(server.port)
	load.connect(clients)
	sockets = [(client.id, client.socket) for client in load.clients.values()]
	figures: Figures = {}
	for case in CASES:
		frames = [(socket, frame(case, id)) for id, socket in sockets]
		rounds = max(1, events // clients)
		for count in (max(1, rounds // 10), rounds):
			load.reset()
			before = cpu_of(server.process.pid)
			for number in range(1, count + 1):
				for socket, data in frames:
					socket.send(data)
				load.wait_for(number * clients)
		figures[f"{case}_us"] = (cpu_of(server.process.pid) - before) / (rounds * clients) * 1e6
		times = []
		load.reset()
		for number in range(1, 1001):
			socket, data = frames[number % clients]
			begun = time.perf_counter()
			socket.send(data)
			load.wait_for(number)
			times.append((time.perf_counter() - begun) * 1e3)
		figures[f"{case}_p50"] = percentile(times, 0.5)
		figures[f"{case}_p99"] = percentile(times, 0.99)
	load.drop()
	return figures


def table(results: dict[str, list[Figures]]) -> str:
	"""Return the medians as a Markdown table, with the ratio to Node."""
	lines = [
		"| µs of server CPU for an event (times Node); ms p50 / p99 one at a time | "
		+ " | ".join(CASES)
		+ " |",
		"| --- |" + " --- |" * len(CASES),
	]
	medians = {
		title: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
		for title, rounds in results.items()
		if rounds
	}
	for title, figures in medians.items():
		cells = []
		for case in CASES:
			cost = figures[f"{case}_us"]
			ratio = f" ({cost / medians['Node'][f'{case}_us']:.2f})" if "Node" in medians else ""
			cells.append(f"{cost:.0f}{ratio}; {figures[f'{case}_p50']:.2f} / {figures[f'{case}_p99']:.2f}")
		lines.append(f"| {title} | " + " | ".join(cells) + " |")
	return "\n".join(lines)


def main() -> None:
	parser = argparse.ArgumentParser(
		description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
	)
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument("--events", type=int, default=20_000)
	parser.add_argument("--clients", type=int, default=100, help="an even number")
	options = parser.parse_args()
	results: dict[str, list[Figures]] = {one.title: [] for one in SUBJECTS}
	apps = [one.app for one in SUBJECTS if one.app]
	with backends(*apps) as (redis_port, web_port):
		for number in range(options.rounds):
			for subject in SUBJECTS:
				print(f"round {number + 1}: {subject.title}", file=sys.stderr, flush=True)
				with (
					tempfile.TemporaryDirectory() as folder,
					running(subject, Path(folder), f"redis://127.0.0.1:{redis_port}", web_port) as server,
				):
					results[subject.title].append(measure(server, options.clients, options.events))
	print(f"Python {sys.version.split()[0]}; {options.clients} clients; medians of {options.rounds} rounds\n")
	print(table(results))


if __name__ == "__main__":
	main()
