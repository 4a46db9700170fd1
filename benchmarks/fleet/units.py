"""What one connection, one event or one process costs: the figures that `measure` measures and `model` computes with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("units.json")


@dataclass(frozen=True, slots=True)
class Units:
	"""The cost of one of each. Times are CPU time, in microseconds; sizes are in bytes.

	Attributes:
		process_memory: Private memory of a sidecar without clients.
		connection_memory: What one idle connection on WebSocket adds to it.
		idle_connection: CPU of one idle connection in a second: its pings.
		connect: CPU of one connection on WebSocket, with its authentication.
		recovery: CPU of one connection that gets back its session, when all clients come back at once.
		event: CPU of one event for a room, without its deliveries.
		delivery: CPU of one delivery.
		foreign_event: CPU of an event for a user without a socket in the process, of a site that has clients there. It comes alone.
		foreign_event_in_batch: The same, when 100 events come at once.
		other_site_event: CPU of an event of a site that has no client in the process. It comes alone.
		other_site_event_in_batch: The same, when 100 events come at once.
		idle_process: CPU in a second of a sidecar without clients and without peers.
		peer: CPU in a second that each other sidecar adds: its heartbeats.
		redis_event: CPU of Redis for one event with the history, without subscribers.
		redis_subscriber: CPU of Redis for each sidecar to which it sends the event.
		redis_event_commands: Commands that Redis counts for one event.
		redis_event_memory: Memory of Redis for one event in the history.
		redis_event_bytes: What Redis sends to each sidecar for one event with a message of 200 bytes.
		redis_connect_commands: Commands that Redis counts for one client that connects and disconnects.
		redis_connect: CPU of Redis for it.
		redis_session_memory: Memory of Redis for the session of one client that is away.
		redis_idle_commands: Commands in a second of a sidecar without clients.
	"""

	process_memory: float
	connection_memory: float
	idle_connection: float
	connect: float
	recovery: float
	event: float
	delivery: float
	foreign_event: float
	foreign_event_in_batch: float
	other_site_event: float
	other_site_event_in_batch: float
	idle_process: float
	peer: float
	redis_event: float
	redis_subscriber: float
	redis_event_commands: float
	redis_event_memory: float
	redis_event_bytes: float
	redis_connect_commands: float
	redis_connect: float
	redis_session_memory: float
	redis_idle_commands: float

	def save(self) -> None:
		"""Write the figures to the file that `model` reads."""
		rounded = {name: float(f"{value:.3g}") for name, value in asdict(self).items()}
		FILE.write_text(json.dumps(rounded, indent="\t") + "\n")

	@classmethod
	def load(cls) -> Units:
		"""Return the figures of the last measurement."""
		return cls(**json.loads(FILE.read_text()))
