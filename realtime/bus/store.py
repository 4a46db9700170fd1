"""Redis for everything but the subscription: the shared secret, publishing, histories and sessions of clients."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any

from frappe_realtime.contract import OUTAGES_KEY, events_key, last_key

from .endpoint import RedisEndpoint

if TYPE_CHECKING:
	from redis.asyncio import Redis

logger = logging.getLogger("realtime.store")

CONNECTIONS = 8
"""Connections for histories and sessions: the client opens one for each command that is under way."""

OUTAGE_SECONDS = 24 * 60 * 60.0
OUTAGE_COUNT = 1000
"""Outage reports are read this many seconds back, and at most so many."""

PASSING = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")
"""Answers of a Redis that is failing over, loading or occupied: it is away, and will be back."""


class StoreUnavailable(Exception):
	"""Redis has not answered; it is worth another try."""


class StoreDenied(Exception):
	"""Redis has answered that it will not: the rights of the user in redis_queue forbid it, or the key is another's."""


@dataclass(frozen=True, slots=True)
class Entry:
	"""One event of a site's history: its id, what the publisher wrote, and the id of the event before it."""

	id: str
	payload: bytes
	before: str


@dataclass(frozen=True, slots=True)
class SessionWrite:
	"""What becomes of one session: `value` is kept for `seconds`; without a value it is forgotten."""

	key: str
	value: str | None
	seconds: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
	"""A time in which one process of Frappe could not publish, as it has reported when Redis was back."""

	host: str
	pid: int
	since: float
	until: float
	held: int
	dropped: int
	reason: str

	@classmethod
	def read(cls, report: bytes) -> Outage | None:
		"""The report in an entry of the stream; None for anything else."""
		try:
			values = json.loads(report)
			return cls(
				host=str(values["host"]),
				pid=int(values["pid"]),
				since=float(values["since"]),
				until=float(values["until"]),
				held=int(values["held"]),
				dropped=int(values["dropped"]),
				reason=str(values["reason"]),
			)
		except (ValueError, KeyError, TypeError):
			return None


class RedisStore:
	"""Commands to redis_queue. The client library is imported with the first one."""

	def __init__(self, endpoint: RedisEndpoint) -> None:
		self.endpoint = endpoint
		self._redis: Redis | None = None
		self._slots = asyncio.Semaphore(CONNECTIONS)

	@property
	def redis(self) -> Redis:
		"""The client; its commands raise `redis.RedisError` and OSError."""
		if self._redis is None:
			self._redis = self.endpoint.client()
		return self._redis

	async def set_default(self, key: str, value: str) -> str:
		"""Set `key` to `value` unless it has a value already, and return the value that it has then.

		Raises:
			StoreUnavailable: Redis does not answer.
		"""
		from redis.exceptions import RedisError

		try:
			await self.redis.set(key, value, nx=True)
			current = await self.redis.get(key)
		except (RedisError, OSError) as error:
			raise StoreUnavailable(str(error)) from error
		return current.decode() if isinstance(current, bytes) else str(current)

	async def answers(self) -> bool:
		"""Whether Redis answers, for `/health`."""
		from redis.exceptions import RedisError

		try:
			return bool(await self.redis.ping())
		except (RedisError, OSError):
			return False

	async def outages(self, seconds: float = OUTAGE_SECONDS) -> list[Outage]:
		"""Reports of processes that could not publish in the last `seconds`, the newest first. Raises `StoreUnavailable`, `StoreDenied`."""
		first = f"{max(0, int((time() - seconds) * 1000))}-0"
		(entries,) = await self._pipeline([("XRANGE", OUTAGES_KEY, first, "+", "COUNT", OUTAGE_COUNT)])
		return [
			outage
			for _, fields in reversed(entries)
			if (outage := Outage.read(_pairs(fields).get(b"r", b"")))
		]

	async def publish(self, channel: str, payload: str) -> None:
		"""Publish once; without Redis it is logged and lost."""
		from redis.exceptions import RedisError

		try:
			await self.redis.publish(channel, payload)
		except (RedisError, OSError) as error:
			logger.warning("could not publish on %r: %s", channel, error)

	async def publish_all(self, channel: str, payloads: Sequence[bytes]) -> None:
		"""Publish several messages in this order. Raises `StoreUnavailable` and `StoreDenied`."""
		await self._pipeline([("PUBLISH", channel, payload) for payload in payloads])

	async def history(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		"""At most `count` events of `site` from the id `first` on, and the id of its last one (None: never had any).

		`count` may be 0. Raises `StoreUnavailable` and `StoreDenied`.
		"""
		# One transaction: the last id must not be that of an event that is too new to be among the others.
		commands: list[tuple[str | int | bytes, ...]] = [("GET", last_key(events_key(site)))]
		if count:
			commands.append(("XRANGE", events_key(site), first, "+", "COUNT", count))
		answers = await self._pipeline(commands, transaction=True)
		last = answers[0]
		entries = []
		for id, fields in answers[1] if count else ():
			values = _pairs(fields)
			entries.append(Entry(_text(id), values.get(b"e", b""), _text(values.get(b"p", b""))))
		return entries, None if last is None else _text(last)

	async def session(self, key: str) -> str | None:
		"""What was kept of a session. Raises `StoreUnavailable` and `StoreDenied`."""
		value = (await self._pipeline([("GET", key)]))[0]
		return None if value is None else _text(value)

	async def write_sessions(self, writes: Sequence[SessionWrite]) -> None:
		"""Keep or forget sessions. Raises `StoreUnavailable` and `StoreDenied`."""
		await self._pipeline(
			[
				("DEL", write.key)
				if write.value is None
				else ("SET", write.key, write.value, "EX", write.seconds)
				for write in writes
			]
		)

	async def prolong_sessions(self, keys: Sequence[str], seconds: int) -> list[bool]:
		"""Let sessions live for `seconds` from now; False for each that is not there. Raises `StoreUnavailable`, `StoreDenied`."""
		return [bool(done) for done in await self._pipeline([("EXPIRE", key, seconds) for key in keys])]

	async def _pipeline(
		self, commands: Sequence[tuple[str | int | bytes, ...]], transaction: bool = False
	) -> list[Any]:
		from redis.exceptions import AuthenticationError, RedisError, ResponseError

		try:
			async with self._slots:
				pipeline = self.redis.pipeline(transaction=transaction)
				for command in commands:
					pipeline.execute_command(*command)
				# Raised here and not by the client, whose message has the command in it, and so the key of a session.
				answers: list[Any] = await pipeline.execute(raise_on_error=False)
			for answer in answers:
				if isinstance(answer, Exception):
					raise answer
			return answers
		except (ResponseError, AuthenticationError) as error:
			if any(word in f"{type(error).__name__} {error}".upper() for word in PASSING):
				raise StoreUnavailable(str(error)) from error
			raise StoreDenied(str(error)) from error
		except (RedisError, OSError) as error:
			raise StoreUnavailable(str(error) or type(error).__name__) from error

	async def close(self) -> None:
		"""Let go of the connections."""
		if self._redis is not None:
			# `close` became `aclose` in redis-py 5; Frappe v15 pins 4.5.
			await (self._redis.aclose() if hasattr(self._redis, "aclose") else self._redis.close())


def _text(value: bytes | str) -> str:
	return value.decode() if isinstance(value, bytes) else value


def _pairs(fields: dict[bytes, bytes] | list[bytes]) -> dict[bytes, bytes]:
	"""The fields of an entry, which a client gives as a mapping or as Redis sends them."""
	return fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
