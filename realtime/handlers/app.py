"""One app of the bench that has handlers in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from frappe_realtime.handlers.registry import Handler, current_app, is_async

from ..histogram import Histogram


@dataclass(slots=True)
class App:
	"""The handlers of one app.

	Attributes:
		name: The name of the app.
		context: The template of the contexts in which the app's code runs. Each run gets a copy; nothing runs in the
			template itself.
		handlers: The decorated functions by event, in the order of the file.
		setup: The set-up function of a file without decorated functions.
		setup_is_async: True if the set-up function is an `async def`.
		latency: Seconds that the app took for one event of one socket, with what it awaited.
	"""

	name: str
	context: Context
	handlers: dict[str, list[Handler]] = field(default_factory=dict)
	setup: Callable[..., Any] | None = None
	setup_is_async: bool = False
	latency: Histogram = field(default_factory=Histogram)

	@classmethod
	def named(cls, name: str) -> App:
		"""Return an app without handlers, in whose contexts it is the current app."""
		context = Context()
		context.run(current_app.set, name)
		return cls(name, context)

	def replace_handlers(self, handlers: Sequence[Handler], setup: Callable[..., Any] | None) -> None:
		"""Use these handlers instead of all earlier ones."""
		self.handlers = {}
		for handler in handlers:
			self.handlers.setdefault(handler.event, []).append(handler)
		self.setup = setup
		self.setup_is_async = setup is not None and is_async(setup)
