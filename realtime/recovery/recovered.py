"""The admission of a client that recovers, and counters of recoveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..bus.events import StreamPosition
from ..socketio.namespace import Admission
from .access_log import ClientAccess
from .positions import START, ClientPosition
from .site_stream import OlderEvents, SiteStream

NOTHING_OLDER = OlderEvents(START, START)


@dataclass(slots=True)
class Recovered(Admission):
	"""The admission of a client that recovers its session.

	Args:
		rooms: The rooms that it joins, each with the position at which it has joined, as in `select`.
		stream: The stream of its site.
		older: What it has missed that is not in the memory of `stream`.
		received: What it has received.
		access: Decides on the names of documents in what it has missed.
		invalidations: The value of `Permissions.invalidations` when the permissions for `rooms` were requested.
	"""

	rooms: Mapping[str | None, StreamPosition] = field(default_factory=dict)
	stream: SiteStream | None = None
	older: OlderEvents = NOTHING_OLDER
	received: ClientPosition = field(default_factory=lambda: ClientPosition(START))
	access: ClientAccess | None = None
	invalidations: int = 0


@dataclass(slots=True)
class RecoveryCounters:
	"""Counters since the start: sessions recovered, recoveries refused, and events and bytes replayed."""

	recovered: int = 0
	refused: int = 0
	replayed: int = 0
	replayed_bytes: int = 0
