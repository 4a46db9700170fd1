"""What the engine is told when it starts, and what it counts from then on."""

from dataclasses import dataclass


@dataclass(slots=True)
class EngineSettings:
	"""Seconds and bytes of the engine; the defaults are Engine.IO's where it has them."""

	ping_interval: float = 25.0
	ping_timeout: float = 20.0
	upgrade_timeout: float = 10.0
	max_payload: int = 1_000_000
	max_unsent: int = 4 * 1024 * 1024
	max_packets: int = 1000
	head_timeout: float = 20.0
	keep_alive_timeout: float = 75.0
	flush_timeout: float = 10.0
	"""How long a connection that is closed waits for its client to read what was written before."""
	transports: tuple[str, ...] = ("polling", "websocket")
	path: str = "/socket.io/"


@dataclass(slots=True)
class EngineCounters:
	"""What the engine has seen since it started."""

	handshakes: int = 0
	upgrades: int = 0
	refused: int = 0
	slow_clients: int = 0
	too_large: int = 0
	too_many_packets: int = 0
