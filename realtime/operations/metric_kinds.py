"""Metrics of prometheus_client, with the prefix of this project and the values as the server keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..histogram import Histogram

PREFIX = "frappe_realtime_"


def counter(name: str, help: str, value: float) -> Metric:
	"""Return a counter."""
	return CounterMetricFamily(PREFIX + name, help, value)


def gauge(name: str, help: str, value: float) -> Metric:
	"""Return a gauge."""
	return GaugeMetricFamily(PREFIX + name, help, value)


def counters(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
	"""Return a counter with one label."""
	family = CounterMetricFamily(PREFIX + name, help, labels=[label])
	for key, value in values.items():
		family.add_metric([key], value)
	return family


def gauges(name: str, help: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
	"""Return a gauge with one label."""
	family = GaugeMetricFamily(PREFIX + name, help, labels=[label])
	for key, value in values:
		family.add_metric([key], value)
	return family


def histograms(
	name: str, help: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
	"""Return a histogram with labels; `values` has the values of the labels beside each histogram."""
	family = HistogramMetricFamily(PREFIX + name, help, labels=labels)
	for label_values, histogram in values:
		bounds = [*map(str, histogram.bounds), "+Inf"]
		buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
		family.add_metric(label_values, buckets, histogram.total)
	return family
