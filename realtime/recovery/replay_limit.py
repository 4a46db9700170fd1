"""Bounds the bytes of missed events that are replayed to a user, to the Guests of an address, and to an address.

A recovery is a small request with a large answer. Without a bound, a client that recovers again and again makes the sidecar
read, encode and send megabytes for a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic

from frappe_realtime.contract import GUEST

from ..access.authentication import Session
from ..config import Config

BURST_SECONDS = 30
"""A burst may have the bytes of this many seconds: all tabs of a user recover when the sidecar restarts."""

MAX_BUCKETS = 10_000
"""Users or addresses that are tracked; beyond that, those that have waited longest are forgotten."""


class ByteBuckets:
	"""Token buckets in bytes. A bucket may be overdrawn by one withdrawal, and then has to fill up again.

	Args:
		rate: Bytes per second.
		time: The clock, in seconds.
	"""

	def __init__(self, rate: float, time: Callable[[], float] = monotonic) -> None:
		self._rate = rate
		self._time = time
		self._buckets: dict[Hashable, tuple[float, float]] = {}
		"""The credit of each bucket that is not full, and when it was updated; the latest update is last."""

	def __len__(self) -> int:
		return len(self._buckets)

	def is_empty(self, key: Hashable) -> bool:
		"""Return True if nothing may be withdrawn now."""
		return self._credit(key) <= 0

	def withdraw(self, key: Hashable, size: int) -> None:
		"""Withdraw `size` bytes, whether the bucket has them or not."""
		credit = self._credit(key) - size
		self._buckets.pop(key, None)
		self._buckets[key] = (credit, self._time())
		if len(self._buckets) > MAX_BUCKETS:
			del self._buckets[next(iter(self._buckets))]

	def _credit(self, key: Hashable) -> float:
		full = self._rate * BURST_SECONDS
		bucket = self._buckets.get(key)
		if bucket is None:
			return full
		credit, updated = bucket
		credit += (self._time() - updated) * self._rate
		if credit < full:
			return credit
		del self._buckets[key]
		return full


class ReplayLimit:
	"""Counts replayed bytes for each client, which is a user or the Guests of one address, and for each address.

	The Guests whose address is unknown count as one address.

	Args:
		config: The rates.
		on_limit: Called with the key of a limit that is reached.
	"""

	def __init__(self, config: Config, on_limit: Callable[[str], None]) -> None:
		self._on_limit = on_limit
		self._users = ByteBuckets(config.realtime_recovery_bytes_per_second)
		self._guests = ByteBuckets(config.realtime_guest_recovery_bytes_per_second)
		self._addresses = ByteBuckets(config.realtime_address_recovery_bytes_per_second)

	def allows(self, session: Session, address: str) -> bool:
		"""Return True if events may be replayed to a client now.

		Args:
			session: The user of the client.
			address: Its address, or network; empty if it is unknown.
		"""
		for key, buckets, bucket in self._buckets(session, address):
			if buckets.is_empty(bucket):
				self._on_limit(key)
				return False
		return True

	def count(self, session: Session, address: str, size: int) -> None:
		"""Count `size` bytes that were read for a client or are sent to it."""
		for _, buckets, bucket in self._buckets(session, address):
			buckets.withdraw(bucket, size)

	def _buckets(self, session: Session, address: str) -> list[tuple[str, ByteBuckets, Hashable]]:
		found: list[tuple[str, ByteBuckets, Hashable]] = []
		if session.user != GUEST:
			found.append(("realtime_recovery_bytes_per_second", self._users, (session.site, session.user)))
		elif address:
			found.append(("realtime_guest_recovery_bytes_per_second", self._guests, address))
		if address or session.user == GUEST:
			found.append(("realtime_address_recovery_bytes_per_second", self._addresses, address))
		return found
