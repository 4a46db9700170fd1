"""python -m benchmarks.fleet.measure [--write]

Measures what one connection, one event and one process cost, in the sidecar and in Redis, and prints it. `--write` also writes
`units.json`, with which `python -m benchmarks.fleet` computes the cost of a fleet.

Only CPU time and memory are measured, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import redis

from benchmarks.client import SITE
from benchmarks.columns import OURS
from benchmarks.fleet.processes import memory
from benchmarks.fleet.units import Units
from benchmarks.load import Load
from benchmarks.publishers import AppPublisher
from benchmarks.servers import Server, backends, make_bench, running
from frappe_realtime.contract.channels import EVENTS_CHANNEL
from frappe_realtime.contract.rooms import SITE_ROOM, user_room
from frappe_realtime.contract.settings import APP_DEFAULTS

SETTINGS = {
	"realtime_connections_per_address": 1_000_000,
	"realtime_sockets_per_user": 1_000_000,
	"realtime_handshakes_per_second": 1_000_000,
}
"""All clients have one address and one user."""

CONNECTIONS = 5000
ROOM = 1000
ALONE = 5000
IN_BATCHES = 50_000
BATCH = 100
SUBSCRIBERS = 16
PEERS = 6
QUIET_SECONDS = 30.0
SIZE = 200
OTHER_SITE = "another.localhost"
"""A site without clients."""


class Redis:
	"""What Redis reports about itself.

	Args:
		port: Its port.
	"""

	def __init__(self, port: int) -> None:
		self.port = port
		self.client = redis.Redis(port=port)

	def info(self, key: str) -> float:
		"""Return one number of INFO."""
		return float(self.client.info()[key])

	def cpu(self) -> float:
		"""Return the CPU time so far, in seconds."""
		found = self.client.info("cpu")
		return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])

	def commands(self) -> float:
		"""Return how many commands Redis has counted, with those inside scripts, but without its own INFO."""
		found = self.client.info("commandstats")
		return float(sum(one["calls"] for name, one in found.items() if name != "cmdstat_info"))


class Measurement:
	"""One measurement.

	Args:
		bench: The bench.
		redis_server: Redis.
		web_port: The port of the stand-in for the web process.
	"""

	def __init__(self, bench: Path, redis_server: Redis, web_port: int) -> None:
		self._bench = bench
		self._redis = redis_server
		self._url = f"redis://127.0.0.1:{redis_server.port}"
		self._web_port = web_port

	@contextmanager
	def sidecar(self) -> Iterator[Server]:
		"""Run a sidecar for the time of the block, and wait until it is idle."""
		with running(OURS, self._bench, self._url, self._web_port) as server:
			wait_until_idle(server.cpu)
			yield server

	def connections(self) -> dict[str, float]:
		"""Measure connections: memory, pings, and the CPU of connects and recoveries."""
		with self.sidecar() as server:
			empty, before = memory(server.process.pid).private, server.cpu()
			load = Load(server.port, offset_event=True)
			load.connect(CONNECTIONS)
			connect = (server.cpu() - before) / CONNECTIONS
			drain(load, 3)
			full = memory(server.process.pid).private
			before, started = server.cpu(), time.monotonic()
			drain(load, QUIET_SECONDS)
			idle = (server.cpu() - before) / (time.monotonic() - started)
			AppPublisher(self._redis.port).publish(AppPublisher(self._redis.port).event(SITE_ROOM, SIZE))
			drain(load, 3)
			load.drop()
			wait_until_idle(server.cpu)
			before = server.cpu()
			load.connect(CONNECTIONS)
			recovery = (server.cpu() - before) / CONNECTIONS
			load.check_recovered(CONNECTIONS)
			load.drop(keep=False)
		return {
			"process_memory": empty,
			"connection_memory": (full - empty) / CONNECTIONS,
			"idle_connection": idle / CONNECTIONS * 1e6,
			"connect": connect * 1e6,
			"recovery": recovery * 1e6,
		}

	def events(self) -> dict[str, float]:
		"""Measure events for a room, and events that no client needs."""
		publisher = AppPublisher(self._redis.port)
		with self.sidecar() as server:
			load = Load(server.port, offset_event=True)
			load.connect(ROOM)
			wait_until_idle(server.cpu)
			costs = [
				self._published(server, load, publisher, room, count) for room, count in self._rooms(load)
			]
			found = {}
			for name, site in (("foreign_event", SITE), ("other_site_event", OTHER_SITE)):
				foreign = AppPublisher(self._redis.port, site)
				event = foreign.event(user_room("nobody@example.com"), SIZE)
				found[name] = self._foreign(server, foreign, event, ALONE, 1)
				found[f"{name}_in_batch"] = self._foreign(server, foreign, event, IN_BATCHES, BATCH)
			load.drop(keep=False)
		one, many = costs
		delivery = (many - one) / (ROOM - 1)
		return {"event": one - delivery, "delivery": delivery, **found}

	@staticmethod
	def _rooms(load: Load) -> list[tuple[str, int]]:
		"""Return a room of one socket and the room of all, each with how many sockets are in it."""
		answer = next(iter(load.clients.values())).answer
		return [(f"{answer['sid']}", 1), (SITE_ROOM, ROOM)]

	@staticmethod
	def _published(server: Server, load: Load, publisher: AppPublisher, room: str, count: int) -> float:
		"""Return the µs of CPU of one event for a room, published when all have received the last one."""
		event, events = publisher.event(room, SIZE), 3000 if count == 1 else 200
		for number in (events // 10, events):
			load.reset()
			before = server.cpu()
			for done in range(1, number + 1):
				publisher.publish(event)
				load.wait_for(done * count)
		load.check_count(events * count)
		return (server.cpu() - before) / events * 1e6

	@staticmethod
	def _foreign(server: Server, publisher: AppPublisher, event: str, events: int, batch: int) -> float:
		for count in (events // 10, events):
			wait_until_idle(server.cpu)
			before = server.cpu()
			for _ in range(count // batch):
				publisher.publish(event, batch)
			wait_until_idle(server.cpu)
		return (server.cpu() - before) / events * 1e6

	def processes(self) -> dict[str, float]:
		"""Measure sidecars without clients: alone, and among others."""
		used: list[float] = []
		commands = 0.0
		for count in (1, PEERS + 1):
			with ExitStack() as stack:
				servers = [stack.enter_context(self.sidecar()) for _ in range(count)]
				time.sleep(6)
				before, before_commands = sum(one.cpu() for one in servers), self._redis.commands()
				started = time.monotonic()
				time.sleep(QUIET_SECONDS)
				seconds = time.monotonic() - started
				used.append((sum(one.cpu() for one in servers) - before) / seconds / count)
				if count == 1:
					commands = (self._redis.commands() - before_commands) / seconds
		return {
			"idle_process": used[0] * 1e6,
			"peer": (used[1] - used[0]) / PEERS * 1e6,
			"redis_idle_commands": commands,
		}

	def redis_events(self) -> dict[str, float]:
		"""Measure Redis: events with the history, and their subscribers."""
		publisher = AppPublisher(self._redis.port)
		event = publisher.event(user_room("nobody@example.com"), SIZE)
		self._redis.client.flushall()
		used = self._redis.info("used_memory")
		history = APP_DEFAULTS["realtime_history_count"]
		for _ in range(history // BATCH):
			publisher.publish(event, BATCH)
		kept = (self._redis.info("used_memory") - used) / history
		costs, sent, commands = [], [], 0.0
		for count in (0, SUBSCRIBERS):
			with subscribers(self._redis.port, count) as read:
				for number in (ALONE // 10, ALONE):
					before, bytes_before = self._redis.cpu(), self._redis.info("total_net_output_bytes")
					commands_before = self._redis.commands()
					for _ in range(number):
						publisher.publish(event)
						read()
					costs.append((self._redis.cpu() - before) / number * 1e6)
					commands = (self._redis.commands() - commands_before) / number
					sent.append((self._redis.info("total_net_output_bytes") - bytes_before) / number)
		return {
			"redis_event": costs[1],
			"redis_subscriber": (costs[3] - costs[1]) / SUBSCRIBERS,
			"redis_event_commands": commands,
			"redis_event_memory": kept,
			"redis_event_bytes": (sent[3] - sent[1]) / SUBSCRIBERS,
		}

	def redis_connections(self) -> dict[str, float]:
		"""Measure Redis: what a client that connects and goes away costs it."""
		with self.sidecar() as server:
			time.sleep(3)
			load = Load(server.port, offset_event=True)
			load.connect(100)
			load.drop(keep=False)
			wait_until_idle(server.cpu)
			used, before, commands = (
				self._redis.info("used_memory"),
				self._redis.cpu(),
				self._redis.commands(),
			)
			started = time.monotonic()
			load.connect(CONNECTIONS)
			load.drop(keep=False)
			wait_until_idle(server.cpu)
			spent = self._redis.commands() - commands
			idle = (time.monotonic() - started) * 2
			return {
				"redis_connect_commands": max(0.0, spent - idle) / CONNECTIONS,
				"redis_connect": (self._redis.cpu() - before) / CONNECTIONS * 1e6,
				"redis_session_memory": (self._redis.info("used_memory") - used) / CONNECTIONS,
			}


def drain(load: Load, seconds: float) -> None:
	"""Read what the clients get, and answer pings, for so many seconds."""
	end = time.monotonic() + seconds
	while time.monotonic() < end:
		load.poll(0.2)


def wait_until_idle(cpu: Callable[[], float]) -> None:
	"""Wait until a process takes less than 1 % of a core."""
	last = cpu()
	while True:
		time.sleep(0.5)
		now = cpu()
		if now - last < 0.005:
			return
		last = now


@contextmanager
def subscribers(port: int, count: int) -> Iterator[Callable[[], None]]:
	"""Subscribe to the channel of events; yields a function that reads what has come."""
	command = f"*2\r\n$9\r\nSUBSCRIBE\r\n${len(EVENTS_CHANNEL)}\r\n{EVENTS_CHANNEL}\r\n".encode()
	with ExitStack() as stack:
		sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
		for one in sockets:
			one.sendall(command)
			one.recv(1 << 16)

		def read() -> None:
			for one in select.select(sockets, [], [], 0)[0]:
				one.recv(1 << 16)

		yield read


def main() -> None:
	"""Measure, print, and write the figures."""
	parser = argparse.ArgumentParser(
		prog="python -m benchmarks.fleet.measure",
		description=__doc__,
		formatter_class=argparse.RawDescriptionHelpFormatter,
	)
	parser.add_argument("--write", action="store_true", help="write units.json")
	options = parser.parse_args()
	with backends("frappe_realtime") as (redis_port, web_port), tempfile.TemporaryDirectory() as folder:
		bench = make_bench(Path(folder), f"redis://127.0.0.1:{redis_port}", web_port, **SETTINGS)
		one = Measurement(bench, Redis(redis_port), web_port)
		found: dict[str, float] = {}
		for part in (one.redis_events, one.redis_connections, one.connections, one.events, one.processes):
			figures = part()
			found |= figures
			for name, value in figures.items():
				print(f"{name}: {value:.3g}", flush=True)
	units = Units(**found)
	assert asdict(units).keys() == found.keys()
	if options.write:
		units.save()


if __name__ == "__main__":
	main()
