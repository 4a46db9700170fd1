"""Limits with names: how much one client, user or address may take. Each is a key of the configuration.

Who meets one is told which: an event `limit_reached` on a socket, a CONNECT_ERROR for a socket that is not let in, an
HTTP status for a connection that is not. `reached` counts how often each was met, for `/metrics`.
"""

from __future__ import annotations

import logging
from collections import Counter
from time import monotonic
from typing import Any

from frappe_realtime.contract import GUEST, LIMIT_REACHED, user_room

from ..config import Config
from ..engine import Connection, Request, RequestRefused
from ..socketio.client import Client, Limiter
from ..socketio.errors import ConnectRefused
from ..socketio.namespace import Namespace, ServerSocket
from .authentication import Session
from .proxies import TrustedProxies, network_of

logger = logging.getLogger("realtime.limits")

BURST = 10
"""Seconds of the permitted events that may come at once: a page subscribes to everything when it comes back."""

WARN_EVERY = 60.0
"""Seconds between two warnings about one limit."""


class ClientLimits(Limiter):
	"""Counts what there is, and says when it is enough."""

	def __init__(self, config: Config, proxies: TrustedProxies) -> None:
		self.reached: Counter[str] = Counter()
		"""How often each limit was met, by its key."""
		self.connections = 0
		self.sockets = 0
		"""Sockets of sites; a connection has one of them, or none yet."""
		self.addresses: Counter[str] = Counter()
		"""Connections by the client's address, where it is known."""
		self.guests: Counter[str] = Counter()
		"""Sockets of Guests by the client's address."""
		self._config = config
		self.proxies = proxies
		self._rate: float = config.realtime_events_per_second
		self._guest_rate: float = config.realtime_guest_events_per_second
		self._warned: dict[str, float] = {}

	# -- connections

	def check_handshake(self, request: Request) -> None:
		"""Let a new connection in, and note its client's address; raises the engine's `RequestRefused`."""
		request.proxied = self.proxies.trusts(request.remote)
		request.remote = self.proxies.client(request.remote, request.headers)
		if self.connections - self.sockets >= self._config.realtime_unknown_connections:
			raise self._refused("realtime_unknown_connections", 503)
		address = network_of(request.remote)
		if address and self.addresses[address] >= self._config.realtime_connections_per_address:
			raise self._refused("realtime_connections_per_address", 429, f" from {address}")

	def _refused(self, key: str, status: int, whose: str = "") -> RequestRefused:
		self.meet(key, whose)
		return RequestRefused(3, f"Too many connections ({key})", status)

	def on_open(self, client: Client) -> None:
		client.rate = self._guest_rate
		client.credit = self._guest_rate * BURST
		client.seen = monotonic()
		self.connections += 1
		if address := network_of(client.connection.request.remote):
			self.addresses[address] += 1

	def on_close(self, client: Client) -> None:
		self.connections -= 1
		_less(self.addresses, network_of(client.connection.request.remote))

	def too_long_without_namespace(self, client: Client) -> None:
		self.meet("realtime_connect_timeout")

	def too_many_namespaces(self, most: int) -> ConnectRefused:
		self.meet("realtime_namespaces_per_connection")
		return ConnectRefused(
			"Too many namespaces", {"limit": "realtime_namespaces_per_connection", "most": most}
		)

	# -- packets

	def allows(self, client: Client) -> bool:
		# One that goes on regardless is closed, after as many events again.
		now = monotonic()
		rate = client.rate
		before = client.credit + (now - client.seen) * rate
		if before > rate * BURST:
			before = rate * BURST
		client.seen = now
		client.credit = before - 1
		if before >= 1:
			return True
		self._too_fast(client, told=before <= 0)
		return False

	def _too_fast(self, client: Client, told: bool) -> None:
		key = self._rate_key(client)
		self.meet(key, f" by {client.connection.request.remote or 'a client'}")
		if client.credit < -client.rate * BURST:
			client.connection.close("forced close")
		elif not told:
			for socket in list(client.sockets.values()):
				self._tell(socket, key, "further events are ignored for a while")

	def _rate_key(self, client: Client) -> str:
		guest = client.rate == self._guest_rate
		return "realtime_guest_events_per_second" if guest else "realtime_events_per_second"

	# -- sockets

	def check_socket(self, session: Session, namespace: Namespace | None, connection: Connection) -> None:
		"""Let `session` have one more socket; raises `ConnectRefused`."""
		if session.user == GUEST:
			address = network_of(connection.request.remote)
			key = "realtime_guests_per_address"
			if address and self.guests[address] >= getattr(self._config, key):
				raise self.refusal(key, f" from {address}")
		elif namespace is not None:
			key = "realtime_sockets_per_user"
			sockets = namespace.rooms.get(user_room(session.user), ())
			if len(sockets) >= getattr(self._config, key):
				raise self.refusal(key, f" of {session.user}")

	def refusal(self, key: str, whose: str = "") -> ConnectRefused:
		"""What a client is answered that asks for one socket too many."""
		self.meet(key, whose)
		return ConnectRefused(
			f"Too many connections{whose}",
			{"limit": key, "most": getattr(self._config, key), "reason": key},
			counted_as=f"Too many connections ({key})",
		)

	def on_connect(self, socket: ServerSocket) -> None:
		client: Client = socket.connection.data
		self.sockets += 1
		if socket.session.user == GUEST:
			if address := network_of(socket.connection.request.remote):
				self.guests[address] += 1
		elif client.rate != self._rate:
			client.rate = self._rate
			client.credit = self._rate * BURST

	def on_disconnect(self, socket: ServerSocket) -> None:
		self.sockets -= 1
		if socket.session.user == GUEST:
			_less(self.guests, network_of(socket.connection.request.remote))

	def may_enter(self, socket: ServerSocket, room: str) -> bool:
		"""Whether a client may ask for one more room; it is told when not."""
		guest = socket.session.user == GUEST
		kind = room.partition(":")[0]
		# Whose a task is, tasks.py says.
		if guest and kind not in ("task_progress", *self._config.realtime_guest_rooms):
			self.meet("realtime_guest_rooms")
			return False
		key = "realtime_guest_rooms_per_socket" if guest else "realtime_rooms_per_socket"
		if len(socket.rooms) < getattr(self._config, key):
			return True
		self.meet(key, f" by {socket.session.user}")
		self._tell(socket, key, f"{room} is not entered")
		return False

	# -- what happens

	def meet(self, key: str, whose: str = "") -> None:
		"""Count that a limit was met, and say so in the log now and then."""
		self.reached[key] += 1
		now = monotonic()
		if now - self._warned.get(key, -WARN_EVERY) >= WARN_EVERY:
			self._warned[key] = now
			logger.warning("the limit %s (%s) was reached%s", key, getattr(self._config, key), whose)

	def _tell(self, socket: ServerSocket, key: str, what: str) -> None:
		most: Any = getattr(self._config, key)
		socket.emit(LIMIT_REACHED, {"limit": key, "most": most, "message": f"{key} is {most}: {what}"})


def _less(counter: Counter[str], key: str) -> None:
	if key:
		counter[key] -= 1
		if counter[key] <= 0:
			del counter[key]
