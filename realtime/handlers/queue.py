"""The events of one socket for one app, one after the other, each in its own guard."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from frappe_realtime.contract import GUEST
from frappe_realtime.handlers.registry import Handler, is_async
from frappe_realtime.handlers.runtime import Runtime
from frappe_realtime.handlers.socket import Socket
from frappe_realtime.handlers.sync_socket import SyncSocket

from ..histogram import Histogram
from ..socketio.server import Ack

logger = logging.getLogger("realtime.handlers")


@dataclass(slots=True)
class App:
	"""An app with Python handlers. Each run of its code has a copy of `context`, which itself nothing runs in."""

	name: str
	context: Context
	handlers: dict[str, list[Handler]] = field(default_factory=dict)
	set_up: Callable[..., Any] | None = None
	set_up_waits: bool = False
	generation: int = 0
	latency: Histogram = field(default_factory=Histogram)
	"""Seconds that the app took for one event of one socket, with what it awaited."""

	def bind(self, handlers: Sequence[Handler], set_up: Callable[..., Any] | None) -> None:
		"""Take what the file gave in place of what it gave before."""
		self.handlers = {}
		for handler in handlers:
			self.handlers.setdefault(handler.event, []).append(handler)
		self.set_up = set_up
		self.set_up_waits = set_up is not None and is_async(set_up)
		self.generation += 1


Call = tuple[str, list[Any], Ack | None]
"""An event, its arguments, and what answers it: of those that wait for their turn. A tuple, since each event is one."""


FAILURES = (Exception, SystemExit, asyncio.CancelledError)
"""What a handler may raise without consequences for others; a cancelled future that it awaits is its own affair."""

_NONE: dict[str, Any] = {}

SET_UP = "(set-up)"
"""Stands for an event in the queue where an async set-up function is to run."""


class Runner(Runtime, Protocol):
	"""Runs what lanes have to do, and hears how it went."""

	queue_limit: int
	"""Events of one socket that may wait for an app."""
	time: Callable[[], float]
	"""The loop's clock."""

	def start_task(
		self, queue: HandlerQueue, runner: object, work: Coroutine[Any, Any, None], context: Context
	) -> None: ...

	def ended(self, runner: object) -> None: ...

	def failed(self, queue: HandlerQueue, event: str, error: BaseException) -> None: ...

	def context_of(self, app: App) -> Context: ...

	async def in_thread(
		self, queue: HandlerQueue, handler: Handler, arguments: Iterable[Any], options: Any
	) -> Any: ...


class HandlerQueue:
	"""One socket's events for one app, in order. A task exists while there is something to do."""

	__slots__ = ("app", "event", "host", "listeners", "middleware", "queue", "runner", "socket", "started")

	def __init__(self, host: Runner, app: App, socket: Socket) -> None:
		self.host = host
		self.app = app
		self.socket = socket
		self.listeners: dict[str, list[Handler]] = {}
		self.middleware: list[Callable[..., Any]] = []
		self.queue: deque[Call] = deque()
		self.runner: object | None = None
		"""Stands for the task that works on the queue; None when there is none, or when it has been overtaken."""
		self.event = ""
		self.started = 0.0

	def listens(self, event: str) -> bool:
		"""Whether a listener of this socket may answer `event`."""
		# Something under way may yet add it.
		return event in self.listeners or (self.runner is not None and self.app.set_up is not None)

	def push(self, call: Call) -> bool:
		"""Queue an event, and handle it at once if no other is being handled; return False if the queue is full."""
		if len(self.queue) >= self.host.queue_limit:
			return False
		self.queue.append(call)
		if self.runner is None:
			self.begin()
		return True

	def queue_last(self, call: Call) -> None:
		"""Put the socket's last event in the queue, however long it is."""
		self.queue.append(call)
		if self.runner is None:
			self.begin()

	def begin(self) -> None:
		"""Start to work on the queue."""
		self.runner = runner = object()
		self.host.start_task(self, runner, self._work(runner), self.host.context_of(self.app))

	def overtake(self) -> None:
		"""Let the events behind the present one go on; it ends when it ends."""
		self.runner = None
		if self.queue:
			self.begin()

	async def _work(self, runner: object) -> None:
		"""Handle the events in the queue, one after the other."""
		queue = self.queue
		loop_time = self.host.time
		while queue and self.runner is runner:
			call = queue.popleft()
			self.event = call[0]
			self.started = loop_time()
			# The clock of the loop stands still while a handler runs.
			started = perf_counter()
			try:
				await self._answer(*call)
			except FAILURES as error:
				self.host.failed(self, call[0], error)
			self.app.latency.observe(perf_counter() - started)
		if self.runner is runner:
			self.runner = None
		self.host.ended(runner)

	async def _answer(self, event: str, arguments: list[Any], ack: Ack | None) -> None:
		if event == SET_UP:
			assert self.app.set_up is not None
			await self.app.set_up(self.socket)
			return
		for middleware in self.middleware:
			allowed = middleware(event, arguments)
			if asyncio.iscoroutine(allowed):
				allowed = await allowed
			if allowed is False:
				return
		own = self.listeners.get(event)
		handlers = self.app.handlers.get(event, ())
		for handler in [*handlers, *own] if own else handlers:
			try:
				await self._run(handler, arguments, ack)
			except FAILURES as error:
				self.host.failed(self, event, error)

	async def _run(self, handler: Handler, given: list[Any], ack: Ack | None) -> None:
		options = self._options(handler, given, ack)
		if options is None:
			return
		if handler.once:
			self._forget(handler)
		arguments, named = options
		if not handler.is_async:
			first = (SyncSocket(self.host, self.socket),) if handler.takes_socket else ()
			answer = await self.host.in_thread(self, handler, (*first, *arguments), named)
		elif handler.takes_socket:
			answer = await handler.function(self.socket, *arguments, **named)
		else:
			answer = await handler.function(*arguments, **named)
		if ack is not None:
			_acknowledge(ack, answer)

	def _options(
		self, handler: Handler, given: list[Any], ack: Ack | None
	) -> tuple[list[Any], dict[str, Any]] | None:
		"""What to call `handler` with; None when it is not to run for this user, or has too few arguments."""
		if not handler.allow_guest and self.socket._server_socket.session.user == GUEST:
			return None
		signature = handler.signature
		arguments = signature.fit(given)
		if arguments is None:
			logger.warning(
				"%s: %s did not run: %r came with %d arguments, it needs %d (user %s of %s)",
				self.app.name,
				handler.name,
				handler.event,
				len(given),
				signature.required,
				self.socket.user,
				self.socket.site,
			)
			return None
		return arguments, {"ack": self._ack_for(handler, ack)} if signature.ack else _NONE

	def _forget(self, handler: Handler) -> None:
		kept = [one for one in self.listeners.pop(handler.event, ()) if one is not handler]
		if kept:
			self.listeners[handler.event] = kept

	def _ack_for(self, handler: Handler, ack: Ack | None) -> Ack:
		if ack is None:
			return _nobody_asked
		if handler.is_async:
			return ack
		return lambda *arguments: self.host.run_in_loop(lambda: ack(*arguments))

	def set_up(self) -> None:
		"""Call the set-up function: a plain one at once, before the first event can come."""
		function = self.app.set_up
		if function is None:
			return
		if self.app.set_up_waits:
			self.queue.append((SET_UP, [], None))
			if self.runner is None:
				self.begin()
			return
		try:
			self.host.context_of(self.app).run(function, SyncSocket(self.host, self.socket))
		except FAILURES as error:
			self.host.failed(self, SET_UP, error)


def _acknowledge(ack: Ack, answer: Any) -> None:
	"""What a handler returns answers the event: None not at all, a tuple with several arguments."""
	if type(answer) is tuple:
		ack(*answer)
	elif answer is not None:
		ack(answer)


def _nobody_asked(*_: Any) -> None:
	"""The acknowledgement of an event whose sender wants none."""
