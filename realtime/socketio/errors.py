"""How an application refuses a client."""

from __future__ import annotations

from typing import Any


class ConnectRefused(Exception):
	"""Refuses a client: it gets a CONNECT_ERROR packet, after which socket.io-client does not retry by itself.

	Args:
		message: The `message` of the error in the client.
		data: The `data` of the error in the client, as JSON; a `reason` in it is shown to developers.
		counted_as: The text by which refusals are counted, the same for all clients; by default `message`.
	"""

	def __init__(self, message: str, data: Any = None, counted_as: str = "") -> None:
		super().__init__(message)
		self.message = message
		self.data = data
		self.counted_as = counted_as or message


class ConnectPostponed(Exception):
	"""Closes the connection of a client on which no decision can be made now; socket.io-client reconnects by itself."""
