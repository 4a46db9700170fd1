"""Requests of a developer's browser to open a file in an editor, for `bench watch`."""

from __future__ import annotations

import asyncio
from typing import Any

from frappe_realtime.contract.channels import OPEN_IN_EDITOR_CHANNEL

from ..bus.store import RedisStore
from ..json_codec import dumps


class EditorRequests:
	"""Publishes the requests on Redis.

	Args:
		store: redis_queue.
	"""

	def __init__(self, store: RedisStore) -> None:
		self._store = store
		self._tasks: set[asyncio.Task[None]] = set()

	def send(self, request: dict[str, Any]) -> None:
		"""Publish `{file, line, column}`; it is lost if Redis is unavailable."""
		publishing = self._store.publish(OPEN_IN_EDITOR_CHANNEL, dumps(request))
		task = asyncio.get_running_loop().create_task(publishing)
		# The event loop keeps only a weak reference to a task.
		self._tasks.add(task)
		task.add_done_callback(self._tasks.discard)
