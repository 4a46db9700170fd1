"""Tasks that start eagerly: the first step runs at once, from Python 3.12 on.

Most handlers end in their first step, and then need no iteration of the event loop.
"""

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

		Before Python 3.12, the first step runs in the next iteration of the loop.
		"""
		return asyncio.Task(work, loop=loop, context=context, eager_start=True)

else:

	def start_eagerly(
		loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], context: Context
	) -> asyncio.Task[None]:
		"""Start `work` in `context` and return its task."""
		return context.run(loop.create_task, work)
