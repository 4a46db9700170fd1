"""Bounds the requests to the web process about credentials that turn out to be invalid.

Only the answer of the web process tells whether a credential is valid. So a question reserves a token of the client's address,
and takes it only if the answer is a Guest or a refusal, or if the client leaves before the answer. Valid credentials use nothing
up: behind a NAT or a proxy any number of users can log in, as fast as the web process answers. A credential that was valid
before needs no token, and neither does a session that Frappe has in its cache, so that users can connect while another client at
the same address invents session ids.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from frappe_realtime.contract.users import GUEST
from frappe_realtime.errors import WebUnavailable

from ..config import Config
from ..socketio.errors import ConnectPostponed
from ..token_buckets import TokenBuckets
from ..web.frappe_client import Credential
from .session_cache import SessionCache

BURST_SECONDS = 30
"""Seconds of the rate that may be used at once: all tabs with a session that has ended reconnect when the sidecar restarts."""

WAIT_SECONDS = 5.0
"""Seconds that a question waits for a token of an address that has none; then the client has to connect again."""


CACHED_SESSION = (0.2, 5.0)
"""The rate and the burst with which the web process is asked about one session that is in Frappe's cache, without a token of its
address: Frappe may refuse even that, as a session that has expired, or one from another address than its user is restricted to."""


class LoginAttempt(NamedTuple):
	"""A client that connects with a credential.

	Args:
		address: Its address or network; empty if it is unknown.
		has_failed: True if the same connection has been refused before.
	"""

	address: str
	has_failed: bool = False


class HasUser(Protocol):
	"""An authenticated session."""

	@property
	def user(self) -> str:
		"""The name of the User document; `Guest` without a login."""


S = TypeVar("S", bound=HasUser)


class KnownCredentials:
	"""The credentials that were valid when the web process was last asked about them.

	Args:
		max_entries: Credentials that are kept; the one that was confirmed longest ago is dropped first.
	"""

	def __init__(self, max_entries: int) -> None:
		self._max_entries = max_entries
		# By hash, so that no session id stays in memory longer than its connections.
		self._hashes: OrderedDict[int, None] = OrderedDict()

	def __contains__(self, credential: Credential | None) -> bool:
		return hash(credential) in self._hashes

	def add(self, credential: Credential) -> None:
		"""Add a valid credential, or confirm it."""
		self._hashes[hash(credential)] = None
		self._hashes.move_to_end(hash(credential))
		if len(self._hashes) > self._max_entries:
			self._hashes.popitem(last=False)

	def discard(self, credential: Credential) -> None:
		"""Remove a credential that is not valid any more."""
		self._hashes.pop(hash(credential), None)


@dataclass(slots=True)
class _Queue:
	"""The questions of one address: how many are with the web process, and those that wait for a token, the next one last."""

	asking: int = 0
	waiting: OrderedDict[asyncio.Future[None], None] = field(default_factory=OrderedDict)
	timer: asyncio.TimerHandle | None = None


class FailedLoginLimit:
	"""The rate of failed logins for each address, and for all clients whose address is unknown.

	While an address has no token, the newest question is the next one: whoever holds many connections open does not keep others
	waiting behind them. Questions of a connection that has failed before come last.

	Args:
		config: The rates.
		known: The credentials that need no token.
		cache: The sessions that need no token either.
		on_limit: Called with the key of a limit that is reached, and the clients that have reached it, for the log.
	"""

	def __init__(
		self,
		config: Config,
		known: KnownCredentials,
		cache: SessionCache,
		on_limit: Callable[[str, str], None],
	) -> None:
		self._known = known
		self._cache = cache
		self._cached_sessions = TokenBuckets(*CACHED_SESSION, lambda: asyncio.get_running_loop().time())
		self._on_limit = on_limit
		rates = (
			config.realtime_unknown_failed_logins_per_second,
			config.realtime_failed_logins_per_second,
		)
		# As many questions as the web process gets at a time must not wait for each other.
		self._unknown, self._addresses = (
			TokenBuckets(
				rate,
				max(rate * BURST_SECONDS, config.realtime_web_connections),
				lambda: asyncio.get_running_loop().time(),
			)
			for rate in rates
		)
		self._queues: dict[str, _Queue] = {}

	async def ask(
		self,
		site: str,
		credential: Credential,
		attempt: LoginAttempt | None,
		query: Callable[[], Awaitable[S]],
	) -> S:
		"""Return the answer of `query`, which asks the web process about `credential`.

		Args:
			site: The site.
			credential: The credential of a client.
			attempt: The client that connects; None for a revalidation, which has no limit.
			query: Sends the question.

		Raises:
			ConnectPostponed: The address of the client has used up its failed logins.
			Exception: What `query` raises.
		"""
		if attempt is None or credential.sid == GUEST:
			return await self._ask(credential, query)
		address = attempt.address
		limited = credential not in self._known
		if limited and not self._reserve(address):
			limited = not await self._is_cached(site, credential)
			if limited:
				await self._wait(attempt)
		failed = True
		try:
			session = await self._ask(credential, query)
			failed = session.user == GUEST
			return session
		except WebUnavailable:
			failed = False
			raise
		finally:
			if failed:
				self._buckets(address).withdraw(address, 1)
			if limited:
				self._release(address)

	async def _ask(self, credential: Credential, query: Callable[[], Awaitable[S]]) -> S:
		try:
			session = await query()
		except WebUnavailable:
			raise
		except Exception:
			self.learn(credential, is_valid=False)
			raise
		self.learn(credential, is_valid=session.user != GUEST)
		return session

	def learn(self, credential: Credential, is_valid: bool) -> None:
		"""Remember what the web process has answered about a credential."""
		if is_valid:
			self._known.add(credential)
		else:
			self._known.discard(credential)

	def _buckets(self, address: str) -> TokenBuckets:
		return self._addresses if address else self._unknown

	def _has_token(self, address: str, queue: _Queue) -> bool:
		return self._buckets(address).tokens(address) >= queue.asking + 1

	def _is_low(self, address: str) -> bool:
		"""Return True if failed logins have used up more than half of the burst."""
		buckets = self._buckets(address)
		return buckets.tokens(address) < buckets.burst / 2

	async def _is_cached(self, site: str, credential: Credential) -> bool:
		"""Return True if Frappe has the session in its cache, unless it was asked about too often."""
		return await self._cache.has(site, credential.sid) and self._cached_sessions.take(
			(site, hash(credential))
		)

	def _reserve(self, address: str) -> bool:
		"""Reserve a token at once; return False if there is none, or others wait for it."""
		queue = self._queues.get(address)
		if queue is None:
			queue = _Queue()
			if not self._has_token(address, queue):
				return False
			self._queues[address] = queue
		elif queue.waiting or not self._has_token(address, queue):
			return False
		queue.asking += 1
		return True

	async def _wait(self, attempt: LoginAttempt) -> None:
		"""Wait for a token that no other question has reserved."""
		address = attempt.address
		queue = self._queues.setdefault(address, _Queue())
		future = asyncio.get_running_loop().create_future()
		queue.waiting[future] = None
		if attempt.has_failed:
			queue.waiting.move_to_end(future, last=False)
		self._grant(address)
		try:
			while not future.done():
				await asyncio.wait({future}, timeout=WAIT_SECONDS)
				# Otherwise it waits for the answers to the questions before it, as when the web process is slow.
				if not future.done() and self._is_low(address):
					self._refuse(address)
		except BaseException:
			if future.done():
				self._release(address)
			else:
				del queue.waiting[future]
				self._grant(address)
			raise

	def _refuse(self, address: str) -> None:
		if address:
			self._on_limit("realtime_failed_logins_per_second", f" from {address}")
		else:
			self._on_limit("realtime_unknown_failed_logins_per_second", " from unknown addresses")
		raise ConnectPostponed

	def _release(self, address: str) -> None:
		self._queues[address].asking -= 1
		self._grant(address)

	def _grant(self, address: str) -> None:
		"""Give the tokens that there are to the questions that wait, and continue when there is another one."""
		queue = self._queues[address]
		while queue.waiting and self._has_token(address, queue):
			future, _ = queue.waiting.popitem()
			queue.asking += 1
			future.set_result(None)
		if queue.timer is not None:
			queue.timer.cancel()
			queue.timer = None
		if queue.waiting:
			seconds = self._buckets(address).seconds_until(address, queue.asking + 1)
			queue.timer = asyncio.get_running_loop().call_later(seconds + 0.001, self._grant, address)
		elif not queue.asking:
			del self._queues[address]
