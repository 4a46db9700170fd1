"""The events of one socket for one app: handled in order, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from frappe_realtime.contract.users import GUEST
from frappe_realtime.handlers.registry import Handler
from frappe_realtime.handlers.socket import Socket
from frappe_realtime.handlers.sync_socket import SyncSocket

from ..memory import memory_of
from ..socketio.server import Ack, ignore_answer
from .app import App
from .reply import reply_of

if TYPE_CHECKING:
	from .executor import HandlerExecutor

Call = tuple[str, list[Any], Ack | None]
"""An event: its name, its arguments and its acknowledgement. A plain tuple, because there is one for each event."""

QueuedCall = tuple[str, list[Any], Ack | None, int]
"""An event that waits, with the memory of its arguments in bytes."""

HANDLER_ERRORS = (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError)
"""What a handler may raise without any effect on other handlers.

asyncio would end the process after SystemExit and KeyboardInterrupt. SIGINT does not raise in the sidecar, because its event
loop handles the signal. CancelledError may come from a future that the handler awaits.
"""

SETUP: Final = "(set-up)"
"""Queued in place of an event's name for a run of the async set-up function."""

LIFECYCLE_EVENTS = (SETUP, "connect", "disconnect")
"""Events that clients cannot send. They wait even if the queue is full, and when the client has disconnected."""

_NO_OPTIONS: dict[str, Any] = {}


class HandlerQueue:
	"""The event queue of one socket for one app, and the socket's listeners and middleware of that app.

	A worker task handles an event, and then the events that have been queued meanwhile. It exists only while there are events.

	Args:
		executor: Runs the workers.
		app: The app.
		socket: The socket that async handlers get.
		sync_socket: The same socket, as plain `def` handlers get it.
	"""

	__slots__ = (
		"_calls",
		"_executor",
		"_queued_bytes",
		"app",
		"event",
		"event_started",
		"listeners",
		"middleware",
		"socket",
		"sync_socket",
		"worker",
	)

	def __init__(self, executor: HandlerExecutor, app: App, socket: Socket, sync_socket: SyncSocket) -> None:
		self.app = app
		self.socket = socket
		self.sync_socket = sync_socket
		self.listeners: dict[str, list[Handler]] = {}
		"""The functions given to `socket.on` and `socket.once`, by event."""
		self.middleware: list[Callable[..., Any]] = []
		"""The functions given to `socket.use`."""
		self.worker: object | None = None
		"""Identifies the worker that empties the queue; None while there is none."""
		self.event = ""
		"""The event that is being handled, or the last one."""
		self.event_started = 0.0
		"""When its handling started, by the clock of the event loop."""
		self._executor = executor
		self._calls: deque[QueuedCall] = deque()
		self._queued_bytes = 0

	def may_handle(self, event: str) -> bool:
		"""Return whether the socket has listeners for `event`, or may have them when the event's turn comes."""
		# A set-up function or a handler of `connect` that is still running may add a listener.
		return event in self.listeners or (
			self.worker is not None and (self.app.setup is not None or self.event == "connect")
		)

	def push(self, call: Call) -> None:
		"""Handle an event at once if no other event is being handled, or else queue it. Drop it if the queue is full."""
		if (reply := reply_of(call[2])) is not None:
			reply.begin()
		if self.worker is None:
			self._start_worker(call)
			return
		limits = self._executor.limits
		if len(self._calls) >= limits.queue:
			self._drop(call, "realtime_handler_queue")
			return
		available = limits.queue_bytes - self._queued_bytes
		size = memory_of(call[1], available)
		if size > available:
			self._drop(call, "realtime_handler_queue_bytes")
			return
		self._queued_bytes += size
		self._calls.append((*call, size))

	def _drop(self, call: Call, key: str) -> None:
		"""Report an event that the limit `key` does not let wait."""
		self._executor.report_dropped_event(self, call[0], key)
		if (reply := reply_of(call[2])) is not None:
			reply.dropped(self.app.name, key)
			reply.end()

	def push_lifecycle(self, event: str, *arguments: Any) -> None:
		"""Handle one of `LIFECYCLE_EVENTS`, or queue it even if the queue is full."""
		if self.worker is None:
			self._start_worker((event, list(arguments), None))
		else:
			self._calls.append((event, list(arguments), None, 0))

	def drop_client_events(self) -> None:
		"""Drop the queued events of a client that has disconnected; a handler that is running is not stopped."""
		kept = [call for call in self._calls if call[0] in LIFECYCLE_EVENTS]
		self._calls.clear()
		self._calls.extend(kept)
		self._queued_bytes = 0

	def run_setup(self) -> None:
		"""Call the app's set-up function for this socket: an async one as the next event, a plain one now."""
		setup = self.app.setup
		if setup is None:
			return
		if self.app.setup_is_async:
			self.push_lifecycle(SETUP)
			return
		try:
			answer = self._executor.context_of(self.app).run(setup, self.sync_socket)
			_refuse_coroutine(answer, setup.__qualname__)
		except HANDLER_ERRORS as error:
			self._executor.report_failure(self, SETUP, error)

	def continue_without_current(self) -> None:
		"""Handle the next events while the current handler, which takes long, runs on."""
		self.worker = None
		if self._calls:
			self._start_worker(self._next_call())

	def remove_listener(self, event: str, function: Callable[..., Any]) -> None:
		"""Remove the listeners of `event` that call `function`."""
		kept = [one for one in self.listeners.pop(event, ()) if one.function != function]
		if kept:
			self.listeners[event] = kept

	def remove_all_listeners(self) -> None:
		"""Remove the listeners of all events, and the middleware."""
		self.listeners.clear()
		self.middleware.clear()

	def _next_call(self) -> Call:
		event, arguments, ack, size = self._calls.popleft()
		self._queued_bytes -= size
		return event, arguments, ack

	def _start_worker(self, call: Call) -> None:
		self.worker = worker = object()
		# Before Python 3.12, the worker takes its first step later.
		self.event, self.event_started = call[0], self._executor.time()
		self._executor.start_worker(self, worker, self._work(worker, call))

	async def _work(self, worker: object, call: Call) -> None:
		"""Handle `call`, and then queued events until there are none, or until another worker has taken over."""
		time = self._executor.time
		while True:
			self.event = call[0]
			self.event_started = time()
			# The clock of the loop stands still while a handler runs.
			started = perf_counter()
			try:
				await self._handle(*call)
			except HANDLER_ERRORS as error:
				self._report_failure(call[0], call[2], error)
			if (reply := reply_of(call[2])) is not None:
				reply.end()
			seconds = perf_counter() - started
			self.app.latency.observe(seconds)
			if (observer := self._executor.observer) is not None:
				observer.handled(self, call[0], seconds)
			if not self._calls or self.worker is not worker:
				break
			call = self._next_call()
		if self.worker is worker:
			self.worker = None
		self._executor.worker_ended(worker)

	WORKER_CODE = _work.__code__
	"""Marks the frame in which handlers run on the event loop; its local variable `self` is the queue."""

	async def _handle(self, event: str, arguments: list[Any], ack: Ack | None) -> None:
		# By identity: a client may send an event with the same text.
		if event is SETUP:
			assert self.app.setup is not None
			await self.app.setup(self.sync_socket)
			return
		# Not for what no client sends: the handlers of a disconnect always run.
		for middleware in [] if event in ("connect", "disconnect") else self.middleware:
			allowed = middleware(event, arguments)
			if asyncio.iscoroutine(allowed):
				allowed = await allowed
			if allowed is False:
				if (reply := reply_of(ack)) is not None:
					reply.not_allowed(self.app.name)
				return
		listeners = self.listeners.get(event)
		handlers = self.app.handlers.get(event, ())
		for handler in [*handlers, *listeners] if listeners else handlers:
			try:
				await self._call(handler, arguments, ack)
			except HANDLER_ERRORS as error:
				self._report_failure(event, ack, error)

	def _report_failure(self, event: str, ack: Ack | None, error: BaseException) -> None:
		self._executor.report_failure(self, event, error)
		if (reply := reply_of(ack)) is not None:
			reply.raised(self.app.name, error)

	async def _call(self, handler: Handler, sent: list[Any], ack: Ack | None) -> None:
		reply = reply_of(ack)
		if not handler.allow_guest and self.socket._server_socket.session.user == GUEST:
			if reply is not None:
				reply.not_allowed(self.app.name)
			return
		arguments = handler.signature.fit(sent)
		if arguments is None:
			self._executor.report_too_few_arguments(self, handler, len(sent))
			if reply is not None:
				reply.bad_arguments(self.app.name, len(sent))
			return
		if handler.once:
			self._remove(handler)
		options = {"ack": self._ack_for(handler, ack)} if handler.signature.ack else _NO_OPTIONS
		if not handler.is_async:
			first = (self.sync_socket,) if handler.takes_socket else ()
			answer = await self._executor.run_in_thread(self, handler, (*first, *arguments), options)
			_refuse_coroutine(answer, handler.name)
		elif handler.takes_socket:
			answer = await handler.function(self.socket, *arguments, **options)
		else:
			answer = await handler.function(*arguments, **options)
		if ack is not None:
			_acknowledge(ack, answer)
		if reply is not None:
			if handler.signature.ack:
				# It may keep the acknowledgement and answer later.
				reply.begin()
			else:
				reply.no_answer(self.app.name)

	def _remove(self, handler: Handler) -> None:
		kept = [one for one in self.listeners.pop(handler.event, ()) if one is not handler]
		if kept:
			self.listeners[handler.event] = kept

	def _ack_for(self, handler: Handler, ack: Ack | None) -> Ack:
		"""Return what the handler's parameter `ack` gets."""
		if ack is None:
			return ignore_answer
		if handler.is_async:
			return ack
		return lambda *arguments: self._executor.bridge.run(lambda: ack(*arguments))


def _refuse_coroutine(answer: Any, name: str) -> None:
	"""Raise TypeError if the plain function `name` has returned a coroutine, which would do nothing."""
	if asyncio.iscoroutine(answer):
		answer.close()
		raise TypeError(
			f"{name} is a plain function and has returned a coroutine, which nobody awaits: make it an async def"
		)


def _acknowledge(ack: Ack, answer: Any) -> None:
	"""Send what a handler has returned: a tuple as several arguments, None not at all."""
	if type(answer) is tuple:
		ack(*answer)
	elif answer is not None:
		ack(answer)
