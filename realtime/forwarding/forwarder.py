"""Passes requests on to the owners of their sessions: to workers of this host, and over links to the sidecars of other hosts.

The owners are known from the heartbeats of the sidecars, each with the address at which it is reached. A link is opened with
the first request for a session of its owner, and kept. No request is sent to find out whether a session exists.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from frappe_realtime.errors import WebUnavailable

from ..engine import Engine, IncomingRequest, RequestPasser, RequestRefused
from ..engine.errors import BAD_REQUEST, UNKNOWN_SID
from ..engine.waiting import wait_while
from ..log_budget import LogBudget
from . import owner_end
from .entry_end import ForwardedConnection
from .handshake import HandshakeConnection, HandshakeError, connect
from .handshake import accept as accept_handshake
from .link import Link
from .stream import Stream

logger = logging.getLogger("realtime.forwarding")

KEY = "realtime_forwarded_connections"

CONNECT_SECONDS = 5.0
"""Seconds in which a link must be open."""

MIN_PAUSE, MAX_PAUSE = 1.0, 10.0
"""Seconds after which a link that could not be opened is tried again; doubled each time."""

MAX_HANDSHAKES = 64
"""Links whose other end has not proved itself yet; further ones are refused."""

RENEW_SECONDS = 10.0
"""Seconds between two times that the shared secret is read again because a proof was not valid."""


@dataclass(slots=True)
class ForwardingCounters:
	"""Totals since the start."""

	sent: int = 0
	"""TCP connections that were forwarded to other sidecars."""
	received: int = 0
	"""TCP connections that other sidecars have forwarded to this one."""
	lost: int = 0
	"""Requests that were refused because the link to their owner could not be opened, or was lost."""
	refused_links: int = 0
	"""Links that were refused, because the other end has not proved itself or there is no such worker."""


@dataclass(slots=True)
class _Failure:
	"""A sidecar to which no link can be opened."""

	address: str
	reason: str
	retry_at: float
	pause: float


class SessionForwarder:
	"""The `Handover` of the engine.

	Args:
		name: The name of this process among the sidecars of the bench.
		own_address: Returns the address at which other sidecars reach this host; empty if they do not.
		address_of: Returns the address of another sidecar by its name; empty for an unknown name.
		secret: Returns the shared secret; with True it is read from Redis again.
		max_connections: Connections that are forwarded at a time, and that are received.
		on_limit: Called with the key of the limit when it is reached.
		workers: Passes TCP connections to the other workers of the host; None if there are none.
	"""

	def __init__(
		self,
		name: str,
		own_address: Callable[[], str],
		address_of: Callable[[str], str],
		secret: Callable[[bool], Awaitable[str]],
		max_connections: int,
		on_limit: Callable[[str], None],
		workers: RequestPasser | None,
	) -> None:
		self.name = name
		self.counters = ForwardingCounters()
		self.forwarded: set[ForwardedConnection] = set()
		"""The TCP connections of clients of other sidecars."""
		self._own_address = own_address
		self._address_of = address_of
		self._secret = secret
		self._max_connections = max_connections
		self._on_limit = on_limit
		self._workers = workers
		self._engine: Engine | None = None
		self._links: set[Link] = set()
		self._by_owner: dict[str, Link] = {}
		self._failures: dict[str, _Failure] = {}
		self._handshakes: set[asyncio.Task[None]] = set()
		self._renewed_at = float("-inf")
		self._log_budget = LogBudget()
		self._stopping = False

	def start(self, engine: Engine) -> None:
		"""Accept links from now on.

		Args:
			engine: Reads the connections that other sidecars forward, and the next requests of those that are forwarded.
		"""
		self._engine = engine

	async def drain(self, timeout: float) -> None:
		"""Accept no more links, and wait at most `timeout` seconds until nothing is forwarded any more.

		A request that is read meanwhile, on a TCP connection that was accepted before, is forwarded as before. If `close` is called
		in the same turn of the event loop in which this returns, none is lost between the two.
		"""
		self._stopping = True
		for connection in self.forwarded:
			connection.stream.drain()
		await wait_while(lambda: self.forwarded, timeout)

	def close(self) -> None:
		"""Forward nothing more, and end the links when all that was written is sent."""
		self._engine = None
		for task in self._handshakes:
			task.cancel()
		for link in list(self._links):
			link.close()

	@property
	def open_links(self) -> int:
		"""The number of links that are open."""
		return sum(link.is_open for link in self._links)

	@property
	def received(self) -> int:
		"""The number of connections that other sidecars forward to this one now."""
		return sum(link.accepted for link in self._links)

	def unreachable(self) -> dict[str, str]:
		"""Return the addresses of the sidecars to which no link can be opened, with the reasons, for `/health`."""
		self._forget_failures()
		return {one.address: one.reason for one in self._failures.values()}

	# -- Handover

	def send(self, owner: str, request: IncomingRequest) -> bool:
		"""Pass a request on to its owner; return False if there is no such process.

		Raises:
			RequestRefused: Too many connections are forwarded, or wait for a worker.
		"""
		if self._workers is not None and self._workers.send(owner, request):
			return True
		engine = self._engine
		if engine is None:
			return False
		link = self._by_owner.get(owner) or self._open(owner)
		if link is None:
			return False
		if len(self.forwarded) >= self._max_connections:
			self._on_limit(KEY)
			raise RequestRefused(BAD_REQUEST, f"Too many requests ({KEY})", 503)
		peer = request.transport.get_extra_info("peername")
		stream = link.open_stream(peer[0] if isinstance(peer, tuple) else "")
		self.counters.sent += 1
		self.forwarded.add(
			ForwardedConnection(
				request, stream, engine.next_protocol, self.forwarded.discard, self._count_lost
			)
		)
		if self._stopping:
			stream.drain()
		return True

	def send_to_any(self, request: IncomingRequest) -> bool:
		"""Pass a TCP connection without a session to another worker of the host; return False if there is none."""
		return self._workers is not None and self._workers.send_to_any(request)

	def accept_link(self, query: Mapping[str, str], request: IncomingRequest) -> None:
		"""Take the TCP connection of a link, for this process or another worker of the host.

		Raises:
			RequestRefused: There is no such process here, it stops, or too many links are being opened.
		"""
		own, peer = query.get("to", ""), query.get("from", "")
		if own != self.name:
			if self._workers is None or not own or not self._workers.send(own, request):
				self.counters.refused_links += 1
				raise RequestRefused(UNKNOWN_SID)
			return
		if self._stopping or not peer or len(self._handshakes) >= MAX_HANDSHAKES:
			self.counters.refused_links += 1
			raise RequestRefused(BAD_REQUEST, status=503)
		connection = HandshakeConnection()
		request.release(connection)
		self._run(self._accept(connection, peer))

	def _count_lost(self) -> None:
		self.counters.lost += 1

	# -- links

	def _run(self, handshake: Awaitable[None]) -> None:
		task = asyncio.ensure_future(handshake)
		self._handshakes.add(task)
		task.add_done_callback(self._handshakes.discard)

	def _new_link(self, peer: str, connects: bool) -> Link:
		link = Link(peer, connects, self._on_stream, self._on_link_lost)
		self._links.add(link)
		self._by_owner.setdefault(peer, link)
		return link

	def _open(self, owner: str) -> Link | None:
		"""Begin to open a link; return None if there is no such sidecar, or it cannot be reached."""
		address = self._address_of(owner)
		if not address or address == self._own_address():
			return None
		failure = self._failures.get(owner)
		if failure is not None and failure.retry_at > asyncio.get_running_loop().time():
			return None
		link = self._new_link(owner, connects=True)
		self._run(self._connect(link, address))
		return link

	async def _connect(self, link: Link, address: str) -> None:
		reason = "this sidecar stops"
		try:
			await asyncio.wait_for(self._shake_hands(link, address), CONNECT_SECONDS)
		except asyncio.TimeoutError:
			reason = f"no answer within {CONNECT_SECONDS:.0f} s"
		except (OSError, HandshakeError, WebUnavailable, ValueError) as error:
			reason = str(error) or type(error).__name__
		finally:
			if not link.is_open:
				self._on_failure(link, address, reason)
		if link.is_open:
			logger.info("linked with the sidecar at %s", address)
			self._failures.pop(link.peer, None)

	async def _shake_hands(self, link: Link, address: str) -> None:
		secret = await self._secret(link.peer in self._failures)
		host, _, port = address.rpartition(":")
		loop = asyncio.get_running_loop()
		_, connection = await loop.create_connection(HandshakeConnection, host.strip("[]"), int(port))
		try:
			await connect(connection, self.name, link.peer, address, secret)
			connection.attach(link)
		finally:
			if not link.is_open:
				connection.transport.abort()

	def _on_failure(self, link: Link, address: str, reason: str) -> None:
		earlier = self._failures.get(link.peer)
		pause = min(2 * earlier.pause, MAX_PAUSE) if earlier else MIN_PAUSE
		if not self._stopping and (earlier is None or earlier.reason != reason):
			logger.warning(
				"no link to the sidecar at %s: %s. Requests for its sessions are refused here, and it is tried again in %.0f s. "
				"If the address is wrong, set realtime_peer_address there.",
				address,
				reason,
				pause,
			)
		self._forget_failures()
		self._failures[link.peer] = _Failure(
			address, reason, asyncio.get_running_loop().time() + pause, pause
		)
		link.fail(reason)

	def _forget_failures(self) -> None:
		"""Remove the sidecars that are gone."""
		for owner in [owner for owner in self._failures if not self._address_of(owner)]:
			del self._failures[owner]

	async def _accept(self, connection: HandshakeConnection, peer: str) -> None:
		address = connection.transport.get_extra_info("peername")
		reason = ""
		try:
			await asyncio.wait_for(
				accept_handshake(connection, self.name, peer, self._current_secret), CONNECT_SECONDS
			)
			# Before there is a link: requests would wait for one that never opens.
			connection.check_open()
			connection.attach(self._new_link(peer, connects=False))
		except (HandshakeError, WebUnavailable) as error:
			reason = str(error)
		except asyncio.TimeoutError:
			reason = f"no proof within {CONNECT_SECONDS:.0f} s"
		finally:
			if connection.transport.get_protocol() is connection:
				connection.transport.abort()
		if reason:
			self.counters.refused_links += 1
			self._log_budget.write(
				logger.warning,
				"a link from %s is refused: %s",
				address[0] if address else "a Unix socket",
				reason,
			)

	async def _current_secret(self, renew: bool) -> str:
		"""Return the shared secret; it is read again at a bounded rate, for anybody may send proofs that are not valid."""
		now = asyncio.get_running_loop().time()
		if renew and now - self._renewed_at < RENEW_SECONDS:
			return ""
		if renew:
			self._renewed_at = now
		return await self._secret(renew)

	def _on_stream(self, stream: Stream, address: str) -> None:
		if self._engine is None or self.received > self._max_connections:
			self._on_limit(KEY)
			stream.reset()
		else:
			self.counters.received += 1
			owner_end.accept(self._engine, stream, address)

	def _on_link_lost(self, link: Link, reason: str) -> None:
		self._links.discard(link)
		if self._by_owner.get(link.peer) is link:
			del self._by_owner[link.peer]
			for other in self._links:
				if other.peer == link.peer:
					self._by_owner[link.peer] = other
		if link.was_open and not self._stopping:
			logger.info("the link with the sidecar %s has ended: %s", link.peer, reason)
