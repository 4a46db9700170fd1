"""What sidecars say to each other, as bytes and back. Each message is `sender kind json`; an emit's packet and members follow a line end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import Encoded
from ..socketio import packets

MAX_NAME = 2000
"""Characters of a room, a namespace, a user or an id that one sidecar tells another."""

PART = 1000
"""Memberships in one message."""

Membership = tuple[str, str, str]
"""Namespace, room and the id of a socket in it."""

Change = tuple[str, str, str, str | None]
"""A membership and the user of its socket; None for a socket that has left the room."""

_SENDER = re.compile(rb"[A-Za-z0-9_-]{16}")


class MessageError(ValueError):
	"""Bytes that no sidecar has written."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
	"""The sender is there, at the address `at`, and has told `seq` times of changes."""

	at: str
	seq: int


@dataclass(frozen=True, slots=True)
class Goodbye:
	"""The sender stops."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
	"""The sender wants to know the memberships of the sidecar `of`."""

	of: str


@dataclass(frozen=True, slots=True)
class Snapshot:
	"""One of `parts` of all memberships of the sender, as they were after `seq` messages about changes."""

	seq: int
	part: int
	parts: int
	members: list[Change]


@dataclass(frozen=True, slots=True)
class MembershipChanges:
	"""Sockets of the sender that have entered or left rooms; `seq` counts these messages."""

	seq: int
	changes: list[Change]


@dataclass(frozen=True, slots=True)
class Emit:
	"""An event to the sockets of `rooms` (None: of the namespace), but to none of those in `excluded` rooms."""

	namespace: str
	rooms: list[str] | None
	excluded: list[str]
	encoded: Encoded


@dataclass(frozen=True, slots=True)
class SocketMoved:
	"""The client of the socket `id` has come back to the sender: what others still have of it is no more."""

	namespace: str
	id: str


Message = Heartbeat | Goodbye | SyncRequest | Snapshot | MembershipChanges | Emit | SocketMoved


# -- writing


def alive(sender: str, at: str, seq: int) -> bytes:
	return _head(sender, "alive", [at, seq])


def bye(sender: str) -> bytes:
	return _head(sender, "bye", [])


def ask(sender: str, of: str) -> bytes:
	return _head(sender, "ask", [of])


def state(sender: str, seq: int, members: Sequence[Change]) -> list[bytes]:
	"""The messages that tell all memberships; one even when there are none."""
	parts = [members[start : start + PART] for start in range(0, len(members), PART)] or [()]
	return [
		_head(sender, "state", [seq, number, len(parts)]) + b"\n" + packets.dumps(part).encode()
		for number, part in enumerate(parts)
	]


def changes(sender: str, seq: int, members: Sequence[Change]) -> bytes:
	return _head(sender, "changes", [seq]) + b"\n" + packets.dumps(members).encode()


def emit(sender: str, rooms: Iterable[str] | None, encoded: Encoded, excluded: Iterable[str]) -> bytes:
	"""An event of one message, with its attachments as they are."""
	bodies = [each.encode() if isinstance(each, str) else each for each in encoded.messages]
	to = None if rooms is None else list(rooms)
	return b"\n".join(
		[_head(sender, "emit", [to, list(excluded), [len(body) for body in bodies]]), b"".join(bodies)]
	)


def returned(sender: str, namespace: str, id: str) -> bytes:
	return _head(sender, "returned", [namespace, id])


def _head(sender: str, kind: str, values: list[Any]) -> bytes:
	return f"{sender} {kind} {packets.dumps(values)}".encode()


# -- reading


def sender_of(payload: bytes) -> str:
	"""Who has written `payload`; raises `MessageError`."""
	sender = _SENDER.match(payload)
	if sender is None:
		raise MessageError("no sender")
	return sender[0].decode()


def read(payload: bytes) -> Message:
	"""The message in `payload`; raises `MessageError`, other ValueErrors and TypeError when there is none."""
	head, _, body = payload.partition(b"\n")
	_, kind, text = head.split(b" ", 2)
	reader = _READERS.get(kind)
	if reader is None:
		raise MessageError("an unknown kind")
	return reader(body, *packets.loads(text))


def _alive(body: bytes, at: Any, seq: Any) -> Heartbeat:
	return Heartbeat(_name(at), _count(seq))


def _bye(body: bytes) -> Goodbye:
	return Goodbye()


def _ask(body: bytes, of: Any) -> SyncRequest:
	return SyncRequest(_name(of))


def _state(body: bytes, seq: Any, part: Any, parts: Any) -> Snapshot:
	if _count(part) >= _count(parts):
		raise MessageError("more parts than there are")
	return Snapshot(_count(seq), part, parts, _changes(packets.loads(body), leaving=False))


def _read_changes(body: bytes, seq: Any) -> MembershipChanges:
	return MembershipChanges(_count(seq), _changes(packets.loads(body), leaving=True))


def _emit(body: bytes, rooms: Any, excluded: Any, lengths: Any) -> Emit:
	if not isinstance(lengths, list) or sum(map(_count, lengths)) != len(body):
		raise MessageError("the lengths are not those of the body")
	messages = []
	start = 0
	for length in lengths:
		messages.append(body[start : start + length])
		start += length
	text, *attachments = messages
	# As strict as with a client: what is no event of a namespace must not reach those who are in it.
	packet = packets.decode(text.decode())
	if packet.type not in (packets.EVENT, packets.BINARY_EVENT) or packet.id is not None:
		raise MessageError("not an event, or one that wants an answer")
	if packet.missing != len(attachments) or packet.namespace == "/" or not text.endswith(b"]"):
		raise MessageError("attachments, a namespace or an end that do not fit")
	packets.reconstruct(packet.data, attachments)
	return Emit(
		packet.namespace,
		None if rooms is None else _texts(rooms),
		_texts(excluded),
		Encoded(text.decode(), *attachments),
	)


def _returned(body: bytes, namespace: Any, id: Any) -> SocketMoved:
	return SocketMoved(_name(namespace), _name(id))


_READERS: dict[bytes, Callable[..., Message]] = {
	b"alive": _alive,
	b"bye": _bye,
	b"ask": _ask,
	b"state": _state,
	b"changes": _read_changes,
	b"emit": _emit,
	b"returned": _returned,
}


def _changes(values: Any, leaving: bool) -> list[Change]:
	if not isinstance(values, list) or len(values) > PART:
		raise MessageError("not the memberships of one message")
	return [
		(_name(namespace), _name(room), _name(id), None if leaving and user is None else _name(user))
		for namespace, room, id, user in values
	]


def _name(value: Any) -> str:
	if isinstance(value, str) and 0 < len(value) <= MAX_NAME:
		return value
	raise MessageError("a name that is none")


def _texts(values: Any) -> list[str]:
	if isinstance(values, list) and all(isinstance(value, str) for value in values):
		return values
	raise MessageError("rooms that are none")


def _count(value: Any) -> int:
	if type(value) is int and value >= 0:
		return value
	raise MessageError("a number that is none")
