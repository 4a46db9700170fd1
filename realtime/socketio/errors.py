"""How an application refuses a client."""

from __future__ import annotations

from typing import Any


class ConnectRefused(Exception):
	"""Refuses a client: it gets a CONNECT_ERROR packet, after which socket.io-client does not retry by itself.

	Args:
		message: The `message` of the error in the client.
		code: A stable name of the cause; the refusals of this project have one of `CONNECT_REFUSALS` in the contract.
		reason: What is wrong with this client's request, for developers.
		counted_as: The text by which refusals are counted, the same for all clients; by default `message`.
		**details: More keys of the data, as JSON.
	"""

	def __init__(
		self, message: str, code: str = "", reason: str = "", *, counted_as: str = "", **details: Any
	) -> None:
		super().__init__(message)
		self.message = message
		self.code = code
		self.reason = reason
		self.counted_as = counted_as or message
		self._details = details

	@property
	def data(self) -> dict[str, Any] | None:
		"""The `data` of the error in the client: `{code, reason, …}`; None without a code."""
		return {"code": self.code, "reason": self.reason, **self._details} if self.code else None

	def as_json(self) -> list[Any]:
		"""Return all of it as JSON, for another worker of the host."""
		return [self.message, self.code, self.reason, self.counted_as, self._details]

	@classmethod
	def from_json(cls, written: list[Any]) -> ConnectRefused:
		"""Return the refusal of which `as_json` has been called."""
		message, code, reason, counted_as, details = written
		return cls(message, code, reason, counted_as=counted_as, **details)


class ConnectPostponed(Exception):
	"""Closes the connection of a client on which no decision can be made now; socket.io-client reconnects by itself."""
