"""Redis to events: one subscription, read without a task for a message, that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Any, cast

import hiredis

from . import packets
from .fanout import Event

logger = logging.getLogger("realtime.bus")

CHANNEL = b"events"
SILENCE = 4.0
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
		self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

	def connection_made(self, transport: asyncio.BaseTransport) -> None:
		# uvloop's transports are asyncio's in all but their base class.
		self.transport = cast(asyncio.Transport, transport)
		self.last = asyncio.get_running_loop().time()
		self.transport.write(self._greeting)

	def data_received(self, data: bytes) -> None:
		self.last = asyncio.get_running_loop().time()
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


class Bus:
	"""Subscribes to the channel `events` of redis_queue and gives what it reads, in order, to `take`.

	`others` are further channels, each with a function that gets the payload of its messages.
	"""

	def __init__(
		self,
		url: str,
		take: Callable[[list[Event]], None],
		others: dict[str, Callable[[bytes], None]] | None = None,
	) -> None:
		self.url = url
		self.connected = False
		self.received = 0
		self.invalid = 0
		self.on_subscribed: list[Callable[[], None]] = []
		"""Called each time the subscription begins: what was published before may have been missed."""
		self._take_events = take
		self._others = {name.encode(): function for name, function in (others or {}).items()}
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
				link = await self._connect()
				try:
					await self._watch(link)
				finally:
					if link.transport is not None:
						link.transport.abort()
				reason = link.error or "the connection was closed"
			except (OSError, asyncio.TimeoutError) as error:
				reason = str(error) or type(error).__name__
			if self.connected:
				delay = 0.1
			if self.connected or not complained:
				complained = True
				logger.warning(
					"Redis at %s (redis_queue) is away: %s; trying again until it is back",
					safe_url(self.url),
					reason,
				)
			self.connected = False
			await asyncio.sleep(delay * random.uniform(0.7, 1.3))
			delay = min(delay * 1.6, 3)

	async def _watch(self, link: Link) -> None:
		"""Until the connection is lost, or says nothing although it was asked."""
		loop = asyncio.get_running_loop()
		while not link.lost.done():
			await asyncio.wait([link.lost], timeout=SILENCE)
			silent = loop.time() - link.last
			if silent > 2 * SILENCE:
				link.error = f"no answer for {silent:.0f} s"
				return
			if silent >= SILENCE and link.transport is not None:
				link.transport.write(_command(b"PING"))

	async def _connect(self) -> Link:
		from redis.asyncio.connection import parse_url

		options: dict[str, Any] = dict(parse_url(self.url))
		link = Link(self._greeting(options), self._on_subscribed, self._take)
		loop = asyncio.get_running_loop()
		if "path" in options:
			attempt: Any = loop.create_unix_connection(lambda: link, options["path"])
		else:
			attempt = loop.create_connection(
				lambda: link,
				options.get("host", "localhost"),
				options.get("port", 6379),
				ssl=_tls(options) if self.url.startswith("rediss:") else None,
			)
		await asyncio.wait_for(attempt, timeout=5)
		return link

	def _greeting(self, options: dict[str, Any]) -> bytes:
		commands = []
		if options.get("password"):
			names = [options["username"]] if options.get("username") else []
			commands.append(_command(b"AUTH", *[part.encode() for part in [*names, options["password"]]]))
		commands.append(_command(b"SUBSCRIBE", CHANNEL, *self._others))
		return b"".join(commands)

	def _on_subscribed(self) -> None:
		self.connected = True
		for function in self.on_subscribed:
			function()
		logger.info("subscribed to the events on %s", safe_url(self.url))

	def _take(self, messages: list[tuple[bytes, bytes]]) -> None:
		events: list[Event] = []
		for channel, payload in messages:
			self.received += 1
			if channel == CHANNEL:
				event = self._read(payload)
				if event is not None:
					events.append(event)
			else:
				self._others[channel](payload)
		if events:
			self._take_events(events)

	def _read(self, payload: bytes) -> Event | None:
		try:
			data = packets.loads(payload)
			site, room, event = data.get("namespace") or None, data.get("room") or None, data["event"]
			offset = data.get("offset")
			if not isinstance(event, str) or not all(
				value is None or isinstance(value, str) for value in (site, room, offset)
			):
				raise ValueError("a name that is no string")
			return Event(site, room, event, data.get("message"), offset)
		except (ValueError, KeyError, TypeError, AttributeError):
			self.invalid += 1
			if self.invalid == 1:
				logger.warning("a message on the channel 'events' is no event: %.200r", payload)
			return None


def _command(*parts: bytes) -> bytes:
	return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
	context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
	if options.get("ssl_certfile"):
		context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
	if options.get("ssl_cert_reqs") in ("none", ssl.CERT_NONE):
		context.check_hostname = False
		context.verify_mode = ssl.CERT_NONE
	return context


def safe_url(url: str) -> str:
	"""`url` without its password, for logs."""
	scheme, separator, rest = url.partition("://")
	return f"{scheme}{separator}{rest.rpartition('@')[2]}"
