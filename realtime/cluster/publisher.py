"""Messages to the other sidecars, written to Redis in the order in which they came, many in one step."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from frappe_realtime.contract import SIDECARS_CHANNEL

from ..bus.store import RedisStore, StoreDenied, StoreUnavailable

logger = logging.getLogger("realtime.cluster")

STEP = 256 * 1024
"""Bytes that are written in one step; a message that is longer is one of its own."""

PAUSE = 0.2
"""Seconds after Redis has not answered."""


class ClusterPublisher:
	"""Holds at most `most` bytes; `full` is called for each message that is dropped. What Redis does not take is lost.

	`fill` is called before each step, for what can wait for it.
	"""

	def __init__(
		self, store: RedisStore, most: int, full: Callable[[], None], fill: Callable[[], None]
	) -> None:
		self.lost = 0
		"""Messages that Redis did not take."""
		self._store = store
		self._most = most
		self._full = full
		self._fill = fill
		self._queue: deque[bytes] = deque()
		self._size = 0
		self._refused = ""
		self._writing: asyncio.Task[None] | None = None

	def put(self, message: bytes) -> None:
		"""Send `message`, or drop it when too much waits."""
		if self._size + len(message) > self._most:
			self._full()
		else:
			self.put_all([message])

	def put_all(self, messages: list[bytes]) -> None:
		"""Send `messages`, whose number and size are bounded by their nature."""
		self._queue.extend(messages)
		self._size += sum(map(len, messages))
		self.wake()

	def wake(self) -> None:
		"""There is something to write, or for `fill` to put in."""
		if self._writing is None:
			self._writing = asyncio.get_running_loop().create_task(self._write())

	async def stop(self, timeout: float) -> None:
		"""Write what waits, for `timeout` seconds at most."""
		writing = self._writing
		if writing is not None:
			await asyncio.wait([writing], timeout=timeout)
			writing.cancel()

	async def _write(self) -> None:
		try:
			while True:
				self._fill()
				if not self._queue:
					return
				step = self._next_step()
				try:
					await self._store.publish_all(SIDECARS_CHANNEL, step)
					self._refused = ""
				except StoreUnavailable:
					self._lose(step)
					await asyncio.sleep(PAUSE)
				except StoreDenied as error:
					self._lose(step)
					if not self._refused:
						logger.error(
							"%s lets no sidecar speak to others: %s. "
							"Let the user of redis_queue run PUBLISH on the channel %s.",
							self._store.endpoint,
							error,
							SIDECARS_CHANNEL,
						)
					self._refused = str(error)
					await asyncio.sleep(PAUSE)
		finally:
			self._writing = None

	def _next_step(self) -> list[bytes]:
		step = [self._queue.popleft()]
		size = len(step[0])
		while self._queue and size + len(self._queue[0]) <= STEP:
			step.append(self._queue.popleft())
			size += len(step[-1])
		self._size -= size
		return step

	def _lose(self, step: list[bytes]) -> None:
		# What waits behind it would come too late: the others find out what they have missed.
		self.lost += len(step) + len(self._queue)
		self._queue.clear()
		self._size = 0
