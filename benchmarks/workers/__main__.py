"""python -m benchmarks.workers [--quick] [--storm] [--rounds 3]

Compares several workers of one sidecar with single processes: memory, deliveries to the clients of one room, events that concern
a client of another worker, polling handshakes, of which every other request reaches the wrong worker, and the questions to the web
process when all tabs of all users connect at once.

All server processes are pinned to one core and the load generator to the other, and only the CPU time of the server processes
counts. So a figure for two workers is what they carry with a core for each: the busiest of them limits it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.client import Client, head
from benchmarks.load import Load
from benchmarks.publishers import AppPublisher
from benchmarks.servers import backends, make_bench
from benchmarks.workers.sidecar import SETTINGS, Sidecar, running
from frappe_realtime.contract.rooms import SITE_ROOM, user_room

MEMORY_PROCESSES = 4
TABS = 4
"""Sockets of one session in a storm."""

BATCH = 100
"""Events for one user that are published at once."""


class Tabs(Load):
	"""Clients of which each `TABS` have one session."""

	def _head(self, method: str, query: str, client: Client, extra: str = "") -> bytes:
		return head(method, query, f"session-{client.id // TABS}", extra, self.site)


class Measurement:
	"""The processes around the sidecars.

	Args:
		bench: The bench.
		redis_port: The port of Redis.
		web_port: The port of the stand-in for the web process.
		scale: 1, or less for less work.
	"""

	def __init__(self, bench: Path, redis_port: int, web_port: int, scale: float) -> None:
		self._bench = bench
		self._redis_port = redis_port
		self._web_port = web_port
		self._scale = scale

	def sidecar(self, workers: int) -> AbstractContextManager[Sidecar]:
		"""Run a sidecar for the time of the block."""
		return running(self._bench, self._redis_port, self._web_port, workers)

	def memory(self, workers: int, sidecars: int) -> float:
		"""Return the memory of `sidecars` idle sidecars, each with so many workers, in bytes."""
		with ExitStack() as stack:
			running = [stack.enter_context(self.sidecar(workers)) for _ in range(sidecars)]
			return sum(one.memory() for one in running)

	def deliveries(self, workers: int) -> float:
		"""Return the deliveries per second that the busiest process of a sidecar can make."""
		room, events = 1000, max(10, int(200 * self._scale))
		publisher = AppPublisher(self._redis_port)
		with self.sidecar(workers) as one:
			load = Load(one.port, offset_event=True)
			load.connect(room)
			one.wait_until_idle()
			event = publisher.event(SITE_ROOM, 100)
			for count in (10, events):
				load.reset()
				before = one.cpu()
				for number in range(1, count + 1):
					publisher.publish(event)
					load.wait_for(number * room)
			busiest = max(map(float.__sub__, one.cpu(), before))
			load.check_count(events * room)
			load.drop(keep=False)
		return events * room / busiest

	def foreign_events(self) -> float:
		"""Return the µs of CPU of one event for a user of another worker."""
		events = int(50_000 * self._scale)
		publisher = AppPublisher(self._redis_port)
		with self.sidecar(2) as one:
			load = Load(one.port, offset_event=True)
			load.connect(1)
			one.wait_until_idle()
			event = publisher.event(user_room("nobody@example.com"), 100)
			for count in (events // 10, events):
				before = one.cpu()
				for _ in range(count // BATCH):
					publisher.publish(event, BATCH)
				one.wait_until_idle()
				used = map(float.__sub__, one.cpu(), before)
			load.drop(keep=False)
			return min(used) / events * 1e6

	def polling(self, workers: int) -> float:
		"""Return the µs of CPU of all processes for a handshake by polling, with the upgrade."""
		count = int(2000 * self._scale)
		with self.sidecar(workers) as one:
			load = Load(one.port, offset_event=True)
			load.connect_polling(count // 10)
			load.drop(keep=False)
			one.wait_until_idle()
			before = sum(one.cpu())
			load.connect_polling(count)
			used = sum(one.cpu()) - before
			load.drop(keep=False)
		return used / count * 1e6

	def storm(self, workers: int) -> tuple[float, float]:
		"""Return, for each session whose tabs all connect at once, the questions to the web process and the µs of CPU."""
		sessions = max(50, int(500 * self._scale))
		with self.sidecar(workers) as one:
			asked, before = one.questions(), sum(one.cpu())
			load = Tabs(one.port, offset_event=True)
			load.connect(sessions * TABS)
			used, questions = sum(one.cpu()) - before, one.questions() - asked
			load.drop(keep=False)
		return questions / sessions, used / sessions * 1e6


def main() -> None:
	"""Measure, and print the figures."""
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.workers",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--quick", action="store_true", help="a tenth of the work")
	parser.add_argument("--storm", action="store_true", help="the questions in a storm only")
	parser.add_argument("--rounds", type=int, default=3, help="the median of so many is printed")
	options = parser.parse_args()
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		bench = make_bench(Path(folder), f"redis://127.0.0.1:{redis_port}", web_port, **SETTINGS)
		measurement = Measurement(bench, redis_port, web_port, 0.1 if options.quick else 1.0)

		def median(function: Callable[..., float], *arguments: int) -> float:
			return statistics.median(function(*arguments) for _ in range(options.rounds))

		if not options.storm:
			count = MEMORY_PROCESSES
			single = median(measurement.memory, 1, count)
			several = median(measurement.memory, count, 1)
			print(f"memory: {count} single processes {single / 1e6:.1f} MB, ", end="")
			print(f"{count} workers and their supervisor {several / 1e6:.1f} MB: {several / single:.2f}")
			one = median(measurement.deliveries, 1)
			two = median(measurement.deliveries, 2)
			print(f"deliveries per second: one process {one:,.0f}, two workers {two:,.0f}: {two / one:.2f}")
			print(f"an event for a user of another worker: {median(measurement.foreign_events):.1f} µs")
			one = median(measurement.polling, 1)
			two = median(measurement.polling, 2)
			print(
				f"handshake by polling, with the upgrade: one process {one:.0f} µs, two workers {two:.0f} µs"
			)
		for count in (1, 2, 4):
			storms = [measurement.storm(count) for _ in range(options.rounds)]
			asked, used = map(statistics.median, zip(*storms, strict=True))
			print(f"{TABS} tabs of a session at once, {count} workers: {asked:.2f} questions, {used:.0f} µs")


if __name__ == "__main__":
	main()
