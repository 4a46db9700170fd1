"""python -m benchmarks.workers.many [--clients 20000] [--seconds 300] [--workers 2]

Holds many connections of as many users on one sidecar, and publishes events meanwhile: to one user after the other, and now and then
to all. Each client is in three rooms and can recover. Printed are the cost of connecting, the memory of a connection, the load of each
worker, and how long the events take. The run fails if an event is not received exactly once by each client concerned.

The clients are in as many processes as the sidecar has workers, so that none of them has more than half of 20,000 files open.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cases.common import percentile
from benchmarks.load import Load
from benchmarks.publishers import AppPublisher
from benchmarks.servers import backends, make_bench
from benchmarks.workers.sidecar import SETTINGS, Sidecar, running
from frappe_realtime.contract.rooms import SITE_ROOM, user_room

USER_EVENTS = 20.0
"""Events to one user in a second."""

ROOM_SECONDS = 10.0
"""Seconds between two events to all clients."""

BYTES = 200
"""Bytes of a message."""

IDLE = 0.02
"""Seconds after which a process of clients looks for its next command."""


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.workers.many",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=20_000)
	parser.add_argument("--seconds", type=float, default=300)
	parser.add_argument("--workers", type=int, default=2)
	options = parser.parse_args()
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		bench = make_bench(Path(folder), f"redis://127.0.0.1:{redis_port}", web_port, **SETTINGS)
		with (
			running(bench, redis_port, web_port, options.workers) as sidecar,
			audience(sidecar.port, options.clients, options.workers) as clients,
		):
			hold(sidecar, AppPublisher(redis_port), clients, options.seconds)


class Audience:
	"""The clients, in several processes.

	Args:
		parts: A connection to each process.
		count: The clients of each process.
	"""

	def __init__(self, parts: list[Connection], count: int) -> None:
		self._parts = parts
		self.count = count * len(parts)
		self._each = count

	def connect(self) -> None:
		"""Connect all clients."""
		for number, part in enumerate(self._parts):
			part.send(("connect", self._each, number * self._each))
		for part in self._parts:
			part.recv()

	def until_received(self, publisher: AppPublisher, event: str, user: int | None = None) -> float:
		"""Publish an event, and return the milliseconds until it is received.

		Args:
			publisher: Publishes it.
			event: The event.
			user: The client that receives it; None for all of them.
		"""
		parts = self._parts if user is None else [self._parts[user // self._each]]
		for part in parts:
			part.send(("wait", self._each if user is None else 1))
		for part in parts:
			part.recv()
		began = time.perf_counter()
		publisher.publish(event)
		# The clock is the same in all processes (CLOCK_MONOTONIC).
		return (max(part.recv() for part in parts) - began) * 1e3

	def received(self) -> int:
		"""Return how many events the clients have received, when no more arrive."""
		for part in self._parts:
			part.send(("received",))
		return sum(part.recv() for part in self._parts)


@contextmanager
def audience(port: int, count: int, processes: int) -> Iterator[Audience]:
	"""Run the processes of the clients for the time of the block."""
	context = multiprocessing.get_context("spawn")
	parts, running = [], []
	for _ in range(processes):
		here, there = context.Pipe()
		process = context.Process(target=serve, args=(there, port), daemon=True)
		process.start()
		parts.append(here)
		running.append(process)
	try:
		yield Audience(parts, count // processes)
	finally:
		for process in running:
			process.terminate()
			process.join()


def serve(commands: Connection, port: int) -> None:
	"""Run the clients of one process; they answer pings between two commands."""
	load = Load(port, offset_event=True)
	while True:
		load.poll(IDLE)
		if not commands.poll(0):
			continue
		command, *arguments = commands.recv()
		if command == "connect":
			load.connect(arguments[0], first=arguments[1])
			load.reset()
			commands.send(True)
		elif command == "wait":
			expected = load.received + arguments[0]
			commands.send(True)
			load.wait_for(expected)
			commands.send(time.perf_counter())
		else:
			before = -1
			while before != load.received:
				before = load.received
				load.poll(0.2)
			commands.send(load.received)


def hold(sidecar: Sidecar, publisher: AppPublisher, clients: Audience, seconds: float) -> None:
	"""Connect the clients, hold them, and print the figures.

	Raises:
		RuntimeError: An event was not received exactly once by each client concerned.
	"""
	count, memory, cpu, began = clients.count, sidecar.memory(), sum(sidecar.cpu()), time.perf_counter()
	clients.connect()
	took, cost = time.perf_counter() - began, sum(sidecar.cpu()) - cpu
	sidecar.wait_until_idle()
	print(f"{count:,} clients connected in {took:.0f} s, {cost / count * 1e6:.0f} µs of CPU each", flush=True)
	print(f"memory: {(sidecar.memory() - memory) / count / 1024:.1f} KB for each connection", flush=True)
	before, began = sidecar.cpu(), time.perf_counter()
	users, rooms = publish(clients, publisher, began + seconds)
	elapsed = time.perf_counter() - began
	shares = [100 * used / elapsed for used in map(float.__sub__, sidecar.cpu(), before)]
	received, expected = clients.received(), len(users) + len(rooms) * count
	if received != expected:
		raise RuntimeError(f"{received} events were received instead of {expected}")
	print(f"held for {elapsed:.0f} s: {len(users):,} events to one user, {len(rooms)} to all")
	print(f"deliveries: {received:,} of {expected:,}")
	print(f"CPU of the workers: {', '.join(f'{share:.1f} %' for share in shares)} of a core")
	print(f"to one user: p50 {percentile(users, 0.5):.2f} ms, p99 {percentile(users, 0.99):.2f} ms")
	print(f"to all, until the last has it: p50 {percentile(rooms, 0.5):.0f} ms, longest {max(rooms):.0f} ms")
	print(f"memory at the end: {(sidecar.memory() - memory) / count / 1024:.1f} KB for each connection")


def publish(clients: Audience, publisher: AppPublisher, end: float) -> tuple[list[float], list[float]]:
	"""Publish one event after the other until `end` (`time.perf_counter`).

	Returns:
		Milliseconds until the user had each event to one user, and until the last client had each event to all.
	"""
	users: list[float] = []
	rooms: list[float] = []
	to_all = publisher.event(SITE_ROOM, BYTES)
	next_user = next_room = time.perf_counter()
	while (now := time.perf_counter()) < end:
		if now >= next_room:
			next_room += ROOM_SECONDS
			rooms.append(clients.until_received(publisher, to_all))
		elif now >= next_user:
			next_user = max(next_user + 1 / USER_EVENTS, now)
			user = len(users) * 7 % clients.count
			event = publisher.event(user_room(f"user{user}@example.com"), BYTES)
			users.append(clients.until_received(publisher, event, user))
		else:
			time.sleep(min(next_user, next_room) - now)
	return users, rooms


if __name__ == "__main__":
	main()
