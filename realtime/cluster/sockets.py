"""The sockets that handlers list as `nsp.sockets`: those of this process are announced, those of the other sidecars are kept.

Only namespaces in which handlers run are announced, and only while there is another sidecar. The rooms of these sockets are in
`RemoteMembers`. What handlers keep on a socket is announced with it, as far as JSON can hold it, for each language of its own: a handler
in one language does not see what those in the other one keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..json_codec import dumps, is_deeper, loads
from ..signals import Signal
from ..socketio.namespace import Namespace, Namespaces, ServerSocket

MAX_STATE = 2000
"""Characters of JSON that handlers in one language may keep on a socket for the other sidecars; what exceeds it is not announced."""

Language = Literal["python", "javascript"]

State = Mapping[Language, Mapping[str, Any]]
"""What handlers keep on a socket, by their language."""

NO_STATE: State = {}


class Identity(NamedTuple):
	"""What the other sidecars know of a socket besides its id and its rooms."""

	user: str
	user_type: str
	full_name: str
	state: State = NO_STATE


SocketChange = tuple[str, str, Identity | None]
"""A namespace and the id of a socket in it, and its identity; None if the socket has left."""

Action = Literal["join", "leave", "disconnect", "close"]
"""What a handler does to a socket of another sidecar; `close` also closes the connection."""


@dataclass(slots=True, eq=False)
class RemoteSocket:
	"""A socket of another sidecar.

	Args:
		id: Its id.
		identity: What is known of it.
		sidecars: The sidecars that have announced it: two for a moment, when its client reconnects to another one.
		view: The object that Python handlers are given for it; created when the first handler needs it.
	"""

	id: str
	identity: Identity
	sidecars: tuple[str, ...]
	view: Any = None


class SocketTable:
	"""The announced sockets of all sidecars.

	Args:
		namespaces: The sockets of this process.
		max_remote: Sockets of other sidecars that are kept (`realtime_sidecar_members`); further ones are ignored.
		on_full: Called for each socket that is ignored.
	"""

	def __init__(
		self, namespaces: Namespaces, max_remote: int = 0, on_full: Callable[[], None] = lambda: None
	) -> None:
		self.changed: Signal[[str, str]] = Signal()
		"""Sent with the namespace and the id of a socket of another sidecar that has come, changed or gone."""
		self.replication_changed: Signal[[]] = Signal()
		"""Sent when `replicating` has changed."""
		self.publish: Signal[[]] = Signal()
		"""Sent when the changes of this process are to be published to the other sidecars."""
		self.commanded: Signal[[str, str, Action, str]] = Signal()
		"""Sent with the arguments of a `command` that other sidecars are to execute."""
		self.leaving: Signal[[ServerSocket, str]] = Signal()
		"""Sent with a socket of this process and a room before a command lets it leave, also if it is only about to join."""
		self.replicating = False
		"""True while there is another sidecar: only then are changes of this process kept until they are published."""
		self.count = 0
		"""The number of sockets of other sidecars."""
		self._namespaces = namespaces
		self._max_remote = max_remote
		self._on_full = on_full
		self._announced: set[str] = set()
		"""The names of the namespaces in which handlers have run."""
		self._unpublished: dict[tuple[str, str], ServerSocket | None] = {}
		self._states: dict[ServerSocket, dict[Language, Mapping[str, Any]]] = {}
		self._remote: dict[str, dict[str, RemoteSocket]] = {}

	# -- sockets of this process

	def is_announced(self, namespace: str) -> bool:
		"""Return True if the sockets of a namespace are announced."""
		return namespace in self._announced

	def announce(self, namespace: Namespace) -> None:
		"""Announce all sockets of a namespace, now and from now on."""
		self._announced.add(namespace.name)
		for socket in namespace.sockets.values():
			self.put(socket)

	def set_replicating(self, replicating: bool) -> None:
		"""Keep changes from now on, or no more."""
		self.replicating = replicating
		self._unpublished.clear()
		self.replication_changed.send()

	def put(self, socket: ServerSocket) -> None:
		"""Publish that a socket has connected, or that its state has changed, if its namespace is announced."""
		if socket.session is not None:
			self._add_change(socket, socket)

	def remove(self, socket: ServerSocket) -> None:
		"""Publish that a socket has left its namespace, if that is announced."""
		self._states.pop(socket, None)
		self._add_change(socket, None)

	def _add_change(self, socket: ServerSocket, present: ServerSocket | None) -> None:
		if self.replicating and socket.namespace.name in self._announced:
			self._unpublished[socket.namespace.name, socket.id] = present
			self.publish.send()

	def set_state(self, socket: ServerSocket, language: Language, state: Mapping[str, Any]) -> None:
		"""Publish what handlers keep on a socket; must be called again after each change of `state`."""
		if socket.connected:
			self._states.setdefault(socket, {})[language] = state
			self.put(socket)

	def clear_states(self, language: Language) -> None:
		"""Forget what handlers in one language keep on the sockets of this process."""
		for socket, states in self._states.items():
			if states.pop(language, None) is not None:
				self.put(socket)

	def take_unpublished(self) -> tuple[list[SocketChange], list[SocketChange]]:
		"""Return the sockets that have come and those that have gone since the last call."""
		come: list[SocketChange] = []
		gone: list[SocketChange] = []
		for (namespace, id), socket in self._unpublished.items():
			if socket is None:
				gone.append((namespace, id, None))
			else:
				come.append((namespace, id, self._identity(socket)))
		self._unpublished.clear()
		return come, gone

	def local_sockets(self) -> Iterator[SocketChange]:
		"""Return all announced sockets of this process."""
		for name in self._announced:
			namespace = self._namespaces.get(name)
			for socket in () if namespace is None else namespace.sockets.values():
				if socket.session is not None:
					yield (name, socket.id, self._identity(socket))

	def _identity(self, socket: ServerSocket) -> Identity:
		session = socket.session
		states = self._states.get(socket, {})
		state: State = {language: kept for language, all in states.items() if (kept := _held_by_json(all))}
		return Identity(session.user, session.user_type, session.full_name, state)

	# -- sockets of other sidecars

	def get(self, namespace: str, id: str) -> RemoteSocket | None:
		"""Return a socket of another sidecar; None if there is none, or if the client is connected to this process again."""
		return None if self._local(namespace, id) else self._remote.get(namespace, {}).get(id)

	def ids(self, namespace: str) -> list[str]:
		"""Return the ids of the sockets of other sidecars in a namespace."""
		here = self._namespaces.get(namespace)
		local = {} if here is None else here.sockets
		return [id for id in self._remote.get(namespace, ()) if id not in local]

	def apply(self, sidecar: str, changes: Iterable[SocketChange]) -> None:
		"""Apply changes that `sidecar` has published."""
		for namespace, id, identity in changes:
			if identity is None:
				self._remove(sidecar, namespace, id)
			else:
				self._put(sidecar, namespace, id, identity)

	def replace(self, sidecar: str, changes: Iterable[SocketChange]) -> None:
		"""Replace all sockets of `sidecar`."""
		changes = list(changes)
		stay = {(namespace, id) for namespace, id, _ in changes}
		gone = [
			(namespace, id)
			for namespace, sockets in self._remote.items()
			for id, socket in sockets.items()
			if sidecar in socket.sidecars and (namespace, id) not in stay
		]
		for namespace, id in gone:
			self._remove(sidecar, namespace, id)
		self.apply(sidecar, changes)

	def socket_moved(self, sidecar: str, namespace: str, id: str) -> None:
		"""Remove a socket from other sidecars than `sidecar`, at which its client has recovered."""
		socket = self._remote.get(namespace, {}).get(id)
		for other in () if socket is None else socket.sidecars:
			if other != sidecar:
				self._remove(other, namespace, id)

	def forget(self, sidecar: str) -> None:
		"""Remove all sockets of `sidecar`."""
		self.replace(sidecar, ())

	def _put(self, sidecar: str, namespace: str, id: str, identity: Identity) -> None:
		socket = self._remote.get(namespace, {}).get(id)
		if socket is not None:
			socket.identity = identity
			if sidecar not in socket.sidecars:
				socket.sidecars += (sidecar,)
		elif self.count >= self._max_remote:
			self._on_full()
			return
		else:
			self._remote.setdefault(namespace, {})[id] = RemoteSocket(id, identity, (sidecar,))
			self.count += 1
		self.changed.send(namespace, id)

	def _remove(self, sidecar: str, namespace: str, id: str) -> None:
		sockets = self._remote.get(namespace, {})
		socket = sockets.get(id)
		if socket is None or sidecar not in socket.sidecars:
			return
		socket.sidecars = tuple(one for one in socket.sidecars if one != sidecar)
		if socket.sidecars:
			return
		del sockets[id]
		if not sockets:
			del self._remote[namespace]
		self.count -= 1
		self.changed.send(namespace, id)

	# -- commands

	def command(self, namespace: str, id: str, action: Action, room: str = "") -> None:
		"""Do something to a socket, wherever it is.

		Args:
			namespace: Its namespace.
			id: Its id.
			action: What is done.
			room: The room that it joins or leaves.
		"""
		if not self.execute(namespace, id, action, room):
			self.commanded.send(namespace, id, action, room)

	def execute(self, namespace: str, id: str, action: Action, room: str) -> bool:
		"""Do what `command` says if this process has the socket; return False if it has not."""
		socket = self._local(namespace, id)
		if socket is None:
			return False
		if action == "join":
			socket.join(room)
		elif action == "leave":
			self.leaving.send(socket, room)
			socket.leave(room)
		else:
			socket.disconnect(action == "close")
		return True

	def _local(self, namespace: str, id: str) -> ServerSocket | None:
		here = self._namespaces.get(namespace)
		return None if here is None else here.sockets.get(id)


def _held_by_json(state: Mapping[str, Any]) -> dict[str, Any]:
	"""Return the values that JSON can hold without a change, as many as `MAX_STATE` allows."""
	kept: dict[str, Any] = {}
	left = MAX_STATE
	for key, value in state.items():
		try:
			text = dumps({key: value})
			copy = loads(text)
		except (TypeError, ValueError):
			continue
		# It becomes a part of a larger message, which could not be written with the deepest value that can be written alone.
		if not is_deeper(copy) and copy == {key: value} and len(text) <= left:
			kept |= copy
			left -= len(text)
	return kept
