"""Writes batches of messages to Redis: with history by one script, or without it where Redis refuses the script.

The script takes a whole batch in one atomic step. Each message with a stream gets an id: the time of Redis, or the next id after
`last` if that is later. So ids only grow, also if the clock of a new master is behind. Then the script runs:

- `XADD <stream> MAXLEN ~ <history_count> <id> e <payload> p <id of the event before>`; then entries older than
  `history_seconds` are trimmed, and the key expires that long after the last event. The stream of the events also gets the field
  `a`, the id of the entry before in this stream;
- `SET frappe_realtime:<site>:last <id>`, which outlives the stream: together with `p` it shows a reader
  whether entries are missing between two that it has read;
- `PUBLISH <channel> {"offset":"<id>",<payload>}`.

Of a message with `latest` only the newest one is kept. It is appended to `frappe_realtime:<site>:latest` instead, and the
entry that the hash `frappe_realtime:<site>:latest_ids` names for the same key is deleted. Then the oldest entries are deleted
until the bounds are met. `frappe_realtime:<site>:order` has the ids by which a reader can tell whether it has missed an entry of either
stream (`order_key` in the contract).

A message of the stream `frappe_realtime:<site>:access` also gets `"after":"<id of the newest event of the site>"`: so readers
know which events were published before a change of access, and which after it.

A message without a stream is only published. At the end of the batch comes
`SET frappe_realtime:writer:<process> <number of the last message>`, which expires after two minutes. A batch whose
answer was lost is sent again, and the script skips the messages that it has written already. So a message with a
stream is appended once, even if it is sent twice.

The first message of a stream after some were dropped is published without history, so that a reader sees the gap.
A message without history carries `"offset":null` and `"unrecorded":"<reason>"`.

During a failover the old master may accept messages that the new one never gets. The script returns the number of the last
message that Redis has if it is smaller than the one that this process has got an answer for. The next message of each stream
that has lost messages then also carries `"lost":"<id of the newest lost entry>"`, so that a reader that has not received
that entry can notify its clients.

Redis may refuse the script: the user may lack the right to run scripts or to use these keys, a key may have another
type, or the memory may be full. Then all messages are published without history, and the script is tried again after
`SCRIPT_RETRY_SECONDS`. A batch whose answer was lost may then be published twice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from hashlib import sha1
from time import monotonic
from typing import Any
from uuid import uuid4

import redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from ..contract.redis_keys import TRANSIENT_REDIS_ERRORS, last_key, writer_key
from .backlog import Message
from .outages import Outage, append_report
from .rate_limited_log import RateLimitedLog

THREAD_TIMEOUT = 1.0
"""Seconds for which the outbox's thread waits for each answer of Redis."""

SCRIPT_RETRY_SECONDS = 60.0

CALLER_CONNECTION_INTERVAL = 1.0
"""Seconds between two attempts to make the callers' connection."""

WRITER_KEY_SECONDS = 110.0
"""Seconds after a write in which its key must still exist; the script lets it expire after 120."""

MAX_STREAMS = 1000
"""Streams whose last message is remembered, to detect its loss."""

SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function parts(id)
	local milliseconds, sequence = string.match(id, '^(%d+)%-(%d+)$')
	return tonumber(milliseconds) or 0, tonumber(sequence) or 0
end
local function id_after(before)
	local milliseconds, sequence = parts(before)
	if now > milliseconds then return string.format('%.0f-0', now) end
	return string.format('%.0f-%.0f', milliseconds, sequence + 1)
end
local function append(before, stream, count, ...)
	local id = redis.pcall('XADD', stream, 'MAXLEN', '~', count, id_after(before), ...)
	-- An id that is not new: the key with the newest one is lost, but not the stream.
	if type(id) == 'table' then id = redis.call('XADD', stream, 'MAXLEN', '~', count, '*', ...) end
	return id
end
local function milliseconds_of(id)
	local milliseconds = parts(id)
	return milliseconds
end
local function keep_newest(values, count, age, payload, key, before, removed)
	local ids = values .. '_ids'
	local replaced = redis.call('HGET', ids, key)
	if replaced then redis.call('XDEL', values, replaced) end
	while true do
		local oldest = redis.call('XRANGE', values, '-', '+', 'COUNT', 1)[1]
		if not oldest or (redis.call('XLEN', values) < count and milliseconds_of(oldest[1]) >= now - age) then
			break
		end
		redis.call('XDEL', values, oldest[1])
		redis.call('HDEL', ids, oldest[2][2])
		removed = oldest[1]
	end
	local id = append(before, values, count, 'k', key, 'e', payload, 'p', before)
	redis.call('HSET', ids, key, id)
	redis.call('PEXPIRE', values, age)
	redis.call('PEXPIRE', ids, age)
	return id, removed
end
local written = tonumber(redis.call('GET', KEYS[1]) or '0')
if written < tonumber(ARGV[1]) then return written end
local key = 0
local ids = {}
for at = 2, #ARGV, 6 do
	local number, channel, payload = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
	local count, age, latest = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5]
	if count > 0 then key = key + 2 end
	if number > written then
		if count > 0 then
			local stream, last = KEYS[key], KEYS[key + 1]
			local before = redis.call('GET', last) or '0-0'
			local lifetime = math.max(age, 86400000)
			local id
			if string.sub(stream, -7) == ':events' then
				local site = string.sub(stream, 1, -7)
				local order = redis.call('GET', site .. 'order') or ''
				local newest, kept, value, removed = string.match(order, '^(%S+) (%S+) (%S+) (%S+)$')
				if newest ~= before then kept = before end
				value, removed = value or '0-0', removed or '0-0'
				if latest ~= '' then
					id, removed = keep_newest(site .. 'latest', count, age, payload, latest, before, removed)
					value = id
				else
					id = append(before, stream, count, 'e', payload, 'p', before, 'a', kept)
					kept = id
				end
				redis.call('SET', site .. 'order', table.concat({id, kept, value, removed}, ' '), 'PX', lifetime)
			else
				if string.sub(stream, -7) == ':access' then
					local after = redis.call('GET', string.sub(stream, 1, -7) .. 'last') or '0-0'
					payload = '{"after":"' .. after .. '",' .. string.sub(payload, 2)
				end
				id = append(before, stream, count, 'e', payload, 'p', before)
			end
			redis.call('SET', last, id, 'PX', lifetime)
			if latest == '' then
				redis.pcall('XTRIM', stream, 'MINID', '~', string.format('%.0f', milliseconds_of(id) - age))
				redis.call('PEXPIRE', stream, age)
			end
			payload = '{"offset":"' .. id .. '",' .. string.sub(payload, 2)
			ids[#ids + 1] = ARGV[at]
			ids[#ids + 1] = id
		end
		redis.call('PUBLISH', channel, payload)
		written = number
	end
end
redis.call('SET', KEYS[1], string.format('%.0f', written), 'PX', 120000)
return ids
"""
# Redis before 6.2 does not know MINID: there only the count bounds the stream, hence the pcall.

_SCRIPT_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisUnavailable(Exception):
	"""Redis did not take a batch or a report. The same call may succeed later."""


class RedisWriter:
	"""Writes for one process, over two connections: the thread's, and one for callers that write themselves.

	Args:
		connect: Takes seconds, and returns a client that waits at most that long for each answer. It is called in
			the outbox's thread.
		caller_timeout: Seconds for which a caller waits for the answer of Redis.
		log: Where a refusal is logged.
	"""

	def __init__(
		self, connect: Callable[[float], redis.Redis], caller_timeout: float, log: RateLimitedLog
	) -> None:
		self.connect = connect
		self.caller_client: redis.Redis | None = None
		"""The connection for callers; None until the thread has made it, and after it failed."""
		self._caller_timeout = caller_timeout
		self._next_caller_client = 0.0
		self._log = log
		self._client: redis.Redis | None = None
		self._must_reconnect = False
		self._id = uuid4().hex
		self._gaps: dict[str, int] = {}
		"""How many messages of each stream were dropped since the last one that shows it."""
		self._gaps_lock = threading.Lock()
		"""Callers drop messages while the thread writes."""
		self._appended: dict[str, tuple[int, str]] = {}
		"""The number and the id of the last message that was appended to each stream."""
		self._last_appended = (0, 0.0)
		"""The number of the last message of the last batch that was appended, and when (monotonic)."""
		self._lost: dict[str, str] = {}
		"""The streams that have lost messages which Redis had taken, each with the id of the newest one."""
		self._script_disabled_until = 0.0
		self._refusal = ""

	def connect_with(self, connect: Callable[[float], redis.Redis]) -> None:
		"""Use `connect` for the next connection, and drop the present ones."""
		self.connect = connect
		self.caller_client = None
		self._must_reconnect = True
		# Another server has not lost what it never had.
		self._last_appended = (0, 0.0)
		self._appended.clear()

	def discard_caller_client(self) -> None:
		"""Do not use the callers' connection again: it failed. The thread makes a new one."""
		self.caller_client = None

	def note_dropped(self, messages: Iterable[Message]) -> None:
		"""Remember that these messages will not be written, so that the next one of each stream shows the gap."""
		with self._gaps_lock:
			for message in messages:
				if message.stream:
					self._gaps[message.stream] = self._gaps.get(message.stream, 0) + 1

	# -- in the outbox's thread

	def write(self, batch: Sequence[Message]) -> None:
		"""Write a batch.

		Raises:
			RedisUnavailable: Redis did not take it.
		"""
		try:
			client = self._thread_client()
			if monotonic() >= self._script_disabled_until:
				try:
					self.append(client, batch)
				except ResponseError as error:
					if _is_temporary(error):
						raise
					self._disable_script(str(error))
				else:
					if batch[0].number > 1:  # a process that publishes once needs no second connection
						self._make_caller_client()
					return
			self._publish(client, batch)
		except Exception as error:
			# The thread must survive any error: an answer of Redis, a name that does not resolve, an invalid URL.
			raise RedisUnavailable(f"{type(error).__name__}: {error}") from error

	def write_report(self, outage: Outage) -> None:
		"""Append the report of an outage. A report that Redis refuses is not tried again.

		Raises:
			RedisUnavailable: Redis did not answer.
		"""
		try:
			append_report(self._thread_client(), outage)
		except Exception as error:
			if isinstance(error, ResponseError) and not _is_temporary(error):
				return
			raise RedisUnavailable(f"{type(error).__name__}: {error}") from error

	def close(self) -> None:
		"""Close the thread's connection; the next write makes a new one."""
		client, self._client = self._client, None
		if client is not None:
			with suppress(Exception):
				client.connection_pool.disconnect()

	def _thread_client(self) -> redis.Redis:
		if self._must_reconnect:
			self._must_reconnect = False
			self.close()
		if self._client is None:
			self._client = self.connect(THREAD_TIMEOUT)
		return self._client

	def _make_caller_client(self) -> None:
		"""Connect for callers: here, because connecting may take long."""
		if self.caller_client is not None or monotonic() < self._next_caller_client:
			return
		self._next_caller_client = monotonic() + CALLER_CONNECTION_INTERVAL
		with suppress(RedisError, OSError):
			connect = self.connect
			# A single connection is never made anew while a caller waits.
			client = redis.Redis(
				connection_pool=connect(self._caller_timeout).connection_pool, single_connection_client=True
			)
			client.ping()
			if connect is self.connect:
				self.caller_client = client

	def _disable_script(self, refusal: str) -> None:
		self._script_disabled_until = monotonic() + SCRIPT_RETRY_SECONDS
		self._refusal = refusal
		self._log.write(
			"no history",
			f"Redis refuses to keep a history of realtime events: {refusal}. They are published without it: "
			"what a browser or the realtime server misses is lost. Let the user of redis_queue run EVALSHA, "
			"EVAL, TIME, XADD, XTRIM, XDEL, XLEN, XRANGE, HGET, HSET, HDEL and PEXPIRE on keys frappe_realtime:*.",
		)

	# -- with any client

	def append(self, client: redis.Redis, batch: Collection[Message]) -> None:
		"""Append and publish a batch by the script.

		Raises:
			redis.RedisError, OSError: Redis did not take it, or its answer was lost.
		"""
		number, appended_at = self._last_appended
		expected = number if monotonic() - appended_at < WRITER_KEY_SECONDS else 0
		answer = self._run_script(client, batch, expected)
		if isinstance(answer, int):
			self._note_lost(answer)
			answer = self._run_script(client, batch, 0)
		streams = {message.number: message.stream for message in batch}
		for first in range(0, len(answer), 2):
			number = int(answer[first])
			stream = streams[number]
			if stream:
				self._appended.pop(stream, None)
				self._appended[stream] = (number, _text(answer[first + 1]))
		while len(self._appended) > MAX_STREAMS:
			del self._appended[next(iter(self._appended))]
		self._last_appended = (max(streams), monotonic())

	def _note_lost(self, written: int) -> None:
		"""Remember which streams have lost messages: Redis has only those up to number `written`."""
		for stream, (number, id) in self._appended.items():
			if number > written:
				self._lost[stream] = id
		self._appended.clear()
		self._log.write(
			"lost",
			"Redis has lost realtime events that it had taken, as in a failover. Their browsers are notified.",
		)

	def _run_script(self, client: redis.Redis, batch: Collection[Message], expected: int) -> Any:
		keys = [writer_key(self._id)]
		arguments: list[str | int] = [expected]
		shown: dict[str, int] = {}
		for message in batch:
			stream, payload = message.stream, message.payload
			if stream and stream not in shown and (stream in self._gaps or stream in self._lost):
				shown[stream] = self._gaps.get(stream, 0)
				payload = self._with_gap(stream, payload, shown[stream])
				stream = None
			if stream:
				keys += [stream, last_key(stream)]
			arguments += [
				message.number,
				message.channel,
				payload,
				message.history_count if stream else 0,
				int(message.history_seconds * 1000),
				message.latest if stream else "",
			]
		answer: Any
		try:
			answer = client.evalsha(_SCRIPT_SHA, len(keys), *keys, *arguments)
		except NoScriptError:
			answer = client.eval(SCRIPT, len(keys), *keys, *arguments)
		if not isinstance(answer, int):
			self._note_shown(shown)
		return answer

	def _note_shown(self, gaps: dict[str, int]) -> None:
		"""Forget gaps that were shown, but not what was dropped since: the next message of the stream shows that."""
		with self._gaps_lock:
			for stream, shown in gaps.items():
				self._lost.pop(stream, None)
				dropped = self._gaps.pop(stream, 0)
				if dropped > shown:
					self._gaps[stream] = dropped - shown

	def _with_gap(self, stream: str, payload: str, dropped: int) -> str:
		"""Return a message without history that shows the gap before it."""
		if stream in self._lost:
			payload = f'{{"lost":{json.dumps(self._lost[stream])},{payload[1:]}'
			return _without_history(payload, "Redis has lost events before it")
		return _without_history(payload, f"{dropped} events before it were dropped")

	def _publish(self, client: redis.Redis, batch: Sequence[Message]) -> None:
		"""Publish a batch without history."""
		pipeline = client.pipeline(transaction=False)
		for message in batch:
			payload = _without_history(message.payload, self._refusal) if message.stream else message.payload
			pipeline.publish(message.channel, payload)
		pipeline.execute()


def _text(value: bytes | str) -> str:
	return value.decode() if isinstance(value, bytes) else value


def _is_temporary(error: ResponseError) -> bool:
	return any(code in f"{type(error).__name__} {error}".upper() for code in TRANSIENT_REDIS_ERRORS)


def _without_history(payload: str, reason: str) -> str:
	return f'{{"offset":null,"unrecorded":{json.dumps(reason)},{payload[1:]}'
