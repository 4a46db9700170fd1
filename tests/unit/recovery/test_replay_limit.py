"""The limit of replayed bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.config import Config
from realtime.recovery import replay_limit
from realtime.recovery.replay_limit import ByteBuckets, ReplayLimit


class Clock:
	"""A clock that stands still until it is advanced."""

	def __init__(self) -> None:
		self.now = 1000.0

	def __call__(self) -> float:
		return self.now


def test_a_bucket_may_be_overdrawn_once_and_fills_up_again() -> None:
	clock = Clock()
	buckets = ByteBuckets(10, clock)
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
	monkeypatch.setattr(replay_limit, "MAX_BUCKETS", 2)
	buckets = ByteBuckets(10, Clock())
	for key in "abac":
		buckets.withdraw(key, 400)
	assert [buckets.is_empty(key) for key in "abc"] == [True, False, True]


def session(user: str, site: str = "one.test") -> Any:
	return SimpleNamespace(user=user, site=site)


ANN, BEN, GUEST = session("ann"), session("ben"), session("Guest")
USER_KEY, GUEST_KEY, ADDRESS_KEY = (
	f"realtime_{kind}recovery_bytes_per_second" for kind in ("", "guest_", "address_")
)


@pytest.mark.parametrize(
	("client", "address", "size", "limited"),
	[
		# who has recovered, and which clients are limited then
		(ANN, "192.0.2.1", 31_000, [(ANN, "192.0.2.1"), (ANN, ""), (ANN, "192.0.2.2")]),
		(ANN, "", 290_000, [(ANN, "192.0.2.1"), (ANN, ""), (ANN, "192.0.2.2")]),
		(GUEST, "192.0.2.1", 16_000, [(GUEST, "192.0.2.1")]),
		(GUEST, "", 290_000, []),
		(GUEST, "", 310_000, [(GUEST, "")]),
		(
			ANN,
			"192.0.2.1",
			310_000,
			[(ANN, "192.0.2.1"), (ANN, ""), (ANN, "192.0.2.2"), (BEN, "192.0.2.1"), (GUEST, "192.0.2.1")],
		),
	],
)
def test_who_is_limited(client: Any, address: str, size: int, limited: list[tuple[Any, str]]) -> None:
	reached: list[str] = []
	config = Config(bench=Path(), **{USER_KEY: 1000, GUEST_KEY: 500, ADDRESS_KEY: 10_000})  # type: ignore[arg-type]
	limit = ReplayLimit(config, reached.append)
	limit.count(client, address, size)
	for other in (ANN, BEN, GUEST, session("ann", "two.test")):
		for place in ("192.0.2.1", "192.0.2.2", ""):
			if other.site == "one.test":
				assert limit.allows(other, place) is ((other, place) not in limited), (other, place)
	assert limit.allows(session("ann", "two.test"), "192.0.2.3")
	assert len(reached) == len(limited)
