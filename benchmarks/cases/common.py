"""What all cases share: the amount of work, a new process of the server, and a wait until it is idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.client import SITE
from benchmarks.columns import Column
from benchmarks.load import Load
from benchmarks.publishers import AppPublisher, Publisher
from benchmarks.servers import Server, running

Figures = dict[str, float]
"""The results of a case, by name; report.py has their labels."""

WARM_UP = 50
"""Clients that connect and leave before a measurement."""


@dataclass(frozen=True, slots=True)
class Scale:
	"""The amount of work of each case.

	Attributes:
		sizes: Bytes of a message.
		rooms: Sockets in the room.
		deliveries: Deliveries with one event in flight.
		saturated: Deliveries of the saturated case.
		user_messages: Messages to single users.
		seconds: Duration of the latency case.
		connects: WebSocket connects.
		polling: Connects with polling and an upgrade.
		mixed: Clients in the case with both transports.
		staying: How many of these stay on polling.
		waves: How often all clients reconnect at once.
		recovering: Clients that recover with missed events.
		publishes: Calls of the publishing function of the web process.
		subscribers: Clients in the cases of permissions.
		tls: Clients that connect over TLS.
	"""

	sizes: tuple[int, ...] = (100, 1000, 10_000)
	rooms: tuple[int, ...] = (100, 1000, 5000)
	deliveries: int = 100_000
	saturated: int = 200_000
	user_messages: int = 10_000
	seconds: float = 10.0
	connects: int = 5000
	polling: int = 2000
	mixed: int = 1000
	staying: int = 200
	waves: int = 4
	recovering: int = 200
	publishes: int = 5000
	subscribers: int = 1000
	tls: int = 1000


QUICK = Scale(
	sizes=(100,),
	rooms=(100, 1000),
	deliveries=20_000,
	saturated=100_000,
	user_messages=2000,
	seconds=2,
	connects=500,
	polling=200,
	waves=2,
	recovering=50,
	publishes=500,
	subscribers=200,
	tls=200,
)
"""A tenth of the work, to check that everything runs."""


@dataclass(frozen=True, slots=True)
class Setup:
	"""What a case measures one column with.

	Attributes:
		column: The column.
		bench: The bench of this server.
		redis_port: The port of Redis.
		web_port: The port of the stand-in for the web process.
		scale: The amount of work.
	"""

	column: Column
	bench: Path
	redis_port: int
	web_port: int
	scale: Scale

	@property
	def redis_url(self) -> str:
		"""The URL of Redis."""
		return f"redis://127.0.0.1:{self.redis_port}"

	@property
	def site(self) -> str:
		"""The site of the column."""
		return self.column.site

	def deliveries(self, count: int) -> int:
		"""Return the part of `count` deliveries that is enough for this column."""
		return int(count * self.column.share)

	def publisher(self) -> Publisher:
		"""Return a publisher of the kind that the web process of the site has."""
		make = AppPublisher if self.column.has_app else Publisher
		return make(self.redis_port, self.site)

	def load(self, server: Server) -> Load:
		"""Return a load generator for `server`."""
		return Load(server.port, self.site, offset_event=self.column.has_app)

	@contextmanager
	def server(self, **variables: str) -> Iterator[Server]:
		"""Run a new process of the server, with the environment `variables` and without the history of the last one."""
		with redis.Redis(port=self.redis_port) as client:
			if keys := list(client.scan_iter(f"frappe_realtime:{SITE}:*", count=10_000)):
				client.delete(*keys)
		with running(self.column.name, self.bench, self.redis_url, self.web_port, **variables) as server:
			yield server

	@contextmanager
	def warm_server(self, **variables: str) -> Iterator[tuple[Server, Load]]:
		"""Run a new process of the server, in which some clients have connected and left.

		Raises:
			RuntimeError: The site has the app, but the clients cannot recover.
		"""
		with self.server(**variables) as server:
			load = self.load(server)
			load.connect(WARM_UP)
			if self.column.has_app and not all(client.can_recover for client in load.clients.values()):
				raise RuntimeError("the server has not given the clients a pid, so this is another column")
			load.drop(keep=False)
			settle(server)
			yield server, load
			load.drop()


Case = Callable[[Setup], Figures]
"""Measures one column; returns no figures for a server that cannot do what the case is about."""


def percentile(values: list[float], share: float) -> float:
	"""Return the percentile of `values` for a `share` from 0 to 1."""
	ordered = sorted(values)
	return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def settle(server: Server) -> None:
	"""Wait until the server is idle."""
	idle = 0
	last = server.cpu()
	while idle < 3:
		time.sleep(0.1)
		now = server.cpu()
		idle = idle + 1 if now - last < 0.002 else 0
		last = now


def connects(server: Server, count: int, connect: Callable[[int], None]) -> tuple[float, float]:
	"""Return µs of server CPU per connect, and connects per second."""
	before, started = server.cpu(), time.perf_counter()
	connect(count)
	elapsed = time.perf_counter() - started
	settle(server)
	return (server.cpu() - before) / count * 1e6, count / elapsed
