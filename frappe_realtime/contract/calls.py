"""Calls: events that are answered also if no handler acknowledges them (realtime/handlers/reply.py)."""

CALL = "frappe_realtime:call"
"""From the client: an event and its arguments as the arguments of this one.

Acknowledged with null and the arguments of the handler's acknowledgement, or with one argument
`{"code", "message", "traceback"?}`, in which the code is one of `CALL_ERRORS`. Also in public/js/calls.js.
"""

CALLS = "calls"
"""In the answer to CONNECT: true if the server understands `CALL`."""

CALL_NO_HANDLER = "no_handler"
"""No app of the site handles the event."""

CALL_NO_ANSWER = "no_answer"
"""The handlers have ended, and none has returned a value."""

CALL_BAD_ARGUMENTS = "bad_arguments"
"""The event has too few arguments."""

CALL_NOT_ALLOWED = "not_allowed"
"""The user is a Guest and the handler is not for Guests, or a middleware stopped the event."""

CALL_DROPPED = "dropped"
"""The event was dropped, because too many events of the socket wait."""

CALL_FAILED = "failed"
"""A handler has raised an exception."""

CALL_ERRORS = frozenset(
	{CALL_NO_HANDLER, CALL_NO_ANSWER, CALL_BAD_ARGUMENTS, CALL_NOT_ALLOWED, CALL_DROPPED, CALL_FAILED}
)
