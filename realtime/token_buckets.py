"""Token buckets by key: a rate with a burst for each user, address or other client."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic

MAX_BUCKETS = 10_000
"""Keys that are tracked; beyond that, those that were updated longest ago are forgotten."""


class TokenBuckets:
	"""Token buckets with the same rate and burst. A full bucket takes no memory.

	Args:
		rate: Tokens per second.
		burst: Tokens of a full bucket.
		time: The clock, in seconds.
	"""

	def __init__(self, rate: float, burst: float, time: Callable[[], float] = monotonic) -> None:
		self._rate = rate
		self.burst = burst
		"""Tokens of a full bucket."""
		self._time = time
		self._buckets: dict[Hashable, tuple[float, float]] = {}
		"""The tokens of each bucket that is not full, and when it was updated; the latest update is last."""

	def __len__(self) -> int:
		return len(self._buckets)

	def tokens(self, key: Hashable) -> float:
		"""Return the tokens of a bucket; negative if it is overdrawn."""
		bucket = self._buckets.get(key)
		if bucket is None:
			return self.burst
		tokens, updated = bucket
		tokens += (self._time() - updated) * self._rate
		if tokens < self.burst:
			return tokens
		del self._buckets[key]
		return self.burst

	def is_empty(self, key: Hashable) -> bool:
		"""Return True if nothing may be withdrawn now."""
		return self.tokens(key) <= 0

	def take(self, key: Hashable) -> bool:
		"""Take one token; return False if there is none."""
		tokens = self.tokens(key)
		if tokens < 1:
			return False
		self._update(key, tokens - 1)
		return True

	def withdraw(self, key: Hashable, tokens: float) -> None:
		"""Withdraw tokens, whether the bucket has them or not; it then has to fill up again."""
		self._update(key, self.tokens(key) - tokens)

	def _update(self, key: Hashable, tokens: float) -> None:
		self._buckets.pop(key, None)
		self._buckets[key] = (tokens, self._time())
		if len(self._buckets) > MAX_BUCKETS:
			del self._buckets[next(iter(self._buckets))]

	def forget(self, key: Hashable) -> None:
		"""Forget a client that has gone. Its bucket is full if it comes back."""
		self._buckets.pop(key, None)

	def seconds_until(self, key: Hashable, tokens: float = 1) -> float:
		"""Return the seconds until a bucket has this number of tokens."""
		return max(0.0, (tokens - self.tokens(key)) / self._rate)

	def retry_after(self, key: Hashable) -> int:
		"""Return the value of Retry-After for a client that has used up its bucket: whole seconds, at least 1."""
		return max(1, ceil(self.seconds_until(key)))


class ReportedBuckets(TokenBuckets):
	"""Token buckets whose refusals are reported to the client: the first one, not those that follow until it has a token again."""

	def __init__(self, rate: float, burst: float, time: Callable[[], float] = monotonic) -> None:
		super().__init__(rate, burst, time)
		self._refused: set[Hashable] = set()

	def take(self, key: Hashable) -> bool:
		"""Take one token; return False if there is none."""
		if not super().take(key):
			return False
		self._refused.discard(key)
		return True

	def is_first_refusal(self, key: Hashable) -> bool:
		"""Return True if a refusal of this client was not reported yet, and count it as reported."""
		if key in self._refused:
			return False
		self._refused.add(key)
		return True

	def forget(self, key: Hashable) -> None:
		"""Forget a client that has gone; must be called for each, as what was reported is kept until then."""
		super().forget(key)
		self._refused.discard(key)
