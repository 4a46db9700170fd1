"""A histogram that costs little enough for the path of every event.

prometheus_client's own takes a lock and several calls for each observation. This one is read by
`operations/metrics.py` when Prometheus asks for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of every latency, in seconds."""


def quantile(bounds: Sequence[float], counts: Sequence[int], fraction: float) -> float:
	"""Estimate a quantile from the counts of a histogram, by linear interpolation within a bucket.

	Args:
		bounds: The upper bounds of the buckets.
		counts: The observations in each bucket, and those above all bounds.
		fraction: 0.5 for the median.

	Returns:
		The estimate, at most the last bound; 0.0 without observations.
	"""
	rank = fraction * sum(counts)
	lower, below = 0.0, 0
	for bound, count in zip(bounds, counts, strict=False):
		if count and below + count >= rank:
			return lower + (bound - lower) * max(0.0, rank - below) / count
		lower, below = bound, below + count
	return lower if sum(counts) else 0.0


class Histogram:
	"""Counts observations by bucket. Not thread-safe: observe on the event loop.

	Args:
		bounds: The inclusive upper bounds of the buckets, ascending.
	"""

	__slots__ = ("bounds", "counts", "total")

	def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
		self.bounds = bounds
		self.counts = [0] * (len(bounds) + 1)
		"""The observations in each bucket; the last one has those above all bounds."""
		self.total = 0.0
		"""The sum of all observations."""

	def observe(self, value: float) -> None:
		"""Count one observation."""
		self.counts[bisect_left(self.bounds, value)] += 1
		self.total += value

	def add(self, counts: Sequence[int], total: float) -> None:
		"""Add the observations of a histogram with the same bounds, as its counts and its sum.

		Raises:
			ValueError: The number of buckets differs.
		"""
		self.counts = [own + more for own, more in zip(self.counts, counts, strict=True)]
		self.total += total
