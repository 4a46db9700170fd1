"""The first conversations of the fuzzer, the same ones each time."""

from __future__ import annotations

import asyncio

from tests.fuzz.__main__ import one


def test_a_thousand_conversations() -> None:
	async def run() -> None:
		for seed in range(1000):
			one(seed)

	asyncio.run(run())
