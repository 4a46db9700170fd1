"""A bounded wait for a condition whose end nothing announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks at the condition."""


async def wait_while(condition: Callable[[], object], timeout: float) -> bool:
	"""Wait while a condition holds.

	It returns in the same turn of the event loop in which it has found that the condition does not hold.

	Args:
		condition: Returns what is true while there is something to wait for.
		timeout: The most seconds to wait.

	Returns:
		False if the condition still holds after `timeout` seconds.
	"""
	loop = asyncio.get_running_loop()
	deadline = loop.time() + timeout
	while condition():
		if loop.time() > deadline:
			return False
		await asyncio.sleep(INTERVAL)
	return True
