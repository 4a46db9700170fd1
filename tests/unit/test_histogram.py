"""The histogram of latencies."""

from __future__ import annotations

import pytest

from realtime.histogram import LATENCY_BOUNDS, Histogram


def test_bounds_are_inclusive() -> None:
	histogram = Histogram((1, 2))
	for value in (0.5, 1, 1.5, 2, 2.5, 100):
		histogram.observe(value)
	assert histogram.counts == [2, 2, 2]
	assert histogram.total == 107.5


def test_bounds_ascend() -> None:
	assert sorted(set(LATENCY_BOUNDS)) == list(LATENCY_BOUNDS)


def test_add() -> None:
	histogram = Histogram((1, 2))
	histogram.observe(1.5)
	histogram.add([1, 2, 3], 10)
	assert histogram.counts == [1, 3, 3]
	assert histogram.total == 11.5
	with pytest.raises(ValueError, match="zip"):
		histogram.add([1], 1)
	assert histogram.counts == [1, 3, 3]
