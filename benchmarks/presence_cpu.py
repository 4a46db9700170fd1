"""python -m benchmarks.presence_cpu [--clients 300] [--places 10] [--changes 4] [--seconds 30] [--rounds 2] [--peer COMMAND]

The CPU time of presence: clients in places, each of which changes its state so many times a second, and leaves and joins again every
20 seconds on average. One sidecar is measured, and with `--peer` another server with the same load, in turn; the exit code is 0 if the
sidecar takes at most half of its CPU time for a change.

COMMAND starts a Socket.IO server that listens on the port `$PORT` of 127.0.0.1, has a namespace `/delivery.test` without a login,
and understands three events of clients: `join` with the name of a place and a state, acknowledged; `set` with the name of a place and
a state; `leave` with the name of a place. The server runs on one core, and this program on another one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.delivery.parts import OURS, SITE, Redis, Server, end, web_process
from benchmarks.recovering import RecoveringClient
from benchmarks.servers import LOAD_CORE, ROOT, SERVER_CORE, cpu_of, free_port, wait_for_port
from frappe_realtime.contract.presence import PRESENCE_JOIN, PRESENCE_LEAVE, PRESENCE_SET

STAY_SECONDS = 20.0
"""Seconds after which a client leaves and joins again, on average."""

CONNECT_TOGETHER = 20
"""Clients that connect at the same time."""

MOST = 0.5
"""The share of the other server's CPU time for a change that the sidecar may take."""


class Events(NamedTuple):
	"""The names of the events of a server."""

	join: str
	set: str
	leave: str


OUR_EVENTS = Events(PRESENCE_JOIN, PRESENCE_SET, PRESENCE_LEAVE)
PEER_EVENTS = Events("join", "set", "leave")


class Member:
	"""One client in one place.

	Args:
		number: Its number.
		place: Its place.
		events: The names of the events.
		counts: Counts what it sends and receives.
	"""

	def __init__(self, number: int, place: str, events: Events, counts: Counter[str]) -> None:
		self._client = RecoveringClient(SITE, f"session-{number}")
		self._place = place
		self._events = events
		self._counts = counts
		self._joined = asyncio.Event()
		self._reading: asyncio.Task[None] | None = None

	async def connect(self, port: int) -> None:
		"""Connect, and join the place."""
		await self._client.connect(port)
		self._reading = asyncio.create_task(self._read())
		await self._join()

	async def _join(self) -> None:
		self._joined.clear()
		await self._client.emit(self._events.join, self._place, {"x": 0, "y": 0}, ack=0)
		await asyncio.wait_for(self._joined.wait(), 10)

	async def _read(self) -> None:
		async for event, *arguments in self._client.received():
			if event:
				self._counts["messages"] += 1
			elif "error" in arguments[0]:
				raise RuntimeError(arguments[0])
			else:
				self._joined.set()

	async def run(self, until: float, changes: float, randoms: random.Random) -> None:
		"""Change the state until a time."""
		leaves_at = time.monotonic() + randoms.expovariate(1 / STAY_SECONDS)
		while (now := time.monotonic()) < until:
			if now > leaves_at:
				await self._client.emit(self._events.leave, self._place)
				await self._join()
				self._counts["joins"] += 1
				leaves_at = time.monotonic() + randoms.expovariate(1 / STAY_SECONDS)
			state = {"x": randoms.randrange(1000), "y": randoms.randrange(1000)}
			await self._client.emit(self._events.set, self._place, state)
			self._counts["changes"] += 1
			await asyncio.sleep(randoms.uniform(0.5, 1.5) / changes)

	async def close(self) -> None:
		"""Disconnect."""
		if self._reading is not None:
			self._reading.cancel()
		await self._client.leave()


class Result(NamedTuple):
	"""What was measured.

	Args:
		cpu: Seconds of CPU for each second.
		counts: What the clients have sent and received.
	"""

	cpu: float
	counts: Counter[str]

	def each(self, count: str, seconds: float) -> float:
		"""Return the microseconds of CPU for each of what was counted in a run of so many seconds."""
		return self.cpu * seconds / self.counts[count] * 1e6


async def measure(port: int, pid: int, events: Events, options: argparse.Namespace) -> Result:
	"""Run the load on a server, and return its CPU time."""
	counts: Counter[str] = Counter()
	randoms = random.Random(options.seed)
	members = [
		Member(number, f"doc:ToDo/{number % options.places}", events, counts)
		for number in range(options.clients)
	]
	for first in range(0, len(members), CONNECT_TOGETHER):
		await asyncio.gather(*[member.connect(port) for member in members[first : first + CONNECT_TOGETHER]])
	await asyncio.sleep(1)
	counts.clear()
	before, began = cpu_of(pid), time.monotonic()
	until = began + options.seconds
	await asyncio.gather(
		*[member.run(until, options.changes, random.Random(randoms.random())) for member in members]
	)
	result = Result((cpu_of(pid) - before) / (time.monotonic() - began), Counter(counts))
	await asyncio.gather(*[member.close() for member in members])
	return result


@contextmanager
def our_server(folder: Path, clients: int) -> Iterator[tuple[int, int]]:
	"""Run a sidecar, and yield its port and its process id."""
	with ExitStack() as stack:
		redis = Redis(folder / "redis")
		redis.start()
		stack.callback(redis.close)
		web, web_port = web_process(clients, redis)
		stack.callback(end, web)
		server = Server(OURS, folder, redis, web_port)
		server.start()
		stack.callback(server.close)
		server.wait()
		assert server.process is not None
		yield server.port, server.process.pid


@contextmanager
def peer_server(command: str) -> Iterator[tuple[int, int]]:
	"""Run the other server, and yield its port and its process id."""
	port = free_port()
	process = subprocess.Popen(shlex.split(command), cwd=ROOT, env={**os.environ, "PORT": str(port)})
	try:
		wait_for_port(port, process)
		yield port, process.pid
	finally:
		end(process)


def run(name: str, events: Events, server: tuple[int, int], options: argparse.Namespace) -> Result:
	"""Measure one server, and print the result."""
	port, pid = server
	for thread in Path(f"/proc/{pid}/task").iterdir():
		os.sched_setaffinity(int(thread.name), {SERVER_CORE})
	result = asyncio.run(measure(port, pid, events, options))
	counts = result.counts
	print(
		f"{name:8} {result.cpu:6.1%} of a core; {counts['changes']} changes of {result.each('changes', options.seconds):.0f} µs, "
		f"{counts['joins']} joins, {counts['messages']} messages of {result.each('messages', options.seconds):.1f} µs",
		flush=True,
	)
	return result


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.presence_cpu",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=300)
	parser.add_argument("--places", type=int, default=10)
	parser.add_argument("--changes", type=float, default=4, help="changes of each client in a second")
	parser.add_argument("--seconds", type=float, default=30)
	parser.add_argument("--rounds", type=int, default=2)
	parser.add_argument("--peer", default="", help="the command that starts another server")
	parser.add_argument("--seed", type=int, default=1)
	options = parser.parse_args()
	os.sched_setaffinity(0, {LOAD_CORE})
	ours, peer = [], []
	for _ in range(options.rounds):
		with tempfile.TemporaryDirectory() as folder, our_server(Path(folder), options.clients) as server:
			ours.append(run("sidecar", OUR_EVENTS, server, options).each("changes", options.seconds))
		if options.peer:
			with peer_server(options.peer) as server:
				peer.append(run("peer", PEER_EVENTS, server, options).each("changes", options.seconds))
	if peer:
		ratio = statistics.median(ours) / statistics.median(peer)
		print(
			f"the sidecar takes {ratio:.2f} of the CPU time of the other server for a change; at most {MOST:g} is right"
		)
		sys.exit(int(ratio > MOST))


if __name__ == "__main__":
	main()
