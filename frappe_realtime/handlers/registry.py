"""The decorator `realtime.on`: which functions of an app answer which events.

	from frappe_realtime import Socket, realtime


	@realtime.on("project_subscribe")
	async def project_subscribe(socket: Socket, project: str) -> None:
		if await socket.has_permission("Project", project):
			await socket.join(f"project:{project}")

The sidecar imports `<app>/<app>/realtime/handlers.py` of each app and takes what was registered meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

current_app: ContextVar[str] = ContextVar("frappe_realtime_app")
"""The app whose code runs: while its handlers file is imported, and in each of its handlers."""


def is_async(function: Callable[..., Any]) -> bool:
	"""Whether calling `function` gives a coroutine; also for an object whose `__call__` is `async def`."""
	return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
		getattr(function, "__call__", None)  # noqa: B004
	)


@dataclass(frozen=True, slots=True)
class Signature:
	"""How many positional arguments a function needs and takes, and whether it wants the acknowledgement as `ack`."""

	least: int
	most: int | None
	ack: bool

	@classmethod
	def of(cls, function: Callable[..., Any]) -> Signature:
		"""The signature of `function`; one that cannot be read takes anything."""
		try:
			parameters = inspect.signature(function).parameters.values()
		except (TypeError, ValueError):
			return cls(0, None, False)
		positional = [
			one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
		]
		ack = any(one.name == "ack" and one.kind is not one.VAR_KEYWORD for one in parameters)
		positional = [one for one in positional if one.name != "ack"]
		endless = any(one.kind is one.VAR_POSITIONAL for one in parameters)
		least = sum(one.default is one.empty for one in positional)
		return cls(least, None if endless else len(positional), ack)

	def fit(self, arguments: list[Any]) -> list[Any] | None:
		"""The arguments to call with: what is too many is left out, as in JavaScript; None when there are too few."""
		if len(arguments) < self.least:
			return None
		return arguments if self.most is None or len(arguments) <= self.most else arguments[: self.most]


@dataclass(frozen=True, slots=True)
class Handler:
	"""One function that answers `event`."""

	event: str
	function: Callable[..., Any]
	app: str
	signature: Signature
	is_async: bool
	frappe_context: bool = False
	allow_guest: bool = True
	takes_socket: bool = True
	"""Whether the socket is the first argument: for decorated functions, not for `socket.on`."""
	once: bool = False

	@property
	def name(self) -> str:
		"""What the log calls it."""
		return getattr(self.function, "__qualname__", repr(self.function))


class Registry:
	"""Holds the decorated functions of every app. There is one, `realtime`."""

	def __init__(self) -> None:
		self._handlers: list[Handler] = []

	def on(self, event: str, *, frappe_context: bool = False, allow_guest: bool = False) -> Callable[[F], F]:
		"""Let the decorated function answer `event`; it is returned as it is.

		An `async def` runs on the event loop and gets a `Socket`; a plain `def` runs in a thread and gets a
		`SyncSocket`. After the socket come the arguments that the client sent. What the function returns answers a
		client that asked for an acknowledgement: a tuple with several arguments, None not at all. With a parameter
		`ack` the function gets the acknowledgement itself, to call at any time.

		`connect` and `disconnect` are events too; `disconnect` comes with the reason, when there is a parameter for it.

		Args:
			event: the name that the client emits.
			frappe_context: open a Frappe context (site, database, user) around the function, which must be a plain
				`def`; what it did is committed, or rolled back when it raises.
			allow_guest: run for Guests too.

		Raises:
			TypeError: `frappe_context` on an `async def`, which would block the event loop.
		"""

		def decorate(function: F) -> F:
			asynchronous = is_async(function)
			if frappe_context and asynchronous:
				raise TypeError(
					f"{getattr(function, '__qualname__', function)} is an async def, and frappe_context=True needs a plain def: "
					"the database would block all other sockets"
				)
			signature = Signature.of(function)
			most = None if signature.most is None else max(signature.most - 1, 0)
			self._handlers.append(
				Handler(
					event=event,
					function=function,
					app=current_app.get(function.__module__.partition(".")[0]),
					signature=Signature(max(signature.least - 1, 0), most, signature.ack),
					is_async=asynchronous,
					frappe_context=frappe_context,
					allow_guest=allow_guest,
				)
			)
			return function

		return decorate

	@contextmanager
	def collecting(self) -> Iterator[list[Handler]]:
		"""Give the list that handlers are registered in until the block ends; they are in no other."""
		before, self._handlers = self._handlers, []
		try:
			yield self._handlers
		finally:
			self._handlers = before


realtime = Registry()
"""What handlers are registered with."""
