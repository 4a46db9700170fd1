"""The reply to an event that a client has sent as a call: it is sent also if no handler acknowledges the event."""

from __future__ import annotations

import traceback
from typing import Any, Final

from frappe_realtime.contract.calls import (
	CALL_BAD_ARGUMENTS,
	CALL_DROPPED,
	CALL_FAILED,
	CALL_NO_ANSWER,
	CALL_NO_HANDLER,
	CALL_NOT_ALLOWED,
)

from ..socketio.server import Ack
from .failure_log import text_of

_ORDER: Final = (
	CALL_NO_HANDLER,
	CALL_NO_ANSWER,
	CALL_BAD_ARGUMENTS,
	CALL_NOT_ALLOWED,
	CALL_DROPPED,
	CALL_FAILED,
)
"""If an event has several handlers, the client gets the last of these codes that one of them has given."""


class Reply:
	"""The reply to a call (`CALL` in the contract): counts the handlers that may still answer, and sends an error if none has.

	The count begins at 1, for the application, until it has passed the event to all handlers. It must be used in
	the thread of the event loop.

	Args:
		ack: Acknowledges the packet.
		event: The event that is called.
		site: The site of the socket.
		shows_errors: True if the client may see exceptions and tracebacks.
	"""

	__slots__ = ("_ack", "_answered", "_error", "_event", "_pending", "_shows_errors", "_site")

	def __init__(self, ack: Ack, event: str, site: str, shows_errors: bool) -> None:
		self._ack = ack
		self._event = event
		self._site = site
		self._shows_errors = shows_errors
		self._answered = False
		self._pending = 1
		self._error: dict[str, str] = {
			"code": CALL_NO_HANDLER,
			"message": f'No app on {site} handles the event "{event}".',
		}

	def __call__(self, *answer: Any) -> None:
		"""Acknowledge the event as a handler does; only the first answer counts."""
		if not self._answered:
			# Raises for an answer that cannot be encoded, which is none: the client gets the error of the handler.
			self._ack(None, *answer)
			self._answered = True

	def begin(self) -> None:
		"""Count one more handler that may answer."""
		self._pending += 1

	def end(self) -> None:
		"""Count one handler less that may answer; after the last one, send the error."""
		self._pending -= 1
		if not self._pending and not self._answered:
			self._answered = True
			self._ack(self._error)

	def fail(self, code: str, message: str, trace: str = "") -> None:
		"""Keep why a handler does not answer, unless another one has a more telling reason.

		Args:
			code: One of `CALL_ERRORS` in the contract.
			message: A sentence for the developer of the page.
			trace: The traceback of the handler, for clients that may see it.
		"""
		if _ORDER.index(code) > _ORDER.index(self._error["code"]):
			self._error = {"code": code, "message": message}
			if trace and self._shows_errors:
				self._error["traceback"] = trace

	def no_answer(self, app: str) -> None:
		"""Keep that a handler of `app` has ended without an answer."""
		self.fail(CALL_NO_ANSWER, f'The handler of "{self._event}" in the app {app} has returned nothing.')

	def not_allowed(self, app: str) -> None:
		"""Keep that `app` does not allow the event."""
		self.fail(CALL_NOT_ALLOWED, f'The app {app} does not allow "{self._event}" for this user.')

	def bad_arguments(self, app: str, count: int) -> None:
		"""Keep that a handler of `app` has parameters for more than `count` arguments."""
		self.fail(
			CALL_BAD_ARGUMENTS,
			f'The handler of "{self._event}" in the app {app} needs more than {count} arguments.',
		)

	def dropped(self, app: str, key: str) -> None:
		"""Keep that the event was dropped because of the limit `key`."""
		self.fail(
			CALL_DROPPED, f'Too many events wait for the app {app}; "{self._event}" was dropped ({key}).'
		)

	def raised(self, app: str, error: BaseException) -> None:
		"""Keep that a handler of `app` has raised `error`."""
		trace = "".join(traceback.format_exception(error)) if self._shows_errors else ""
		self.failed(app, text_of(error), trace)

	def failed(self, app: str, reason: str, trace: str) -> None:
		"""Keep that a handler of `app` has failed.

		Args:
			app: The app.
			reason: The exception, for clients that may see it.
			trace: The traceback.
		"""
		shown = reason if self._shows_errors else "the log of the realtime server has the reason"
		self.fail(CALL_FAILED, f'The handler of "{self._event}" in the app {app} has failed: {shown}.', trace)


def reply_of(ack: Ack | None) -> Reply | None:
	"""Return `ack` if it is the reply to a call, None if it is a plain acknowledgement."""
	return ack if type(ack) is Reply else None
