"""The application: handlers of a socket that ends while it connects."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from realtime.application import EventHandler, FrappeApplication
from realtime.socketio.namespace import ServerSocket


class Closing:
	"""A handler that closes the socket if `closes` is true, and records calls."""

	def __init__(self, closes: bool) -> None:
		self.closes = closes
		self.seen: list[ServerSocket] = []

	def on_connect(self, socket: Any, auth: dict[str, Any]) -> None:
		self.seen.append(socket)
		if self.closes:
			socket.connected = False


def test_a_socket_that_ends_in_on_connect_is_not_passed_to_the_next_handler() -> None:
	"""The handler would never be notified of the end, which was reported already."""
	first, second = Closing(True), Closing(False)
	handlers = [cast(EventHandler, first), cast(EventHandler, second)]
	application = FrappeApplication(Mock(), Mock(), Mock(), Mock(), Mock(), Mock(), Mock(), handlers)
	application.on_connect(Mock(connected=True), {}, Mock())
	assert len(first.seen) == 1
	assert second.seen == []
