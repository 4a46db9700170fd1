"""Redis to events: one subscription, read without a task for a message, that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import hiredis

from frappe_realtime.contract import EVENTS_CHANNEL

from .endpoint import TIMEOUT, Address, RedisEndpoint
from .events import PublishedEvent, read_event

logger = logging.getLogger("realtime.bus")

CHANNEL = EVENTS_CHANNEL.encode()
SILENCE = 3.0
"""Seconds without a word from Redis after which it is asked for one; twice that, and the connection is given up."""


class Link(asyncio.Protocol):
	"""One connection to Redis that only listens."""

	def __init__(
		self,
		greeting: bytes,
		subscribed: Callable[[], None],
		take: Callable[[list[tuple[bytes, bytes]]], None],
	) -> None:
		self._greeting = greeting
		self._subscribed = subscribed
		self._take = take
		self._reader = hiredis.Reader()
		self.transport: asyncio.Transport | None = None
		self.error: str = ""
		self.last = 0.0
		loop = asyncio.get_running_loop()
		self._time = loop.time
		self.lost: asyncio.Future[None] = loop.create_future()

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports are asyncio's in all but their base class.
		self.transport = cast(asyncio.Transport, transport)
		self.last = self._time()
		self.transport.write(self._greeting)

	def data_received(self, data: bytes) -> None:
		self.last = self._time()
		reader = self._reader
		reader.feed(data)
		messages: list[tuple[bytes, bytes]] = []
		try:
			while (reply := reader.gets()) is not False:
				if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
					messages.append((reply[1], reply[2]))
				else:
					self._notice(reply)
		except hiredis.ProtocolError as error:
			self._fail(f"not the protocol of Redis: {error}")
		if messages:
			self._take(messages)

	def connection_lost(self, error: Exception | None) -> None:
		if error is not None and not self.error:
			self.error = str(error)
		if not self.lost.done():
			self.lost.set_result(None)

	def _notice(self, reply: Any) -> None:
		if isinstance(reply, hiredis.ReplyError):
			self._fail(str(reply))
		elif isinstance(reply, list) and reply and reply[0] == b"subscribe" and reply[1] == CHANNEL:
			self._subscribed()

	def _fail(self, reason: str) -> None:
		self.error = reason
		if self.transport is not None:
			self.transport.abort()


class EventSubscriber:
	"""Subscribes to the channel `events` of redis_queue, and passes on what it reads in order.

	Args:
		endpoint: redis_queue.
		take: Takes the events that were read in one turn of the loop.
		channels: Further channels, each with a function that takes the payload of a message.
		subscribed: Called each time the subscription begins: earlier messages may have been missed.
	"""

	def __init__(
		self,
		endpoint: RedisEndpoint,
		take: Callable[[list[PublishedEvent]], None],
		channels: Mapping[str, Callable[[bytes], None]],
		subscribed: Sequence[Callable[[], None]] = (),
	) -> None:
		self.endpoint = endpoint
		self.connected = False
		self.received = 0
		self.invalid = 0
		self._take_events = take
		self._channels = {name.encode(): function for name, function in channels.items()}
		self._subscribed = tuple(subscribed)
		self._task: asyncio.Task[None] | None = None

	def start(self) -> None:
		"""Subscribe, and stay subscribed until `stop`."""
		self._task = asyncio.get_running_loop().create_task(self._run())

	async def stop(self) -> None:
		"""End the subscription."""
		# More than once, since up to Python 3.11 `wait_for` loses a cancellation that comes with its result.
		while self._task is not None and not self._task.done():
			self._task.cancel()
			await asyncio.wait([self._task], timeout=1)

	async def _run(self) -> None:
		delay = 0.1
		complained = False
		while True:
			reason = ""
			try:
				link, address = await self._connect()
				try:
					await self._watch(link, address)
				finally:
					if link.transport is not None:
						link.transport.abort()
				reason = link.error or "the connection was closed"
			except (OSError, asyncio.TimeoutError, ValueError) as error:
				# A ValueError is an option in the address that the client library does not know.
				reason = str(error) or type(error).__name__
			if self.connected:
				delay = 0.1
			if self.connected or not complained:
				complained = True
				logger.warning("%s is away: %s; trying again until it is back", self.endpoint, reason)
			self.connected = False
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 3)

	async def _watch(self, link: Link, address: Address) -> None:
		"""Until the connection is lost, says nothing although it was asked, or is to a server that is not the master."""
		loop = asyncio.get_running_loop()
		asked = 0.0
		checked = loop.time()
		while not link.lost.done():
			quiet = loop.time() - link.last
			if quiet > 2 * SILENCE:
				link.error = f"no answer for {quiet:.0f} s"
				return
			if quiet >= SILENCE and asked <= link.last and link.transport is not None:
				asked = loop.time()
				link.transport.write(_command(b"PING"))
			if self.endpoint.sentinels and loop.time() - checked >= SILENCE:
				checked = loop.time()
				if await self._is_moved(address):
					link.error = f"{address.host}:{address.port} is not the master any more"
					return
			await asyncio.wait([link.lost], timeout=SILENCE / 3)

	async def _is_moved(self, address: Address) -> bool:
		try:
			return await self.endpoint.master() != (address.host, address.port)
		except OSError:
			# Sentinels that are away have not named another.
			return False

	async def _connect(self) -> tuple[Link, Address]:
		address = await self.endpoint.address()
		link = Link(self._greeting(address), self._on_subscribed, self._take)
		loop = asyncio.get_running_loop()
		if address.path:
			attempt: Any = loop.create_unix_connection(lambda: link, address.path)
		else:
			attempt = loop.create_connection(lambda: link, address.host, address.port, ssl=address.tls)
		await asyncio.wait_for(attempt, timeout=TIMEOUT)
		return link, address

	def _greeting(self, address: Address) -> bytes:
		commands = []
		if address.password:
			names = [address.username] if address.username else []
			commands.append(_command(b"AUTH", *[part.encode() for part in [*names, address.password]]))
		commands.append(_command(b"SUBSCRIBE", CHANNEL, *self._channels))
		return b"".join(commands)

	def _on_subscribed(self) -> None:
		self.connected = True
		logger.info("subscribed to the events on %s", self.endpoint)
		for function in self._subscribed:
			function()

	def _take(self, messages: list[tuple[bytes, bytes]]) -> None:
		events: list[PublishedEvent] = []
		self.received += len(messages)
		for channel, payload in messages:
			if channel == CHANNEL:
				try:
					events.append(read_event(payload))
				except (ValueError, KeyError, TypeError, AttributeError):
					self._no_event(payload)
			else:
				self._channels[channel](payload)
		if events:
			self._take_events(events)

	def _no_event(self, payload: bytes) -> None:
		self.invalid += 1
		if self.invalid == 1:
			logger.warning("a message on the channel 'events' is no event: %.200r", payload)


def _command(*parts: bytes) -> bytes:
	return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
