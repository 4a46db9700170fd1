"""Commands to redis_queue: the shared secret, publishing, event histories and recoverable sessions."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any

from frappe_realtime.contract import OUTAGES_KEY, TRANSIENT_REDIS_ERRORS, access_key, events_key, last_key

from ..log_budget import LogBudget
from .endpoint import RedisEndpoint

if TYPE_CHECKING:
	from redis.asyncio import Redis

logger = logging.getLogger("realtime.store")

CONNECTIONS = 8
"""Connections for histories and sessions; the client opens one for each concurrent command."""

OUTAGE_SECONDS = 24 * 60 * 60.0
"""Seconds for which outage reports are read."""

OUTAGE_COUNT = 1000
"""Outage reports that are read at most."""


_DENIED_COMMAND = re.compile("run the '([a-z|]+)' command", re.IGNORECASE)
"""The command in Redis' message about a missing right."""


class StoreUnavailable(Exception):
	"""Redis does not answer; a retry may succeed."""


class StoreDenied(Exception):
	"""Redis refuses a command: the user of redis_queue lacks a right, or the key has another type.

	Args:
		message: The message of Redis; the client library may have removed its code, such as NOPERM.
		code: That code.
	"""

	def __init__(self, message: str, code: str = "") -> None:
		super().__init__(message)
		self.code = code or message.partition(" ")[0]

	@property
	def advice(self) -> str:
		"""What an operator can do about it."""
		if self.code in ("NOAUTH", "WRONGPASS"):
			return "Set the user name and password of Redis in the URL of redis_queue."
		if self.code == "WRONGTYPE":
			return "The key has another type than this project's: delete it if no other program needs it."
		if (denied := _DENIED_COMMAND.search(str(self))) is not None:
			command = denied.group(1).upper()
			also = " and EXEC" if command == "MULTI" else ""
			return f"Let the user of redis_queue run {command}{also}."
		if self.code == "NOPERM":
			return "Let the user of redis_queue access the keys and channels frappe_realtime:* and socketio_auth_secret."
		return "docs/delivery.md lists the rights that the user of redis_queue needs."


@dataclass(frozen=True, slots=True)
class Entry:
	"""An entry of a site's event history, or of its access messages.

	Args:
		id: The stream id.
		payload: The event or message as the publisher wrote it.
		before: The id of the entry before it; empty for the first one.
	"""

	id: str
	payload: bytes
	before: str


@dataclass(frozen=True, slots=True)
class SessionWrite:
	"""A change of one session: set to `value` for `seconds`, or deleted if `value` is None."""

	key: str
	value: str | None
	seconds: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
	"""The report of a Frappe process that could not publish for a time (`OUTAGES_KEY` in the contract has the fields)."""

	host: str
	pid: int
	since: float
	until: float
	held: int
	dropped: int
	reason: str

	@classmethod
	def read(cls, report: bytes) -> Outage | None:
		"""Return the report in an entry of the stream; None if it is invalid."""
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
	"""Sends commands to redis_queue; imports the client library with the first one.

	Args:
		endpoint: The address.
	"""

	def __init__(self, endpoint: RedisEndpoint) -> None:
		self.endpoint = endpoint
		self._redis: Redis | None = None
		self._slots = asyncio.Semaphore(CONNECTIONS)
		self._log_budget = LogBudget()

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
			StoreDenied: The user of redis_queue may not read or set the key, or its value is not text.
		"""
		from redis.exceptions import RedisError

		try:
			await self.redis.set(key, value, nx=True)
			current = await self.redis.get(key)
		except (RedisError, OSError) as error:
			raise _translated(error) from error
		try:
			return current.decode() if isinstance(current, bytes) else str(current)
		except UnicodeDecodeError as error:
			raise StoreDenied(f"the value of {key} is not text") from error

	async def ping(self) -> bool:
		"""Return True if Redis answers."""
		from redis.exceptions import RedisError

		try:
			return bool(await self.redis.ping())
		except (RedisError, OSError):
			return False

	async def outages(self, seconds: float = OUTAGE_SECONDS) -> list[Outage]:
		"""Return the outage reports of the last `seconds`, the newest first.

		Raises:
			StoreUnavailable, StoreDenied: They cannot be read.
		"""
		first = f"{max(0, int((time() - seconds) * 1000))}-0"
		(entries,) = await self._pipeline([("XRANGE", OUTAGES_KEY, first, "+", "COUNT", OUTAGE_COUNT)])
		return [
			outage
			for _, fields in reversed(entries)
			if (outage := Outage.read(_pairs(fields).get(b"r", b"")))
		]

	async def publish(self, channel: str, payload: str) -> None:
		"""Publish a message without retries; a failure is logged and the message is lost."""
		from redis.exceptions import RedisError

		try:
			await self.redis.publish(channel, payload)
		except (RedisError, OSError) as error:
			self._log_budget.write(logger.warning, "could not publish on %r: %s", channel, error)

	async def publish_all(self, channel: str, payloads: Sequence[bytes]) -> None:
		"""Publish several messages in this order.

		Raises:
			StoreUnavailable, StoreDenied: Some of them may not have been published.
		"""
		await self._pipeline([("PUBLISH", channel, payload) for payload in payloads])

	async def history(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		"""Return events of the history of a site.

		Args:
			site: The site.
			first: The stream id of the first event.
			count: The maximum number of events; may be 0.

		Returns:
			The events, and the id of the newest event of the site, which is None if the site never had one.

		Raises:
			StoreUnavailable, StoreDenied: The history cannot be read.
		"""
		return await self._read_stream(events_key(site), first, count)

	async def access_messages(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		"""Return access messages of a site; arguments, result and exceptions are those of `history`."""
		return await self._read_stream(access_key(site), first, count)

	async def _read_stream(self, key: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		# One transaction, so that the newest id is not that of an entry that is appended between the two commands.
		commands: list[tuple[str | int | bytes, ...]] = [("GET", last_key(key))]
		if count:
			commands.append(("XRANGE", key, first, "+", "COUNT", count))
		answers = await self._pipeline(commands, transaction=True)
		entries = [_entry(id, fields) for id, fields in answers[1]] if count else []
		return entries, None if answers[0] is None else _text(answers[0])

	async def session(self, key: str) -> str | None:
		"""Return the value of a session; None if there is none.

		Raises:
			StoreUnavailable, StoreDenied: It cannot be read.
		"""
		value = (await self._pipeline([("GET", key)]))[0]
		return None if value is None else _text(value)

	async def write_sessions(self, writes: Sequence[SessionWrite]) -> None:
		"""Set and delete sessions.

		Raises:
			StoreUnavailable, StoreDenied: Some of the changes may not have been made.
		"""
		await self._pipeline(
			[
				("DEL", write.key)
				if write.value is None
				else ("SET", write.key, write.value, "EX", write.seconds)
				for write in writes
			]
		)

	async def prolong_sessions(self, keys: Sequence[str], seconds: int) -> list[bool]:
		"""Set the remaining lifetime of sessions in seconds.

		Returns:
			For each key whether it exists.

		Raises:
			StoreUnavailable, StoreDenied: Some of the changes may not have been made.
		"""
		return [bool(done) for done in await self._pipeline([("EXPIRE", key, seconds) for key in keys])]

	async def _pipeline(
		self, commands: Sequence[tuple[str | int | bytes, ...]], transaction: bool = False
	) -> list[Any]:
		from redis.exceptions import RedisError

		try:
			async with self._slots:
				pipeline = self.redis.pipeline(transaction=transaction)
				for command in commands:
					pipeline.execute_command(*command)
				# Not raised by the client, whose message contains the command and thereby the key of a session.
				answers: list[Any] = await pipeline.execute(raise_on_error=False)
			for answer in answers:
				if isinstance(answer, Exception):
					raise answer
			return answers
		except (RedisError, OSError) as error:
			raise _translated(error) from error

	async def close(self) -> None:
		"""Close the connections."""
		if self._redis is not None:
			# `close` became `aclose` in redis-py 5; Frappe v15 pins 4.5.
			await (self._redis.aclose() if hasattr(self._redis, "aclose") else self._redis.close())


def _translated(error: Exception) -> StoreUnavailable | StoreDenied:
	"""Return the error of this module for one of the client library."""
	from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

	text = str(error) or type(error).__name__
	if isinstance(error, (ResponseError, AuthenticationError)) and not any(
		word in f"{type(error).__name__} {error}".upper() for word in TRANSIENT_REDIS_ERRORS
	):
		if isinstance(error, AuthenticationError):
			return StoreDenied(text, "NOAUTH")
		return StoreDenied(text, "NOPERM" if isinstance(error, NoPermissionError) else "")
	return StoreUnavailable(text)


def _text(value: bytes | str) -> str:
	# Corrupt bytes must not end the reader: a replaced character makes an invalid value of them.
	return value.decode(errors="replace") if isinstance(value, bytes) else value


def _entry(id: bytes | str, fields: dict[bytes, bytes] | list[bytes]) -> Entry:
	values = _pairs(fields)
	return Entry(_text(id), values.get(b"e", b""), _text(values.get(b"p", b"")))


def _pairs(fields: dict[bytes, bytes] | list[bytes]) -> dict[bytes, bytes]:
	"""Return the fields of a stream entry, for RESP3 (a mapping) and RESP2 (a flat list)."""
	return fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
