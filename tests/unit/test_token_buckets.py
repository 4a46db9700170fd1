"""Token buckets by key."""

from __future__ import annotations

import pytest

from realtime import token_buckets
from realtime.token_buckets import ReportedBuckets, TokenBuckets


class Clock:
	"""A clock that stands still until it is advanced."""

	def __init__(self) -> None:
		self.now = 1000.0

	def __call__(self) -> float:
		return self.now


def test_a_bucket_may_be_overdrawn_once_and_fills_up_again() -> None:
	clock = Clock()
	buckets = TokenBuckets(10, 300, clock)
	buckets.withdraw("a", 299)
	assert not buckets.is_empty("a")
	buckets.withdraw("a", 101)
	assert buckets.is_empty("a")
	assert not buckets.is_empty("b")
	clock.now += 10
	assert buckets.is_empty("a")
	clock.now += 0.1
	assert not buckets.is_empty("a")
	assert len(buckets) == 1
	clock.now += 30
	assert not buckets.is_empty("a")
	assert len(buckets) == 0, "a full bucket is not kept"
	clock.now += 1000
	buckets.withdraw("a", 300)
	assert buckets.is_empty("a"), "no more than a burst is saved up"


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
	monkeypatch.setattr(token_buckets, "MAX_BUCKETS", 2)
	buckets = TokenBuckets(10, 300, Clock())
	for key in "abac":
		buckets.withdraw(key, 400)
	assert [buckets.is_empty(key) for key in "abc"] == [True, False, True]


def test_one_token_at_a_time() -> None:
	clock = Clock()
	buckets = TokenBuckets(2, 3, clock)
	assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
	assert (buckets.seconds_until("a"), buckets.retry_after("a")) == (0.5, 1)
	assert buckets.take("b")
	clock.now += 0.5
	assert [buckets.take("a") for _ in range(2)] == [True, False]
	assert buckets.seconds_until("a", 2) == 1
	clock.now += 1000
	assert buckets.seconds_until("a") == 0
	assert len(buckets) == 1


def test_a_forgotten_client_begins_with_a_full_bucket() -> None:
	buckets = TokenBuckets(2, 3, Clock())
	buckets.withdraw("a", 3)
	buckets.forget("a")
	buckets.forget("never seen")
	assert buckets.tokens("a") == 3
	assert len(buckets) == 0


def test_a_refusal_is_reported_once_until_a_token_is_granted() -> None:
	clock = Clock()
	buckets = ReportedBuckets(1, 1, clock)
	assert buckets.take("a")
	assert not buckets.take("a")
	assert [buckets.is_first_refusal("a") for _ in range(3)] == [True, False, False]
	assert buckets.is_first_refusal("b")
	clock.now += 1
	assert buckets.take("a")
	assert not buckets.take("a")
	assert buckets.is_first_refusal("a")
	buckets.forget("a")
	assert buckets.is_first_refusal("a")
	assert buckets.tokens("a") == 1
