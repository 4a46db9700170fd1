"""Messages between sidecars, as bytes and back.

Each message is `sender kind json`: the sender's id, a word for the kind, and a JSON list. The packet of an `Emit`, the
members of a `Snapshot`, of `MembershipChanges` or of `PresenceChanges`, and the answer in a `Reply` follow after a line feed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..engine import Encoded
from ..json_codec import dumps, loads
from ..presence.members import Change as PresenceChange
from ..presence.members import Member
from ..socketio import packets

T = TypeVar("T")

MAX_NAME = 2000
"""Characters of a room, a namespace, a user or an id in a message."""

PART = 1000
"""Memberships in one message; a larger snapshot is sent in parts."""

PRESENCE_PART = 100
"""Members of places in one message: each may have a state of some kilobytes."""

Membership = tuple[str, str, str]
"""Namespace, room, and the id of a socket in it."""

Change = tuple[str, str, str, str | None]
"""A membership and the user of the socket; the user is None if the socket has left the room."""

_SENDER = re.compile(rb"[A-Za-z0-9_-]{16}")


class MessageError(ValueError):
	"""The payload is not a message of a sidecar."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
	"""The sender is alive.

	Args:
		at: Its address, for operators.
		seq: The number of its last `MembershipChanges`.
		link: Host and port at which other sidecars open a link to it; empty if they cannot.
	"""

	at: str
	seq: int
	link: str = ""


@dataclass(frozen=True, slots=True)
class Goodbye:
	"""The sender is shutting down."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
	"""The sender requests a snapshot of the sidecar `of`."""

	of: str


@dataclass(frozen=True, slots=True)
class Snapshot:
	"""Part number `part` of `parts` of all memberships of the sender, as of its sequence number `seq`.

	Args:
		seq: The sequence number.
		part: The number of this part.
		parts: The number of all parts.
		members: Members of rooms.
		presence: Members of places.
	"""

	seq: int
	part: int
	parts: int
	members: list[Change]
	presence: list[PresenceChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MembershipChanges:
	"""Sockets of the sender that have joined or left rooms; `seq` numbers these messages without gaps."""

	seq: int
	changes: list[Change]


@dataclass(frozen=True, slots=True)
class UsageCounts:
	"""What users and addresses use on the sender, see `Usage`: all that matters, or with `more` the rest of it."""

	more: bool
	counts: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class PresenceChanges:
	"""Members of places that have come, changed or gone; numbered together with `MembershipChanges`."""

	seq: int
	changes: list[PresenceChange]


@dataclass(frozen=True, slots=True)
class Emit:
	"""An event for the sockets of `rooms` (None: of the namespace) that are in no room of `excluded`."""

	namespace: str
	rooms: list[str] | None
	excluded: list[str]
	encoded: Encoded


@dataclass(frozen=True, slots=True)
class SocketMoved:
	"""The client of the socket `id` has reconnected to the sender: other sidecars end the socket of that id."""

	namespace: str
	id: str


@dataclass(frozen=True, slots=True)
class Request:
	"""A question to all sidecars; `id` is chosen by the sender, `arguments` depend on `method`."""

	id: str
	method: str
	arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
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
	| Emit
	| SocketMoved
	| Request
	| Reply
)


# -- writing


def heartbeat(sender: str, at: str, seq: int, link: str = "") -> bytes:
	return _head(sender, "alive", [at, seq, link])


def goodbye(sender: str) -> bytes:
	return _head(sender, "bye", [])


def sync_request(sender: str, of: str) -> bytes:
	return _head(sender, "ask", [of])


def snapshot(
	sender: str, seq: int, members: Sequence[Change], presence: Sequence[PresenceChange] = ()
) -> list[bytes]:
	"""Return the messages of a snapshot; at least one, also without members."""
	contents: list[list[Any]] = [[part, []] for part in parts(members, PART)]
	contents += [[[], _presence_values(part)] for part in parts(presence, PRESENCE_PART)]
	contents = contents or [[[], []]]
	return [
		_head(sender, "state", [seq, number, len(contents)]) + b"\n" + dumps(content).encode()
		for number, content in enumerate(contents)
	]


def parts(values: Sequence[T], size: int) -> list[Sequence[T]]:
	"""Return the values in parts of at most `size`, for one message each; no part if there are no values."""
	return [values[start : start + size] for start in range(0, len(values), size)]


def membership_changes(sender: str, seq: int, members: Sequence[Change]) -> bytes:
	return _head(sender, "changes", [seq]) + b"\n" + dumps(members).encode()


def usage_counts(sender: str, counts: dict[str, int]) -> list[bytes]:
	"""Return the messages with all counts."""
	contents = parts(list(counts.items()), PART) or [[]]
	return [
		_head(sender, "usage", [number > 0]) + b"\n" + dumps(content).encode()
		for number, content in enumerate(contents)
	]


def presence_changes(sender: str, seq: int, changes: Sequence[PresenceChange]) -> bytes:
	return _head(sender, "presence", [seq]) + b"\n" + dumps(_presence_values(changes)).encode()


def _presence_values(changes: Iterable[PresenceChange]) -> list[list[Any]]:
	return [
		[
			namespace,
			place,
			id,
			None
			if member is None
			else [
				member.user,
				member.full_name,
				member.joined_at,
				member.version,
				member.state,
				member.expires,
				member.away,
			],
		]
		for namespace, place, id, member in changes
	]


def emit(sender: str, rooms: Iterable[str] | None, encoded: Encoded, excluded: Iterable[str]) -> bytes:
	"""Return a message with an encoded event and its attachments."""
	bodies = [each.encode() if isinstance(each, str) else each for each in encoded.messages]
	to = None if rooms is None else list(rooms)
	return b"\n".join(
		[_head(sender, "emit", [to, list(excluded), [len(body) for body in bodies]]), b"".join(bodies)]
	)


def socket_moved(sender: str, namespace: str, id: str) -> bytes:
	return _head(sender, "returned", [namespace, id])


def request(sender: str, id: str, method: str, arguments: dict[str, Any]) -> bytes:
	return _head(sender, "request", [id, method, arguments])


def reply(sender: str, to: str, id: str, answer: Any) -> bytes:
	return _head(sender, "reply", [to, id]) + b"\n" + dumps(answer).encode()


def _head(sender: str, kind: str, values: list[Any]) -> bytes:
	return f"{sender} {kind} {dumps(values)}".encode()


# -- reading


def sender_of(payload: bytes) -> str:
	"""Return the id of the sender; raises `MessageError`."""
	sender = _SENDER.match(payload)
	if sender is None:
		raise MessageError("the sender is missing")
	return sender[0].decode()


def read(payload: bytes) -> Message:
	"""Return the message in `payload`; raises ValueError (`MessageError` included) or TypeError for anything else."""
	head, _, body = payload.partition(b"\n")
	_, kind, text = head.split(b" ", 2)
	reader = _READERS.get(kind)
	if reader is None:
		raise MessageError("unknown kind of message")
	return reader(body, *loads(text))


def _read_heartbeat(body: bytes, at: Any, seq: Any, link: Any) -> Heartbeat:
	return Heartbeat(_name(at), _count(seq), _name(link) if link else "")


def _read_goodbye(body: bytes) -> Goodbye:
	return Goodbye()


def _read_sync_request(body: bytes, of: Any) -> SyncRequest:
	return SyncRequest(_name(of))


def _read_snapshot(body: bytes, seq: Any, part: Any, parts: Any) -> Snapshot:
	if _count(part) >= _count(parts):
		raise MessageError("the part number is too large")
	members, presence = loads(body)
	return Snapshot(
		_count(seq), part, parts, _changes(members, leaving=False), _presence(presence, leaving=False)
	)


def _read_membership_changes(body: bytes, seq: Any) -> MembershipChanges:
	return MembershipChanges(_count(seq), _changes(loads(body), leaving=True))


def _read_usage_counts(body: bytes, more: Any) -> UsageCounts:
	counts = loads(body)
	if not isinstance(counts, list) or len(counts) > PART:
		raise MessageError("not a list of at most PART counts")
	return UsageCounts(more is True, [(_name(key), _count(count)) for key, count in counts])


def _read_presence_changes(body: bytes, seq: Any) -> PresenceChanges:
	return PresenceChanges(_count(seq), _presence(loads(body), leaving=True))


def _read_emit(body: bytes, rooms: Any, excluded: Any, lengths: Any) -> Emit:
	if not isinstance(lengths, list) or sum(map(_count, lengths)) != len(body):
		raise MessageError("the lengths do not add up to the body")
	messages = []
	start = 0
	for length in lengths:
		messages.append(body[start : start + length])
		start += length
	text, *attachments = messages
	# As strict as with a client: only an event may reach the sockets of a namespace.
	packet = packets.decode(text.decode())
	if packet.type not in (packets.EVENT, packets.BINARY_EVENT) or packet.id is not None:
		raise MessageError("not an event, or one that asks for an acknowledgement")
	if packet.missing != len(attachments) or packet.namespace == "/" or not text.endswith(b"]"):
		raise MessageError("attachments, namespace or end of the packet do not match")
	packets.reconstruct(packet.data, attachments)
	return Emit(
		packet.namespace,
		None if rooms is None else _texts(rooms),
		_texts(excluded),
		Encoded(text.decode(), *attachments),
	)


def _read_socket_moved(body: bytes, namespace: Any, id: Any) -> SocketMoved:
	return SocketMoved(_name(namespace), _name(id))


def _read_request(body: bytes, id: Any, method: Any, arguments: Any) -> Request:
	if not isinstance(arguments, dict):
		raise MessageError("the arguments are not an object")
	return Request(_name(id), _name(method), arguments)


def _read_reply(body: bytes, to: Any, id: Any) -> Reply:
	return Reply(_name(to), _name(id), loads(body))


_READERS: dict[bytes, Callable[..., Message]] = {
	b"alive": _read_heartbeat,
	b"bye": _read_goodbye,
	b"ask": _read_sync_request,
	b"state": _read_snapshot,
	b"changes": _read_membership_changes,
	b"usage": _read_usage_counts,
	b"presence": _read_presence_changes,
	b"emit": _read_emit,
	b"returned": _read_socket_moved,
	b"request": _read_request,
	b"reply": _read_reply,
}


def _changes(values: Any, leaving: bool) -> list[Change]:
	if not isinstance(values, list) or len(values) > PART:
		raise MessageError("not a list of at most PART memberships")
	return [
		(_name(namespace), _name(room), _name(id), None if leaving and user is None else _name(user))
		for namespace, room, id, user in values
	]


def _presence(values: Any, leaving: bool) -> list[PresenceChange]:
	if not isinstance(values, list) or len(values) > PRESENCE_PART:
		raise MessageError("not a list of at most PRESENCE_PART members of places")
	return [
		(
			_name(namespace),
			_name(place),
			_name(id),
			None if leaving and member is None else _member(id, *member),
		)
		for namespace, place, id, member in values
	]


def _member(
	id: str,
	user: Any,
	full_name: Any,
	joined_at: Any,
	version: Any,
	state: Any,
	expires: Any,
	away: Any,
) -> Member:
	if not isinstance(full_name, str) or not isinstance(state, dict) or not isinstance(expires, dict):
		raise MessageError("invalid member of a place")
	return Member(
		id,
		_name(user),
		full_name,
		_count(joined_at),
		_count(version),
		state,
		{key: _count(at) for key, at in expires.items()},
		away is True,
	)


def _name(value: Any) -> str:
	if isinstance(value, str) and 0 < len(value) <= MAX_NAME:
		return value
	raise MessageError("invalid name")


def _texts(values: Any) -> list[str]:
	if isinstance(values, list) and all(isinstance(value, str) for value in values):
		return values
	raise MessageError("invalid rooms")


def _count(value: Any) -> int:
	if type(value) is int and value >= 0:
		return value
	raise MessageError("not a count")
