"""The limit of replayed bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.config import Config
from realtime.recovery.replay_limit import ReplayLimit
from realtime.token_buckets import MAX_BUCKETS


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


def test_clients_that_miss_nothing_do_not_replace_those_that_are_limited() -> None:
	config = Config(bench=Path(), **{USER_KEY: 1000})  # type: ignore[arg-type]
	limit = ReplayLimit(config, lambda key: None)
	limit.count(ANN, "", 60_000)
	for number in range(MAX_BUCKETS + 1):
		limit.count(session(f"user{number}"), "", 0)
	assert not limit.allows(ANN, "")
