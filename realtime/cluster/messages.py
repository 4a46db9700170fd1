"""Messages between sidecars. `message_writer` turns them into bytes, `message_reader` turns bytes into them.

As bytes, each message is `sender kind json`: the sender's id, a word for the kind, and a JSON list. The packet of an `Emit`, the
members of a `Snapshot`, of `MembershipChanges`, `PresenceChanges`, `SocketChanges` or `SocketsMoved`, and the answer in a `Reply` follow
after a line feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..engine import Encoded
from ..presence.members import PresenceChange
from .sockets import Action, SocketChange

MAX_NAME = 2000
"""Characters of a room, a namespace, a user or an id in a message."""

PART = 1000
"""Memberships or sockets in one message; a larger snapshot is sent in parts."""

PRESENCE_PART = 100
"""Members of places in one message: each may have a state of some kilobytes."""

Membership = tuple[str, str, str]
"""Namespace, room, and the id of a socket in it."""

MembershipChange = tuple[str, str, str, str | None]
"""A membership and the user of the socket; the user is None if the socket has left the room."""


class MessageError(ValueError):
	"""The payload is not a message of a sidecar."""


class Heartbeat(NamedTuple):
	"""The sender is alive.

	Args:
		at: Its address, for operators.
		seq: The number of its last `MembershipChanges`, `PresenceChanges` or `SocketChanges`, which share one sequence.
		link: Host and port at which other sidecars open a link to it; empty if they cannot.
	"""

	at: str
	seq: int
	link: str = ""


class Goodbye(NamedTuple):
	"""The sender is shutting down."""


class SyncRequest(NamedTuple):
	"""The sender requests a snapshot of the sidecar `of`."""

	of: str


class Snapshot(NamedTuple):
	"""Part number `part` of `parts` of all memberships of the sender, as of its sequence number `seq`.

	Args:
		seq: The sequence number.
		part: The number of this part.
		parts: The number of all parts.
		members: Members of rooms.
		presence: Members of places.
		sockets: Sockets that handlers may list.
	"""

	seq: int
	part: int
	parts: int
	members: list[MembershipChange]
	presence: Sequence[PresenceChange] = ()
	sockets: Sequence[SocketChange] = ()


class MembershipChanges(NamedTuple):
	"""Sockets of the sender that have joined or left rooms; `seq` numbers these messages without gaps."""

	seq: int
	changes: list[MembershipChange]


class UsageCounts(NamedTuple):
	"""What users and addresses use on the sender, see `Usage`: all that matters, or with `more` the rest of it."""

	more: bool
	counts: list[tuple[str, int]]


class PresenceChanges(NamedTuple):
	"""Members of places that have come, changed or gone; numbered together with `MembershipChanges`."""

	seq: int
	changes: list[PresenceChange]


class SocketChanges(NamedTuple):
	"""Sockets that have come, changed or gone, in namespaces with handlers; numbered together with `MembershipChanges`."""

	seq: int
	changes: list[SocketChange]


class SocketCommand(NamedTuple):
	"""A handler of the sender does something to the socket `id`, which another sidecar has; `room` only for `join` and `leave`."""

	namespace: str
	id: str
	action: Action
	room: str


class Emit(NamedTuple):
	"""An event for the sockets of `rooms` (None: of the namespace) that are in no room of `excluded`."""

	namespace: str
	rooms: list[str] | None
	excluded: list[str]
	encoded: Encoded


class SocketsMoved(NamedTuple):
	"""The clients of these sockets, each a namespace and an id, have recovered at the sender.

	Other sidecars end their sockets of these ids; all drop what other sidecars than the sender have published about them, because
	the one that had the socket may have been killed. It is sent after the memberships of the recovered sockets.
	"""

	sockets: list[tuple[str, str]]


class Request(NamedTuple):
	"""A question to all sidecars; `id` is chosen by the sender, `arguments` depend on `method`."""

	id: str
	method: str
	arguments: dict[str, Any]


class Reply(NamedTuple):
	"""The answer of the sender to the request `id` of `to`."""

	to: str
	id: str
	answer: Any


Message = (
	Heartbeat
	| Goodbye
	| SyncRequest
	| Snapshot
	| MembershipChanges
	| UsageCounts
	| PresenceChanges
	| SocketChanges
	| SocketCommand
	| Emit
	| SocketsMoved
	| Request
	| Reply
)
