"""Fan-out: an event is encoded once, framed once, and written once for each socket of the room."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Protocol

from ..engine import Encoded
from ..histogram import Histogram
from . import packets
from .namespace import Namespace, Namespaces, ServerSocket, joined


@dataclass(slots=True)
class Event:
	"""An event for the sockets of a room.

	Args:
		namespace: With its slash; None for all namespaces.
		room: None for all sockets of the namespace.
		event: The name of the event.
		message: Its one argument, as JSON.
		offset: Its offset in the stream of the site; clients that can recover get it as the last argument.
		size: Bytes of what was published; 0 if it is unknown.
		held_text: The end of the offset that it is sent with; None for what is held back when it is sent.
	"""

	namespace: str | None
	room: str | None
	event: str
	message: Any
	offset: str | None = None
	size: int = 0
	held_text: str | None = None

	@property
	def published_at(self) -> float:
		"""When the event was published, in seconds since 1970; 0 if it is not known."""
		return 0.0


class FanoutObserver(Protocol):
	"""Is called for each event that is sent. The methods must neither raise nor block."""

	def published(self, namespace: Namespace, event: Event, deliveries: int, repeated: bool) -> None:
		"""`event` was written to `deliveries` sockets; `repeated` if it was written to others before."""

	def emitted(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		encoded: Encoded,
		deliveries: int,
		relayed: bool,
	) -> None:
		"""An event of a handler was written to `deliveries` sockets; `relayed` if the handler runs in another process."""


class RemoteSockets(Protocol):
	"""The sockets of the same namespaces in other processes."""

	@property
	def present(self) -> bool:
		"""True if there is another process."""

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		"""Send an event to the sockets of `rooms` (None: of the namespace) that are in no room of `excluded`."""


class NoRemoteSockets:
	"""The remote sockets of a process that is the only one."""

	present = False

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		"""Do nothing."""


class Fanout:
	"""Sends events to the sockets of rooms; events of handlers also to sockets in other processes.

	Args:
		namespaces: The sockets of this process.
		remote: The sockets of the others.
	"""

	def __init__(self, namespaces: Namespaces, remote: RemoteSockets | None = None) -> None:
		self.deliveries = 0
		"""Events written to sockets since the start."""
		self.latency = Histogram()
		"""Seconds from the publication of an event to its write to the sockets of a room, where the former is known."""
		self._observer: FanoutObserver | None = None
		self._namespaces = namespaces
		self._remote: RemoteSockets = remote or NoRemoteSockets()

	def observe(self, observer: FanoutObserver) -> None:
		"""Call `observer` for each event from now on, instead of the observer before."""
		self._observer = observer

	def unobserve(self) -> None:
		"""Call no observer any more."""
		self._observer = None

	def deliver(self, events: Sequence[Event]) -> None:
		"""Send `events` in order; consecutive events for one room share one write for each socket."""
		if len(events) == 1:
			self._deliver_run(events)
			return
		start = 0
		for index in range(1, len(events) + 1):
			if (
				index == len(events)
				or events[index].room != events[start].room
				or events[index].namespace != events[start].namespace
			):
				self._deliver_run(events[start:index])
				start = index

	def _deliver_run(self, run: Sequence[Event]) -> None:
		first = run[0]
		if first.namespace is None:
			for each in list(self._namespaces.values()):
				self.send_events(each, each.sockets.values(), run)
			return
		namespace = self._namespaces.get(first.namespace)
		if namespace is None:
			return
		if first.room is None:
			self.send_events(namespace, namespace.sockets.values(), run)
		else:
			self.send_events(namespace, namespace.members(first.room), run)

	def send_events(
		self,
		namespace: Namespace,
		members: Collection[ServerSocket],
		events: Sequence[Event],
		repeated: bool = False,
	) -> None:
		"""Send `events` to `members`, which are sockets of `namespace`; `repeated` if others have been sent them before."""
		first = events[0]
		sockets = 0
		if members:
			if namespace.recoverable:
				plain, with_offset = _encode_run(namespace, events)
			elif len(events) == 1:
				plain = with_offset = packets.encode_event(namespace.name, (first.event, first.message))
			else:
				plain = with_offset = joined(
					[packets.encode_event(namespace.name, (event.event, event.message)) for event in events]
				)
			sockets = send_all(members, plain, with_offset)
			deliveries = len(events) * sockets
			self.deliveries += deliveries
			namespace.deliveries += deliveries
			for event in events:
				if event.offset and (published_at := event.published_at):
					seconds = time() - published_at
					# Two clocks may differ: an event that seems to be from the future took no time.
					self.latency.observe(seconds if seconds > 0 else 0.0)
		if not repeated:
			namespace.published += len(events)
		for event in events:
			if event.offset:
				namespace.offset = event.offset
		if self._observer is not None:
			for event in events:
				self._observer.published(namespace, event, sockets, repeated)

	def emit(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		event: str,
		arguments: Sequence[Any],
		but: ServerSocket | None = None,
	) -> None:
		"""Send an event of a handler to the sockets of `rooms`, each once.

		Args:
			namespace: The namespace of the handler's socket.
			rooms: None for the whole namespace.
			event: The name of the event.
			arguments: Its arguments, JSON or binary.
			but: A socket that does not get the event.

		Raises:
			TypeError: An argument is neither JSON nor binary.
		"""
		namespace = self.current(namespace)
		members = _members(namespace, rooms)
		if but is not None:
			# By the id: after a recovery of its session, the client has another socket of this id.
			members = [member for member in members if member.id != but.id]
		if members or self._remote.present:
			encoded = packets.encode_event(namespace.name, [event, *arguments])
			self._send_event(namespace, rooms, members, encoded)
			if self._remote.present and not _are_sockets(namespace, rooms):
				self._remote.send(namespace.name, rooms, encoded, () if but is None else (but.id,))

	def current(self, namespace: Namespace) -> Namespace:
		"""Return the namespace of the same name as it is now: another object if its last socket had left, and others have come."""
		return self._namespaces.get(namespace.name, namespace)

	def emit_local(self, namespace: Namespace, room: str, event: str, *arguments: Any) -> None:
		"""Send an event to the sockets of `room` in this process only."""
		members = namespace.members(room)
		if members:
			encoded = packets.encode_event(namespace.name, [event, *arguments])
			self._send_event(namespace, (room,), members, encoded)

	def send(
		self, name: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str] = ()
	) -> None:
		"""Send an encoded event of the namespace `name` to the sockets of `rooms` in all processes (see `send_local`)."""
		self.send_local(name, rooms, encoded, excluded)
		if self._remote.present and not _are_sockets(self._namespaces.get(name), rooms):
			self._remote.send(name, rooms, encoded, excluded)

	def send_local(
		self,
		name: str,
		rooms: Sequence[str] | None,
		encoded: Encoded,
		excluded: Sequence[str] = (),
		relayed: bool = False,
	) -> None:
		"""Send an encoded event to the sockets of `rooms` in this process, each once.

		Args:
			name: The namespace.
			rooms: None for the whole namespace.
			encoded: The event.
			excluded: Rooms whose sockets do not get the event.
			relayed: True for an event of another process.
		"""
		namespace = self._namespaces.get(name)
		if namespace is None:
			return
		members = _members(namespace, rooms)
		if excluded:
			members = set(members).difference(*[namespace.members(room) for room in excluded])
		self._send_event(namespace, rooms, members, encoded, relayed)

	def _send_event(
		self,
		namespace: Namespace,
		rooms: Sequence[str] | None,
		members: Iterable[ServerSocket],
		event: Encoded,
		relayed: bool = False,
	) -> None:
		"""Send an event that has no offset of its own."""
		count = 0
		if members:
			with_offset = (
				packets.with_offset(event, namespace.client_offset) if namespace.recoverable else event
			)
			count = send_all(members, event, with_offset)
			self.deliveries += count
			namespace.deliveries += count
		namespace.emitted += not relayed
		if self._observer is not None:
			self._observer.emitted(namespace, rooms, event, count, relayed)


def _members(namespace: Namespace, rooms: Sequence[str] | None) -> Collection[ServerSocket]:
	"""Return the sockets of `rooms`, each once. The result may be the room itself: read it before the room changes."""
	if rooms is None:
		return namespace.sockets.values()
	if len(rooms) == 1:
		return namespace.members(rooms[0])
	return set().union(*[namespace.members(room) for room in rooms])


def _are_sockets(namespace: Namespace | None, rooms: Iterable[str] | None) -> bool:
	"""Return True if `rooms` are ids of sockets of this process only."""
	return (
		rooms is not None
		and namespace is not None
		and all(room in namespace.sockets and room not in namespace.rooms for room in rooms)
	)


def _encode_run(namespace: Namespace, run: Sequence[Event]) -> tuple[Encoded, Encoded]:
	"""Return the events as sent to clients without and with an offset; the same object where all clients take one."""
	name, offset, held_text = namespace.name, namespace.offset, namespace.held_text
	everybody = namespace.recoverable == len(namespace.sockets)
	plain: list[Encoded] = []
	with_offset: list[Encoded] = []
	for event in run:
		# An event without an offset (of a publisher without the app) is sent with the newest offset before it.
		offset = event.offset or offset
		sent = offset + (held_text if event.held_text is None else event.held_text)
		if everybody:
			with_offset.append(packets.encode_event(name, (event.event, event.message, sent)))
		else:
			plain.append(packets.encode_event(name, (event.event, event.message)))
			with_offset.append(packets.with_offset(plain[-1], sent))
	last = joined(with_offset)
	return last if everybody else joined(plain), last


def send_all(members: Iterable[ServerSocket], plain: Encoded, with_offset: Encoded) -> int:
	"""Write `with_offset` to the sockets that take an offset and `plain` to the others; return their number.

	For a socket on WebSocket that reads fast enough, the loop calls nothing but the transport's write. The others are
	written to after the loop, because writing may close them and so change the room that is being read.
	"""
	plain_frames = plain.frames
	offset_frames = plain_frames if with_offset is plain else with_offset.frames
	count = 0
	others: list[ServerSocket] | None = None
	for socket in members:
		count += 1
		transport = socket.connection.writable_transport
		if transport is not None:
			transport.write(offset_frames if socket.offsets else plain_frames)
		elif others is None:
			others = [socket]
		else:
			others.append(socket)
	if others is not None:
		for socket in others:
			socket.connection.send(with_offset if socket.offsets else plain)
	return count
