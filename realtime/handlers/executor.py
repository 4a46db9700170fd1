"""Runs handlers: on the event loop or in a thread, each in a context of its own."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from frappe_realtime.handlers.registry import Handler

from ..access.authentication import Session
from ..log_budget import LogBudget
from ..log_format import log_fields
from ..signals import Signal
from .app import App
from .failure_log import FailureLog
from .frappe_context import frappe_context, set_sites_path
from .loop_bridge import LoopBridge
from .loop_calls import LoopCalls
from .queue import HandlerQueue
from .tasks import start_eagerly
from .thread_pool import ThreadPool
from .watchdog import Watchdog

logger = logging.getLogger("realtime.handlers")

DROPPED_SECONDS = 60.0
"""Seconds between two log lines about dropped events."""


class HandlerLimits(NamedTuple):
	"""The limits of handlers; the configuration keys are `realtime_handler_*`.

	Attributes:
		queue: Events of one socket that may wait for one app.
		queue_bytes: Memory that these events may take, in bytes.
		seconds: Seconds after which a running handler is logged, and the next event of its socket is handled.
		blocking: Seconds that a handler may block the event loop before it is logged.
		threads: Threads for plain `def` handlers.
	"""

	queue: int = 2000
	queue_bytes: int = 4 * 1024 * 1024
	seconds: float = 10.0
	blocking: float = 1.0
	threads: int = 16


@dataclass(slots=True)
class HandlerCounters:
	"""Counters since the start.

	Attributes:
		events: Events that an app has handlers for.
		failures: Exceptions that handlers raised.
		dropped: Events that were dropped because the queue was full, by the key of the limit.
		slow: Handlers that ran for longer than the limit.
	"""

	events: int = 0
	failures: int = 0
	dropped: Counter[str] = field(default_factory=Counter)
	slow: int = 0


class HandlerObserver(Protocol):
	"""Is called when the handlers of an app have ended. The method must neither raise nor block."""

	def handled(self, queue: HandlerQueue, event: str, seconds: float) -> None:
		"""The handlers of the queue's app took `seconds` for `event`."""


class HandlerExecutor:
	"""Runs the workers of handler queues, and reports handlers that fail, run for long or block the event loop.

	Must be made in the thread of the event loop.

	Args:
		sites: The folder of sites.
		limits: The limits of handlers.
		loop: The event loop.
	"""

	def __init__(self, sites: Path, limits: HandlerLimits, loop: asyncio.AbstractEventLoop) -> None:
		self.limits = limits
		self.counters = HandlerCounters()
		self.handler_failed: Signal[[HandlerQueue, str, BaseException]] = Signal()
		"""Sent with the queue, the event and the exception when a handler has raised."""
		self.event_dropped: Signal[[HandlerQueue, str, str]] = Signal()
		"""Sent with the queue, the event and the key of the limit for an event that was dropped."""
		self.observer: HandlerObserver | None = None
		"""Is called for each event; see `observe`."""
		self.watchdog = Watchdog(
			loop, limits.blocking, HandlerQueue.WORKER_CODE, _describe_handler, self.on_heartbeat
		)
		calls = LoopCalls(loop)
		self._threads = ThreadPool(limits.threads, loop, calls)
		self.bridge = LoopBridge(calls, self._threads)
		self._sites = str(sites)
		self._loop = loop
		self._failure_log = FailureLog()
		self._dropped_log: dict[str, LogBudget] = {}
		"""By the key of the limit."""
		self._slow_log = LogBudget()
		self._workers: dict[object, tuple[HandlerQueue, asyncio.Task[None]]] = {}
		"""The workers whose first step was not their last."""
		self._stopping = False

	def observe(self, observer: HandlerObserver) -> None:
		"""Call `observer` for each event from now on, instead of the observer before."""
		self.observer = observer

	def unobserve(self) -> None:
		"""Call no observer any more."""
		self.observer = None

	def stop(self) -> None:
		"""Cancel the running workers. Handlers in threads run on until the process ends."""
		self._stopping = True
		self.watchdog.stop()
		for task in self.tasks():
			task.cancel()
		self.bridge.stop()

	def tasks(self) -> list[asyncio.Task[None]]:
		"""Return the tasks of the running workers."""
		return [task for _, task in self._workers.values()]

	def start_worker(self, queue: HandlerQueue, worker: object, work: Coroutine[Any, Any, None]) -> None:
		"""Run `work` as a task in a new context of the queue's app.

		Args:
			queue: The queue that the worker empties.
			worker: Identifies the worker.
			work: What the worker does; its first step runs at once from Python 3.12 on.
		"""
		task = start_eagerly(self._loop, work, self.context_of(queue.app))
		if not task.done():
			self._workers[worker] = (queue, task)

	def worker_ended(self, worker: object) -> None:
		"""Forget a worker that has nothing more to do."""
		self._workers.pop(worker, None)

	def time(self) -> float:
		"""Return the time of the event loop's clock in seconds."""
		return self._loop.time()

	def context_of(self, app: App) -> Context:
		"""Return a context for one run of the app's code.

		`frappe.local` keeps its data in a context variable and changes them in place. A copy of a context in which they
		exist would share them, and one user's handler would see another user's data.
		"""
		context = app.context.copy()
		if "frappe" in sys.modules:
			context.run(set_sites_path, self._sites)
		return context

	async def run_in_thread(
		self, queue: HandlerQueue, handler: Handler, arguments: Iterable[Any], options: Mapping[str, Any]
	) -> Any:
		"""Run a plain `def` handler in a thread, in a Frappe context if it asks for one; return what it returns."""
		context = self.context_of(queue.app)
		session: Session = queue.socket._server_socket.session

		def run() -> Any:
			return handler.function(*arguments, **options)

		def run_with_frappe() -> Any:
			with frappe_context(session.site, session.user, self._sites):
				return run()

		job = run_with_frappe if handler.frappe_context else run
		return await self._threads.run(lambda: context.run(job))

	def report_failure(self, queue: HandlerQueue, event: str, error: BaseException) -> None:
		"""Count and log the exception of a handler, which affects no other handler.

		Raises:
			CancelledError: `error`, if the server is stopping.
		"""
		if self._stopping and isinstance(error, asyncio.CancelledError):
			raise error
		self.counters.failures += 1
		self._failure_log.log(queue.app.name, event, queue.socket, error, self._loop.time())
		self.handler_failed.send(queue, event, error)

	def report_too_few_arguments(self, queue: HandlerQueue, handler: Handler, count: int) -> None:
		"""Log that a handler did not run because its event came with only `count` arguments."""
		self._failure_log.log_too_few_arguments(handler, queue.socket, count, self._loop.time())

	def report_dropped_event(self, queue: HandlerQueue, event: str, key: str) -> None:
		"""Count an event that was dropped because of the limit `key`, and log it at most once in `DROPPED_SECONDS`."""
		self.counters.dropped[key] += 1
		self.event_dropped.send(queue, event, key)
		note = self._dropped_log.setdefault(key, LogBudget(1, DROPPED_SECONDS)).take()
		if note is not None:
			full = (
				f"{self.limits.queue} events wait already"
				if key == "realtime_handler_queue"
				else f"the events that wait already would take more than {self.limits.queue_bytes} bytes"
			)
			logger.warning(
				"dropped %r of %s on %s: %s (%s)%s",
				event,
				queue.socket.user,
				queue.socket.site,
				full,
				key,
				note,
				extra=_fields(queue),
			)

	def on_heartbeat(self) -> None:
		"""Report slow handlers and repeated failures. Called once a second."""
		self.report_slow_handlers()
		self._failure_log.log_repeats(self._loop.time())

	def report_slow_handlers(self) -> None:
		"""Log handlers that run for long, and let their queues go on with the next event."""
		now = self._loop.time()
		for worker, (queue, _) in list(self._workers.items()):
			if queue.worker is worker and now - queue.event_started > self.limits.seconds:
				self.counters.slow += 1
				self._slow_log.write(
					logger.warning,
					"%s: a handler of %r runs for more than %g s (user %s of %s, realtime_handler_seconds); "
					"the next events of this socket are handled meanwhile",
					queue.app.name,
					queue.event,
					self.limits.seconds,
					queue.socket.user,
					queue.socket.site,
					extra=_fields(queue),
				)
				queue.continue_without_current()


def _fields(queue: HandlerQueue) -> dict[str, str]:
	return log_fields(queue.socket.site, queue.socket.user, queue.socket.sid)


def _describe_handler(frame: FrameType) -> str:
	queue: HandlerQueue = frame.f_locals["self"]
	return f"{queue.app.name}: a handler of {queue.event!r} (user {queue.socket.user} of {queue.socket.site})"
