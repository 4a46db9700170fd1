"""The messages between sidecars as bytes; see `messages` for what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ..engine import Encoded
from ..json_codec import dumps
from ..presence.members import PresenceChange
from .messages import PART, PRESENCE_PART, MembershipChange
from .sockets import SocketChange

T = TypeVar("T")


def heartbeat(sender: str, at: str, seq: int, link: str = "") -> bytes:
	return _head(sender, "alive", [at, seq, link])


def goodbye(sender: str) -> bytes:
	return _head(sender, "bye", [])


def sync_request(sender: str, of: str) -> bytes:
	return _head(sender, "ask", [of])


def snapshot(
	sender: str,
	seq: int,
	members: Sequence[MembershipChange],
	presence: Sequence[PresenceChange] = (),
	sockets: Sequence[SocketChange] = (),
) -> list[bytes]:
	"""Return the messages of a snapshot; at least one, also without members."""
	contents: list[list[Any]] = [[part, [], []] for part in parts(members, PART)]
	contents += [[[], _presence_values(part), []] for part in parts(presence, PRESENCE_PART)]
	contents += [[[], [], part] for part in parts(sockets, PART)]
	contents = contents or [[[], [], []]]
	return [
		_head(sender, "state", [seq, number, len(contents)]) + b"\n" + dumps(content).encode()
		for number, content in enumerate(contents)
	]


def parts(values: Sequence[T], size: int) -> list[Sequence[T]]:
	"""Return the values in parts of at most `size`, for one message each; no part if there are no values."""
	return [values[start : start + size] for start in range(0, len(values), size)]


def membership_changes(sender: str, seq: int, members: Sequence[MembershipChange]) -> bytes:
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


def socket_changes(sender: str, seq: int, changes: Sequence[SocketChange]) -> bytes:
	return _head(sender, "sockets", [seq]) + b"\n" + dumps(changes).encode()


def socket_command(sender: str, namespace: str, id: str, action: str, room: str) -> bytes:
	return _head(sender, "command", [namespace, id, action, room])


def emit(sender: str, rooms: Iterable[str] | None, encoded: Encoded, excluded: Iterable[str]) -> bytes:
	"""Return a message with an encoded event and its attachments."""
	bodies = [each.encode() if isinstance(each, str) else each for each in encoded.messages]
	to = None if rooms is None else list(rooms)
	return b"\n".join(
		[_head(sender, "emit", [to, list(excluded), [len(body) for body in bodies]]), b"".join(bodies)]
	)


def sockets_moved(sender: str, sockets: Sequence[tuple[str, str]]) -> bytes:
	return _head(sender, "returned", []) + b"\n" + dumps(sockets).encode()


def request(sender: str, id: str, method: str, arguments: dict[str, Any]) -> bytes:
	return _head(sender, "request", [id, method, arguments])


def reply(sender: str, to: str, id: str, answer: Any) -> bytes:
	return _head(sender, "reply", [to, id]) + b"\n" + dumps(answer).encode()


def _head(sender: str, kind: str, values: list[Any]) -> bytes:
	return f"{sender} {kind} {dumps(values)}".encode()
