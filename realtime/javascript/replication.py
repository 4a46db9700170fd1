"""Replicates sockets and their rooms to the Node process, so that handlers read them without waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from ..access.authentication import Session, cookie
from ..handlers.reply import reply_of
from ..socketio.namespace import ServerSocket
from ..socketio.server import Ack
from .app_loader import AppLoader
from .channel import Channel
from .remote_replication import RemoteReplicator

MAX_PENDING_ACKS = 1000
"""Most acknowledgements that handlers owe to one socket; beyond, the oldest is discarded."""

ANY_APP = "(JavaScript)"
"""Stands for the app of an event that did not reach its listeners, or whose listeners have not ended."""


class SocketReplica:
	"""A replicated socket, with the state that the next Node process needs.

	Args:
		socket: The socket.
		apps: The apps with handlers in JavaScript on its site, in the order of installation.
		auth: The `auth` object of the client's CONNECT packet.
		connected_at: When the socket connected, in milliseconds since 1970.
		tokens: Yields the tokens of acknowledgements. A client that recovers its session has a new replica with the same id,
			so that they must differ from those of other replicas.
	"""

	__slots__ = ("_pending_acks", "_tokens", "apps", "auth", "connected_at", "socket")

	def __init__(
		self,
		socket: ServerSocket,
		apps: list[str],
		auth: dict[str, Any],
		connected_at: float,
		tokens: Iterator[int],
	) -> None:
		self.socket = socket
		self.apps = apps
		self.auth = auth
		self.connected_at = connected_at
		self._tokens = tokens
		self._pending_acks: dict[int, Ack] = {}

	def add_ack(self, ack: Ack) -> int:
		"""Keep the acknowledgement of an event; return the token by which a handler sends it."""
		token = next(self._tokens)
		self._pending_acks[token] = ack
		if len(self._pending_acks) > MAX_PENDING_ACKS:
			self.drop_ack(next(iter(self._pending_acks)), f"{MAX_PENDING_ACKS} of them are not answered")
		return token

	def pop_ack(self, token: int) -> Ack | None:
		"""Return the acknowledgement of a token, once."""
		return self._pending_acks.pop(token, None)

	def drop_ack(self, token: int, reason: str) -> None:
		"""Forget the acknowledgement of a token; the client of a call gets the code `dropped`."""
		reply = reply_of(self.pop_ack(token))
		if reply is not None:
			reply.dropped(ANY_APP, reason)
			reply.end()

	def fail_calls(self) -> None:
		"""Forget all acknowledgements, since the process has ended; the clients of calls get the code `failed`."""
		acks, self._pending_acks = self._pending_acks, {}
		for ack in acks.values():
			reply = reply_of(ack)
			if reply is not None:
				reply.failed(ANY_APP, "the Node process has ended", "")
				reply.end()

	def description(self) -> dict[str, Any]:
		"""Return what handlers can read of the socket besides its rooms; the argument of `Socket` in node/socket.js."""
		socket = self.socket
		session: Session = socket.session
		request = socket.connection.request
		headers = dict(request.headers)
		secure = headers.get("x-forwarded-proto", "http") == "https"
		# Some proxies remove the Origin header, which Frappe's get_url (realtime/utils.js) reads.
		headers.setdefault("origin", f"{'https' if secure else 'http'}://{headers.get('host', session.site)}")
		credential = session.credential
		return {
			"site": session.site,
			"user": session.user,
			"user_type": session.user_type,
			"installed_apps": session.installed_apps,
			"sid": cookie(headers.get("cookie", ""), "sid") or None,
			"authorization": credential.authorization or None,
			"credential": credential.headers,
			"headers": headers,
			"query": request.query,
			"url": request.target.decode("latin-1"),
			"address": request.remote,
			"secure": secure,
			"auth": self.auth,
			"connected_at": self.connected_at,
		}


class SocketReplicator:
	"""Replicates all sockets of each namespace in which one has an app with handlers in JavaScript.

	Observes the rooms of these namespaces (`RoomObserver`).

	Args:
		channel: The channel to the process.
		apps: The apps with handlers in JavaScript.
		remote: Replicates the sockets of other sidecars.
	"""

	def __init__(self, channel: Channel, apps: AppLoader, remote: RemoteReplicator) -> None:
		self._channel = channel
		self._apps = apps
		self._remote = remote
		self._replicas: dict[str, SocketReplica] = {}
		self._tokens = count(1)
		self._requested_move: tuple[ServerSocket, str] | None = None
		"""The socket and the room of the handler's `join` or `leave` that is being executed."""

	def __len__(self) -> int:
		return len(self._replicas)

	def __iter__(self) -> Iterator[SocketReplica]:
		return iter(self._replicas.values())

	def get(self, id: str) -> SocketReplica | None:
		"""Return the replica of a socket, if it is replicated."""
		return self._replicas.get(id)

	def add(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		"""Replicate a socket, and the others of its namespace if it is the first one with an app."""
		namespace = socket.namespace
		if self in namespace.observers:
			# Again, if its client has recovered before the end of the only socket here was noticed: that has ended it.
			self._remote.begin(namespace.name)
		elif self._apps.apps_of(socket.session):
			namespace.observe(self)
			self._remote.begin(namespace.name)
			for other in namespace.sockets.values():
				if other is not socket:
					self._add(other, {})
		else:
			return
		self._add(socket, auth)

	def _add(self, socket: ServerSocket, auth: dict[str, Any]) -> None:
		apps = self._apps.apps_of(socket.session)
		replica = SocketReplica(socket, apps, auth, time.time() * 1000, self._tokens)
		self._replicas[socket.id] = replica
		if self._channel.connected:
			self._send_socket(replica)
			self._call_handlers(replica)

	def update_apps(self, socket: ServerSocket) -> None:
		"""Replicate a socket after the handlers files have changed; the process is restarted afterwards."""
		replica = self._replicas.get(socket.id)
		if replica is None:
			self.add(socket, {})
		else:
			replica.apps = self._apps.apps_of(socket.session)

	def remove(self, socket: ServerSocket, reason: str) -> None:
		"""Remove a socket that has left its namespace."""
		if self._replicas.pop(socket.id, None) is not None:
			self._channel.send("remove_socket", socket.id, reason)
			namespace = socket.namespace
			if namespace.sockets:
				self._remote.restore(namespace.name, socket.id)
			else:
				self._remote.end(namespace.name)

	def on_process_started(self) -> None:
		"""Replicate all sockets to a new process, and only then call handlers, which may look for other sockets."""
		self._remote.on_process_started()
		for replica in self:
			self._send_socket(replica)
		for replica in self:
			self._call_handlers(replica)

	def _send_socket(self, replica: SocketReplica) -> None:
		socket = replica.socket
		self._channel.send(
			"add_socket", socket.namespace.name, socket.id, replica.description(), list(socket.rooms)
		)

	def _call_handlers(self, replica: SocketReplica) -> None:
		apps = [app for app in replica.apps if self._apps.load(app)]
		if apps:
			self._channel.send("call_handlers", replica.socket.id, apps)

	# -- rooms

	def joined(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket is in `room` now (`RoomObserver`)."""
		self._on_move("join", socket, room)

	def left(self, socket: ServerSocket, room: str) -> None:
		"""Handle that a socket is no longer in `room` (`RoomObserver`)."""
		self._on_move("leave", socket, room)

	def _on_move(self, operation: str, socket: ServerSocket, room: str) -> None:
		# The handler that requested a move has made it in the process already, and gets `move_done`.
		if socket.id in self._replicas and self._requested_move != (socket, room):
			self._channel.send(operation, socket.id, room)

	def move(self, id: str, room: str, inside: bool) -> None:
		"""Execute a handler's `join` (`inside`) or `leave`, and report where the socket is then."""
		replica = self._replicas.get(id)
		if replica is None:
			return
		socket = replica.socket
		self._requested_move = (socket, room)
		try:
			if inside:
				socket.join(room)
			else:
				socket.leave(room)
		finally:
			self._requested_move = None
		self._channel.send("move_done", id, room, room in socket.rooms)
