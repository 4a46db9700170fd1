"""Exceptions that the code of an app may catch. Imports nothing, so that every process can import it.

Handlers may also catch what Python itself defines: `Socket.call` raises TimeoutError and ConnectionError. The functions
that publish raise only TypeError and ValueError. All are documented at the functions, and in docs/handlers.md and docs/publishing.md.
"""


class RealtimeError(Exception):
	"""The base class of the exceptions in this module."""


class WebUnavailable(RealtimeError):
	"""The web process did not answer in time.

	Raised by `Socket.has_permission` and `Socket.frappe_request`. After it a permission is unknown, neither granted nor
	denied, and a request may or may not have been executed. Trying again later may succeed.
	"""


class SidecarUnavailable(RealtimeError):
	"""No sidecar has answered in time, or Redis does not answer.

	Raised by `frappe_realtime.presence`, `is_online` and `online_users`. The message says what was tried.
	"""


class PresenceRefused(RealtimeError):
	"""A place was not joined, a state was not changed, or there is no such place.

	Raised by `join`, `set`, `members` and `count` of `socket.presence(…)`, and by `frappe_realtime.presence`.

	Args:
		code: One of `PRESENCE_REFUSALS` of the contract: `bad_request`, `limit`, `not_member`, ….
		message: What was tried and why it is refused; names the key of a limit.
		limit: The key of the limit of presence that is reached; empty for other refusals.
	"""

	def __init__(self, code: str, message: str, limit: str = "") -> None:
		super().__init__(message)
		self.code = code
		self.limit = limit


class RewindRefused(RealtimeError):
	"""A socket has not joined a room, and was not sent the earlier events of the room. Raised by `Socket.rewind`.

	Args:
		code: `bad_request`, `not_permitted`, `limit_reached`, `unsubscribed` (the socket has left the room meanwhile) or `unavailable`.
		message: Why, and what to do; names the key of a limit.
	"""

	def __init__(self, code: str, message: str) -> None:
		super().__init__(message)
		self.code = code


class NoAnswer(RealtimeError, AssertionError):
	"""No handler acknowledged the event. Raised by `call` of a client of `frappe_realtime.testing`.

	It is an AssertionError, so that a test that does not catch it fails.
	"""
