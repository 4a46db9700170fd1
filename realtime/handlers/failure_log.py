"""Logs the exceptions of handlers at a bounded rate."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from frappe_realtime.handlers.registry import Handler
from frappe_realtime.handlers.socket import Socket

from ..log_format import log_fields

logger = logging.getLogger("realtime.handlers")

REPEAT_SECONDS = 60.0
"""Seconds between two lines about the same failure."""

MAX_FAILURES = 200
"""Different failures that are told apart."""

Key = tuple[str, str, str, str, int]
"""App, event, type of the exception, and the file (or the function) and line that raised it."""

OTHER: Key = ("apps", "(other events)", "", "", 0)
"""Stands for all failures beyond `MAX_FAILURES`."""


@dataclass(slots=True)
class Repeats:
	"""How often a failure has been repeated since it was logged.

	Attributes:
		since: When it was logged last, in seconds of the event loop's clock.
		count: Repetitions since then.
		last: A description of the last one.
	"""

	since: float
	count: int = 0
	last: str = ""


class FailureLog:
	"""Logs the first of equal failures with its traceback, and repetitions as a count every `REPEAT_SECONDS`.

	Failures are equal if they have the same app, event and type of exception, and were raised in the same line. A client
	decides how often a handler fails, so the log must not grow with each failure.
	"""

	def __init__(self) -> None:
		self._repeats: dict[Key, Repeats] = {}

	def log(self, app: str, event: str, socket: Socket, error: BaseException, now: float) -> None:
		"""Log or count a failure.

		Args:
			app: The app of the handler.
			event: The event that it handled.
			socket: The socket.
			error: What it raised.
			now: The time of the event loop's clock.
		"""
		if self._is_new(_key(app, event, error), socket, type(error).__name__, now):
			logger.error(
				"%s: a handler of %r failed (user %s of %s)",
				app,
				event,
				socket.user,
				socket.site,
				exc_info=error,
				extra=_fields(socket),
			)

	def log_too_few_arguments(self, handler: Handler, socket: Socket, count: int, now: float) -> None:
		"""Log or count an event that came with too few arguments for a handler; the other arguments are as for `log`."""
		key = (handler.app, handler.event, "too few arguments", handler.name, 0)
		if self._is_new(key, socket, f"{count} arguments", now):
			logger.warning(
				"%s: %s did not run: %r came with %d arguments, it needs %d (user %s of %s)",
				handler.app,
				handler.name,
				handler.event,
				count,
				handler.signature.required,
				socket.user,
				socket.site,
				extra=_fields(socket),
			)

	def _is_new(self, key: Key, socket: Socket, what: str, now: float) -> bool:
		"""Return True if a failure has to be logged; otherwise count it."""
		if key not in self._repeats and len(self._repeats) >= MAX_FAILURES:
			key = OTHER
		repeats = self._repeats.get(key)
		if repeats is None:
			self._repeats[key] = Repeats(now)
			return True
		repeats.count += 1
		repeats.last = f"user {socket.user} of {socket.site}: {what}"
		return False

	def log_repeats(self, now: float) -> None:
		"""Log the counts that are due, and forget failures that were not repeated. Called about once a second."""
		for key, repeats in list(self._repeats.items()):
			if now - repeats.since < REPEAT_SECONDS:
				continue
			if not repeats.count:
				del self._repeats[key]
				continue
			app, event, *_ = key
			logger.error(
				"%s: a handler of %r failed %d more times in %.0f s (last: %s)",
				app,
				event,
				repeats.count,
				now - repeats.since,
				repeats.last,
			)
			self._repeats[key] = Repeats(now)


def text_of(error: BaseException, most: int | None = None) -> str:
	"""Return the type of an exception, and its text in `most` characters.

	A handler may raise with what a client has sent, which may be nested too deeply to be made text.
	"""
	try:
		text = str(error)[:most]
	except Exception as failure:
		text = f"({type(failure).__name__} while its text was made)"
	return f"{type(error).__name__}: {text}"


def origin_of(error: BaseException) -> tuple[str, int]:
	"""Return file and line that raised an exception; empty and 0 if it has no traceback."""
	trace = error.__traceback__
	while trace is not None and trace.tb_next is not None:
		trace = trace.tb_next
	return ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _fields(socket: Socket) -> dict[str, str]:
	return log_fields(socket.site, socket.user, socket.sid)


def _key(app: str, event: str, error: BaseException) -> Key:
	return app, event, type(error).__name__, *origin_of(error)
