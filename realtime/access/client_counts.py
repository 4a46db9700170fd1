"""How many sockets and connections a user or an address has, here and on the other sidecars."""

from __future__ import annotations

from collections import Counter

from frappe_realtime.contract.rooms import USER_ROOM, user_room
from frappe_realtime.contract.users import GUEST

from ..config import Config
from ..socketio.namespace import Namespace, Namespaces
from ..usage import Usage, connections_key, guests_key, user_key


class ClientCounts:
	"""Counts connections and sockets of Guests by address, and publishes the counts that are near a limit (`Usage`).

	The sockets of a user are the members of its room, and are not counted again.

	Args:
		config: The limits; a count near its limit is published.
		namespaces: The sockets of this process.
		usage: The counts of the other sidecars.
	"""

	def __init__(self, config: Config, namespaces: Namespaces, usage: Usage) -> None:
		self.addresses: Counter[str] = Counter()
		"""Connections to this process by the client's address, where it is known."""
		self.guests: Counter[str] = Counter()
		"""Sockets of Guests in this process by the client's address, where it is known."""
		self._config = config
		self._namespaces = namespaces
		self._usage = usage
		usage.recount.connect(self._recount)

	def connections_of(self, address: str) -> int:
		"""Return the number of connections from an address to all sidecars."""
		return self.addresses[address] + self._usage.of_others(connections_key(address))

	def guests_at(self, address: str) -> int:
		"""Return the number of sockets of Guests from an address on all sidecars."""
		return self.guests[address] + self._usage.of_others(guests_key(address))

	def sockets_of(self, site: str, user: str) -> int:
		"""Return the number of sockets of a user of a site on all sidecars."""
		namespace = self._namespaces.get(f"/{site}")
		own = 0 if namespace is None else len(namespace.rooms.members(user_room(user)))
		return own + self._usage.of_others(user_key(site, user))

	def count_connection(self, address: str, change: int) -> None:
		"""Count that a connection from `address` has begun (`change` is 1) or ended (-1); nothing for an empty address."""
		if address:
			_add(self.addresses, address, change)
			self._publish_connections(address)

	def count_guest(self, address: str, change: int) -> None:
		"""Count that a socket of a Guest has joined or left, as `count_connection` does."""
		if address:
			_add(self.guests, address, change)
			self._publish_guests(address)

	def count_user(self, namespace: Namespace, user: str) -> None:
		"""Publish how many sockets `user` has: one has joined or left the room of the user."""
		count = len(namespace.rooms.members(user_room(user)))
		most = self._config.realtime_sockets_per_user
		self._usage.set(user_key(namespace.name.removeprefix("/"), user), count, most)

	def _publish_connections(self, address: str) -> None:
		most = self._config.realtime_connections_per_address
		self._usage.set(connections_key(address), self.addresses[address], most)

	def _publish_guests(self, address: str) -> None:
		most = self._config.realtime_guests_per_address
		self._usage.set(guests_key(address), self.guests[address], most)

	def _recount(self) -> None:
		for address in self.addresses:
			self._publish_connections(address)
		for address in self.guests:
			self._publish_guests(address)
		for namespace in self._namespaces.values():
			for room in namespace.rooms:
				if room.startswith(USER_ROOM) and room != user_room(GUEST):
					self.count_user(namespace, room.removeprefix(USER_ROOM))


def _add(counter: Counter[str], key: str, change: int) -> None:
	counter[key] += change
	if counter[key] <= 0:
		del counter[key]
