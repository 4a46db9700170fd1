"""The first thousand conversations of the fuzzer; their seeds are always the same."""

from __future__ import annotations

import asyncio

from tests.fuzz.__main__ import run_conversation


def test_a_thousand_conversations() -> None:
	async def run() -> None:
		for seed in range(1000):
			run_conversation(seed)

	asyncio.run(run())
