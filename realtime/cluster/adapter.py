"""Receives the messages of the other sidecars of the bench: their heartbeats, the events of their handlers, and the members of their rooms.

Each sidecar publishes a heartbeat every two seconds, with the sequence number of its last change. A peer that sees a gap
in the sequence requests a full snapshot. So a lost message is repaired after the next heartbeat, and neither side has to
notice that Redis was unavailable.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from frappe_realtime.contract.channels import SIDECARS_CHANNEL

from ..config import Config
from ..presence.members import LOCAL, PresenceTable
from ..signals import Signal
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace
from ..socketio.server import SocketIOServer
from ..usage import Usage
from . import message_reader
from .members import Changed, RemoteMembers
from .messages import (
	Emit,
	Goodbye,
	Heartbeat,
	MembershipChanges,
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
from .peer import PartialSnapshot, Peer
from .publisher import ClusterPublisher
from .sockets import SocketTable

logger = logging.getLogger("realtime.cluster")

HEARTBEAT_INTERVAL = 2.0
"""Seconds between two heartbeats."""

MISSED_HEARTBEATS = 3
"""Heartbeats of a peer that may be missing; the peer is considered dead with the next."""

SYNC_RETRY = 2
"""Heartbeats until a snapshot is requested again."""


class ClusterAdapter:
	"""The inbound half of the cluster.

	Args:
		config: The configuration.
		server: Its sockets end when their clients have reconnected to a peer.
		fanout: Delivers the events of peers to the sockets of this process.
		publisher: The outbound half.
		members: The replicated members of rooms.
		usage: What users and addresses use on the peers.
		presence: The members of places.
		sockets: The sockets that handlers may list.
		on_change: Called with a namespace, a room whose remote members have changed, and the users of these members.
		on_limit: Called with the key of a limit that is reached.
	"""

	def __init__(
		self,
		config: Config,
		server: SocketIOServer,
		fanout: Fanout,
		publisher: ClusterPublisher,
		members: RemoteMembers,
		usage: Usage,
		presence: PresenceTable,
		sockets: SocketTable,
		on_change: Callable[[Namespace, str, set[str]], None],
		on_limit: Callable[[str], None],
	) -> None:
		self.peers: dict[str, Peer] = {}
		"""The other sidecars, by their ids."""
		self.received: Counter[str] = Counter()
		"""Messages of peers by kind; `invalid` counts what was not understood."""
		self.requested: Signal[[str, Request]] = Signal()
		"""Sent with the id of a peer and its request; also of a process that is no sidecar, such as `frappe-realtime top`."""
		self.replied: Signal[[str, Reply]] = Signal()
		"""Sent with the id of a peer and its reply to a request of this sidecar."""
		self.peer_removed: Signal[[str]] = Signal()
		"""Sent with the id of a peer that has stopped or no longer sends heartbeats."""
		self.announced: Signal[[]] = Signal()
		"""Sent when this process and its peers know each other: a heartbeat has come back from Redis, and each other process that
		listens on the channel has answered it."""
		self.publisher = publisher
		self.members = members
		self.usage = usage
		self.sockets = sockets
		self._presence = presence
		self._max_peers = config.realtime_sidecars
		self._max_members = config.realtime_sidecar_members
		self._grace: float = config.realtime_presence_grace_seconds
		self._server = server
		self._fanout = fanout
		self._on_change = on_change
		self._on_limit = on_limit
		self._own_heartbeat_seen = False
		self._listening: int | None = None
		"""How many processes listen on the channel, as Redis has counted them."""
		publisher.published.connect(self._on_published)
		self._subscribed_at: float | None = None
		self._heartbeats: asyncio.Task[None] | None = None
		self._receivers: dict[type, Callable[[str, Any], None]] = {
			Heartbeat: self._on_heartbeat,
			Goodbye: self._on_goodbye,
			SyncRequest: self._on_sync_request,
			Snapshot: self._on_snapshot,
			MembershipChanges: self._on_membership_changes,
			UsageCounts: self._on_usage_counts,
			PresenceChanges: self._on_presence_changes,
			SocketChanges: self._on_socket_changes,
			SocketCommand: self._on_socket_command,
			Emit: self._on_emit,
			SocketsMoved: self._on_sockets_moved,
			Request: self.requested.send,
			Reply: self._on_reply,
		}

	def start(self) -> None:
		"""Start the heartbeats."""
		self._heartbeats = asyncio.get_running_loop().create_task(self._publish_heartbeats())

	async def stop(self, timeout: float) -> None:
		"""Stop the heartbeats and publish a goodbye, within `timeout` seconds."""
		if self._heartbeats is not None:
			self._heartbeats.cancel()
		await self.publisher.stop(timeout)

	def is_settled(self) -> bool:
		"""Return True if this process has been there for a while, and knows the members of all peers."""
		started = self._subscribed_at
		return (
			started is not None
			and asyncio.get_running_loop().time() >= started + HEARTBEAT_INTERVAL + self._grace
			and all(peer.seq is not None for peer in self.peers.values())
		)

	def health(self, without: Collection[str]) -> list[str]:
		"""Return the addresses of the peers, for `/health`.

		Args:
			without: The ids of peers that are left out: the workers of this host.
		"""
		return sorted(peer.address for id, peer in self.peers.items() if id not in without)

	def link_address(self, id: str) -> str:
		"""Return the address at which the peer `id` accepts links; empty if there is no such peer, or it accepts none."""
		peer = self.peers.get(id)
		return "" if peer is None else peer.link

	def on_subscribed(self) -> None:
		"""Publish a heartbeat: messages of peers are received from now on."""
		if self._subscribed_at is None:
			self._subscribed_at = asyncio.get_running_loop().time()
		self.publisher.end_predecessor()
		self.publisher.heartbeat()

	async def _publish_heartbeats(self) -> None:
		while True:
			await asyncio.sleep(HEARTBEAT_INTERVAL)
			self._own_heartbeat_seen = False
			for peer in self.peers.values():
				peer.sync_retry -= 1
			self.publisher.heartbeat()

	# -- messages

	def take(self, payload: bytes) -> None:
		"""Receive one message of the channel."""
		try:
			sender = message_reader.sender_of(payload)
			here = sender == self.publisher.id
			if here:
				if payload.startswith(b"alive ", len(sender) + 1):
					self._on_own_heartbeat()
				# What a peer had of a socket that has moved here ends for this process too.
				if not payload.startswith(b"returned ", len(sender) + 1):
					return
			message = message_reader.read(payload)
		except (ValueError, TypeError):
			self.received["invalid"] += 1
			if self.received["invalid"] == 1:
				logger.warning(
					"invalid message of %d bytes on the channel %r, from something that is not a sidecar",
					len(payload),
					SIDECARS_CHANNEL,
				)
			return
		if not here:
			self.received[type(message).__name__.lower()] += 1
		self._receivers[type(message)](sender, message)

	def _on_own_heartbeat(self) -> None:
		"""Count what is missing of the peers: everything that they published earlier would have been received by now.

		Silence is measured by what Redis delivers and not by a clock, so that neither an outage of Redis nor a blocked
		event loop makes peers look dead.
		"""
		if self._own_heartbeat_seen:
			return
		self._own_heartbeat_seen = True
		self._check_announced()
		for id, peer in list(self.peers.items()):
			peer.missed += 1
			if peer.missed > MISSED_HEARTBEATS:
				self._remove_peer(id, "no longer sends heartbeats")

	def _on_published(self, listening: int) -> None:
		self._listening = listening
		self._check_announced()

	def _check_announced(self) -> None:
		if (
			self._own_heartbeat_seen
			and self._listening is not None
			and len(self.peers) + 1 >= self._listening
		):
			self.announced.send()

	def _on_heartbeat(self, sender: str, message: Heartbeat) -> None:
		peer = self.peers.get(sender)
		if peer is None:
			if self.publisher.stopped:
				return
			if len(self.peers) >= self._max_peers:
				self._on_limit("realtime_sidecars")
				return
			peer = self._add_peer(sender, message.at)
		peer.missed = 0
		peer.link = message.link
		if peer.seq != message.seq:
			peer.seq = None
			if peer.sync_retry <= 0:
				peer.sync_retry = SYNC_RETRY
				self.publisher.request_snapshot(sender)

	def _on_goodbye(self, sender: str, message: Goodbye) -> None:
		self._remove_peer(sender, "has stopped", self._grace)

	def _on_sync_request(self, sender: str, message: SyncRequest) -> None:
		if message.of == self.publisher.id and sender in self.peers:
			self.publisher.publish_snapshot()

	def _on_snapshot(self, sender: str, message: Snapshot) -> None:
		peer = self.peers.get(sender)
		if peer is None or peer.seq == message.seq:
			return
		if message.part == 0:
			peer.snapshot = PartialSnapshot(message.seq)
		snapshot = peer.snapshot
		# After a loss, this may be a part of another snapshot than the parts before.
		if snapshot is None or (message.part, message.seq) != (snapshot.parts, snapshot.seq):
			return
		snapshot.add(message, self._max_members)
		if snapshot.parts == message.parts:
			peer.seq, peer.sync_retry, peer.snapshot = message.seq, 0, None
			self.sockets.replace(sender, snapshot.sockets)
			self._report(self.members.replace(sender, snapshot.members))
			self._presence.replace(sender, snapshot.presence)

	def _on_membership_changes(self, sender: str, message: MembershipChanges) -> None:
		if self._is_next(sender, message.seq):
			self._report(self.members.apply(sender, message.changes))

	def _on_usage_counts(self, sender: str, message: UsageCounts) -> None:
		if sender in self.peers:
			self.usage.take(sender, message.counts, message.more)

	def _on_presence_changes(self, sender: str, message: PresenceChanges) -> None:
		if self._is_next(sender, message.seq):
			self._presence.apply(sender, message.changes)

	def _on_socket_changes(self, sender: str, message: SocketChanges) -> None:
		if self._is_next(sender, message.seq):
			self.sockets.apply(sender, message.changes)

	def _on_socket_command(self, sender: str, message: SocketCommand) -> None:
		self.sockets.execute(message.namespace, message.id, message.action, message.room)

	def _is_next(self, sender: str, seq: int) -> bool:
		"""Return True if no change of a peer is missing before the one with this number, which is then the last one applied."""
		peer = self.peers.get(sender)
		# After a gap, a snapshot is requested with the next heartbeat.
		if peer is None or peer.seq is None or seq != peer.seq + 1:
			return False
		peer.seq = seq
		return True

	def _on_emit(self, sender: str, message: Emit) -> None:
		self._fanout.send_local(
			message.namespace, message.rooms, message.encoded, message.excluded, relayed=True
		)

	def _on_sockets_moved(self, sender: str, message: SocketsMoved) -> None:
		here = sender == self.publisher.id
		for namespace, id in message.sockets:
			if not here:
				self._server.supersede(namespace, id)
			self.sockets.socket_moved(sender, namespace, id)
			self._report(self.members.socket_moved(sender, namespace, id))
			self._presence.socket_moved(LOCAL if here else sender, namespace, id)

	def _on_reply(self, sender: str, message: Reply) -> None:
		if message.to == self.publisher.id:
			self.replied.send(sender, message)

	# -- peers

	def _add_peer(self, id: str, address: str) -> Peer:
		logger.log(self._level(address), "a peer has appeared: %s", address)
		if not self.peers:
			self.publisher.begin_replication()
		peer = self.peers[id] = Peer(address)
		self.usage.set_sidecars(len(self.peers) + 1)
		self.publisher.heartbeat()
		self._check_announced()
		return peer

	def _remove_peer(self, id: str, reason: str, grace: float = 0.0) -> None:
		"""Remove a peer; the members of its places stay for `grace` seconds, in which their clients connect to another sidecar."""
		peer = self.peers.pop(id, None)
		if peer is None:
			return
		logger.log(self._level(peer.address), "a peer %s: %s", reason, peer.address)
		if not self.peers:
			self.publisher.end_replication()
		self.usage.forget(id)
		self.usage.set_sidecars(len(self.peers) + 1)
		self._report(self.members.forget(id))
		self.sockets.forget(id)
		if grace:
			asyncio.get_running_loop().call_later(grace, self._presence.forget, id)
		else:
			self._presence.forget(id)
		self.peer_removed.send(id)

	def _level(self, address: str) -> int:
		"""Return the log level for a peer; the supervisor itself logs what happens to the workers of this host."""
		return logging.DEBUG if address == self.publisher.address else logging.INFO

	def _report(self, changed: Changed) -> None:
		for (name, room), users in changed.items():
			namespace = self._server.namespaces.get(name)
			if namespace is not None:
				self._on_change(namespace, room, users)
