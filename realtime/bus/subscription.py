"""The subscription to the channels of redis_queue: reads events, and reconnects by itself."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import hiredis

from frappe_realtime.contract.channels import EVENTS_CHANNEL

from ..json_codec import loads
from ..signals import Signal
from .commands import Command, greeting, pack
from .endpoint import Address, RedisEndpoint
from .events import PublishedEvent, event_of

logger = logging.getLogger("realtime.bus")

CHANNEL = EVENTS_CHANNEL.encode()
PING_SECONDS = 3.0
"""Seconds without data after which a PING is sent; after twice that the connection is closed."""


class SubscriberConnection(asyncio.Protocol):
	"""A connection to Redis in subscriber mode.

	Args:
		on_subscribed: Called when the subscription to `EVENTS_CHANNEL` is confirmed.
		on_messages: Called with channel and payload of the messages of one read.
	"""

	def __init__(
		self,
		on_subscribed: Callable[[], None],
		on_messages: Callable[[list[tuple[bytes, bytes]]], None],
	) -> None:
		self._on_subscribed = on_subscribed
		self._on_messages = on_messages
		self._reader = hiredis.Reader()
		self.transport: asyncio.Transport | None = None
		self.error: str = ""
		self.last_received = 0.0
		loop = asyncio.get_running_loop()
		self._time = loop.time
		self.closed: asyncio.Future[None] = loop.create_future()

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports do not inherit from asyncio's.
		self.transport = cast(asyncio.Transport, transport)
		self.last_received = self._time()

	def send(self, commands: Sequence[Command]) -> None:
		"""Send commands; does nothing on a closed connection."""
		if self.transport is not None:
			self.transport.write(pack(commands))

	def data_received(self, data: bytes) -> None:
		self.last_received = self._time()
		reader = self._reader
		reader.feed(data)
		messages: list[tuple[bytes, bytes]] = []
		try:
			while (reply := reader.gets()) is not False:
				if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
					messages.append((reply[1], reply[2]))
				else:
					self._on_reply(reply)
		except hiredis.ProtocolError as error:
			self._fail(f"invalid reply: {error}")
		if messages:
			self._on_messages(messages)

	def connection_lost(self, error: Exception | None) -> None:
		if error is not None and not self.error:
			self.error = str(error)
		if not self.closed.done():
			self.closed.set_result(None)

	def _on_reply(self, reply: Any) -> None:
		if isinstance(reply, hiredis.ReplyError):
			self._fail(str(reply))
		elif isinstance(reply, list) and reply and reply[0] == b"subscribe" and reply[1] == CHANNEL:
			self._on_subscribed()

	def _fail(self, reason: str) -> None:
		self.error = reason
		if self.transport is not None:
			self.transport.abort()


class EventSubscriber:
	"""Subscribes to channels of redis_queue and passes on the messages in order; reconnects until `stop`.

	Args:
		endpoint: redis_queue.
		on_events: Called with the events of one read.
		channels: Further channels, each with a function that is called with the payload of a message.
		on_subscribed: Called each time the subscription begins; earlier messages may have been missed.
		is_needed: Returns False for a site whose events are of no use here; they are not even checked.
	"""

	def __init__(
		self,
		endpoint: RedisEndpoint,
		on_events: Callable[[list[PublishedEvent]], None],
		channels: Mapping[str, Callable[[bytes], None]],
		on_subscribed: Sequence[Callable[[], None]] = (),
		is_needed: Callable[[str], bool] = lambda site: True,
	) -> None:
		self.endpoint = endpoint
		self.received = 0
		"""Messages of all channels since the start."""
		self.invalid = 0
		"""Messages on `EVENTS_CHANNEL` that are not events."""
		self.reason = "not connected yet"
		"""Why there is no subscription; empty while it exists."""
		self.lost: Signal[[str]] = Signal()
		"""Sent with the reason when the subscription ends, or when the first attempt to subscribe fails."""
		self._on_events = on_events
		self._channels = {name.encode(): function for name, function in channels.items()}
		self._subscribed_callbacks = tuple(on_subscribed)
		self._is_needed = is_needed
		self._task: asyncio.Task[None] | None = None

	@property
	def connected(self) -> bool:
		"""True while the subscription exists."""
		return not self.reason

	def start(self) -> None:
		"""Start to connect."""
		self._task = asyncio.get_running_loop().create_task(self._run())

	async def stop(self) -> None:
		"""End the subscription."""
		# Repeated, because up to Python 3.11 `wait_for` loses a cancellation that comes together with its result.
		while self._task is not None and not self._task.done():
			self._task.cancel()
			await asyncio.wait([self._task], timeout=1)

	async def _run(self) -> None:
		delay = 0.1
		logged = False
		while True:
			try:
				connection, address = await self.endpoint.connect(self._new_connection)
				connection.send([*greeting(address), ("SUBSCRIBE", CHANNEL, *self._channels)])
				try:
					await self._watch(connection, address)
				finally:
					if connection.transport is not None:
						connection.transport.abort()
				reason = connection.error or "the connection was closed"
			except (OSError, asyncio.TimeoutError, ValueError) as error:
				# A ValueError is an invalid URL.
				reason = str(error) or type(error).__name__
			if self.connected:
				delay, logged = 0.1, False
			if not logged:
				logged = True
				logger.warning("%s is unavailable: %s; retrying", self.endpoint, reason)
				self.lost.send(reason)
			self.reason = reason
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 3)

	async def _watch(self, connection: SubscriberConnection, address: Address) -> None:
		"""Return when the connection is closed, does not answer a PING, or leads to a server that is not the master."""
		loop = asyncio.get_running_loop()
		pinged = 0.0
		checked = loop.time()
		while not connection.closed.done():
			silent = loop.time() - connection.last_received
			if silent > 2 * PING_SECONDS:
				connection.error = f"no answer for {silent:.0f} s"
				return
			if silent >= PING_SECONDS and pinged <= connection.last_received:
				pinged = loop.time()
				connection.send([("PING",)])
			if self.endpoint.sentinels and loop.time() - checked >= PING_SECONDS:
				checked = loop.time()
				if await self._is_moved(address):
					connection.error = f"{address.host}:{address.port} is not the master any more"
					return
			await asyncio.wait([connection.closed], timeout=PING_SECONDS / 3)

	async def _is_moved(self, address: Address) -> bool:
		try:
			return await self.endpoint.master() != (address.host, address.port)
		except OSError:
			# Unavailable Sentinels have not reported another master.
			return False

	def _new_connection(self) -> SubscriberConnection:
		return SubscriberConnection(self._on_subscribed, self._on_messages)

	def _on_subscribed(self) -> None:
		self.reason = ""
		logger.info("subscribed to the events on %s", self.endpoint)
		for function in self._subscribed_callbacks:
			function()

	def _on_messages(self, messages: list[tuple[bytes, bytes]]) -> None:
		events: list[PublishedEvent] = []
		self.received += len(messages)
		for channel, payload in messages:
			if channel == CHANNEL:
				try:
					data = loads(payload)
					site = data.get("namespace")
					if not site or type(site) is not str or self._is_needed(site):
						events.append(event_of(data, payload))
				except (ValueError, KeyError, TypeError, AttributeError, IndexError):
					self._on_invalid(payload)
			else:
				self._channels[channel](payload)
		if events:
			self._on_events(events)

	def _on_invalid(self, payload: bytes) -> None:
		self.invalid += 1
		if self.invalid == 1:
			logger.warning("invalid message of %d bytes on the channel %r", len(payload), EVENTS_CHANNEL)
