"""What this sidecar knows of another one."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..presence.members import PresenceChange
from .messages import MembershipChange, Snapshot
from .sockets import SocketChange


@dataclass(slots=True)
class PartialSnapshot:
	"""A snapshot of which not all parts have come yet; `seq` is its sequence number."""

	seq: int
	parts: int = 0
	members: list[MembershipChange] = field(default_factory=list)
	presence: list[PresenceChange] = field(default_factory=list)
	sockets: list[SocketChange] = field(default_factory=list)

	def add(self, part: Snapshot, most: int) -> None:
		"""Add the next part; what exceeds `most` of a kind is left out."""
		self.parts += 1
		if len(self.members) < most:
			self.members += part.members
		if len(self.presence) < most:
			self.presence += part.presence
		if len(self.sockets) < most:
			self.sockets += part.sockets


@dataclass(slots=True)
class Peer:
	"""Another sidecar.

	Args:
		address: Host and port, for operators.
		link: Host and port at which it accepts links; empty if it does not.
		seq: The sequence number up to which its members are known; None if a snapshot is needed.
		missed: Heartbeats of this process since the last heartbeat of the peer.
		sync_retry: Heartbeats until a snapshot may be requested again.
		snapshot: The snapshot whose parts are arriving; None if there is none.
	"""

	address: str
	link: str = ""
	seq: int | None = None
	missed: int = 0
	sync_retry: int = 0
	snapshot: PartialSnapshot | None = None
