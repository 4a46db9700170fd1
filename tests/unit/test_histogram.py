"""The histogram of latencies."""

from __future__ import annotations

import pytest

from realtime.histogram import LATENCY_BOUNDS, Histogram, quantile


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


@pytest.mark.parametrize(
	("counts", "fraction", "expected"),
	[
		([0, 0, 0], 0.5, 0.0),
		([4, 0, 0], 0.5, 0.5),
		([2, 2, 0], 0.5, 1.0),
		([2, 2, 0], 0.75, 1.5),
		([0, 2, 0], 0.0, 1.0),
		([0, 0, 3], 0.99, 2.0),
		([99, 0, 1], 0.99, 1.0),
	],
)
def test_quantiles_are_interpolated(counts: list[int], fraction: float, expected: float) -> None:
	assert quantile((1.0, 2.0), counts, fraction) == pytest.approx(expected)
