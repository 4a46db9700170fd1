"""One event to many sockets: encoded once, framed once, written once for each socket of the room."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..engine import Encoded
from . import packets
from .namespace import Namespace, Socket, joined
from .server import SocketIOServer


@dataclass(slots=True)
class Event:
	"""An event as a publisher wrote it. `site` is None for the events that all sites get, `room` None for all sockets."""

	site: str | None
	room: str | None
	event: str
	message: Any
	offset: str | None = None
	"""The event's place in the order of its site; clients that can recover get it as the last argument."""
	size: int = 0
	"""Bytes of what the publisher wrote."""
	unrecorded: str = ""
	"""Why the publisher could not give it a place, although it should have one."""
	place: tuple[int, int] = (0, 0)
	"""`offset`, for comparing."""
	encoded: Encoded | None = None
	"""The event with its offset, once somebody who has missed it has needed it."""


class Elsewhere(Protocol):
	"""The sockets of the same namespaces in other processes."""

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		"""Send an event to those of `rooms`, None for all, but to none of those in `excluded` rooms."""


@dataclass(slots=True)
class Fanout:
	"""Sends events to the sockets of `server`, and those of handlers to the sockets `elsewhere` too."""

	server: SocketIOServer
	elsewhere: Elsewhere | None = None
	"""None while there is no other process."""
	deliveries: int = 0
	"""Events written to sockets since the start."""

	def deliver(self, events: Sequence[Event]) -> None:
		"""Send `events` in order. Neighbours that go to one room share one write for each socket."""
		if len(events) == 1:
			self._deliver_run(events)
			return
		start = 0
		for index in range(1, len(events) + 1):
			if (
				index == len(events)
				or events[index].room != events[start].room
				or events[index].site != events[start].site
			):
				self._deliver_run(events[start:index])
				start = index

	def _deliver_run(self, run: Sequence[Event]) -> None:
		first = run[0]
		if first.site is None:
			for each in list(self.server.namespaces.values()):
				self._send_run(each, each.sockets.values(), run)
			return
		namespace = self.server.namespaces.get("/" + first.site)
		if namespace is None:
			return
		if first.room is None:
			self._send_run(namespace, namespace.sockets.values(), run)
		else:
			self._send_run(namespace, namespace.members(first.room), run)

	def _send_run(self, namespace: Namespace, members: Collection[Socket], run: Sequence[Event]) -> None:
		first = run[0]
		if members:
			if namespace.recoverable:
				plain, with_offset = _encode_run(namespace, run)
			elif len(run) == 1:
				plain = with_offset = packets.encode_event(namespace.name, (first.event, first.message))
			else:
				plain = with_offset = joined(
					[packets.encode_event(namespace.name, (event.event, event.message)) for event in run]
				)
			self.deliveries += len(run) * send_all(members, plain, with_offset)
		for event in run:
			if event.offset:
				namespace.offset = event.offset

	def send_events(self, namespace: Namespace, members: Sequence[Socket], events: Sequence[Event]) -> None:
		"""Send `events` to these sockets of `namespace`."""
		self._send_run(namespace, members, events)

	def emit(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		event: str,
		arguments: Sequence[Any],
		but: Socket | None = None,
	) -> None:
		"""Send a handler's event to the sockets of `rooms`, each once; None means the whole namespace.

		Raises TypeError when an argument is neither JSON nor binary.
		"""
		members = _members(namespace, rooms)
		if but is not None:
			members = [member for member in members if member is not but]
		if members or self.elsewhere is not None:
			encoded = packets.encode_event(namespace.name, [event, *arguments])
			self._send_event(namespace, members, encoded)
			if self.elsewhere is not None and not _are_sockets(namespace, rooms):
				self.elsewhere.send(namespace.name, rooms, encoded, () if but is None else (but.id,))

	def emit_local(self, namespace: Namespace, room: str, event: str, *arguments: Any) -> None:
		"""Send an event to the sockets of `room` in this process."""
		members = namespace.members(room)
		if members:
			encoded = packets.encode_event(namespace.name, [event, *arguments])
			self._send_event(namespace, members, encoded)

	def send(
		self, name: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str] = ()
	) -> None:
		"""Send an event of the namespace `name` that is encoded already; rooms as for `send_local`."""
		self.send_local(name, rooms, encoded, excluded)
		if self.elsewhere is not None and not _are_sockets(self.server.namespaces.get(name), rooms):
			self.elsewhere.send(name, rooms, encoded, excluded)

	def send_local(
		self, name: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str] = ()
	) -> None:
		"""Send it to the sockets of `rooms` in this process, each once, but to none of those in `excluded` rooms."""
		namespace = self.server.namespaces.get(name)
		if namespace is None:
			return
		members = _members(namespace, rooms)
		if excluded:
			members = set(members).difference(*[namespace.members(room) for room in excluded])
		self._send_event(namespace, members, encoded)

	def _send_event(self, namespace: Namespace, members: Iterable[Socket], event: Encoded) -> None:
		"""Send an event that has no place of its own."""
		if members:
			with_offset = packets.with_offset(event, namespace.offset) if namespace.recoverable else event
			self.deliveries += send_all(members, event, with_offset)


def _members(namespace: Namespace, rooms: Sequence[str] | None) -> Collection[Socket]:
	"""The sockets of `rooms`, each once: for one write, since they may be the room itself."""
	if rooms is None:
		return namespace.sockets.values()
	if len(rooms) == 1:
		return namespace.members(rooms[0])
	return set().union(*[namespace.members(room) for room in rooms])


def _are_sockets(namespace: Namespace | None, rooms: Iterable[str] | None) -> bool:
	"""Whether `rooms` are nothing but sockets of this process, by their ids."""
	return (
		rooms is not None
		and namespace is not None
		and all(room in namespace.sockets and room not in namespace.rooms for room in rooms)
	)


def _encode_run(namespace: Namespace, run: Sequence[Event]) -> tuple[Encoded, Encoded]:
	"""The events for clients without and with an offset; the first is the second where all take one."""
	name, offset = namespace.name, namespace.offset
	everybody = namespace.recoverable == len(namespace.sockets)
	plain: list[Encoded] = []
	with_offset: list[Encoded] = []
	for event in run:
		# What has no place of its own (a stock publisher's event) comes after all that was sent before it.
		offset = event.offset or offset
		if everybody:
			with_offset.append(packets.encode_event(name, (event.event, event.message, offset)))
		else:
			plain.append(packets.encode_event(name, (event.event, event.message)))
			with_offset.append(packets.with_offset(plain[-1], offset))
	last = joined(with_offset)
	return last if everybody else joined(plain), last


def encode_missed(namespace: str, event: Event) -> Encoded:
	"""`event`, which has an offset, for a client that comes back; kept, since there may be many of them."""
	if event.encoded is None:
		encoded = packets.encode_event(namespace, (event.event, event.message))
		event.encoded = packets.with_offset(encoded, str(event.offset))
	return event.encoded


def send_all(members: Iterable[Socket], plain: Encoded, with_offset: Encoded) -> int:
	"""Write to each socket what it understands; returns how many there were.

	The loop calls nothing but the transport's write for a socket on WebSocket that keeps up. The others come after it,
	since one of them may be closed, and so change the room that is being read.
	"""
	plain_frames = plain.frames
	offset_frames = plain_frames if with_offset is plain else with_offset.frames
	count = 0
	others: list[Socket] | None = None
	for socket in members:
		count += 1
		wire = socket.connection.wire
		if wire is not None:
			wire.write(offset_frames if socket.offsets else plain_frames)
		elif others is None:
			others = [socket]
		else:
			others.append(socket)
	if others is not None:
		for socket in others:
			socket.connection.send(with_offset if socket.offsets else plain)
	return count
