"""Tasks whose first step runs at once, where Python can: most handlers end in it, and need no turn of the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

if sys.version_info >= (3, 12):

	def start_eagerly(
		loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], context: Context
	) -> asyncio.Task[None]:
		"""Start `work` in `context` and return its task, which is done if its first step was the last.

		Before Python 3.12, the first step runs in the next turn of the loop.
		"""
		return asyncio.Task(work, loop=loop, context=context, eager_start=True)

else:

	def start_eagerly(
		loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], context: Context
	) -> asyncio.Task[None]:
		"""Start `work` in `context` and return its task."""
		return context.run(loop.create_task, work)
