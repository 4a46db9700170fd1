"""An app with one socket, whose events wait in a handler queue."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from frappe_realtime.handlers.registry import Handler, Registry, Signature, is_async
from realtime.cluster.members import RemoteMembers
from realtime.cluster.sockets import SocketTable
from realtime.handlers.app import App
from realtime.handlers.executor import HandlerExecutor, HandlerLimits
from realtime.handlers.files import HandlerFiles
from realtime.handlers.loaded_apps import LoadedApps
from realtime.handlers.queue import HandlerQueue
from realtime.handlers.runtime import HandlerRuntime
from realtime.socketio.fanout import Fanout
from realtime.socketio.namespace import Namespaces
from tests.unit.handlers.fakes import add_socket

EAGER = sys.version_info >= (3, 12)


class AppOfOneSocket:
	"""One app and its queue for one socket. Must be made in a running event loop.

	Args:
		limits: Limits of handlers.
		setup: The set-up function of the app.
		user: The user of the socket.
	"""

	def __init__(self, setup: Callable[..., Any] | None = None, user: str = "ann", **limits: Any) -> None:
		self.ran: list[Any] = []
		"""Handlers append to it."""
		self.failures: list[BaseException] = []
		namespaces = Namespaces()
		loop = asyncio.get_running_loop()
		self.executor = HandlerExecutor(Path(), HandlerLimits(**limits), loop)
		self.executor.handler_failed.connect(lambda queue, event, error: self.failures.append(error))
		unused: Any = None
		self.runtime = HandlerRuntime(
			Fanout(namespaces),
			unused,
			unused,
			RemoteMembers(),
			SocketTable(namespaces),
			unused,
			unused,
			LoadedApps(HandlerFiles(Path("no such bench")), Path()),
			self.executor,
		)
		self.app = App.named("app")
		self.app.replace_handlers([], setup)
		self.server_socket = add_socket(namespaces, user)
		self.queue: HandlerQueue = self.runtime.queue_of(self.server_socket, self.app)

	def on(self, event: str, function: Callable[..., Any], **options: Any) -> None:
		"""Register a decorated function."""
		registry = Registry()
		with registry.collecting() as handlers:
			registry.on(event, **options)(function)
		self.app.handlers.setdefault(event, []).extend(handlers)

	def listen(self, event: str, function: Callable[..., Any], once: bool = False) -> None:
		"""Add a listener as `socket.on` and `socket.once` do."""
		self.queue.listeners.setdefault(event, []).append(
			Handler(
				event,
				function,
				"app",
				Signature.of(function),
				is_async(function),
				takes_socket=False,
				once=once,
			)
		)

	def push(self, event: str, *arguments: Any, ack: Any = None) -> None:
		"""Queue an event."""
		self.queue.push((event, list(arguments), ack))

	async def finish(self) -> None:
		"""Wait until all events have been handled."""
		while tasks := self.executor.tasks():
			await asyncio.wait(tasks, timeout=5)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
	asyncio.run(scenario())


ERRORS = [ValueError("no"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()]
