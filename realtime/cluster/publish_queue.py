"""The queue of messages to the other sidecars, published in order, many in one round trip to Redis."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from frappe_realtime.contract.channels import SIDECARS_CHANNEL

from ..bus.store import RedisStore, StoreDenied, StoreUnavailable

logger = logging.getLogger("realtime.cluster")

BATCH_BYTES = 256 * 1024
"""Bytes that are published in one round trip; a larger message is published alone."""

RETRY_PAUSE = 0.2
"""Seconds before the next attempt after Redis has not answered."""


class PublishQueue:
	"""Publishes messages on the channel of the sidecars.

	A message that Redis does not accept is lost: the receivers detect the gap by its sequence number.

	Args:
		store: redis_queue.
		max_bytes: Bytes that may wait; further messages are dropped.
		on_full: Called for each message that is dropped.
		fill: Called before each round trip, to add the messages that are put together as late as possible.
		on_published: Called after each round trip with the number of processes that Redis has sent the last message to, this one
			included.
	"""

	def __init__(
		self,
		store: RedisStore,
		max_bytes: int,
		on_full: Callable[[], None],
		fill: Callable[[], None],
		on_published: Callable[[int], None],
	) -> None:
		self.lost = 0
		"""Messages that Redis did not accept."""
		self._store = store
		self._max_bytes = max_bytes
		self._on_full = on_full
		self._fill = fill
		self._on_published = on_published
		self._queue: deque[bytes] = deque()
		self._size = 0
		self._denied = False
		"""True from a round trip that Redis has refused until one that it has accepted: one line is logged in between."""
		self._writing: asyncio.Task[None] | None = None

	def put(self, message: bytes) -> None:
		"""Publish `message`, or drop it if `max_bytes` are waiting."""
		if self._size + len(message) > self._max_bytes:
			self._on_full()
		else:
			self.put_all([message])

	def put_all(self, messages: list[bytes]) -> None:
		"""Publish `messages`, which are bounded by what they describe and never dropped."""
		self._queue.extend(messages)
		self._size += sum(map(len, messages))
		self.wake()

	def wake(self) -> None:
		"""Start a round trip: messages wait, or `fill` has some to add."""
		if self._writing is None:
			self._writing = asyncio.get_running_loop().create_task(self._write())

	async def stop(self, timeout: float) -> None:
		"""Publish what waits, within `timeout` seconds."""
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
				batch = self._next_batch()
				try:
					self._on_published((await self._store.publish_all(SIDECARS_CHANNEL, batch))[-1])
					self._denied = False
				except StoreUnavailable:
					self._lose(batch)
					await asyncio.sleep(RETRY_PAUSE)
				except StoreDenied as error:
					self._lose(batch)
					if not self._denied:
						logger.error(
							"%s does not let this sidecar publish to the others on the channel %s: %s. %s",
							self._store.endpoint,
							SIDECARS_CHANNEL,
							error,
							error.advice,
						)
					self._denied = True
					await asyncio.sleep(RETRY_PAUSE)
		finally:
			self._writing = None

	def _next_batch(self) -> list[bytes]:
		batch = [self._queue.popleft()]
		size = len(batch[0])
		while self._queue and size + len(self._queue[0]) <= BATCH_BYTES:
			batch.append(self._queue.popleft())
			size += len(batch[-1])
		self._size -= size
		return batch

	def _lose(self, batch: list[bytes]) -> None:
		# Later messages would arrive after a gap: the receivers request a snapshot anyway.
		self.lost += len(batch) + len(self._queue)
		self._queue.clear()
		self._size = 0
