"""The outbox: what one process publishes, on its way to Redis, in order and never in the caller's way.

A thread of the process connects, and writes what could not be written at once. When there is a connection and nothing
waits, the caller writes its messages itself, and gives Redis `wait` seconds (5 ms) to answer; otherwise it waits as long
for the thread. So a Redis that hangs, a name that does not resolve or a slow TLS handshake costs a request or a job
no more than that, once. While Redis is away the messages stay here, bounded by count, age and bytes; they are
written in order when it is back, which the thread tries with growing pauses of at most a second, also when the bounds
have emptied the outbox. Then it adds a report of the outage to the stream `frappe_realtime:outages`, which the sidecar
shows in `/health`, `/metrics` and the doctor.

What Redis is given, in one step of one script for each batch:

- `XADD <stream> MAXLEN ~ <history_count> * e <payload> p <id of the entry before>`, then everything older than
  `history_seconds` is trimmed and the key expires that long after the last event;
- `SET frappe_realtime:<site>:last <id of the entry>`, which outlives the stream: together with `p` it shows a reader
  whether anything is gone from the history that it has not read;
- `PUBLISH <channel> {"offset":"<id of the entry>",<payload>}`;
- `SET frappe_realtime:writer:<process> <number of the last message>`, which lasts two minutes: a batch whose answer
  was lost is sent again, and what the first attempt had written is left out. So a message with a stream is
  appended once, although it may be sent twice.

The first event of a site after some had to be dropped is left out of the history, and says so as below: whoever comes
back then is told that something is missing.

Where Redis does not let us (no right to run scripts or to touch these keys, a key of another type, memory full),
the messages are published without history, and say so to whoever reads them: `"offset":null` and
`"unrecorded":"<what Redis answered>"` are added to the payload; `/health` shows it. The script is tried again once a minute.
There a batch whose answer was lost may arrive twice.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha1
from itertools import islice
from socket import gethostname
from time import monotonic, time
from uuid import uuid4

import redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from ..contract import OUTAGES_KEY, last_key, writer_key

BATCH = 100
"""Messages written in one step; a script holds up the other clients of Redis for this many."""

PENDING_BYTES = 16 * 1024 * 1024
"""Payloads kept while Redis is away, in bytes, whatever their number."""

PATIENCE = 1.0
"""Seconds that the thread gives Redis for each answer."""

PAUSE = 0.05
LONGEST_PAUSE = 1.0
EXIT_WAIT = 2.0
REPORT_EVERY = 60.0
TRY_SCRIPT_AGAIN = 60.0

SCRIPT = """
local written = tonumber(redis.call('GET', KEYS[1]) or '0')
local key = 0
for at = 1, #ARGV, 5 do
	local number, channel, payload = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
	local count, age = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
	if count > 0 then key = key + 2 end
	if number > written then
		if count > 0 then
			local before = redis.call('GET', KEYS[key + 1]) or '0-0'
			local id = redis.call('XADD', KEYS[key], 'MAXLEN', '~', count, '*', 'e', payload, 'p', before)
			redis.call('SET', KEYS[key + 1], id, 'PX', math.max(age, 86400000))
			local oldest = string.format('%.0f', tonumber(string.match(id, '^%d+')) - age)
			redis.pcall('XTRIM', KEYS[key], 'MINID', '~', oldest)
			redis.call('PEXPIRE', KEYS[key], age)
			payload = '{"offset":"' .. id .. '",' .. string.sub(payload, 2)
		end
		redis.call('PUBLISH', channel, payload)
		written = number
	end
end
redis.call('SET', KEYS[1], string.format('%.0f', written), 'PX', 120000)
"""
# Redis before 6.2 knows no MINID: there the count bounds the stream, hence the pcall.

OUTAGES_KEPT = 1000
OUTAGES_SECONDS = 7 * 24 * 60 * 60
"""The number of reports that the stream keeps, and the seconds that it lives after the last one."""

_SCRIPT_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_PASSING = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")
"""Answers of a Redis that is failing over, loading or occupied: it is away, and will be back."""


@dataclass(slots=True)
class Message:
	"""One message for Redis: a JSON object, the channel, and the stream that keeps it (None: none does)."""

	channel: str
	payload: str
	stream: str | None = None
	history_count: int = 0
	history_seconds: float = 0
	ages: bool = True
	"""Whether it is worth nothing any more after `pending_seconds`; what comes after one that is not waits with it."""
	number: int = field(default=0, init=False)
	born: float = field(default=0.0, init=False)


class Unavailable(Exception):
	"""Redis did not take the batch; it is worth another try."""


@dataclass(slots=True)
class Outage:
	"""A time in which this process could not write to Redis, or dropped messages. Times are in seconds since 1970."""

	since: float
	held: int = 0
	"""The largest number of messages that waited at one time."""
	dropped: int = 0
	reason: str = ""

	def report(self) -> str:
		"""The report as JSON: the fields of the outage, `until`, and the `host` and `pid` of the process."""
		return json.dumps({**asdict(self), "until": time(), "host": gethostname(), "pid": os.getpid()})


class Outbox:
	"""Sends messages to Redis in the order in which they were handed over.

	`connect` is given seconds and returns a Redis client that waits so long for each answer; it is called from the
	outbox's own thread. `report` is given one line for the log, at most once a minute for each matter.
	"""

	def __init__(
		self,
		connect: Callable[[float], redis.Redis],
		report: Callable[[str], None],
		*,
		pending_count: int = 10_000,
		pending_seconds: float = 60.0,
		wait: float = 0.005,
	) -> None:
		self.connect = connect
		self._report_line = report
		self._pending_count = max(1, pending_count)
		self._pending_seconds = pending_seconds
		self._wait = wait
		self._reset()
		_outboxes.add(self)

	def _reset(self) -> None:
		self._lock = threading.Lock()
		self._work = threading.Condition(self._lock)
		self._progress = threading.Condition(self._lock)
		self._pending: deque[Message] = deque()
		self._bytes = 0
		self._last = 0
		self._done = 0
		self._behind = False
		self._failing = False
		self._outage: Outage | None = None
		self._thread: threading.Thread | None = None
		self._client: redis.Redis | None = None
		self._stale = False
		self._quick: redis.Redis | None = None
		self._writer = uuid4().hex
		self._quick_after = 0.0
		self._plain_until = 0.0
		self._refusal = ""
		self._lost: dict[str, int] = {}
		self._reported: dict[str, float] = {}
		self.dropped = 0
		"""Messages that a bound made us drop, since the process began."""

	@property
	def pending(self) -> int:
		"""Messages that Redis has not taken yet."""
		return len(self._pending)

	def connect_with(self, connect: Callable[[float], redis.Redis]) -> None:
		"""Connect by this function from now on, and try it at once: `redis_queue` has changed."""
		with self._lock:
			self.connect = connect
			self._quick = None
			self._stale = True
			self._work.notify()

	def send(self, messages: Sequence[Message]) -> None:
		"""Hand over `messages`; returns when Redis has them, or when waiting for that takes too long.

		Raises nothing of its own, whatever becomes of Redis.
		"""
		for first in range(0, len(messages), BATCH):
			self._send_batch(messages[first : first + BATCH])

	def _send_batch(self, messages: Sequence[Message]) -> None:
		with self._lock:
			for message in messages:
				self._last += 1
				message.number = self._last
				message.born = monotonic()
				self._pending.append(message)
				self._bytes += len(message.payload)
			mine = self._last
			self._drop_excess()
			if (
				self._quick
				and not self._outage
				and len(self._pending) <= len(messages)
				and self._write_quickly()
			):
				return
			if (started := self._start()) and not self._failing:
				self._work.notify()
				if not self._behind or self._nearly_full():
					before = self._done
					self._wait_for(mine, self._wait)
					# Some progress is progress: who publishes in a loop is paced, and does not outrun a Redis that
					# answers. Without any, nobody waits until there is.
					self._behind = self._done == before
		if not started:
			# The interpreter is shutting down and starts no thread any more.
			self._write_next()

	def flush(self, timeout: float) -> bool:
		"""Wait until Redis has taken everything, `timeout` seconds at most; tells whether it has."""
		with self._lock:
			if self._pending and self._start():
				self._work.notify()
				deadline = monotonic() + timeout
				while self._pending and (left := deadline - monotonic()) > 0:
					self._progress.wait(left)
			return not self._pending

	def _write_quickly(self) -> bool:
		"""Write what is pending in the caller's own thread; in any doubt it is left to ours, and not waited for."""
		assert self._quick
		taken = False
		try:
			self._record(self._quick, self._pending)
			taken = True
		except (RedisError, OSError):
			# Among these is a lost answer: the script leaves out what it has written already.
			pass
		finally:
			# rq ends a job whose time is over with an exception, anywhere; the caller gets it, the thread the rest.
			if not taken:
				self._quick = None
				self._behind = True
				self._start()
				self._work.notify()
		if taken:
			self._taken(self._last)
		return taken

	def _taken(self, number: int) -> None:
		"""Redis has all messages up to this one."""
		while self._pending and self._pending[0].number <= number:
			self._bytes -= len(self._pending.popleft().payload)
		self._done = number
		self._behind = False
		self._progress.notify_all()

	def _nearly_full(self) -> bool:
		"""Whether it is better to be slow than to lose: a Redis that is silent, but not known to be away."""
		return 2 * len(self._pending) > self._pending_count

	def _wait_for(self, number: int, timeout: float) -> None:
		deadline = monotonic() + timeout
		while self._done < number and not self._failing and (left := deadline - monotonic()) > 0:
			self._progress.wait(left)

	def _start(self) -> bool:
		if self._thread and self._thread.is_alive():
			return True
		self._thread = threading.Thread(target=self._run, name="frappe_realtime outbox", daemon=True)
		try:
			self._thread.start()
		except RuntimeError:
			self._thread = None
		return self._thread is not None

	def _run(self) -> None:
		pause = PAUSE
		while True:
			with self._lock:
				# An outage is not over before it is reported: callers do not wake the thread while it lasts.
				while not (self._pending or self._outage):
					self._work.wait()
			if self._write_next():
				pause = PAUSE
				continue
			with self._lock:
				self._work.wait(pause)
				self._drop_excess()
			pause = min(2 * pause, LONGEST_PAUSE)

	def _write_next(self) -> bool:
		with self._lock:
			batch = list(islice(self._pending, BATCH))
			outage = self._outage
			if self._stale:
				self._stale = False
				self._close()
		try:
			if batch:
				self._write(batch)
				with self._lock:
					self._taken(batch[-1].number)
			if outage:
				self._write_report(outage)
		except Unavailable as error:
			self._close()
			with self._lock:
				self._failing = self._behind = True
				waiting = len(self._pending)
				outage = self._note_outage(waiting)
				outage.reason = str(error)
				self._progress.notify_all()
			self._report(
				"away",
				f"Redis (redis_queue in common_site_config.json) does not take realtime events: {error}. "
				f"{waiting} wait in this process, {self.dropped} were dropped so far "
				"(realtime_pending_count, realtime_pending_seconds). They are sent when it answers again.",
			)
			return False
		with self._lock:
			recovered, self._failing = self._failing, False
			if outage is self._outage:
				self._outage = None
		if recovered and "away" in self._reported:
			self._report("back", f"Redis takes realtime events again; {self.dropped} were dropped so far.")
		return True

	def _note_outage(self, held: int, dropped: int = 0) -> Outage:
		"""The outage under way, which begins now if there is none, with what it has held and dropped."""
		outage = self._outage
		if outage is None:
			outage = self._outage = Outage(time())
		outage.held = max(outage.held, held)
		outage.dropped += dropped
		return outage

	def _write_report(self, outage: Outage) -> None:
		"""Add a report of `outage` to the stream. Raises `Unavailable`; what Redis refuses is not tried again."""
		try:
			if self._client is None:
				self._client = self.connect(PATIENCE)
			pipeline = self._client.pipeline(transaction=False)
			pipeline.xadd(OUTAGES_KEY, {"r": outage.report()}, maxlen=OUTAGES_KEPT, approximate=True)
			pipeline.pexpire(OUTAGES_KEY, OUTAGES_SECONDS * 1000)
			pipeline.execute()
		except Exception as error:
			if isinstance(error, ResponseError) and not _is_passing(error):
				return
			raise Unavailable(f"{type(error).__name__}: {error}") from error

	def _write(self, batch: Sequence[Message]) -> None:
		try:
			if self._client is None:
				self._client = self.connect(PATIENCE)
			if monotonic() >= self._plain_until:
				try:
					self._record(self._client, batch)
				except ResponseError as error:
					if _is_passing(error):
						raise
					self._plain_until = monotonic() + TRY_SCRIPT_AGAIN
					self._refusal = str(error)
					self._report(
						"plain",
						f"Redis refuses to keep a history of realtime events: {error}. They are published without it: "
						"what a browser or the realtime server misses is lost. Let the user of redis_queue run EVALSHA, "
						"EVAL, XADD, XTRIM and PEXPIRE on keys frappe_realtime:*.",
					)
				else:
					if batch[0].number > 1:  # a process that publishes once needs no second connection
						self._offer_quick()
					return
			self._publish(self._client, batch)
		except Exception as error:
			# Whatever it is (an answer, a name that does not resolve, a URL that is none), this thread goes on.
			raise Unavailable(f"{type(error).__name__}: {error}") from error

	def _offer_quick(self) -> None:
		"""Give callers a connection of their own, made here because making one may take long."""
		if self._quick is None and monotonic() >= self._quick_after:
			self._quick_after = monotonic() + 1
			with suppress(RedisError, OSError):
				pool = self.connect(self._wait).connection_pool
				# A single connection is never made anew behind the caller's back.
				quick = redis.Redis(connection_pool=pool, single_connection_client=True)
				quick.ping()
				self._quick = quick

	def _record(self, client: redis.Redis, batch: Collection[Message]) -> None:
		keys = [writer_key(self._writer)]
		arguments: list[str | int] = []
		told = set()
		for message in batch:
			stream, payload = message.stream, message.payload
			if stream and stream in self._lost and stream not in told:
				told.add(stream)
				payload = _unrecorded(payload, f"{self._lost[stream]} events before it were dropped")
				stream = None
			if stream:
				keys += [stream, last_key(stream)]
			arguments += [
				message.number,
				message.channel,
				payload,
				message.history_count if stream else 0,
				int(message.history_seconds * 1000),
			]
		try:
			client.evalsha(_SCRIPT_SHA, len(keys), *keys, *arguments)
		except NoScriptError:
			client.eval(SCRIPT, len(keys), *keys, *arguments)
		for stream in told:
			self._lost.pop(stream, None)

	def _publish(self, client: redis.Redis, batch: Sequence[Message]) -> None:
		pipeline = client.pipeline(transaction=False)
		for message in batch:
			payload = _unrecorded(message.payload, self._refusal) if message.stream else message.payload
			pipeline.publish(message.channel, payload)
		pipeline.execute()

	def _drop_excess(self) -> None:
		oldest = monotonic() - self._pending_seconds
		before = self.dropped
		while self._pending and (
			len(self._pending) > self._pending_count
			or self._bytes > PENDING_BYTES
			or (self._pending[0].ages and self._pending[0].born < oldest)
		):
			message = self._pending.popleft()
			self._bytes -= len(message.payload)
			self.dropped += 1
			if message.stream:
				self._lost[message.stream] = self._lost.get(message.stream, 0) + 1
		if self.dropped > before:
			self._note_outage(len(self._pending), self.dropped - before)
			self._progress.notify_all()

	def _close(self) -> None:
		client, self._client = self._client, None
		if client is not None:
			with suppress(Exception):
				client.connection_pool.disconnect()

	def _report(self, matter: str, line: str) -> None:
		now = monotonic()
		if now - self._reported.get(matter, -REPORT_EVERY) < REPORT_EVERY:
			return
		self._reported[matter] = now
		with suppress(Exception):
			self._report_line(line)


def _is_passing(error: ResponseError) -> bool:
	return any(code in f"{type(error).__name__} {error}".upper() for code in _PASSING)


def _unrecorded(payload: str, why: str) -> str:
	return f'{{"offset":null,"unrecorded":{json.dumps(why)},{payload[1:]}'


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _after_fork() -> None:
	"""What was pending is the parent's to send; locks, thread and connection did not come along."""
	for outbox in list(_outboxes):
		outbox._reset()


def _at_exit() -> None:
	for outbox in list(_outboxes):
		outbox.flush(EXIT_WAIT)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
