"""python -m benchmarks.monitoring: what the sidecar's CPU costs while three clients watch the monitoring page's data.

python -m benchmarks.monitoring [--clients 500] [--watchers 3] [--rates 10,100] [--seconds 15] [--rounds 5]

Events are published to all clients at each rate, alternately without and with clients that watch, in one process of the sidecar. The
figures are the medians of the rounds: percent of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import socketio

from benchmarks.cases.common import settle
from benchmarks.client import SITE
from benchmarks.columns import OURS
from benchmarks.load import Load
from benchmarks.publishers import Publisher
from benchmarks.servers import Server, backends, make_bench, running
from frappe_realtime.contract.monitoring import MONITOR, MONITOR_SNAPSHOT
from frappe_realtime.contract.rooms import SITE_ROOM
from realtime.monitor.bench import INTERVAL
from realtime.monitor.collector import LEASE_SECONDS

SIZE = 100
"""Bytes of the payload of an event."""


class Watcher:
	"""A client that watches the site, as the page in the Desk does.

	Args:
		number: Its number, of which its user is made.
	"""

	def __init__(self, number: int) -> None:
		self.snapshots = 0
		self._headers = {"X-Frappe-Site-Name": SITE, "Cookie": f"sid=watcher{number}"}
		self._client = socketio.AsyncClient(reconnection=False)
		self._client.on(MONITOR_SNAPSHOT, self._count, namespace=f"/{SITE}")

	async def _count(self, *arguments: Any) -> None:
		self.snapshots += 1

	async def start(self, port: int) -> None:
		"""Connect, and watch.

		Raises:
			RuntimeError: The sidecar does not let the client watch.
		"""
		await self._client.connect(
			f"http://127.0.0.1:{port}",
			headers=self._headers,
			namespaces=[f"/{SITE}"],
			transports=["websocket"],
		)
		answer = await self._client.call(MONITOR, {"watch": True}, namespace=f"/{SITE}")
		if "error" in answer:
			raise RuntimeError(answer["error"])

	async def stop(self) -> None:
		"""Disconnect."""
		await self._client.disconnect()


@contextlib.contextmanager
def watching(port: int, count: int) -> Iterator[list[Watcher]]:
	"""Let `count` clients watch for the time of the block."""
	loop = asyncio.new_event_loop()
	thread = threading.Thread(target=loop.run_forever)
	thread.start()
	watchers = [Watcher(number) for number in range(count)]
	try:
		for watcher in watchers:
			asyncio.run_coroutine_threadsafe(watcher.start(port), loop).result(30)
		yield watchers
	finally:
		for watcher in watchers:
			asyncio.run_coroutine_threadsafe(watcher.stop(), loop).result(30)
		loop.call_soon_threadsafe(loop.stop)
		thread.join()
		loop.close()


def cpu_percent(server: Server, load: Load, publisher: Publisher, rate: int, seconds: float) -> float:
	"""Return the percentage of a core that the server takes while `rate` events in a second go to all clients."""
	event, clients = publisher.event(SITE_ROOM, SIZE), len(load.clients)
	load.reset()
	before, begun = server.cpu(), time.perf_counter()
	for number in range(1, int(seconds * rate) + 1):
		publisher.publish(event)
		load.wait_for(number * clients)
		while (left := begun + number / rate - time.perf_counter()) > 0:
			load.poll(left)
	return (server.cpu() - before) / (time.perf_counter() - begun) * 100


def main() -> None:
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.monitoring",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--clients", type=int, default=500)
	parser.add_argument("--watchers", type=int, default=3)
	parser.add_argument("--rates", default="10,100", help="events in a second")
	parser.add_argument("--seconds", type=float, default=15)
	parser.add_argument("--rounds", type=int, default=5)
	options = parser.parse_args()
	print(
		f"| deliveries a second | CPU | with {options.watchers} watchers | difference | of the sidecar's CPU |"
	)
	print("| --- | --- | --- | --- | --- |")
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		url = f"redis://127.0.0.1:{redis_port}"
		bench = make_bench(Path(folder), url, web_port)
		with running(OURS, bench, url, web_port) as server:
			load, publisher = Load(server.port), Publisher(redis_port)
			load.connect(options.clients)
			settle(server)
			for rate in map(int, options.rates.split(",")):
				cpu_percent(server, load, publisher, rate, 3)
				without, watched = [], []
				for number in range(options.rounds):
					print(f"{rate} events a second, round {number + 1}", file=sys.stderr, flush=True)
					without.append(cpu_percent(server, load, publisher, rate, options.seconds))
					with watching(server.port, options.watchers) as watchers:
						watched.append(cpu_percent(server, load, publisher, rate, options.seconds))
					least = int(options.seconds / INTERVAL) - 2
					if min(watcher.snapshots for watcher in watchers) < least:
						raise RuntimeError(f"a watcher got fewer than {least} snapshots")
					# Until then the site counts as watched.
					time.sleep(LEASE_SECONDS + INTERVAL)
				before, after = statistics.median(without), statistics.median(watched)
				print(
					f"| {rate * options.clients:,} | {before:.2f} % | {after:.2f} % | {after - before:.2f} % of a core "
					f"| {(after / before - 1) * 100:.1f} % |",
					flush=True,
				)


if __name__ == "__main__":
	main()
