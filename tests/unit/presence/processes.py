"""Processes with sockets of one site, whose presence tables are connected as those of sidecars are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from realtime.access.authentication import Session
from realtime.access.limits import ClientLimits
from realtime.cluster.members import RemoteMembers
from realtime.config import Config
from realtime.presence.events import PresenceEvents
from realtime.presence.feed import PresenceFeed
from realtime.presence.members import LOCAL, PresenceTable
from realtime.presence.online import OnlineUsers
from realtime.presence.presence import Presence
from realtime.presence.sender import ChangeSender
from realtime.presence.viewers import DocumentViewers
from realtime.signals import Signal
from realtime.socketio import packets
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.usage import Usage
from realtime.web.frappe_client import Credential

SITE = "/test.localhost"


class Connection:
	"""Records the events that are sent to a client."""

	writable_transport = None
	data = None

	def __init__(self) -> None:
		self.events: list[list[Any]] = []

	@property
	def request(self) -> Any:
		return self

	remote = ""

	def send(self, encoded: Any) -> None:
		for message in encoded.messages:
			self.events.append(packets.decode(str(message)).data)


class Permissions:
	"""Answers at once, unless the document is in `slow`: then with a future that the test resolves."""

	def __init__(self) -> None:
		self.forbidden: set[tuple[str, str]] = set()
		self.slow: dict[tuple[str, str], asyncio.Future[bool]] = {}

	def is_cached(self, session: Session, doctype: str, name: str, ptype: str = "read") -> bool:
		return True

	def has_permission(self, session: Session, doctype: str, name: str) -> bool | Awaitable[bool]:
		return self.slow.get((doctype, name)) or (doctype, name) not in self.forbidden


class Process:
	"""One sidecar, as far as presence needs it. Must be made in a running event loop."""

	def __init__(self, **keys: Any) -> None:
		config = Config(bench=Path(), **keys)
		loop = asyncio.get_running_loop()
		unused: Any = None
		self.room_withdrawn: Signal[[ServerSocket, str]] = Signal()
		self.permissions = Permissions()
		self.full = 0
		self.namespaces = Namespaces()
		self.table = PresenceTable(keys.get("realtime_sidecar_members", 1000), self._on_full)
		self.sender = ChangeSender(config, self.namespaces, Fanout(self.namespaces))
		self.feed = PresenceFeed(config, self.table, self.sender)
		self.presence = Presence(config, self.table, loop.time)
		self.namespaces.observe(self.presence)
		self.online = OnlineUsers(config, self.table)
		self.namespaces.observe(self.online)
		fakes: Any = self
		self.limits = ClientLimits(config, unused, unused, self.namespaces, Usage(100))
		self.events = PresenceEvents(
			config, self.presence, self.online, self.feed, fakes.permissions, self.limits, fakes
		)
		self.remote = RemoteMembers(1000)
		self.viewers = DocumentViewers(self.namespaces, self.sender, self.remote.users)
		self.peers: list[tuple[str, Process]] = []
		self.moved: list[str] = []
		"""The ids of sockets that have recovered here, until that is published."""
		self.table.publish.connect(self._publish)

	def _on_full(self) -> None:
		self.full += 1

	def _publish(self) -> None:
		changes, moved = self.table.take_unpublished(), self.moved
		self.moved = []
		for name, peer in self.peers:
			peer.table.apply(name, changes)
			for id in moved:
				peer.table.socket_moved(name, SITE, id)
		for id in moved:
			self.table.socket_moved(LOCAL, SITE, id)

	def socket(
		self,
		user: str = "ann@example.com",
		user_type: str = "System User",
		id: str = "",
		pid: str | None = "pid",
	) -> ServerSocket:
		"""Connect a socket; with `id` one that recovers its session."""
		namespace = self.namespaces.open(SITE)
		session = Session(
			SITE[1:], Credential(sid=user), user, user_type, user.partition("@")[0], ("frappe",)
		)
		connection: Any = Connection()
		socket = ServerSocket(namespace, connection, Admission(session, pid, id or None))
		namespace.sockets[socket.id] = socket
		socket.join(f"user:{user}")
		if user_type == "System User":
			socket.join("all")
		return socket

	def recover(self, before: ServerSocket, *rooms: str) -> ServerSocket:
		"""Connect the client of a socket again, which is in `rooms` as before."""
		socket = self.socket(before.session.user, before.session.user_type, before.id)
		for room in rooms:
			socket.join(room)
		self.events.on_connect(socket, {})
		self.moved.append(socket.id)
		self.table.publish.send()
		return socket

	def disconnect(self, socket: ServerSocket, reason: str = "transport close") -> None:
		"""End a socket as the Socket.IO server does."""
		del socket.namespace.sockets[socket.id]
		rooms = set(socket.rooms)
		for room in rooms:
			socket.leave(room)
		self.events.on_disconnect(socket, reason, rooms)

	def send(self, socket: ServerSocket, event: str, *arguments: Any) -> list[Any]:
		"""Handle an event of a client; return the list in which its acknowledgement appears."""
		answers: list[Any] = []
		self.events.on_event(socket, event, list(arguments), answers.append)
		return answers


def connect(*processes: Process) -> None:
	"""Let each process receive what the others publish."""
	for number, one in enumerate(processes):
		one.peers = [(str(number), other) for other in processes if other is not one]


def received(socket: ServerSocket, event: str) -> list[Any]:
	"""Return the messages of one event that a socket was sent, without offsets."""
	connection: Any = socket.connection
	return [data[1] for data in connection.events if data[0] == event]
