"""Limits of what one client, user or address may use. Each is a key of the configuration.

A client that reaches a limit gets its key: by the event `limit_reached` on a socket, by CONNECT_ERROR for a socket
that is refused, by the HTTP status for a connection that is refused. `reached` counts them for `/metrics`.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from time import monotonic
from typing import Any

from frappe_realtime.contract.events import LIMIT_REACHED
from frappe_realtime.contract.refusals import TOO_MANY_CONNECTIONS, TOO_MANY_NAMESPACES
from frappe_realtime.contract.rooms import TASK_ROOM
from frappe_realtime.contract.users import GUEST

from ..config import Config, part_of
from ..engine import Connection, Request, RequestRefused
from ..engine.errors import BAD_REQUEST
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..signals import Signal
from ..socketio.client import Client, Limiter
from ..socketio.errors import ConnectRefused
from ..socketio.namespace import Namespaces, ServerSocket
from ..token_buckets import ReportedBuckets, TokenBuckets
from ..usage import Usage
from .authentication import Session, cookie, header_credential
from .client_counts import ClientCounts
from .failed_logins import KnownCredentials
from .limit_source import UNKNOWN_SOURCE, Source
from .proxies import TrustedProxies, names_address, network_of

logger = logging.getLogger("realtime.limits")

BURST_SECONDS = 10
"""Seconds of the rate that may be used at once: a page that reconnects subscribes to everything together."""

KNOWN_HANDSHAKES = (1.0, 20.0)
"""The rate and the burst of new connections with one valid session while its address has used up
`realtime_handshakes_per_second`: the tabs of a user reconnect although another client at the address keeps connecting."""

WARN_SECONDS = 60.0
"""Seconds between two warnings about one limit."""


class ClientLimits(Limiter):
	"""Counts connections, sockets, rooms and events, and refuses what exceeds a limit.

	Args:
		config: The limits.
		proxies: Tells the client's address from a proxy's.
		known: The credentials that were valid lately.
		namespaces: The sockets of this process.
		usage: What users and addresses use on the other sidecars.
	"""

	def __init__(
		self,
		config: Config,
		proxies: TrustedProxies,
		known: KnownCredentials,
		namespaces: Namespaces,
		usage: Usage,
	) -> None:
		self.reached: Counter[str] = Counter()
		"""How often each limit was reached, by its key."""
		self.counts = ClientCounts(config, namespaces, usage)
		self.without_address = 0
		"""Connections of which neither the peer nor a proxy tells the client's address, so that no limit by address applies."""
		self.limit_reached: Signal[[str, Source]] = Signal()
		"""Sent each time that a limit is reached, with its key."""
		self.refused: Signal[[str, ConnectRefused, Source]] = Signal()
		"""Sent with the namespace and the refusal of each CONNECT packet that is refused."""
		self.proxies = proxies
		self._config = config
		self._rate: float = config.realtime_events_per_second
		self._guest_rate: float = config.realtime_guest_events_per_second
		# Connections without a socket of a site, the oldest first. Not a dict: removing its first key over and over is slow.
		self._unknown: OrderedDict[Client, None] = OrderedDict()
		# A burst of all connections that an address may have: behind a NAT all clients may reconnect at once.
		rate: float = config.realtime_handshakes_per_second
		burst = max(
			part_of(config.realtime_connections_per_address, config.socketio_workers), rate * BURST_SECONDS
		)
		self._handshakes = TokenBuckets(rate, burst, monotonic)
		rate = config.realtime_pages_per_second
		self._pages = TokenBuckets(rate, rate * BURST_SECONDS, monotonic)
		self._known = known
		self._known_handshakes = TokenBuckets(*KNOWN_HANDSHAKES, monotonic)
		self._questions = _buckets(config.realtime_questions_per_second)
		self._guest_questions = _buckets(config.realtime_guest_questions_per_second)
		self._warned: dict[str, float] = {}
		self._log_budget = LogBudget()
		usage.full.connect(lambda: self.record("realtime_sidecar_counts"))

	# -- connections

	def check_handshake(self, request: Request) -> None:
		"""Set the client's address of a new connection and check the limits of connections.

		The bound of connections without a login closes the oldest of them: it must not keep new clients out.

		Raises:
			RequestRefused: There are too many connections, or new connections, from this address.
		"""
		request.proxied = self.proxies.trusts(request.remote)
		request.remote = self.proxies.client_address(request.remote, request.headers)
		address = network_of(request.remote)
		key = "realtime_connections_per_address"
		if address and self.counts.connections_of(address) >= self._config.realtime_connections_per_address:
			self.record(key, f" from {address}", Source(address=request.remote))
			raise RequestRefused(BAD_REQUEST, f"Too many connections ({key})", 429)
		self._check_rate(address, request)
		while len(self._unknown) >= self._config.realtime_unknown_connections:
			oldest = next(iter(self._unknown))
			self.record(
				"realtime_unknown_connections",
				f"; the oldest is closed, from {_source(oldest.connection)}",
				Source.of_connection(oldest.connection),
			)
			oldest.connection.close("forced close")

	def check_page(self, request: Request) -> None:
		"""Count a request for a page of the sidecar, such as `/health`, which costs as much as ten refused connections.

		Raises:
			RequestRefused: There are too many of them from this address.
		"""
		address = network_of(self.proxies.client_address(request.remote, request.headers))
		if address and not self._pages.take(address):
			raise self._rate_refusal("realtime_pages_per_second", "requests", self._pages, address, request)

	def _check_rate(self, address: str, request: Request) -> None:
		if not address or self._handshakes.take(address):
			return
		credential = header_credential(request.headers)
		if credential in self._known and self._known_handshakes.take(credential):
			return
		raise self._rate_refusal(
			"realtime_handshakes_per_second", "connections", self._handshakes, address, request
		)

	def _rate_refusal(
		self, key: str, what: str, buckets: TokenBuckets, address: str, request: Request
	) -> RequestRefused:
		self.record(key, f" from {address}", Source(address=request.remote))
		return RequestRefused(
			BAD_REQUEST, f"Too many {what} ({key})", 429, retry_after=buckets.retry_after(address)
		)

	def on_open(self, client: Client) -> None:
		client.rate = self._guest_rate
		client.credit = self._guest_rate * BURST_SECONDS
		client.seen = monotonic()
		self._unknown[client] = None
		request = client.connection.request
		address = network_of(request.remote)
		self.counts.count_connection(address, 1)
		if not address and not names_address(request.headers):
			self.without_address += 1

	def on_close(self, client: Client) -> None:
		self._unknown.pop(client, None)
		self.counts.count_connection(network_of(client.connection.request.remote), -1)

	def on_refused(self, client: Client, namespace: str, refused: ConnectRefused) -> None:
		source = Source.of_connection(client.connection)
		self.refused.send(namespace, refused, source)
		# Clients choose most of this, so each part is quoted and shortened.
		if (note := self._log_budget.take()) is None:
			return
		headers = client.connection.request.headers
		credential = "an Authorization header" if "authorization" in headers else "no Authorization header"
		if "cookie" in headers and cookie(headers["cookie"], "sid"):
			credential += " and a cookie sid"
		logger.warning(
			"a client was refused: %s [%s] (%.200s); namespace %.100r, from %s, Origin %.100r, with %s%s",
			refused.message,
			refused.code,
			refused.reason,
			namespace,
			_source(client.connection),
			headers.get("origin", ""),
			credential,
			note,
			extra=log_fields(source.site, source.user, source.socket),
		)

	def too_long_without_namespace(self, client: Client) -> None:
		self.record("realtime_connect_timeout", source=Source.of_connection(client.connection))

	def too_many_namespaces(self, most: int) -> ConnectRefused:
		key = "realtime_namespaces_per_connection"
		self.record(key)
		return ConnectRefused(
			"Too many namespaces", TOO_MANY_NAMESPACES, f"{key} is {most}", limit=key, most=most
		)

	# -- packets

	def allows(self, client: Client, packets: int = 1) -> bool:
		# A token bucket that may go negative: a client that continues for another burst is closed.
		now = monotonic()
		rate = client.rate
		tokens = client.credit + (now - client.seen) * rate
		if tokens > rate * BURST_SECONDS:
			tokens = rate * BURST_SECONDS
		client.seen = now
		client.credit = tokens - packets
		if tokens >= packets:
			return True
		self._on_too_fast(client, notified=tokens < 0)
		return False

	def _on_too_fast(self, client: Client, notified: bool) -> None:
		key = self._rate_key(client)
		self.reached[key] += 1
		close = client.credit < -client.rate * BURST_SECONDS
		if notified and not close:
			# Thousands of packets a second may follow the first refusal, which was reported.
			return
		self._report(key, f" by {_source(client.connection)}", Source.of_connection(client.connection))
		if close:
			client.connection.close("forced close")
			return
		for socket in list(client.sockets.values()):
			self._notify(socket, key, "further events are ignored for a while")

	def allows_attachments(self, client: Client, size: int) -> bool:
		guest = self._is_guest(client)
		key = "realtime_guest_attachment_bytes" if guest else "realtime_attachment_bytes"
		if size <= getattr(self._config, key):
			return True
		source = Source.of_connection(client.connection)
		self.record(key, f" by {source.address or 'a client'}", source)
		return False

	@staticmethod
	def _is_guest(client: Client) -> bool:
		"""Return True if no socket of the client has a user. Not by its rate: both rates may be the same."""
		return all(
			socket.session is None or socket.session.user == GUEST for socket in client.sockets.values()
		)

	def _rate_key(self, client: Client) -> str:
		guest = self._is_guest(client)
		return "realtime_guest_events_per_second" if guest else "realtime_events_per_second"

	# -- sockets and rooms

	def check_socket(self, session: Session, connection: Connection) -> None:
		"""Check the limits of sockets before one more for `session`.

		Raises:
			ConnectRefused: The user, or the address of a Guest, has too many sockets.
		"""
		if session.user == GUEST:
			address = network_of(connection.request.remote)
			key = "realtime_guests_per_address"
			if address and self.counts.guests_at(address) >= getattr(self._config, key):
				source = Source(session.site, GUEST, address)
				raise self._socket_refusal(key, f" from {address}", source)
		else:
			key = "realtime_sockets_per_user"
			if self.counts.sockets_of(session.site, session.user) >= getattr(self._config, key):
				source = Source(session.site, session.user, connection.request.remote)
				raise self._socket_refusal(key, f" of {session.user}", source)

	def _socket_refusal(self, key: str, who: str, source: Source) -> ConnectRefused:
		self.record(key, who, source)
		most = getattr(self._config, key)
		return ConnectRefused(
			f"Too many connections{who}",
			TOO_MANY_CONNECTIONS,
			f"{key} is {most}",
			counted_as=f"Too many connections ({key})",
			limit=key,
			most=most,
		)

	def on_connect(self, socket: ServerSocket) -> None:
		"""Count a socket that has been admitted, and give it the rate of its user."""
		client: Client = socket.connection.data
		self._unknown.pop(client, None)
		client.connection.trust()
		if socket.session.user == GUEST:
			self.counts.count_guest(network_of(socket.connection.request.remote), 1)
			return
		self.counts.count_user(socket.namespace, socket.session.user)
		if client.rate != self._rate:
			client.rate = self._rate
			client.credit = self._rate * BURST_SECONDS

	def on_disconnect(self, socket: ServerSocket) -> None:
		"""Count the end of a socket."""
		client: Client | None = socket.connection.data
		if client is not None and not client.is_known:
			self._unknown[client] = None
		if socket.session.user != GUEST:
			self._questions.forget(socket)
			self.counts.count_user(socket.namespace, socket.session.user)
			return
		self._guest_questions.forget(socket)
		self.counts.count_guest(network_of(socket.connection.request.remote), -1)

	def allows_room(self, socket: ServerSocket, room: str) -> bool:
		"""Return True if a client may subscribe to one more room; sends `limit_reached` if there are too many."""
		guest = socket.session.user == GUEST
		kind = room.partition(":")[0]
		# Rooms of tasks are checked by TaskAccess.
		if guest and not room.startswith(TASK_ROOM) and kind not in self._config.realtime_guest_rooms:
			self.record("realtime_guest_rooms", source=Source.of_socket(socket))
			return False
		key = "realtime_guest_rooms_per_socket" if guest else "realtime_rooms_per_socket"
		if len(socket.rooms) < getattr(self._config, key):
			return True
		self.record(key, f" by {socket.session.user}", Source.of_socket(socket))
		self._notify(socket, key, f"{room} is not joined")
		return False

	def allows_question(self, socket: ServerSocket) -> bool:
		"""Return True if a client may cause a request to the web process now; sends `limit_reached` if it may not.

		Answers from the cache are not counted, so only names that the client has not asked about lately are.
		"""
		guest = socket.session.user == GUEST
		key = "realtime_guest_questions_per_second" if guest else "realtime_questions_per_second"
		buckets = self._guest_questions if guest else self._questions
		if buckets.take(socket):
			return True
		self.record(key, f" by {socket.session.user}", Source.of_socket(socket))
		if buckets.is_first_refusal(socket):
			self._notify(socket, key, "further subscriptions are ignored for a while")
		return False

	def on_client_limit(self, socket: ServerSocket, key: str, effect: str) -> None:
		"""Report that an event of a client met a limit, and send `limit_reached`.

		Args:
			socket: The client.
			key: The key of the limit.
			effect: What is refused, and why.
		"""
		self.record(key, f" by {socket.session.user}", Source.of_socket(socket))
		socket.emit(LIMIT_REACHED, {"limit": key, "most": getattr(self._config, key), "message": effect})

	# -- reporting

	def record(self, key: str, who: str = "", source: Source = UNKNOWN_SOURCE) -> None:
		"""Count that a limit was reached, log it at most once in `WARN_SECONDS`, and send `limit_reached`.

		Args:
			key: The key of the limit.
			who: The client, for the log; starts with a space.
			source: The client, for receivers of `limit_reached`.
		"""
		self.reached[key] += 1
		self._report(key, who, source)

	def on_engine_limit(self, setting: str, connection: Connection | None) -> None:
		"""Report a limit of the engine, which counts it itself."""
		if connection is None:
			self._report(f"realtime_{setting}", "", UNKNOWN_SOURCE)
		else:
			source = Source.of_connection(connection)
			self._report(f"realtime_{setting}", f" by {_source(connection)}", source)

	def _report(self, key: str, who: str, source: Source) -> None:
		self.limit_reached.send(key, source)
		now = monotonic()
		if now - self._warned.get(key, -WARN_SECONDS) >= WARN_SECONDS:
			self._warned[key] = now
			logger.warning(
				"the limit %s (%s) was reached%s",
				key,
				getattr(self._config, key),
				who,
				extra=log_fields(source.site, source.user, source.socket),
			)

	def _notify(self, socket: ServerSocket, key: str, effect: str) -> None:
		most: Any = getattr(self._config, key)
		socket.emit(LIMIT_REACHED, {"limit": key, "most": most, "message": f"{key} is {most}: {effect}"})


def _buckets(rate: float) -> ReportedBuckets:
	"""Return buckets that hold `BURST_SECONDS` of a rate."""
	return ReportedBuckets(rate, rate * BURST_SECONDS, monotonic)


def _source(connection: Connection) -> str:
	"""Return the client's address, for the log."""
	return connection.request.remote or "an unknown address"
