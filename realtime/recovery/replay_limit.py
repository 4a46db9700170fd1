"""Bounds the bytes of missed events that are replayed to a user, to the Guests of an address, and to an address.

A recovery is a small request with a large answer. Without a bound, a client that recovers again and again makes the sidecar
read, encode and send megabytes for a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from frappe_realtime.contract.users import GUEST

from ..access.authentication import Session
from ..config import Config
from ..token_buckets import TokenBuckets

BURST_SECONDS = 30
"""A burst may have the bytes of this many seconds: all tabs of a user recover when the sidecar restarts."""


class ReplayLimit:
	"""Counts replayed bytes for each client, which is a user or the Guests of one address, and for each address.

	The Guests whose address is unknown count as one address.

	Args:
		config: The rates.
		on_limit: Called with the key of a limit that is reached.
	"""

	def __init__(self, config: Config, on_limit: Callable[[str], None]) -> None:
		self._on_limit = on_limit
		self._users = _byte_buckets(config.realtime_recovery_bytes_per_second)
		self._guests = _byte_buckets(config.realtime_guest_recovery_bytes_per_second)
		self._addresses = _byte_buckets(config.realtime_address_recovery_bytes_per_second)

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
		if not size:
			return
		for _, buckets, bucket in self._buckets(session, address):
			buckets.withdraw(bucket, size)

	def _buckets(self, session: Session, address: str) -> list[tuple[str, TokenBuckets, Hashable]]:
		found: list[tuple[str, TokenBuckets, Hashable]] = []
		if session.user != GUEST:
			found.append(("realtime_recovery_bytes_per_second", self._users, (session.site, session.user)))
		elif address:
			found.append(("realtime_guest_recovery_bytes_per_second", self._guests, address))
		if address or session.user == GUEST:
			found.append(("realtime_address_recovery_bytes_per_second", self._addresses, address))
		return found


def _byte_buckets(rate: float) -> TokenBuckets:
	return TokenBuckets(rate, rate * BURST_SECONDS)
