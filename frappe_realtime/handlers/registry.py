"""The decorator `realtime.on`, which registers the handlers of an app.

	from frappe_realtime import Socket, realtime


	@realtime.on("project_subscribe")
	async def project_subscribe(socket: Socket, project: str) -> None:
		if await socket.has_permission("Project", project):
			await socket.join(f"project:{project}")

The sidecar imports `<app>/<app>/realtime/handlers.py` of each app, and runs the handlers that the import has registered.
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
"""The app whose code runs: set while its handlers file is imported, and in each of its handlers."""


def is_async(function: Callable[..., Any]) -> bool:
	"""Return whether calling `function` returns a coroutine; also for an object whose `__call__` is `async def`."""
	return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
		getattr(function, "__call__", None)  # noqa: B004
	)


@dataclass(frozen=True, slots=True)
class Signature:
	"""The positional arguments that a function takes.

	Attributes:
		required: Arguments that the function needs.
		maximum: Arguments that it takes at most; None for any number.
		ack: Whether it has a parameter `ack`, which gets the acknowledgement.
	"""

	required: int
	maximum: int | None
	ack: bool

	@classmethod
	def of(cls, function: Callable[..., Any]) -> Signature:
		"""Return the signature of `function`; any arguments if it cannot be inspected."""
		try:
			parameters = inspect.signature(function).parameters.values()
		except (TypeError, ValueError):
			return cls(0, None, False)
		positional = [
			one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
		]
		ack = any(one.name == "ack" and one.kind is not one.VAR_KEYWORD for one in parameters)
		positional = [one for one in positional if one.name != "ack"]
		takes_any_number = any(one.kind is one.VAR_POSITIONAL for one in parameters)
		required = sum(one.default is one.empty for one in positional)
		return cls(required, None if takes_any_number else len(positional), ack)

	def without_first(self) -> Signature:
		"""Return the signature of what follows the first argument."""
		maximum = None if self.maximum is None else max(self.maximum - 1, 0)
		return Signature(max(self.required - 1, 0), maximum, self.ack)

	def fit(self, arguments: list[Any]) -> list[Any] | None:
		"""Return the arguments to call the function with; None if there are too few.

		Arguments beyond the last parameter are left out, as in JavaScript.
		"""
		if len(arguments) < self.required:
			return None
		if self.maximum is None or len(arguments) <= self.maximum:
			return arguments
		return arguments[: self.maximum]


@dataclass(frozen=True, slots=True)
class Handler:
	"""A function that handles an event.

	Attributes:
		event: The name of the event.
		function: The function.
		app: The app that registered it.
		signature: The arguments that it takes after the socket.
		is_async: Whether it is an `async def`.
		frappe_context: Whether it runs in a Frappe context, with a database connection.
		allow_guest: Whether it runs for Guests.
		takes_socket: Whether its first argument is the socket: true for decorated functions, false for `socket.on`.
		once: Whether it is removed before it runs.
	"""

	event: str
	function: Callable[..., Any]
	app: str
	signature: Signature
	is_async: bool
	frappe_context: bool = False
	allow_guest: bool = True
	takes_socket: bool = True
	once: bool = False

	@property
	def name(self) -> str:
		"""The name of the function, for the log."""
		return getattr(self.function, "__qualname__", repr(self.function))


class Registry:
	"""The decorated handlers of all apps. The only instance is `realtime`."""

	def __init__(self) -> None:
		self._handlers: list[Handler] = []

	def on(self, event: str, *, frappe_context: bool = False, allow_guest: bool = False) -> Callable[[F], F]:
		"""Register the decorated function as a handler of `event`, and return it unchanged.

		An `async def` runs on the event loop and gets a `Socket`; a plain `def` runs in a thread and gets a `SyncSocket`.
		The arguments that the client sent follow. If the client asked for an acknowledgement, the return value is its
		argument; a tuple sends several arguments, and None sends no acknowledgement. A function with a parameter `ack`
		gets the acknowledgement itself, and may call it at any time.

		`connect` and `disconnect` are events too. A handler of `disconnect` gets the reason if it has a parameter for it.

		Args:
			event: The name of the event that the client emits.
			frappe_context: Run the function, a plain `def`, in a Frappe context (site, database, user). The transaction
				is committed afterwards, and rolled back if the function raises.
			allow_guest: Run the function for Guests too.

		Raises:
			TypeError: `frappe_context` is set for an `async def`, where the database would block the event loop; or `event` is no
				string, as in `@realtime.on` without parentheses.
		"""
		if not isinstance(event, str):
			# Without the parentheses, the function would be taken for the event, and would never run.
			raise TypeError(
				f'realtime.on takes the name of an event, as in @realtime.on("chat_open"), and was given {event!r}'
			)

		def decorate(function: F) -> F:
			asynchronous = is_async(function)
			if frappe_context and asynchronous:
				raise TypeError(
					f"{getattr(function, '__qualname__', function)} is an async def, and frappe_context=True needs a plain def: "
					"the database would block the event loop"
				)
			self._handlers.append(
				Handler(
					event=event,
					function=function,
					app=current_app.get(function.__module__.partition(".")[0]),
					signature=Signature.of(function).without_first(),
					is_async=asynchronous,
					frappe_context=frappe_context,
					allow_guest=allow_guest,
				)
			)
			return function

		return decorate

	@contextmanager
	def collecting(self) -> Iterator[list[Handler]]:
		"""Register handlers in a new list until the block ends; the context value is that list."""
		before, self._handlers = self._handlers, []
		try:
			yield self._handlers
		finally:
			self._handlers = before


realtime = Registry()
"""The registry of this process."""
