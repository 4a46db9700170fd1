"""Settings and counters of the engine."""

from collections import Counter
from dataclasses import dataclass, field

FRAME_BURST = 10
"""Seconds' worth of `frames_per_second` that a client may send at once: a page that reconnects subscribes to everything."""


@dataclass(slots=True)
class EngineSettings:
	"""Settings of the engine. Times are in seconds, sizes in bytes; defaults are those of Engine.IO where it has one."""

	ping_interval: float = 25.0
	ping_timeout: float = 20.0
	upgrade_timeout: float = 10.0
	"""How long a WebSocket may take from its handshake to the upgrade packet."""
	max_payload: int = 1_000_000
	"""Largest WebSocket message or POST body of a client (`maxPayload` of the handshake); at least 125."""
	max_unsent: int = 4 * 1024 * 1024
	"""Most bytes that wait for one client to read them; beyond, its connection is closed."""
	max_packets: int = 1000
	"""Most packets in one POST body."""
	frames_per_second: float = 500.0
	"""Most frames, polling requests and packets in them that one client may send, beyond a burst of `FRAME_BURST` seconds."""
	initial_frames_per_second: float = 500.0
	"""The same until the listener calls `Connection.trust`; `frames_per_second` if that is less."""
	head_timeout: float = 20.0
	"""How long a TCP connection may take to begin its first request, and then to complete it."""
	keep_alive_timeout: float = 75.0
	"""How long a TCP connection stays open between two requests, and may then take to complete the second one."""
	flush_timeout: float = 10.0
	"""How long a closing TCP connection waits for its client to read what was written before."""
	transports: tuple[str, ...] = ("polling", "websocket")
	path: str = "/socket.io/"


@dataclass(slots=True)
class EngineCounters:
	"""Totals since the engine was started."""

	handshakes: int = 0
	upgrades: int = 0
	"""WebSocket handshakes of clients that were polling."""
	refused: Counter[str] = field(default_factory=Counter)
	"""Requests that were answered with an error of Engine.IO, by its message."""
	slow_clients: int = 0
	"""Connections that were closed for more than `max_unsent` bytes."""
	too_large: int = 0
	"""Messages and POST bodies of more than `max_payload` bytes."""
	too_many_packets: int = 0
	"""POST bodies of more than `max_packets` packets."""
	too_many_frames: int = 0
	"""Connections that were closed for more than `frames_per_second`."""
