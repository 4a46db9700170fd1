"""Samples and rates."""

from __future__ import annotations

import asyncio

import pytest

from realtime.monitor import sampler
from realtime.monitor.sampler import MAX_SAMPLES, MAX_SITES, Sampler, Traffic
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Namespaces
from tests.unit.socketio.fakes import SITE, add_socket


class Clock:
	"""A clock that the test sets."""

	def __init__(self) -> None:
		self.now = 1000.0

	def __call__(self) -> float:
		return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
	one = Clock()
	for name in ("monotonic", "time", "process_time"):
		monkeypatch.setattr(sampler, name, one)
	return one


def test_rates_are_those_of_the_last_seconds(clock: Clock) -> None:
	namespaces = Namespaces()
	add_socket(namespaces)
	namespace = namespaces[f"/{SITE}"]
	subject = Sampler(namespaces, Fanout(namespaces))
	namespace.published, namespace.deliveries = 10, 100
	clock.now += 10
	assert subject.rates() == (1.0, {SITE: Traffic(1.0, 0.0, 10.0, 0.0)})
	subject.take()
	# Too short after a sample: the one before counts.
	clock.now += 1
	assert subject.rates()[1][SITE].published == 10 / 11
	clock.now += 9
	assert subject.rates()[1][SITE] == Traffic()


def test_counters_that_begin_again_count_from_zero() -> None:
	assert Traffic(5, 0, 0, 0).rates(Traffic(50, 1, 1, 1), 10) == Traffic(0.5, 0, 0, 0)


def test_a_sample_has_all_sites(clock: Clock) -> None:
	namespaces = Namespaces()
	fanout = Fanout(namespaces)
	add_socket(namespaces)
	subject = Sampler(namespaces, fanout)
	namespaces[f"/{SITE}"].published = 20
	fanout.latency.observe(0.004)
	clock.now += 10
	subject.take()
	(sample,) = subject.samples
	assert sample.time == 1010
	assert sample.sites == {SITE: (1, 2.0, 0.0, 0.0)}
	assert 0.0025 < sample.p50 <= sample.p99 <= 0.005
	assert sample.memory > 1_000_000
	clock.now += 10
	subject.take()
	assert (subject.samples[1].p50, subject.samples[1].sites[SITE].published) == (0.0, 0.0)
	assert sum(subject.latency()) == 1, "latencies are those of the last minute"


def test_samples_and_their_sites_are_bounded(clock: Clock) -> None:
	namespaces = Namespaces()
	for number in range(MAX_SITES + 1):
		add_socket(namespaces, site=f"{number}.test")
	add_socket(namespaces, site="7.test")
	subject = Sampler(namespaces, Fanout(namespaces))
	for _ in range(MAX_SAMPLES + 5):
		clock.now += 10
		subject.take()
	assert len(subject.samples) == MAX_SAMPLES
	assert len(subject.samples[-1].sites) == MAX_SITES
	assert "7.test" in subject.samples[-1].sites


@pytest.mark.parametrize(("now", "pause"), [(1003.0, 7.0), (1009.75, 10.25), (1010.0, 10.0)])
def test_samples_are_taken_at_multiples_of_the_interval(
	monkeypatch: pytest.MonkeyPatch, now: float, pause: float
) -> None:
	pauses: list[float] = []

	async def sleep(seconds: float) -> None:
		pauses.append(seconds)
		if len(pauses) > 1:
			raise asyncio.CancelledError

	monkeypatch.setattr(sampler.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
	monkeypatch.setattr(sampler, "time", lambda: now)
	namespaces = Namespaces()
	called: list[int] = []
	subject = Sampler(namespaces, Fanout(namespaces), lambda: called.append(1))
	with pytest.raises(asyncio.CancelledError):
		asyncio.run(subject._run())
	assert pauses == [pause, pause]
	assert called == [1]
