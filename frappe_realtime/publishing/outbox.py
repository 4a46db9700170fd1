"""The outbox: sends the messages of one process to Redis, in order, without holding up the code that publishes.

A thread of the process connects to Redis and writes what could not be written at once. If there is a connection and the
backlog is empty, the caller writes its messages itself and waits up to `wait` seconds (5 ms) for the answer; otherwise
it waits as long for the thread. So a Redis that hangs, a host name that does not resolve or a slow TLS handshake
delays a request or a job by `wait` seconds, once.

While Redis is away the messages stay in the backlog (backlog.py), within its bounds. The thread tries again with
growing pauses of at most a second, also after the bounds have emptied the backlog, writes the backlog in order, and then
adds a report of the outage to the stream `frappe_realtime:outages` (outages.py), which the sidecar shows in `/health`,
`/metrics` and the doctor. What Redis gets is described in redis_writer.py.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic, time

import redis
from redis.exceptions import RedisError

from .backlog import PENDING_BYTES, Backlog
from .backlog import Message as Message
from .outages import Outage
from .rate_limited_log import RateLimitedLog
from .redis_writer import RedisUnavailable, RedisWriter

BATCH = 100
"""Messages written in one step. A script blocks the other clients of Redis while it runs."""

FIRST_RETRY_PAUSE = 0.05
MAX_RETRY_PAUSE = 1.0
"""Seconds between two attempts to write while Redis is away: doubled from the first to the largest."""

EXIT_FLUSH_SECONDS = 2.0
"""Seconds for which a process that ends waits for Redis to take its backlog."""


class Outbox:
	"""Sends messages to Redis in the order in which `send` got them.

	Args:
		connect: Takes seconds, and returns a Redis client that waits at most that long for each answer. It is called in
			the outbox's own thread.
		log_line: Writes one line about a failure to the log; called at most once a minute for each subject.
		log_success: Writes the line that Redis takes events again; `log_line` does it if None.
		pending_count: Messages kept at most while Redis is away.
		pending_seconds: Seconds for which a message is kept at most while Redis is away.
		wait: Seconds for which a caller of `send` waits for Redis at most.
	"""

	def __init__(
		self,
		connect: Callable[[float], redis.Redis],
		log_line: Callable[[str], None],
		*,
		log_success: Callable[[str], None] | None = None,
		pending_count: int = 10_000,
		pending_seconds: float = 60.0,
		wait: float = 0.005,
	) -> None:
		self._log_line = log_line
		self._log_success = log_success or log_line
		self._pending_count = pending_count
		self._pending_seconds = pending_seconds
		self._wait = wait
		self._reset(connect)
		_outboxes.add(self)

	def _reset(self, connect: Callable[[float], redis.Redis]) -> None:
		"""Make all state that a forked process must not share with its parent."""
		self._lock = threading.Lock()
		self._work = threading.Condition(self._lock)
		self._progress = threading.Condition(self._lock)
		self._log = RateLimitedLog(self._log_line)
		self._backlog = Backlog(self._pending_count, self._pending_seconds)
		self._writer = RedisWriter(connect, self._wait, self._log)
		self._thread: threading.Thread | None = None
		self._written = 0  # the number of the last message that Redis has taken
		self._failing = False  # whether the last attempt of the thread failed
		self._stalled = False  # whether nothing was written while a caller last waited
		self._outage: Outage | None = None

	@property
	def connect(self) -> Callable[[float], redis.Redis]:
		"""The function that makes Redis clients."""
		return self._writer.connect

	@property
	def pending(self) -> int:
		"""Messages that Redis has not taken yet."""
		return len(self._backlog)

	@property
	def dropped(self) -> int:
		"""Messages that a bound has dropped or refused since the process began."""
		return self._backlog.dropped

	def connect_with(self, connect: Callable[[float], redis.Redis]) -> None:
		"""Use another `connect` from now on, and try it at once: `redis_queue` has changed."""
		with self._lock:
			self._writer.connect_with(connect)
			self._work.notify()

	def send(self, messages: Sequence[Message]) -> None:
		"""Queue messages, and return when Redis has taken them or when `wait` seconds have passed.

		Never raises because of Redis. An exception that a signal handler raises, as RQ does at the end of a job's time,
		reaches the caller; the messages are sent all the same. A message whose payload is over `PENDING_BYTES` is refused.
		"""
		dropped = self.dropped
		for first in range(0, len(messages), BATCH):
			self._send_batch(messages[first : first + BATCH])
		if messages and self.dropped > dropped:  # which another thread may have increased
			self._log_drop(max(len(message.payload) for message in messages))

	def flush(self, timeout: float) -> bool:
		"""Wait until Redis has taken all messages, and, if it answers, the report of an outage.

		Args:
			timeout: Seconds to wait at most.

		Returns:
			Whether Redis has taken all.
		"""
		with self._lock:
			if self._has_work() and self._start_thread():
				self._work.notify()
				deadline = monotonic() + timeout
				while (self._backlog or (self._outage and not self._failing)) and (
					left := deadline - monotonic()
				) > 0:
					self._progress.wait(left)
			return not self._backlog

	def flush_at_end(self, timeout: float, of: str) -> None:
		"""Flush, and log how many messages Redis has not taken, with the reason.

		Args:
			timeout: Seconds to wait at most.
			of: What ends, for the log: "a job".
		"""
		self.flush(timeout)
		with self._lock:
			if not self._has_work():
				return
			waiting = len(self._backlog)
			reason = (self._outage and self._outage.reason) or f"it has not taken them in {timeout:g} s"
		self._log.write(
			f"end of {of}",
			f"At the end of {of}, {waiting} realtime events wait for Redis (redis_queue), and are lost if the process ends: "
			f"{reason}. {self.dropped} were dropped before.",
		)

	# -- in the caller's thread

	def _send_batch(self, messages: Sequence[Message]) -> None:
		with self._lock:
			self._note_dropped(self._backlog.add(messages))
			last = self._backlog.last_number
			self._drop_excess()
			if (
				(client := self._writer.caller_client)
				and not self._outage  # which also begins if messages were refused or dropped
				and len(self._backlog) == len(messages)
				and self._write_in_caller(client)
			):
				return
			if (started := self._start_thread()) and not self._failing:
				self._work.notify()
				# A silent Redis that is not known to be away: once the backlog is half full, better slow than lost.
				if self._written < last and (not self._stalled or self._backlog.is_half_full):
					before = self._written
					self._wait_until_written(last)
					# As long as anything is written, a caller in a loop is slowed down to the speed of Redis. Once
					# nothing is, callers do not wait until Redis answers again.
					self._stalled = self._written == before
		if not started:
			# The interpreter is shutting down and starts no thread any more.
			self._write_next()

	def _log_drop(self, largest: int) -> None:
		if largest > PENDING_BYTES:
			self._log.write(
				"refused",
				f"A realtime event of {largest} bytes was refused: at most {PENDING_BYTES} are allowed. "
				f"{self.dropped} were refused or dropped so far in this process.",
			)
		elif not self._failing:  # that line has the number too
			self._log.write(
				"dropped",
				f"Realtime events were dropped, since Redis takes them too slowly: {self.dropped} so far in this process "
				f"(realtime_pending_count, realtime_pending_seconds, and {PENDING_BYTES} bytes in all).",
			)

	def _write_in_caller(self, client: redis.Redis) -> bool:
		"""Write the backlog in the caller's thread; after any failure, leave it to the outbox's thread."""
		written = False
		try:
			self._writer.append(client, self._backlog.messages)
			written = True
		except (RedisError, OSError):
			# The answer may be lost although Redis has run the script, which then skips what it has written.
			pass
		finally:
			# Also when RQ's timeout, which can surface anywhere, is on its way to the caller.
			if not written:
				self._writer.discard_caller_client()
				self._stalled = True
				self._start_thread()
				self._work.notify()
		if written:
			self._mark_written(self._backlog.last_number)
		return written

	def _wait_until_written(self, number: int) -> None:
		deadline = monotonic() + self._wait
		while self._written < number and not self._failing and (left := deadline - monotonic()) > 0:
			self._progress.wait(left)

	def _start_thread(self) -> bool:
		"""Start the thread unless it runs; return whether it runs."""
		if self._thread and self._thread.is_alive():
			return True
		self._thread = threading.Thread(target=self._run, name="frappe_realtime outbox", daemon=True)
		try:
			self._thread.start()
		except RuntimeError:
			self._thread = None
		return self._thread is not None

	# -- in the outbox's thread

	def _run(self) -> None:
		pause = FIRST_RETRY_PAUSE
		while True:
			with self._lock:
				# An outage lasts until it is reported; callers do not wake the thread meanwhile.
				while not self._has_work():
					self._work.wait()
			if self._write_next():
				pause = FIRST_RETRY_PAUSE
				continue
			with self._lock:
				self._work.wait(pause)
				self._drop_excess()
			pause = min(2 * pause, MAX_RETRY_PAUSE)

	def _write_next(self) -> bool:
		"""Write a batch, and the report of an outage that is over; return whether Redis has taken it."""
		with self._lock:
			batch = self._backlog.oldest(BATCH)
			outage, was_failing = self._outage, self._failing
		try:
			if batch:
				self._writer.write(batch)
				with self._lock:
					self._mark_written(batch[-1].number)
					self._failing = False
			if outage:
				with self._lock:
					report = replace(outage)
				self._writer.write_report(report)
		except RedisUnavailable as error:
			self._writer.close()
			self._note_failure(str(error))
			return False
		with self._lock:
			self._failing = False
			if outage and outage is self._outage:
				self._outage = None
				# What callers have dropped while the report was written is in the next one.
				if unreported := outage.dropped - report.dropped:
					self._current_outage().note(len(self._backlog), unreported, outage.reason)
			self._progress.notify_all()
		if was_failing:
			self._log.write(
				"back",
				f"Redis takes realtime events again; {self.dropped} were dropped so far.",
				self._log_success,
			)
		return True

	def _note_failure(self, reason: str) -> None:
		with self._lock:
			self._failing = self._stalled = True
			waiting = len(self._backlog)
			self._current_outage().note(waiting, reason=reason)
			self._progress.notify_all()
		self._log.write(
			"away",
			f"Redis (redis_queue in common_site_config.json) does not take realtime events: {reason}. "
			f"{waiting} wait in this process, {self.dropped} were dropped so far "
			"(realtime_pending_count, realtime_pending_seconds). They are sent when it answers again.",
		)

	# -- in either thread, with the lock

	def _has_work(self) -> bool:
		"""Return whether there is something to write: messages, or the report of an outage."""
		return bool(self._backlog or self._outage)

	def _mark_written(self, number: int) -> None:
		self._backlog.remove_written(number)
		self._written = number
		self._stalled = False
		self._progress.notify_all()

	def _drop_excess(self) -> None:
		self._note_dropped(self._backlog.drop_excess())

	def _note_dropped(self, messages: Sequence[Message]) -> None:
		if messages:
			self._writer.note_dropped(messages)
			self._current_outage().note(len(self._backlog), len(messages))
			self._progress.notify_all()

	def _current_outage(self) -> Outage:
		"""Return the outage under way; if there is none, it begins now."""
		if self._outage is None:
			self._outage = Outage(time())
		return self._outage


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _after_fork() -> None:
	# The parent sends its own backlog; its locks, thread and connections do not exist in the child.
	for outbox in list(_outboxes):
		outbox._reset(outbox.connect)


def _at_exit() -> None:
	for outbox in list(_outboxes):
		outbox.flush_at_end(EXIT_FLUSH_SECONDS, "a process")


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
