"""Commands to redis_queue: the shared secret, publishing, event histories and recoverable sessions."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from time import time
from typing import Any, NamedTuple

import hiredis

from frappe_realtime.contract.redis_keys import (
	OUTAGES_KEY,
	access_key,
	events_key,
	last_key,
	latest_key,
	order_key,
)

from ..log_budget import LogBudget
from .commands import Command
from .endpoint import RedisEndpoint
from .outages import OUTAGE_COUNT, OUTAGE_SECONDS, OutageReport
from .pipeline import RedisPipeline, is_transient

logger = logging.getLogger("realtime.store")

_DENIED_COMMAND = re.compile("run the '([a-z|]+)' command", re.IGNORECASE)


def denied_command(message: str) -> str:
	"""Return the command that a NOPERM message of Redis names, in upper case; empty if it names none."""
	found = _DENIED_COMMAND.search(message)
	return "" if found is None else found[1].upper()


class StoreUnavailable(Exception):
	"""Redis does not answer; a retry may succeed."""


class StoreDenied(Exception):
	"""Redis refuses a command: the user of redis_queue lacks a right, or the key has another type.

	Args:
		message: The message of Redis, which begins with a code such as NOPERM.
	"""

	def __init__(self, message: str) -> None:
		super().__init__(message)
		self.code = message.partition(" ")[0]

	@property
	def is_about_the_password(self) -> bool:
		"""True if what Redis refuses is the user name or the password of the URL."""
		return self.code in ("NOAUTH", "WRONGPASS") or str(self).startswith("ERR AUTH")

	@property
	def advice(self) -> str:
		"""What an operator can do about it."""
		if self.is_about_the_password:
			return "Set the user name and password of Redis in the URL of redis_queue."
		if self.code == "WRONGTYPE":
			return "The key has another type than this project's: delete it if no other program needs it."
		if command := denied_command(str(self)):
			also = " and EXEC" if command == "MULTI" else ""
			return f"Let the user of redis_queue run {command}{also}."
		if self.code == "NOPERM":
			return "Let the user of redis_queue access the keys and channels frappe_realtime:* and socketio_auth_secret."
		return "docs/delivery.md lists the rights that the user of redis_queue needs."


class Entry(NamedTuple):
	"""An entry of a site's event history, or of its access messages.

	Args:
		id: The stream id.
		payload: The event or message as the publisher wrote it.
		before: The id of the event before it in the order of the site, or of the message before it.
		previous: The id of the entry before it in the same stream; empty if the publisher did not write it: then it is `before`.
	"""

	id: str
	payload: bytes
	before: str
	previous: str = ""


class HistoryPage(NamedTuple):
	"""Entries of the event history of a site.

	Args:
		entries: The entries that were read.
		last: The id of the newest event of the site; None if the site never had one.
		newest: The id of the newest entry of the stream, whether it is still there or not; None as above.
	"""

	entries: list[Entry]
	last: str | None
	newest: str | None


class LatestPage(NamedTuple):
	"""Entries of the events of a site of which only the newest ones are kept.

	Args:
		entries: The entries that were read.
		last: The id of the newest event of the site; None if the site never had one.
		newest: The id of the newest entry of this stream, whether it is still there or not; empty if there was none.
		removed: The id of the newest entry that was removed because of a bound; empty if there is none.
	"""

	entries: list[Entry]
	last: str | None
	newest: str
	removed: str


class SessionWrite(NamedTuple):
	"""A change of one session: set to `value` for `seconds`, or deleted if `value` is None.

	Args:
		key: Its key.
		value: JSON whose first field is `recoveries`, with the same number as below.
		seconds: For how long it is kept.
		recoveries: How often its client has recovered it. A session that was recovered more often is not changed.
	"""

	key: str
	value: str | None
	seconds: int = 0
	recoveries: int = 0


WRITE_SESSIONS = """
local outdated = {}
for number, key in ipairs(KEYS) do
	local recoveries, seconds, value = ARGV[3 * number - 2], ARGV[3 * number - 1], ARGV[3 * number]
	local stored = redis.call('GET', key)
	local known = stored and string.match(stored, '^{"recoveries":%s*(%d+)') or '0'
	if tonumber(known) > tonumber(recoveries) then
		table.insert(outdated, number)
	elseif value == '' then
		redis.call('DEL', key)
	else
		redis.call('SET', key, value, 'EX', seconds)
	end
end
return outdated
"""
"""Changes sessions; returns the numbers, from 1 on, of those that were recovered more often than the writer knows."""


class RedisStore:
	"""Sends commands to redis_queue.

	Args:
		endpoint: The address.
	"""

	def __init__(self, endpoint: RedisEndpoint) -> None:
		self.endpoint = endpoint
		self._pipeline = RedisPipeline(endpoint)
		self._log_budget = LogBudget()

	async def set_default(self, key: str, value: str) -> str:
		"""Set `key` to `value` unless it has a value already, and return the value that it has then.

		Raises:
			StoreUnavailable: Redis does not answer.
			StoreDenied: The user of redis_queue may not read or set the key, or its value is not text.
		"""
		_, current = await self.execute([("SET", key, value, "NX"), ("GET", key)])
		try:
			return str(current.decode())
		except (UnicodeDecodeError, AttributeError) as error:
			raise StoreDenied(f"the value of {key} is not text") from error

	async def subscribers(self, channel: str) -> int:
		"""Return how many clients of Redis are subscribed to `channel`.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses the command.
		"""
		((_, count),) = await self.execute([("PUBSUB", "NUMSUB", channel)])
		return int(count)

	async def ping(self) -> bool:
		"""Return True if Redis answers."""
		try:
			await self.execute([("PING",)])
		except (StoreUnavailable, StoreDenied):
			return False
		return True

	async def outages(self) -> list[OutageReport]:
		"""Return the outage reports of the last `OUTAGE_SECONDS`, the newest first.

		Raises:
			StoreUnavailable, StoreDenied: They cannot be read.
		"""
		first = f"{max(0, int((time() - OUTAGE_SECONDS) * 1000))}-0"
		(entries,) = await self.execute([("XRANGE", OUTAGES_KEY, first, "+", "COUNT", OUTAGE_COUNT)])
		return [
			outage
			for _, fields in reversed(entries)
			if (outage := OutageReport.read(_pairs(fields).get(b"r", b"")))
		]

	async def publish(self, channel: str, payload: str) -> None:
		"""Publish a message without retries; a failure is logged and the message is lost."""
		try:
			await self.execute([("PUBLISH", channel, payload)])
		except (StoreUnavailable, StoreDenied) as error:
			self._log_budget.write(logger.warning, "could not publish on %r: %s", channel, error)

	async def publish_all(self, channel: str, payloads: Sequence[str | bytes]) -> list[int]:
		"""Publish several messages in this order; return how many subscribers each of them has reached.

		Raises:
			StoreUnavailable, StoreDenied: Some of them may not have been published.
		"""
		return await self.execute([("PUBLISH", channel, payload) for payload in payloads])

	async def append(self, values: Sequence[tuple[str, str]], seconds: int) -> None:
		"""Append values to lists, each a key and a value, and keep the lists for `seconds`.

		Raises:
			StoreUnavailable, StoreDenied: Some of them may not have been appended.
		"""
		commands: list[Command] = []
		for key, value in values:
			commands += [("RPUSH", key, value), ("EXPIRE", key, seconds)]
		await self.execute(commands)

	async def members(self, key: str) -> set[str]:
		"""Return the members of a set; empty if there is none.

		Raises:
			StoreUnavailable, StoreDenied: It cannot be read.
		"""
		(members,) = await self.execute([("SMEMBERS", key)])
		return {_text(member) for member in members}

	async def change_members(self, key: str, add: Sequence[str], remove: Sequence[str] = ()) -> None:
		"""Add members to a set, and remove others.

		Raises:
			StoreUnavailable, StoreDenied: The change may not have been made.
		"""
		commands: list[Command] = []
		if add:
			commands.append(("SADD", key, *add))
		if remove:
			commands.append(("SREM", key, *remove))
		await self.execute(commands)

	async def hold(self, key: str, value: str, seconds: int) -> bool:
		"""Set `key` to `value` for `seconds` unless it has another value; return True if it has `value` now.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses the command.
		"""
		_, current = await self.execute([("SET", key, value, "NX", "EX", seconds), ("GET", key)])
		if current is None or _text(current) != value:
			return False
		await self.execute([("EXPIRE", key, seconds)])
		return True

	async def entries(self, key: str, count: int) -> list[bytes]:
		"""Return the values of the field `e` of the first `count` entries of a stream; empty for one without this field.

		Raises:
			StoreUnavailable, StoreDenied: They cannot be read.
		"""
		(entries,) = await self.execute([("XRANGE", key, "-", "+", "COUNT", count)])
		return [_pairs(fields).get(b"e", b"") for _, fields in entries]

	async def history(self, site: str, first: str, count: int) -> HistoryPage:
		"""Return events of the history of a site.

		Args:
			site: The site.
			first: The stream id of the first event.
			count: The maximum number of events; may be 0.

		Raises:
			StoreUnavailable, StoreDenied: The history cannot be read.
		"""
		key = events_key(site)
		entries, last, order = await self._read_stream(key, first, count, order_key(site))
		ids = _text(order or b"").split()
		# Other ids are from before a publisher that does not write them, and whose events are all in the stream.
		return HistoryPage(entries, last, ids[1] if len(ids) == 4 and ids[0] == last else last)

	async def latest(self, site: str, first: str, count: int) -> LatestPage:
		"""Return events of which only the newest ones are kept; arguments and exceptions are those of `history`."""
		key = latest_key(site)
		entries, last, order = await self._read_stream(key, first, count, order_key(site), events_key(site))
		ids = _text(order or b"").split()
		_, _, newest, removed = ids if len(ids) == 4 else ("", "", "", "")
		return LatestPage(entries, last, newest, removed)

	async def history_backwards(self, site: str, before: str, count: int) -> list[Entry]:
		"""Return the `count` newest events of the history of a site up to the id `before`, the newest first.

		Raises:
			StoreUnavailable, StoreDenied: The history cannot be read.
		"""
		(entries,) = await self.execute([("XREVRANGE", events_key(site), before, "-", "COUNT", count)])
		return [_entry(id, fields) for id, fields in entries]

	async def access_messages(self, site: str, first: str, count: int) -> tuple[list[Entry], str | None]:
		"""Return access messages of a site, and the id of the newest one; arguments and exceptions are those of `history`."""
		entries, last, _ = await self._read_stream(access_key(site), first, count)
		return entries, last

	async def _read_stream(
		self, key: str, first: str, count: int, order: str = "", last_of: str = ""
	) -> tuple[list[Entry], str | None, bytes | None]:
		"""Return entries of the stream `key`, the newest id in the order of the stream `last_of`, and the value of `order`."""
		# One transaction, so that the newest id is not that of an entry that is appended between the commands.
		commands: list[Command] = [("GET", last_key(last_of or key))]
		if order:
			commands.append(("GET", order))
		if count:
			commands.append(("XRANGE", key, first, "+", "COUNT", count))
		answers = await self.execute(commands, transaction=True)
		entries = [_entry(id, fields) for id, fields in answers[-1]] if count else []
		last = None if answers[0] is None else _text(answers[0])
		return entries, last, answers[1] if order else None

	async def session(self, key: str) -> str | None:
		"""Return the value of a session; None if there is none.

		Raises:
			StoreUnavailable, StoreDenied: It cannot be read.
		"""
		value = (await self.execute([("GET", key)]))[0]
		return None if value is None else _text(value)

	async def write_sessions(self, writes: Sequence[SessionWrite]) -> list[int]:
		"""Set and delete sessions, unless their clients have recovered them elsewhere since.

		Returns:
			The positions in `writes` of those that were recovered elsewhere, and are not changed.

		Raises:
			StoreUnavailable, StoreDenied: Some of the changes may not have been made.
		"""
		arguments = [
			argument for write in writes for argument in (write.recoveries, write.seconds, write.value or "")
		]
		keys = [write.key for write in writes]
		(outdated,) = await self.execute([("EVAL", WRITE_SESSIONS, len(keys), *keys, *arguments)])
		return [number - 1 for number in outdated]

	async def prolong_sessions(self, keys: Sequence[str], seconds: int) -> list[bool]:
		"""Set the remaining lifetime of sessions in seconds.

		Returns:
			For each key whether it exists.

		Raises:
			StoreUnavailable, StoreDenied: Some of the changes may not have been made.
		"""
		return [bool(done) for done in await self.execute([("EXPIRE", key, seconds) for key in keys])]

	async def execute(self, commands: Sequence[Command], transaction: bool = False) -> list[Any]:
		"""Send commands, as one transaction if `transaction`; return their replies.

		Raises:
			StoreUnavailable, StoreDenied: Redis does not answer, or refuses a command; the others may have been executed.
		"""
		try:
			return await self._pipeline.execute(commands, transaction)
		except (hiredis.ReplyError, OSError, asyncio.TimeoutError, ValueError) as error:
			raise _translated(error) from error

	def on_subscribed(self) -> None:
		"""With Sentinels, connect anew: another server may be the master, while the old one still answers."""
		if self.endpoint.sentinels:
			self._pipeline.close()

	async def close(self) -> None:
		"""Close the connection."""
		self._pipeline.close()


def _translated(error: Exception) -> StoreUnavailable | StoreDenied:
	"""Return the error of this module for one of the connection, or for a reply of Redis."""
	text = str(error) or type(error).__name__
	if isinstance(error, hiredis.ReplyError) and not is_transient(text):
		return StoreDenied(text)
	return StoreUnavailable(text)


def _text(value: bytes | str) -> str:
	# Corrupt bytes must not end the reader: a replaced character makes an invalid value of them.
	return value.decode(errors="replace") if isinstance(value, bytes) else value


def _entry(id: bytes, fields: Sequence[bytes] | None) -> Entry:
	values = _pairs(fields)
	return Entry(_text(id), values.get(b"e", b""), _text(values.get(b"p", b"")), _text(values.get(b"a", b"")))


def _pairs(fields: Sequence[bytes] | None) -> dict[bytes, bytes]:
	"""Return the fields of a stream entry; None stands for those of an entry that was deleted meanwhile."""
	fields = fields or ()
	return dict(zip(fields[::2], fields[1::2], strict=True))
