"""The messages between sidecars from bytes, which are checked: whoever can publish on redis_queue can send any."""

from __future__ import annotations

import re
from collections.abc import Callable
from sys import intern
from typing import Any, get_args

from ..engine import Encoded
from ..json_codec import loads
from ..presence.members import Member, PresenceChange
from ..socketio import packets
from .messages import (
	MAX_NAME,
	PART,
	PRESENCE_PART,
	Emit,
	Goodbye,
	Heartbeat,
	MembershipChange,
	MembershipChanges,
	Message,
	MessageError,
	PresenceChanges,
	Reply,
	Request,
	Snapshot,
	SocketChanges,
	SocketCommand,
	SocketsMoved,
	SyncRequest,
	UsageCounts,
)
from .sockets import NO_STATE, Action, Identity, SocketChange

_ACTIONS = get_args(Action)
_SENDER = re.compile(rb"[A-Za-z0-9_-]{16}")


def sender_of(payload: bytes) -> str:
	"""Return the id of the sender.

	Raises:
		MessageError: The payload does not begin with an id.
	"""
	sender = _SENDER.match(payload)
	if sender is None:
		raise MessageError("the sender is missing")
	return sender[0].decode()


def read(payload: bytes) -> Message:
	"""Return the message in `payload`.

	Raises:
		ValueError, TypeError: The payload is not a message; `MessageError` is a ValueError.
	"""
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
	members, presence, sockets = loads(body)
	return Snapshot(
		_count(seq),
		part,
		parts,
		_changes(members, leaving=False),
		_presence(presence, leaving=False),
		_sockets(sockets, leaving=False),
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


def _read_socket_changes(body: bytes, seq: Any) -> SocketChanges:
	return SocketChanges(_count(seq), _sockets(loads(body), leaving=True))


def _read_socket_command(body: bytes, namespace: Any, id: Any, action: Any, room: Any) -> SocketCommand:
	if action not in _ACTIONS:
		raise MessageError("unknown action")
	return SocketCommand(
		_name(namespace), _name(id), action, _name(room) if action in ("join", "leave") else ""
	)


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


def _read_sockets_moved(body: bytes) -> SocketsMoved:
	sockets = loads(body)
	if not isinstance(sockets, list) or len(sockets) > PART:
		raise MessageError("not a list of at most PART sockets")
	return SocketsMoved([(_name(namespace), _name(id)) for namespace, id in sockets])


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
	b"sockets": _read_socket_changes,
	b"command": _read_socket_command,
	b"emit": _read_emit,
	b"returned": _read_sockets_moved,
	b"request": _read_request,
	b"reply": _read_reply,
}


def _changes(values: Any, leaving: bool) -> list[MembershipChange]:
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


def _sockets(values: Any, leaving: bool) -> list[SocketChange]:
	if not isinstance(values, list) or len(values) > PART:
		raise MessageError("not a list of at most PART sockets")
	return [
		(_name(namespace), _name(id), None if leaving and identity is None else _identity(*identity))
		for namespace, id, identity in values
	]


def _identity(user: Any, user_type: Any, full_name: Any, state: Any) -> Identity:
	if not isinstance(full_name, str):
		raise MessageError("invalid full name")
	if not isinstance(state, dict) or not all(isinstance(values, dict) for values in state.values()):
		raise MessageError("invalid state")
	# Interned: thousands of sockets have one of two types.
	return Identity(_name(user), intern(_name(user_type)), full_name, state or NO_STATE)


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
