"""Samples of the last hour, and the rates of the last seconds, from the counters that the server keeps anyway."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable
from heapq import nlargest
from time import monotonic, process_time, time
from typing import NamedTuple

from ..histogram import quantile
from ..socketio.fanout import Fanout
from ..socketio.namespace import Namespace, Namespaces

SAMPLE_INTERVAL = 10
"""Seconds between two samples; they are taken at multiples of it, so that the samples of several processes match."""

MAX_SAMPLES = 360
"""Samples that are kept: one hour."""

MAX_SITES = 200
"""Sites in one sample: those with the most sockets."""

MIN_RATE_SECONDS = 5.0
"""The least time over which a rate is calculated."""

READINGS = 7
"""Readings of counters that are kept: latencies are those of the last minute."""

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Traffic(NamedTuple):
	"""Counters of a namespace, or their rates per second.

	Args:
		published: Events from Redis; each sidecar counts the same ones.
		emitted: Events of handlers in this process.
		deliveries: Events written to sockets.
		client_events: Events received from clients.
	"""

	published: float = 0
	emitted: float = 0
	deliveries: float = 0
	client_events: float = 0

	@classmethod
	def of(cls, namespace: Namespace) -> Traffic:
		"""Return the counters of a namespace."""
		return cls(namespace.published, namespace.emitted, namespace.deliveries, namespace.client_events)

	def rates(self, earlier: Traffic, seconds: float) -> Traffic:
		"""Return the rates since `earlier`. Counters that have become smaller have begun again at 0."""
		if any(now < before for now, before in zip(self, earlier, strict=True)):
			earlier = Traffic()
		return Traffic(*[(now - before) / seconds for now, before in zip(self, earlier, strict=True)])


class Reading(NamedTuple):
	"""All counters at one time.

	Args:
		time: Seconds (monotonic).
		cpu: CPU seconds of the process.
		latency: The counts of `Fanout.latency`.
		traffic: By site.
	"""

	time: float
	cpu: float
	latency: tuple[int, ...]
	traffic: dict[str, Traffic]


class SiteSample(NamedTuple):
	"""One site at the time of a sample; all but the first are per second."""

	sockets: int
	published: float
	emitted: float
	deliveries: float


NO_SOCKETS = SiteSample(0, 0.0, 0.0, 0.0)


class Sample(NamedTuple):
	"""One sample.

	Args:
		time: Seconds since 1970, a multiple of `SAMPLE_INTERVAL`.
		p50: Median of the seconds from publication to write, of the last `SAMPLE_INTERVAL`; 0 without an event.
		p99: The 99th percentile.
		memory: Bytes of the process.
		sites: By site.
	"""

	time: int
	p50: float
	p99: float
	memory: int
	sites: dict[str, SiteSample]


class Sampler:
	"""Reads the counters every `SAMPLE_INTERVAL` seconds.

	Args:
		namespaces: The sockets and counters of the sites.
		fanout: Measures the latency.
		on_sample: Called with each sample.
	"""

	def __init__(
		self, namespaces: Namespaces, fanout: Fanout, on_sample: Callable[[], None] = lambda: None
	) -> None:
		self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
		self._namespaces = namespaces
		self._fanout = fanout
		self._on_sample = on_sample
		self._readings: deque[Reading] = deque([self._read()], maxlen=READINGS)
		self._task: asyncio.Task[None] | None = None

	def start(self) -> None:
		"""Start to take samples."""
		self._task = asyncio.get_running_loop().create_task(self._run())

	def stop(self) -> None:
		"""Take no more samples."""
		if self._task is not None:
			self._task.cancel()

	async def _run(self) -> None:
		while True:
			pause = SAMPLE_INTERVAL - time() % SAMPLE_INTERVAL
			# A timer may end a moment early; then the sample of the next multiple has been taken already.
			await asyncio.sleep(pause if pause > 1 else pause + SAMPLE_INTERVAL)
			self.take()
			self._on_sample()

	def take(self) -> None:
		"""Take a sample."""
		reading, before = self._read(), self._readings[-1]
		seconds = max(reading.time - before.time, 0.001)
		latency = _since(reading.latency, before.latency)
		bounds = self._fanout.latency.bounds
		namespaces: Iterable[Namespace] = self._namespaces.values()
		if len(self._namespaces) > MAX_SITES:
			namespaces = nlargest(MAX_SITES, namespaces, key=lambda one: len(one.sockets))
		sites = {}
		for namespace in namespaces:
			site = namespace.name[1:]
			rates = reading.traffic[site].rates(before.traffic.get(site, Traffic()), seconds)
			sites[site] = SiteSample(len(namespace.sockets), rates.published, rates.emitted, rates.deliveries)
		now = round(time() / SAMPLE_INTERVAL) * SAMPLE_INTERVAL
		self.samples.append(
			Sample(now, quantile(bounds, latency, 0.5), quantile(bounds, latency, 0.99), memory(), sites)
		)
		self._readings.append(reading)

	def rates(self) -> tuple[float, dict[str, Traffic]]:
		"""Return the CPU seconds per second, and the traffic of each site per second, of the last 5 to 15 seconds."""
		reading = self._read()
		before = next(
			(one for one in reversed(self._readings) if reading.time - one.time >= MIN_RATE_SECONDS),
			self._readings[0],
		)
		# After the start, the time since then.
		seconds = max(reading.time - before.time, 1.0)
		return (reading.cpu - before.cpu) / seconds, {
			site: traffic.rates(before.traffic.get(site, Traffic()), seconds)
			for site, traffic in reading.traffic.items()
		}

	def latency(self) -> list[int]:
		"""Return the counts of the latency histogram of the last minute."""
		return _since(self._fanout.latency.counts, self._readings[0].latency)

	def _read(self) -> Reading:
		return Reading(
			monotonic(),
			process_time(),
			tuple(self._fanout.latency.counts),
			{namespace.name[1:]: Traffic.of(namespace) for namespace in self._namespaces.values()},
		)


def _since(counts: Iterable[int], before: Iterable[int]) -> list[int]:
	return [now - then for now, then in zip(counts, before, strict=True)]


def memory() -> int:
	"""Return the resident memory of this process in bytes; the most that it had where the system has no /proc."""
	try:
		with open("/proc/self/statm") as file:
			return int(file.read().split()[1]) * _PAGE_SIZE
	except OSError:
		most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
		return most if sys.platform == "darwin" else most * 1024
