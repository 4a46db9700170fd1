"""Questions about one room or one user of a site, and the end of a user's sockets, in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from frappe_realtime.contract.rooms import user_room

from ..access.proxies import address_for_restriction
from ..access.revalidation import END_REASON
from ..socketio.namespace import Namespaces, ServerSocket

MAX_MEMBERS = 1000
"""Users of a room that are listed."""

MAX_SOCKETS = 100
"""Sockets of a user that are listed."""

MAX_ROOMS = 200
"""Rooms of a socket that are listed."""

MAX_CLIENT = 300
"""Characters of a User-Agent that are shown."""


class Lookups:
	"""Answers for this process.

	Args:
		id: The id of this process in the cluster.
		namespaces: The sockets.
	"""

	def __init__(self, id: str, namespaces: Namespaces) -> None:
		self._id = id
		self._namespaces = namespaces

	def room(self, site: str, room: str) -> list[list[Any]]:
		"""Return the users in a room of `site`, each with the number of sockets; those with the most sockets first."""
		namespace = self._namespaces.get(f"/{site}")
		if namespace is None:
			return []
		users = Counter(socket.session.user for socket in namespace.rooms.members(room))
		return [[user, count] for user, count in users.most_common(MAX_MEMBERS)]

	def user(self, site: str, user: str) -> list[dict[str, Any]]:
		"""Return the sockets of a user of `site`, the newest first, as the query `user` answers them (`MONITOR_QUERY`)."""
		sockets = sorted(self._sockets(site, user), key=lambda socket: -socket.connected_at)
		return [self._describe(socket) for socket in sockets[:MAX_SOCKETS]]

	def disconnect(self, site: str, user: str) -> int:
		"""Close the connections of a user of `site`, and return the number of sockets; the clients may reconnect.

		They are closed in the next turn of the event loop, so that one that has asked for this gets its answer.
		"""
		sockets = self._sockets(site, user)
		for socket in sockets:
			# Below Socket.IO: after a DISCONNECT packet, socket.io-client does not reconnect by itself.
			asyncio.get_running_loop().call_soon(socket.connection.close, END_REASON)
		return len(sockets)

	def _sockets(self, site: str, user: str) -> list[ServerSocket]:
		namespace = self._namespaces.get(f"/{site}")
		return [] if namespace is None else list(namespace.rooms.members(user_room(user)))

	def _describe(self, socket: ServerSocket) -> dict[str, Any]:
		connection = socket.connection
		return {
			"id": socket.id,
			"since": socket.connected_at,
			"address": address_for_restriction(connection.request),
			"transport": connection.transport_name,
			"client": connection.request.headers.get("user-agent", "")[:MAX_CLIENT],
			"rooms": sorted(socket.rooms)[:MAX_ROOMS],
			"unsent": connection.unsent,
			"process": self._id,
		}
