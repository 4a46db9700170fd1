"""Speaks to the other sidecars of the bench: who is there, what handlers emit, who is in which room.

Each says every few seconds that it is alive, and how often it has told of changes. Who has heard of fewer asks for all
memberships. So whatever gets lost on the way is made good with the next of these messages, and nobody has to notice
that Redis was away. While no other is alive, nothing is sent but this.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from socket import gethostname
from typing import Any

from frappe_realtime.contract import SIDECARS_CHANNEL

from ..bus.store import RedisStore
from ..config import Config
from ..engine import Encoded
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, Socket
from ..socketio.server import SocketIOServer
from . import messages
from .members import Changed, RemoteMembers, is_told
from .messages import (
	Change,
	Emit,
	Goodbye,
	Heartbeat,
	Membership,
	MembershipChanges,
	Snapshot,
	SocketMoved,
	SyncRequest,
)
from .publisher import ClusterPublisher

logger = logging.getLogger("realtime.cluster")

BEAT = 2.0
"""Seconds between two signs of life."""

MISSED = 3
"""Signs of life that another may miss; with the next it is taken for dead."""

PATIENCE = 2
"""Beats that an answer may take before it is asked for again."""

MOST_CHANGES = 20_000
"""Changes that wait for Redis; past them they are forgotten, and the others ask for everything."""


@dataclass(slots=True)
class Peer:
	"""Another sidecar. `seq` is how often it has told of changes that are known here; None when not all are."""

	at: str
	seq: int | None = None
	missed: int = 0
	"""Signs of life that this process has had of itself since the last of the other."""
	patience: int = 0
	"""Beats until it may be asked again."""
	parts: list[Change] = field(default_factory=list)
	"""Of an answer that has not come to its end."""
	next_part: int = 0


class ClusterAdapter:
	"""This sidecar among those of the bench.

	`changed` is told of each room of a namespace here that users have entered or left elsewhere.
	"""

	def __init__(
		self,
		config: Config,
		sockets: SocketIOServer,
		fanout: Fanout,
		store: RedisStore,
		meet: Callable[[str], None],
	) -> None:
		self.id = secrets.token_urlsafe(12)
		self.at = f"{gethostname()}:{config.socketio_uds or config.socketio_port}"
		self.sidecars: dict[str, Peer] = {}
		"""The others, by their ids."""
		self.members = RemoteMembers(
			config.realtime_sidecar_members, lambda: meet("realtime_sidecar_members")
		)
		self.changed: Callable[[Namespace, str, set[str]], None] = lambda *_: None
		self.told: Counter[str] = Counter()
		"""Messages of others by their kind; `invalid` are those that were not understood."""
		self.outbox = ClusterPublisher(
			store, config.realtime_sidecar_unsent, lambda: meet("realtime_sidecar_unsent"), self._fill
		)
		self._most: int = config.realtime_sidecars
		self._most_members: int = config.realtime_sidecar_members
		self._sockets = sockets
		self._fanout = fanout
		self._meet = meet
		self._seq = 0
		self._changes: dict[Membership, str | None] = {}
		self._beat_due = False
		self._state_due = False
		self._asking: set[str] = set()
		self._heard_itself = False
		self._beating: asyncio.Task[None] | None = None
		self._stopped = False
		self._takes: dict[type, Callable[[str, Any], None]] = {
			Heartbeat: self._alive,
			Goodbye: self._bye,
			SyncRequest: self._ask,
			Snapshot: self._state,
			MembershipChanges: self._take_changes,
			Emit: self._emit,
			SocketMoved: self._has_returned,
		}

	def start(self) -> None:
		"""Begin to give signs of life."""
		self._beating = asyncio.get_running_loop().create_task(self._beat())

	async def stop(self, timeout: float) -> None:
		"""Say goodbye; all sockets have been closed."""
		if self._beating is not None:
			self._beating.cancel()
		self._stopped = True
		self._beat_due = False
		if self.sidecars:
			self._write_changes()
			self.outbox.put_all([messages.bye(self.id)])
		await self.outbox.stop(timeout)

	def health(self) -> list[str]:
		"""The addresses of the others, for `/health`."""
		return sorted(sidecar.at for sidecar in self.sidecars.values())

	# -- out

	def on_subscribed(self) -> None:
		"""What others say is heard from now on."""
		self._give_sign_of_life()

	def send(
		self, namespace: str, rooms: Sequence[str] | None, encoded: Encoded, excluded: Sequence[str]
	) -> None:
		"""Send a handler's event to the sockets of the other sidecars. What `encoded` holds names the namespace."""
		# First who has entered or left before.
		self._write_changes()
		self.outbox.put(messages.emit(self.id, rooms, encoded, excluded))

	def returned(self, socket: Socket) -> None:
		"""The client of `socket` had it on another sidecar perhaps, which may not know that it has gone there."""
		self._write_changes()
		self.outbox.put(messages.returned(self.id, socket.namespace.name, socket.id))

	def joined(self, socket: Socket, room: str) -> None:
		if is_told(room) and socket.session is not None:
			self._change(socket, room, socket.session.user)

	def left(self, socket: Socket, room: str) -> None:
		if is_told(room):
			self._change(socket, room, None)

	def _change(self, socket: Socket, room: str, user: str | None) -> None:
		if len(self._changes) >= MOST_CHANGES:
			self._changes.clear()
			self._seq += 1
		self._changes[socket.namespace.name, room, socket.id] = user
		self.outbox.wake()

	def _fill(self) -> None:
		"""Put into the outbox what has waited for Redis to be free."""
		self._write_changes()
		if self._beat_due:
			self._beat_due = False
			self.outbox.put_all([messages.alive(self.id, self.at, self._seq)])
		if self._state_due:
			self._state_due = False
			self.outbox.put_all(messages.state(self.id, self._seq, self._own_members()))
		# Behind the sign of life: who is asked begins to tell of changes when the first other has come.
		self.outbox.put_all([messages.ask(self.id, sidecar) for sidecar in self._asking])
		self._asking.clear()

	def _write_changes(self) -> None:
		if not self._changes:
			return
		changes: list[Change] = [(*membership, user) for membership, user in self._changes.items()]
		self._changes.clear()
		for start in range(0, len(changes), messages.PART):
			# Counted, sent or not: who has not got it finds out.
			self._seq += 1
			self.outbox.put(messages.changes(self.id, self._seq, changes[start : start + messages.PART]))

	def _own_members(self) -> list[Change]:
		members: list[Change] = [
			(namespace.name, room, socket.id, socket.session.user)
			for namespace in self._sockets.namespaces.values()
			for room, sockets in namespace.rooms.items()
			if is_told(room)
			for socket in sockets
		]
		if len(members) > self._most_members:
			self._meet("realtime_sidecar_members")
		return members[: self._most_members]

	# -- who is there

	async def _beat(self) -> None:
		while True:
			await asyncio.sleep(BEAT)
			self._heard_itself = False
			for sidecar in self.sidecars.values():
				sidecar.patience -= 1
			self._give_sign_of_life()

	def _give_sign_of_life(self) -> None:
		if not self._stopped:
			self._beat_due = True
			self.outbox.wake()

	def _has_come(self, sender: str, at: str) -> Peer:
		logger.info("another sidecar is there: %s", at)
		if not self.sidecars:
			# Nobody was told of what went on before.
			self._seq += 1
			self._fanout.elsewhere = self
			self._sockets.returned = self.returned
			self._sockets.observers += (self,)
			for namespace in self._sockets.namespaces.values():
				namespace.observers += (self,)
		sidecar = self.sidecars[sender] = Peer(at)
		self._give_sign_of_life()
		return sidecar

	def _has_gone(self, sender: str, why: str) -> None:
		sidecar = self.sidecars.pop(sender, None)
		if sidecar is None:
			return
		logger.info("another sidecar %s: %s", why, sidecar.at)
		if not self.sidecars:
			self._fanout.elsewhere = None
			self._sockets.returned = lambda socket: None
			self._sockets.observers = _without(self, self._sockets.observers)
			for namespace in self._sockets.namespaces.values():
				namespace.observers = _without(self, namespace.observers)
			self._changes.clear()
		self._tell(self.members.forget(sender))

	def _hear_itself(self) -> None:
		"""A sign of life of this process: what others have sent before would have come too.

		So silence is counted by what Redis passes on and not by a clock, and neither Redis being away nor a loop that
		was blocked makes others seem dead.
		"""
		if self._heard_itself:
			return
		self._heard_itself = True
		for sender, sidecar in list(self.sidecars.items()):
			sidecar.missed += 1
			if sidecar.missed > MISSED:
				self._has_gone(sender, "is silent")

	# -- in

	def take(self, payload: bytes) -> None:
		"""One message of the channel."""
		try:
			sender = messages.sender_of(payload)
			if sender == self.id:
				if payload.startswith(b"alive ", len(sender) + 1):
					self._hear_itself()
				return
			message = messages.read(payload)
		except (ValueError, TypeError):
			self.told["invalid"] += 1
			if self.told["invalid"] == 1:
				logger.warning(
					"a message on the channel %r is no sidecar's: %.200r", SIDECARS_CHANNEL, payload
				)
			return
		self.told[type(message).__name__.lower()] += 1
		self._takes[type(message)](sender, message)

	def _alive(self, sender: str, message: Heartbeat) -> None:
		sidecar = self.sidecars.get(sender)
		if sidecar is None:
			if self._stopped:
				return
			if len(self.sidecars) >= self._most:
				self._meet("realtime_sidecars")
				return
			sidecar = self._has_come(sender, message.at)
		sidecar.missed = 0
		if sidecar.seq != message.seq:
			sidecar.seq = None
			if sidecar.patience <= 0:
				sidecar.patience = PATIENCE
				self._asking.add(sender)
				self.outbox.wake()

	def _bye(self, sender: str, message: Goodbye) -> None:
		self._has_gone(sender, "has stopped")

	def _ask(self, sender: str, message: SyncRequest) -> None:
		if message.of == self.id and sender in self.sidecars:
			self._state_due = True
			self.outbox.wake()

	def _state(self, sender: str, message: Snapshot) -> None:
		sidecar = self.sidecars.get(sender)
		if sidecar is None or sidecar.seq == message.seq:
			return
		if message.part == 0:
			sidecar.parts, sidecar.next_part = [], 0
		if message.part != sidecar.next_part:
			return
		if len(sidecar.parts) < self._most_members:
			sidecar.parts += message.members
		sidecar.next_part += 1
		if sidecar.next_part == message.parts:
			sidecar.seq, sidecar.patience = message.seq, 0
			members, sidecar.parts = sidecar.parts, []
			self._tell(self.members.replace(sender, members))

	def _take_changes(self, sender: str, message: MembershipChanges) -> None:
		sidecar = self.sidecars.get(sender)
		# When it is not the next one, everything is asked for at the next sign of life.
		if sidecar is not None and sidecar.seq is not None and message.seq == sidecar.seq + 1:
			sidecar.seq = message.seq
			self._tell(self.members.apply(sender, message.changes))

	def _emit(self, sender: str, message: Emit) -> None:
		self._fanout.send_local(message.namespace, message.rooms, message.encoded, message.excluded)

	def _has_returned(self, sender: str, message: SocketMoved) -> None:
		self._sockets.supersede(message.namespace, message.id)

	def _tell(self, changed: Changed) -> None:
		for (name, room), users in changed.items():
			namespace = self._sockets.namespaces.get(name)
			if namespace is not None:
				self.changed(namespace, room, users)


def _without(adapter: ClusterAdapter, observers: tuple[Any, ...]) -> tuple[Any, ...]:
	return tuple(observer for observer in observers if observer is not adapter)
