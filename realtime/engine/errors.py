"""The error response of the engine to an HTTP request, and its codes."""

UNKNOWN_TRANSPORT = 0
UNKNOWN_SID = 1
BAD_HANDSHAKE_METHOD = 2
BAD_REQUEST = 3
FORBIDDEN = 4
UNSUPPORTED_PROTOCOL_VERSION = 5
"""Error codes of Engine.IO (`Server.errors` of the npm package engine.io 6)."""

ERROR_MESSAGES = {
	UNKNOWN_TRANSPORT: "Transport unknown",
	UNKNOWN_SID: "Session ID unknown",
	BAD_HANDSHAKE_METHOD: "Bad handshake method",
	BAD_REQUEST: "Bad request",
	FORBIDDEN: "Forbidden",
	UNSUPPORTED_PROTOCOL_VERSION: "Unsupported protocol version",
}
"""Messages of Engine.IO by error code (`Server.errorMessages`)."""


class RequestRefused(Exception):
	"""An HTTP request that the engine does not accept, answered with `{"code": …, "message": …}`.

	Args:
		code: The error code of Engine.IO.
		message: Replaces the message of Engine.IO for this code. Must not need escaping in JSON, and must not name the
			client: refused requests are counted by their message.
		status: The HTTP status of the response.
		retry_after: Seconds after which the client may try again, for the header Retry-After; 0 for no such header.
	"""

	def __init__(self, code: int, message: str = "", status: int = 400, retry_after: int = 0) -> None:
		self.code = code
		self.message = message or ERROR_MESSAGES[code]
		self.status = status
		self.retry_after = retry_after
		super().__init__(self.message)
