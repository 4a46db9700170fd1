"""Replicates the sockets of other sidecars, and their rooms, to the Node process."""

from __future__ import annotations

from typing import Any

from ..cluster.members import RemoteMembers
from ..cluster.sockets import SocketTable
from .channel import Channel


class RemoteReplicator:
	"""Replicates the sockets of other sidecars in each namespace of which the process has a socket of this sidecar.

	Args:
		channel: The channel to the process.
		sockets: The sockets of other sidecars.
		members: Their rooms.
	"""

	def __init__(self, channel: Channel, sockets: SocketTable, members: RemoteMembers) -> None:
		self._channel = channel
		self._sockets = sockets
		self._members = members
		self._namespaces: set[str] = set()
		sockets.changed.connect(self.update)
		sockets.replication_changed.connect(self._send_replicating)
		members.moved.connect(self._on_move)

	def begin(self, namespace: str) -> None:
		"""Replicate a namespace from now on, unless it is already: a socket in it is about to be replicated."""
		if namespace not in self._namespaces:
			self._namespaces.add(namespace)
			self._send_all(namespace)

	def end(self, namespace: str) -> None:
		"""Let the process forget a namespace that has no socket of this sidecar any more."""
		self._namespaces.discard(namespace)
		self._channel.send("remove_namespace", namespace)

	def on_process_started(self) -> None:
		"""Replicate all of these namespaces to a new process, and let it report what handlers keep on sockets if it is needed."""
		# The handlers have lost what they had kept in the process before.
		self._sockets.clear_states("javascript")
		if self._sockets.replicating:
			self._send_replicating()
		for namespace in self._namespaces:
			self._send_all(namespace)

	def restore(self, namespace: str, id: str) -> None:
		"""Replicate a socket that has left this sidecar, if its client is connected to another one already."""
		if self._sockets.get(namespace, id) is not None:
			self.update(namespace, id)

	def update(self, namespace: str, id: str) -> None:
		"""Replicate whether there is a socket of this id on another sidecar."""
		if namespace not in self._namespaces:
			return
		description = self._describe(namespace, id)
		if description is None:
			self._channel.send("remove_remote", namespace, id)
		else:
			self._channel.send("add_remotes", namespace, [description])

	def _send_replicating(self) -> None:
		self._channel.send("replicating", self._sockets.replicating)

	def _on_move(self, namespace: str, id: str, room: str, inside: bool) -> None:
		if namespace in self._namespaces and self._sockets.get(namespace, id) is not None:
			self._channel.send("move_remote", namespace, id, room, inside)

	def _send_all(self, namespace: str) -> None:
		described = [self._describe(namespace, id) for id in self._sockets.ids(namespace)]
		if described:
			self._channel.send("add_remotes", namespace, described)

	def _describe(self, namespace: str, id: str) -> list[Any] | None:
		"""Return what handlers can read of a socket: the last arguments of `RemoteSocket` in node/remote_socket.js."""
		socket = self._sockets.get(namespace, id)
		if socket is None:
			return None
		user, user_type, _, state = socket.identity
		return [id, user, user_type, self._members.rooms_of(namespace, id), state.get("javascript", {})]
