"""What this sidecar publishes to the others: heartbeats, events of handlers, and the members of its rooms and places."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from socket import gethostname
from typing import Any

from ..bus.store import RedisStore
from ..config import Config
from ..engine import Encoded
from ..presence.members import PresenceTable
from ..signals import Signal
from ..socketio.namespace import Namespaces, ServerSocket
from ..usage import Usage
from . import message_writer, messages
from .members import is_replicated
from .messages import Membership, MembershipChange
from .publish_queue import PublishQueue
from .sockets import Action, SocketChange, SocketTable

MAX_CHANGES = 20_000
"""Changes that wait for Redis; past them they are dropped, and the peers request a snapshot."""


class ClusterPublisher:
	"""The outbound half of the cluster: the remote sockets of the fan-out, and an observer of rooms.

	Only heartbeats are published while there is no peer.

	Args:
		config: The configuration.
		namespaces: The sockets of this process.
		store: redis_queue.
		presence: The members of places.
		sockets: The sockets that handlers may list.
		on_limit: Called with the key of a limit that is reached.
		usage: The counts that are published.
		id: The id of this sidecar among the others; empty to choose one.
		predecessor: The id of the worker that had the slot of this one, and has ended without a goodbye; empty for none.
		link_address: Returns host and port at which other sidecars reach this one; empty if they cannot.
	"""

	def __init__(
		self,
		config: Config,
		namespaces: Namespaces,
		store: RedisStore,
		presence: PresenceTable,
		sockets: SocketTable,
		on_limit: Callable[[str], None],
		usage: Usage,
		id: str = "",
		predecessor: str = "",
		link_address: Callable[[], str] = str,
	) -> None:
		self.id = id or secrets.token_urlsafe(12)
		self.address = f"{gethostname()}:{config.socketio_uds or config.socketio_port}"
		self.present = False
		"""True if there is a peer."""
		self.stopped = False
		self.published: Signal[[int]] = Signal()
		"""Sent after each round trip with the number of processes that listen on the channel, this one included."""
		self.queue = PublishQueue(
			store,
			config.realtime_sidecar_unsent,
			lambda: on_limit("realtime_sidecar_unsent"),
			self._add_latest,
			self.published.send,
		)
		self._max_members = config.realtime_sidecar_members
		self._namespaces = namespaces
		self._usage = usage
		self._presence = presence
		self._sockets = sockets
		self._on_limit = on_limit
		self._seq = 0
		self._changes: dict[Membership, str | None] = {}
		self._moved: list[tuple[str, str]] = []
		"""Namespaces and ids of sockets whose clients have recovered here."""
		self._predecessor = predecessor
		self._link_address = link_address
		self._heartbeat_due = False
		self._snapshot_due = False
		self._sync_requests: set[str] = set()
		presence.publish.connect(self._on_presence_due)
		sockets.publish.connect(self.queue.wake)
		sockets.commanded.connect(self._send_command)

	# -- the life of this sidecar

	def heartbeat(self) -> None:
		"""Publish a heartbeat with the next round trip."""
		if not self.stopped:
			self._heartbeat_due = True
			self.queue.wake()

	def end_predecessor(self) -> None:
		"""Publish the goodbye that a killed predecessor has not published, so that its clients do not stay for some heartbeats."""
		if self._predecessor:
			self.queue.put_all([message_writer.goodbye(self._predecessor)])
			self._predecessor = ""

	def begin_replication(self) -> None:
		"""Publish changes of rooms from now on: the first peer has appeared."""
		self.present = True
		# Earlier changes were not published, so the number must differ from what the peer knows.
		self._seq += 1
		self._namespaces.observe(self)
		self._sockets.set_replicating(True)

	def end_replication(self) -> None:
		"""Publish no more changes of rooms: the last peer is gone."""
		self.present = False
		self._namespaces.unobserve(self)
		self._changes.clear()
		self._moved.clear()
		self._presence.take_unpublished()
		self._sockets.set_replicating(False)

	async def stop(self, timeout: float) -> None:
		"""Publish a goodbye after all sockets have been closed, within `timeout` seconds."""
		self.stopped = True
		self._heartbeat_due = False
		if self.present:
			self._publish_changes()
			self._publish_presence()
			self.queue.put_all([message_writer.goodbye(self.id)])
		await self.queue.stop(timeout)

	# -- events of handlers

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		"""Publish an event for the sockets of the peers; the packet itself names the namespace."""
		# Earlier joins and leaves first, so that the order is kept.
		self._publish_changes()
		self.queue.put(message_writer.emit(self.id, rooms, encoded, excluded))

	def socket_moved(self, socket: ServerSocket) -> None:
		"""Publish that the client of `socket` has recovered here: a peer may still have its old socket."""
		if self.present:
			self._moved.append((socket.namespace.name, socket.id))
			self.queue.wake()

	def _send_command(self, namespace: str, id: str, action: Action, room: str) -> None:
		"""Publish what a handler does to a socket of a peer."""
		if self.present:
			self._publish_changes()
			self.queue.put(message_writer.socket_command(self.id, namespace, id, action, room))

	# -- questions to the peers

	def request(self, id: str, method: str, arguments: dict[str, Any]) -> None:
		"""Publish a question to all peers."""
		self.queue.put(message_writer.request(self.id, id, method, arguments))

	def reply(self, to: str, id: str, answer: Any) -> None:
		"""Publish the answer to the request `id` of the peer `to`."""
		if not self.stopped:
			self.queue.put(message_writer.reply(self.id, to, id, answer))

	# -- replication of room members

	def request_snapshot(self, peer: str) -> None:
		"""Request a snapshot of the members of `peer`."""
		self._sync_requests.add(peer)
		self.queue.wake()

	def publish_snapshot(self) -> None:
		"""Publish all members of the replicated rooms of this process."""
		self._snapshot_due = True
		self.queue.wake()

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Replicate that `socket` has joined `room`."""
		if is_replicated(room) and socket.session is not None:
			self._add_change(socket, room, socket.session.user)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Replicate that `socket` has left `room`."""
		if is_replicated(room):
			self._add_change(socket, room, None)

	def _add_change(self, socket: ServerSocket, room: str, user: str | None) -> None:
		if len(self._changes) >= MAX_CHANGES:
			self._changes.clear()
			self._seq += 1
		self._changes[socket.namespace.name, room, socket.id] = user
		self.queue.wake()

	def _add_latest(self) -> None:
		"""Add to the queue what describes the present, as late as possible: just before a round trip."""
		self._publish_changes()
		self._publish_presence()
		# Behind their memberships, so that nobody sees the sockets leave.
		for part in message_writer.parts(self._moved, messages.PART):
			self.queue.put(message_writer.sockets_moved(self.id, part))
		self._moved.clear()
		if self._heartbeat_due:
			self._heartbeat_due = False
			self.queue.put_all(
				[message_writer.heartbeat(self.id, self.address, self._seq, self._link_address())]
			)
			if self.present and (counts := self._usage.to_publish()) is not None:
				self.queue.put_all(message_writer.usage_counts(self.id, counts))
		if self._snapshot_due:
			self._snapshot_due = False
			presence, sockets = list(self._presence.local_members()), list(self._sockets.local_sockets())
			self.queue.put_all(
				message_writer.snapshot(self.id, self._seq, self._members(), presence, sockets)
			)
		# After the heartbeat, on which the peer begins to replicate if this is the first sidecar that it sees.
		self.queue.put_all([message_writer.sync_request(self.id, peer) for peer in self._sync_requests])
		self._sync_requests.clear()

	def _publish_changes(self) -> None:
		# So that the socket of each membership is known: first those that have come, last those that have gone.
		come, gone = self._sockets.take_unpublished()
		self._publish_sockets(come)
		changes: list[MembershipChange] = [(*membership, user) for membership, user in self._changes.items()]
		self._changes.clear()
		for part in message_writer.parts(changes, messages.PART):
			# Incremented even when the message is dropped, so that peers detect the gap.
			self._seq += 1
			self.queue.put(message_writer.membership_changes(self.id, self._seq, part))
		self._publish_sockets(gone)

	def _publish_sockets(self, changes: list[SocketChange]) -> None:
		for part in message_writer.parts(changes, messages.PART):
			self._seq += 1
			self.queue.put(message_writer.socket_changes(self.id, self._seq, part))

	def _on_presence_due(self) -> None:
		"""Publish what has changed in places, or forget it while there is no peer: a new one requests a snapshot."""
		if self.present:
			self.queue.wake()
		else:
			self._presence.take_unpublished()

	def _publish_presence(self) -> None:
		if not self.present:
			return
		changes = self._presence.take_unpublished()
		for part in message_writer.parts(changes, messages.PRESENCE_PART):
			self._seq += 1
			self.queue.put(message_writer.presence_changes(self.id, self._seq, part))

	def _members(self) -> list[MembershipChange]:
		members: list[MembershipChange] = [
			(namespace.name, room, socket.id, socket.session.user)
			for namespace in self._namespaces.values()
			for room, sockets in namespace.rooms.items()
			if is_replicated(room)
			for socket in sockets
		]
		if len(members) > self._max_members:
			self._on_limit("realtime_sidecar_members")
		return members[: self._max_members]
