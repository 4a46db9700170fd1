"""The engine's one error towards a client: a request that the protocol does not allow."""


class RequestRefused(Exception):
	"""`code` and `message` are Engine.IO's, `status` is HTTP's."""

	def __init__(self, code: int, message: str, status: int = 400) -> None:
		super().__init__(message)
		self.code = code
		self.message = message
		self.status = status
