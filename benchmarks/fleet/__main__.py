"""python -m benchmarks.fleet

Computes what 10,000, 100,000 and 1,000,000 sockets cost, from the figures of `python -m benchmarks.fleet.measure` (`units.json`) and from
the load that `Fleet` assumes, and prints the tables of docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fleet.units import Units
from frappe_realtime.contract.settings import APP_DEFAULTS

SIZES = (10_000, 100_000, 1_000_000)
REDIS_SHARE = 0.7
"""The part of its core that Redis may use on average; the rest is for peaks, snapshots and the replica."""
OUTAGE_SECONDS = 10
"""How long a failover of Redis takes: Sentinel's `down-after-milliseconds`, the election, and the reconnect."""


@dataclass(frozen=True, slots=True)
class Fleet:
	"""Sidecars with so many sockets, and what their users do.

	Attributes:
		sockets: Sockets at the same time.
		units: What one of each costs.
		sockets_per_process: Sockets of one process (a worker, or a sidecar with one).
		events_per_socket: Events in a second for each socket: one for each of them in 200 seconds.
		personal: The part of the events that is for one user; the others are for a room.
		sockets_per_user: Sockets of one user.
		sockets_per_room: Sockets in a room that gets an event.
		connects_per_hour: How often a socket connects.
		sockets_per_site: Sockets of one site.
	"""

	sockets: int
	units: Units
	sockets_per_process: int = 20_000
	events_per_socket: float = 0.005
	personal: float = 0.8
	sockets_per_user: int = 2
	sockets_per_room: int = 20
	connects_per_hour: float = 1.0
	sockets_per_site: int = 500

	@property
	def processes(self) -> int:
		"""Processes; two at least, so that one may fail."""
		return max(2, -(-self.sockets // self.sockets_per_process))

	@property
	def sites(self) -> int:
		"""Sites."""
		return self.sockets // self.sockets_per_site

	@property
	def events(self) -> float:
		"""Events in a second."""
		return self.sockets * self.events_per_socket

	@property
	def deliveries(self) -> float:
		"""Deliveries in a second."""
		each = self.personal * self.sockets_per_user + (1 - self.personal) * self.sockets_per_room
		return self.events * each

	@property
	def connects(self) -> float:
		"""Connects in a second."""
		return self.sockets * self.connects_per_hour / 3600

	@property
	def memory(self) -> float:
		"""Private memory of all processes, in bytes."""
		return self.processes * self.units.process_memory + self.sockets * self.units.connection_memory

	# -- CPU of the sidecars, in cores

	@property
	def cpu_connections(self) -> float:
		"""Pings, and connects."""
		return (self.sockets * self.units.idle_connection + self.connects * self.units.connect) / 1e6

	@property
	def cpu_deliveries(self) -> float:
		"""Deliveries, and the events that they are of: each at one process."""
		return (self.deliveries * self.units.delivery + self.events * self.units.event) / 1e6

	@property
	def foreign_share(self) -> float:
		"""CPU of one process for the events that none of its clients needs."""
		return self.events * (1 - 1 / self.processes) * self.units.foreign_event / 1e6

	@property
	def cpu_peers(self) -> float:
		"""Heartbeats: each process receives those of all others."""
		return self.processes * (self.units.idle_process + (self.processes - 1) * self.units.peer) / 1e6

	@property
	def cpu(self) -> float:
		"""All of it."""
		foreign = self.processes * self.foreign_share
		return self.cpu_connections + self.cpu_deliveries + foreign + self.cpu_peers

	# -- Redis

	@property
	def redis_event_cpu(self) -> float:
		"""CPU of Redis for one event, in µs."""
		return self.units.redis_event + self.processes * self.units.redis_subscriber

	@property
	def redis_commands(self) -> float:
		"""Commands in a second."""
		return (
			self.events * self.units.redis_event_commands
			+ self.connects * self.units.redis_connect_commands
			+ self.processes * self.units.redis_idle_commands
		)

	@property
	def redis_cpu(self) -> float:
		"""CPU of Redis, in cores; it has one."""
		return (self.events * self.redis_event_cpu + self.connects * self.units.redis_connect) / 1e6

	@property
	def redis_bytes(self) -> float:
		"""Bytes that Redis sends to the sidecars in a second."""
		return self.events * self.processes * self.units.redis_event_bytes

	@property
	def redis_memory(self) -> float:
		"""Memory of Redis for full histories of all sites, and for the sessions of all sockets after a restart."""
		history = self.sites * APP_DEFAULTS["realtime_history_count"] * self.units.redis_event_memory
		return history + self.sockets * self.units.redis_session_memory

	@property
	def redis_limit(self) -> float:
		"""Events in a second that one Redis carries with so many sidecars."""
		return REDIS_SHARE / self.redis_event_cpu * 1e6

	# -- a deploy, and a failover

	@property
	def recovery_cpu(self) -> float:
		"""CPU in seconds until all sockets are back."""
		return self.sockets * self.units.recovery / 1e6

	@property
	def step_cpu(self) -> float:
		"""CPU in seconds of one other process, when one process is replaced and its clients spread over the others."""
		return self.sockets_of_one * self.units.recovery / 1e6 / (self.processes - 1)

	@property
	def sockets_of_one(self) -> int:
		"""Sockets of each process."""
		return self.sockets // self.processes

	@property
	def held(self) -> float:
		"""Events that the publishers keep during a failover of Redis."""
		return self.events * OUTAGE_SECONDS


Row = tuple[str, Callable[[Fleet], float], str]

STEADY: list[Row] = [
	("processes", lambda one: one.processes, ",.0f"),
	("sites", lambda one: one.sites, ",.0f"),
	("events a second", lambda one: one.events, ",.0f"),
	("deliveries a second", lambda one: one.deliveries, ",.0f"),
	("connects a second", lambda one: one.connects, ",.1f"),
	("memory of all processes, GB", lambda one: one.memory / 1e9, ",.2f"),
	("CPU of all processes, cores", lambda one: one.cpu, ",.2f"),
	("of it pings and connects", lambda one: one.cpu_connections, ",.2f"),
	("of it events and deliveries", lambda one: one.cpu_deliveries, ",.2f"),
	("of it events that a process does not need", lambda one: one.processes * one.foreign_share, ",.2f"),
	("of it heartbeats", lambda one: one.cpu_peers, ",.2f"),
	("one process: events that it does not need, % of its core", lambda one: one.foreign_share * 100, ",.2f"),
	("Redis: commands a second", lambda one: one.redis_commands, ",.0f"),
	("Redis: CPU, % of its core", lambda one: one.redis_cpu * 100, ",.1f"),
	("Redis: sent to the processes, MB a second", lambda one: one.redis_bytes / 1e6, ",.2f"),
	("Redis: memory, GB", lambda one: one.redis_memory / 1e9, ",.2f"),
	("Redis: events a second that it carries", lambda one: one.redis_limit, ",.0f"),
]

CHANGES: list[Row] = [
	("rolling restart: sockets that move at a time", lambda one: one.sockets_of_one, ",.0f"),
	("rolling restart: CPU of each other process for them, s", lambda one: one.step_cpu, ",.2f"),
	("all sockets return: questions to the web process", lambda one: one.sockets, ",.0f"),
	("all sockets return: CPU of all processes, s", lambda one: one.recovery_cpu, ",.0f"),
	(
		"all sockets return: s until they are back, a core for each process",
		lambda one: one.recovery_cpu / one.processes,
		",.0f",
	),
	("Redis fails over: events that publishers keep", lambda one: one.held, ",.0f"),
]


def table(rows: list[Row]) -> str:
	"""Return a Markdown table of rows for all sizes."""
	fleets = [Fleet(size, Units.load()) for size in SIZES]
	lines = [
		f"| sockets | {' | '.join(f'{size:,}' for size in SIZES)} |",
		f"| --- {'| ---: ' * len(SIZES)}|",
	]
	for name, figure, form in rows:
		lines.append(f"| {name} | {' | '.join(format(figure(one), form) for one in fleets)} |")
	return "\n".join(lines)


if __name__ == "__main__":
	print(table(STEADY))
	print()
	print(table(CHANGES))
