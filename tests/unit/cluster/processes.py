"""Sidecars without client connections, on a channel that may lose messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime.bus.store import StoreUnavailable
from realtime.cluster.adapter import ClusterAdapter
from realtime.cluster.members import RemoteMembers
from realtime.cluster.publisher import ClusterPublisher
from realtime.cluster.sockets import SocketTable
from realtime.config import Config
from realtime.presence.members import LOCAL, Member, Place, PresenceTable
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Admission, Namespaces, ServerSocket
from realtime.socketio.server import SocketIOServer
from realtime.usage import Usage

SITE = "/site.test"


class Session:
	def __init__(self, user: str) -> None:
		self.user = user
		self.user_type = "System User"
		self.full_name = user.title()


class Connection:
	writable_transport = None

	def send(self, encoded: Any) -> None: ...


class Channel:
	"""The channel of all sidecars; Redis is unavailable if `away`, and a message for which `loses` is true is not received."""

	endpoint = "Redis"

	def __init__(self) -> None:
		self.away = False
		self.loses: Callable[[], bool] = lambda: False
		self.adapters: list[ClusterAdapter] = []
		self.published: list[bytes] = []

	async def publish_all(self, channel: str, payloads: list[bytes]) -> list[int]:
		if self.away:
			raise StoreUnavailable
		self.published += payloads
		for payload in payloads:
			if not self.loses():
				for adapter in list(self.adapters):
					adapter.take(payload)
		return [len(self.adapters)] * len(payloads)


class Process:
	"""A sidecar without client connections."""

	def __init__(self, channel: Channel, **keys: Any) -> None:
		config = Config(bench=Path(), **keys)
		self.limits: list[str] = []
		self.changes: list[tuple[str, str, set[str]]] = []
		store: Any = channel
		application: Any = None
		self.namespaces = Namespaces()
		self.usage = Usage(config.realtime_sidecar_counts)
		self.presence = PresenceTable(1000)
		self.sockets = SocketTable(self.namespaces, 1000)
		self.publisher = ClusterPublisher(
			config, self.namespaces, store, self.presence, self.sockets, self.limits.append, self.usage
		)
		self.members = RemoteMembers(
			config.realtime_sidecar_members, lambda: self.limits.append("realtime_sidecar_members")
		)
		self.fanout = Fanout(self.namespaces, self.publisher)
		self.server = SocketIOServer(application, self.namespaces)
		self.adapter = ClusterAdapter(
			config,
			self.server,
			self.fanout,
			self.publisher,
			self.members,
			self.usage,
			self.presence,
			self.sockets,
			lambda namespace, room, users: self.changes.append((namespace.name, room, users)),
			self.limits.append,
		)
		channel.adapters.append(self.adapter)
		self.sockets.announce(self.namespaces.open(SITE))

	def socket(self, user: str, id: str | None = None) -> ServerSocket:
		namespace = self.namespaces[SITE]
		connection: Any = Connection()
		session: Any = Session(user)
		socket = ServerSocket(namespace, connection, Admission(session, "pid", id))
		namespace.sockets[socket.id] = socket
		return socket

	def come(self, user: str, id: str | None = None) -> ServerSocket:
		"""Let a socket connect that handlers may list; with `id` one that recovers its session."""
		socket = self.socket(user, id)
		self.sockets.put(socket)
		return socket

	def go(self, socket: ServerSocket) -> None:
		"""Let a socket leave its namespace."""
		for room in list(socket.rooms):
			socket.leave(room)
		del socket.namespace.sockets[socket.id]
		self.sockets.remove(socket)

	def listed(self) -> dict[str, str]:
		"""Return the users of the sockets of this process by id."""
		return {id: socket.session.user for id, socket in self.namespaces[SITE].sockets.items()}

	def listed_elsewhere(self) -> dict[str, str]:
		"""Return the users of the sockets of the other processes by id, as replicated to this one."""
		found = {id: self.sockets.get(SITE, id) for id in self.sockets.ids(SITE)}
		return {id: socket.identity.user for id, socket in found.items() if socket}

	def say(self, id: str, state: str) -> None:
		"""Let a member change its state in a place, or leave if it has this state already."""
		place = Place(SITE, "site")
		before = self.presence.of(LOCAL, place, id)
		if before is not None and before.state == {"say": state}:
			self.presence.remove(place, id)
		else:
			version = 1 if before is None else before.version + 1
			self.presence.put(place, Member(id, id, "", 1, version, {"say": state}, {"say": 5}))
		self.presence.publish.send()

	def said(self) -> dict[tuple[str, str, str], Member]:
		"""Return all members of places that this process knows."""
		place = Place(SITE, "site")
		return {(*place, member.id): member for member in self.presence.members(place)}

	def rooms(self) -> dict[str, list[str]]:
		"""Return the members of rooms in this process."""
		namespace = self.namespaces[SITE]
		return {
			room: sorted(socket.session.user for socket in members)
			for room, members in namespace.rooms.items()
		}

	def rooms_elsewhere(self) -> dict[str, list[str]]:
		"""Return the members of rooms in other processes, as replicated to this one."""
		members = self.members
		return {room: sorted(members.users(name, room)) for name, room in members._rooms if name == SITE}


async def settle() -> None:
	"""Wait until every message has been published and received."""

	def publishing() -> list[asyncio.Task[Any]]:
		return [task for task in asyncio.all_tasks() if "PublishQueue._write" in repr(task.get_coro())]

	# A task may start others in its first turn.
	await asyncio.sleep(0)
	while tasks := publishing():
		await asyncio.wait(tasks)
		await asyncio.sleep(0)


async def beat(*processes: Process, times: int = 1) -> None:
	"""Let this number of heartbeats pass in all processes."""
	for _ in range(times):
		for process in processes:
			process.adapter._own_heartbeat_seen = False
			for peer in process.adapter.peers.values():
				peer.sync_retry -= 1
			process.publisher.heartbeat()
		await settle()
