"""What the commands say about Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from realtime.bus.endpoint import RedisEndpoint
from realtime.bus.store import StoreDenied, StoreUnavailable
from realtime.config import Config
from realtime.operations.redis_failure import redis_failure

DENIED = "NOPERM this user has no permissions to run the 'pubsub|numsub' command"
AWAY = "does not answer"


@pytest.mark.parametrize(
	("error", "reason", "says"),
	[
		(
			StoreUnavailable("Connection refused"),
			"",
			(AWAY, "Connection refused", "Start Redis", "FRAPPE_REDIS_QUEUE"),
		),
		(asyncio.TimeoutError(), "", (AWAY, "no answer within 5 s", "Start Redis")),
		(asyncio.TimeoutError(), "not connected yet", (AWAY, "not connected yet", "Start Redis")),
		(StoreDenied(DENIED), "", ("refuses a command", DENIED, "Let the user of redis_queue run PUBSUB")),
		(asyncio.TimeoutError(), DENIED, ("refuses a command", DENIED, "Let the user of redis_queue run")),
	],
)
def test_what_redis_has_done_and_what_to_do(error: Exception, reason: str, says: tuple[str, ...]) -> None:
	said = redis_failure(RedisEndpoint(Config(bench=Path())), error, reason)
	assert said.startswith("Redis at redis://127.0.0.1:11311 (redis_queue) ")
	assert all(part in said for part in says), said
	assert (AWAY in said) == ("Start Redis" in said)
