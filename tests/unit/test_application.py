"""Who hears of a socket that does not live through its own welcome."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from realtime.application import EventHandler, FrappeApplication
from realtime.socketio.namespace import ServerSocket


class Closing:
	"""A responder that sends more than the client may leave unread, or one that is asked after it."""

	def __init__(self, closes: bool) -> None:
		self.closes = closes
		self.seen: list[ServerSocket] = []

	def on_connect(self, socket: Any, auth: dict[str, Any]) -> None:
		self.seen.append(socket)
		if self.closes:
			socket.connected = False


def test_a_socket_that_one_responder_loses_is_not_shown_to_the_next() -> None:
	"""It would never hear of the end, which has come already."""
	first, second = Closing(True), Closing(False)
	responders = [cast(EventHandler, first), cast(EventHandler, second)]
	application = FrappeApplication(Mock(), Mock(), Mock(), Mock(), Mock(), Mock(), Mock(), responders)
	application.on_connect(Mock(connected=True), {}, Mock())
	assert len(first.seen) == 1
	assert second.seen == []
